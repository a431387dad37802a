// A Java application's first day: connect, DDL, prepared batch insert, read back every type as
// text and in binary, generated keys, a transaction rolled back, errors with their codes, metadata,
// a result set fetched in pieces, a savepoint.
//
// java -cp /usr/share/java/postgresql.jar RoundTrip.java jdbc:postgresql://127.0.0.1:15432/conclave?user=conclave

import java.math.BigDecimal;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.Objects;
import java.util.UUID;
import org.postgresql.util.PSQLException;

public class RoundTrip {
    static final int ROWS = 200;
    static final UUID ID = UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    static final OffsetDateTime INSTANT =
            OffsetDateTime.of(2024, 2, 29, 12, 34, 56, 789_000_000, ZoneOffset.UTC);

    public static void main(String[] arguments) throws SQLException {
        String url = arguments[0];
        // Never prepared on the server and everything as text; prepared and in binary from the
        // first execution on; and as it is without settings, from the fifth on.
        for (String how : new String[] {
                "&prepareThreshold=0&binaryTransfer=false", "&prepareThreshold=-1&binaryTransfer=true",
                "&prepareThreshold=1", "&reWriteBatchedInserts=true", ""}) {
            try (Connection connection = DriverManager.getConnection(url + how)) {
                types(connection);
            } catch (AssertionError | SQLException error) {
                throw new AssertionError("with " + how + ": " + error.getMessage(), error);
            }
        }
        try (Connection connection = DriverManager.getConnection(url)) {
            metadata(connection);
            if (arguments.length > 1) {
                keys(connection);
            }
            generatedResults(connection);
            rollback(connection);
            errors(connection);
            duplicate(connection);
            pieces(connection);
            savepoint(connection);
            try (Statement statement = connection.createStatement()) {
                statement.execute("drop table every_type");
                statement.execute("create table left_behind (id int primary key)");
                statement.execute("insert into left_behind values (1)");
            }
        }
        System.out.println("all is well");
    }

    static void types(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("drop table if exists every_type");
            statement.execute("create table every_type (id int primary key, a smallint, b int,"
                    + " c bigint, d real, e double precision, f numeric(12,3), g boolean, h text,"
                    + " i varchar(20), j char(5), k bytea, l date, m time, n timestamp,"
                    + " o timestamptz, p interval, q uuid, r jsonb)");
        }
        String insert = "insert into every_type values"
                + " (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?::interval,?,?::jsonb)";
        try (PreparedStatement prepared = connection.prepareStatement(insert)) {
            for (int row = 0; row < ROWS; row++) {
                bind(prepared, row);
                prepared.addBatch();
            }
            int[] counts = prepared.executeBatch();
            equal("rows of the batch", ROWS, Arrays.stream(counts).map(n -> n < 0 ? 1 : n).sum());
        }
        String select = "select * from every_type where id = ?";
        try (PreparedStatement prepared = connection.prepareStatement(select)) {
            for (int row = 0; row < ROWS; row++) {
                prepared.setInt(1, row);
                try (ResultSet result = prepared.executeQuery()) {
                    equal("row " + row, true, result.next());
                    check(result, row);
                    equal("one row", false, result.next());
                }
            }
        }
    }

    static void bind(PreparedStatement prepared, int row) throws SQLException {
        prepared.setInt(1, row);
        if (row % 10 == 9) {
            int[] types = {Types.SMALLINT, Types.INTEGER, Types.BIGINT, Types.REAL, Types.DOUBLE,
                Types.NUMERIC, Types.BOOLEAN, Types.VARCHAR, Types.VARCHAR, Types.CHAR,
                Types.BINARY, Types.DATE, Types.TIME, Types.TIMESTAMP,
                Types.TIMESTAMP_WITH_TIMEZONE, Types.VARCHAR, Types.OTHER, Types.VARCHAR};
            for (int at = 0; at < types.length; at++) {
                prepared.setNull(at + 2, types[at]);
            }
            return;
        }
        prepared.setShort(2, (short) -row);
        prepared.setInt(3, row * 1_000_000);
        prepared.setLong(4, Long.MIN_VALUE + row);
        prepared.setFloat(5, row / 4f);
        prepared.setDouble(6, row / 10.0);
        prepared.setBigDecimal(7, new BigDecimal(row + ".500"));
        prepared.setBoolean(8, row % 2 == 0);
        prepared.setString(9, "gr\u00fc\u00df dich " + row);
        prepared.setString(10, "v" + row);
        prepared.setString(11, "c" + row % 10);
        prepared.setBytes(12, new byte[] {(byte) row, 0, -1});
        prepared.setObject(13, LocalDate.of(2024, 2, 29).plusDays(row));
        prepared.setObject(14, LocalTime.of(12, 34, 56).plusSeconds(row));
        prepared.setObject(15, LocalDateTime.of(1999, 12, 31, 23, 59, 59, 999_000_000));
        prepared.setObject(16, INSTANT.plusHours(row));
        prepared.setString(17, row + " days");
        prepared.setObject(18, ID);
        prepared.setString(19, "{\"row\": " + row + "}");
    }

    static void check(ResultSet result, int row) throws SQLException {
        if (row % 10 == 9) {
            for (int column = 2; column <= 19; column++) {
                equal("column " + column, null, result.getObject(column));
            }
            return;
        }
        equal("smallint", (short) -row, result.getShort("a"));
        equal("int", row * 1_000_000, result.getInt("b"));
        equal("bigint", Long.MIN_VALUE + row, result.getLong("c"));
        equal("real", row / 4f, result.getFloat("d"));
        equal("double", row / 10.0, result.getDouble("e"));
        equal("numeric", new BigDecimal(row + ".500"), result.getBigDecimal("f"));
        equal("boolean", row % 2 == 0, result.getBoolean("g"));
        equal("text", "gr\u00fc\u00df dich " + row, result.getString("h"));
        equal("varchar", "v" + row, result.getString("i"));
        equal("char", "c" + row % 10 + "   ", result.getString("j"));
        equal("bytea", true, Arrays.equals(new byte[] {(byte) row, 0, -1}, result.getBytes("k")));
        equal("date", LocalDate.of(2024, 2, 29).plusDays(row),
                result.getObject("l", LocalDate.class));
        equal("date as java.sql", Date.valueOf(LocalDate.of(2024, 2, 29).plusDays(row)),
                result.getDate("l"));
        equal("time", LocalTime.of(12, 34, 56).plusSeconds(row),
                result.getObject("m", LocalTime.class));
        equal("timestamp", LocalDateTime.of(1999, 12, 31, 23, 59, 59, 999_000_000),
                result.getObject("n", LocalDateTime.class));
        equal("timestamptz", INSTANT.plusHours(row).toInstant(),
                result.getObject("o", OffsetDateTime.class).toInstant());
        equal("interval", row, ((org.postgresql.util.PGInterval) result.getObject("p")).getDays());
        equal("uuid", ID, result.getObject("q"));
        equal("jsonb", "{\"row\": " + row + "}", result.getString("r"));
    }

    static void keys(Connection connection) throws SQLException {
        DatabaseMetaData metadata = connection.getMetaData();
        try (ResultSet keys = metadata.getPrimaryKeys(null, "public", "every_type")) {
            equal("a key", true, keys.next());
            equal("its column", "id", keys.getString("COLUMN_NAME"));
            equal("its name", "every_type_pkey", keys.getString("PK_NAME"));
            equal("one column", false, keys.next());
        }
        try (ResultSet indexes = metadata.getIndexInfo(null, "public", "every_type", true, true)) {
            equal("an index", true, indexes.next());
            equal("the index", "every_type_pkey", indexes.getString("INDEX_NAME"));
            equal("one index", false, indexes.next());
        }
        try (ResultSet keys = metadata.getImportedKeys(null, "public", "every_type")) {
            equal("foreign keys", false, keys.next());
        }
    }

    static void generatedResults(Connection connection) throws SQLException {
        String insert = "insert into every_type (id, h) values (?, ?) returning id, h";
        try (PreparedStatement prepared = connection.prepareStatement(insert)) {
            prepared.setInt(1, 1000);
            prepared.setString(2, "returned");
            try (ResultSet result = prepared.executeQuery()) {
                equal("a returned row", true, result.next());
                equal("its id", 1000, result.getInt(1));
                equal("its text", "returned", result.getString(2));
            }
        }
        try (Statement statement = connection.createStatement()) {
            equal("deleted", 1, statement.executeUpdate("delete from every_type where id = 1000"));
            statement.execute("drop table if exists made");
            statement.execute("create table made (id uuid primary key default gen_random_uuid(),"
                    + " n int not null default 7, v text)");
        }
        insert = "insert into made (v) values (?)";
        try (PreparedStatement prepared = connection.prepareStatement(insert, new String[] {"id", "n"})) {
            for (int row = 0; row < 7; row++) {
                prepared.setString(1, "v" + row);
                equal("inserted", 1, prepared.executeUpdate());
                try (ResultSet keys = prepared.getGeneratedKeys()) {
                    equal("a generated key", true, keys.next());
                    equal("its type", UUID.class, keys.getObject("id").getClass());
                    equal("a default", 7, keys.getInt("n"));
                }
            }
        }
        try (PreparedStatement prepared =
                connection.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
            for (int row = 0; row < 7; row++) {
                prepared.setString(1, "w" + row);
                prepared.addBatch();
            }
            prepared.executeBatch();
            try (ResultSet keys = prepared.getGeneratedKeys()) {
                int count = 0;
                while (keys.next()) {
                    equal("row " + count, "w" + count, keys.getString("v"));
                    count++;
                }
                equal("generated keys of a batch", 7, count);
            }
        }
        try (Statement statement = connection.createStatement()) {
            statement.execute("drop table made");
        }
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData metadata = connection.getMetaData();
        equal("product", "PostgreSQL", metadata.getDatabaseProductName());
        try (ResultSet tables = metadata.getTables(null, "public", "every\\_type", new String[] {"TABLE"})) {
            equal("the table", true, tables.next());
            equal("its name", "every_type", tables.getString("TABLE_NAME"));
            equal("its schema", "public", tables.getString("TABLE_SCHEM"));
            equal("its kind", "TABLE", tables.getString("TABLE_TYPE"));
            equal("one table", false, tables.next());
        }
        Object[][] expected = {
            {"id", Types.INTEGER, "int4", 10}, {"a", Types.SMALLINT, "int2", 5}, {"b", Types.INTEGER, "int4", 10},
            {"c", Types.BIGINT, "int8", 19}, {"d", Types.REAL, "float4", 8}, {"e", Types.DOUBLE, "float8", 17},
            {"f", Types.NUMERIC, "numeric", 12}, {"g", Types.BIT, "bool", 1}, {"h", Types.VARCHAR, "text", 2147483647},
            {"i", Types.VARCHAR, "varchar", 20}, {"j", Types.CHAR, "bpchar", 5}, {"k", Types.BINARY, "bytea", 2147483647},
            {"l", Types.DATE, "date", 13}, {"m", Types.TIME, "time", 15}, {"n", Types.TIMESTAMP, "timestamp", 29},
            {"o", Types.TIMESTAMP, "timestamptz", 35}, {"p", Types.OTHER, "interval", 49},
            {"q", Types.OTHER, "uuid", 2147483647}, {"r", Types.OTHER, "jsonb", 2147483647}};
        try (ResultSet columns = metadata.getColumns(null, "public", "every\\_type", "%")) {
            int at = 0;
            while (columns.next()) {
                String name = (String) expected[at][0];
                equal("column " + at, name, columns.getString("COLUMN_NAME"));
                equal("code of " + name, expected[at][1], columns.getInt("DATA_TYPE"));
                equal("type of " + name, expected[at][2], columns.getString("TYPE_NAME"));
                equal("size of " + name, expected[at][3], columns.getInt("COLUMN_SIZE"));
                equal("nullable " + name, at == 0 ? "NO" : "YES", columns.getString("IS_NULLABLE"));
                equal("position of " + name, at + 1, columns.getInt("ORDINAL_POSITION"));
                at++;
            }
            equal("columns", expected.length, at);
        }
        try (ResultSet schemas = metadata.getSchemas()) {
            boolean found = false;
            while (schemas.next()) {
                found |= schemas.getString("TABLE_SCHEM").equals("public");
            }
            equal("the schema", true, found);
        }
    }

    static void rollback(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            equal("updated", ROWS, statement.executeUpdate("update every_type set b = -1"));
            equal("inside", (long) ROWS, count(statement, "b = -1"));
            connection.rollback();
            equal("after the rollback", 0L, count(statement, "b = -1"));
            connection.commit();
        }
        connection.setAutoCommit(true);
    }

    static void errors(Connection connection) throws SQLException {
        String[][] wrong = {
            {"selec 1", "42601"},
            {"select * from nowhere", "42P01"},
            {"select nothing from every_type", "42703"},
            {"insert into every_type (id) values (0)", "23505"},
            {"select 1 / 0", "22012"},
            {"select 2147483647 + 1", "22003"},
            {"select 'x'::int", "22P02"},
        };
        for (String[] pair : wrong) {
            try (Statement statement = connection.createStatement()) {
                statement.execute(pair[0]);
                throw new AssertionError(pair[0] + " did not fail");
            } catch (SQLException error) {
                equal(pair[0], pair[1], error.getSQLState());
            }
        }
    }

    static void duplicate(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        String insert = "insert into every_type (id) values (?)";
        try (PreparedStatement prepared = connection.prepareStatement(insert)) {
            prepared.setInt(1, 3000);
            prepared.executeUpdate();
            prepared.setInt(1, 5);
            prepared.executeUpdate();
            throw new AssertionError("a duplicate key was accepted");
        } catch (PSQLException error) {
            equal("its code", "23505", error.getSQLState());
            equal("its constraint", "every_type_pkey", error.getServerErrorMessage().getConstraint());
            equal("its table", "every_type", error.getServerErrorMessage().getTable());
            equal("its detail", "Key (id)=(5) already exists.", error.getServerErrorMessage().getDetail());
        }
        try (Statement statement = connection.createStatement()) {
            count(statement, "id = 5");
            throw new AssertionError("the transaction had failed");
        } catch (SQLException error) {
            equal("in a failed transaction", "25P02", error.getSQLState());
        }
        connection.rollback();
        // One bad row of a batch: none of the batch stays.
        try (PreparedStatement prepared = connection.prepareStatement(insert)) {
            for (int id : new int[] {3001, 3002, 5, 3003}) {
                prepared.setInt(1, id);
                prepared.addBatch();
            }
            prepared.executeBatch();
            throw new AssertionError("a batch with a duplicate key was accepted");
        } catch (BatchUpdateException error) {
            equal("of the batch", "23505", error.getSQLState());
        }
        connection.rollback();
        try (Statement statement = connection.createStatement()) {
            equal("left of it", 0L, count(statement, "id >= 3000"));
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    static void pieces(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(7);
            int seen = 0;
            String select = "select id from every_type order by id";
            try (ResultSet result = statement.executeQuery(select)) {
                while (result.next()) {
                    equal("order", seen, result.getInt(1));
                    seen++;
                }
            }
            equal("fetched in pieces", ROWS, seen);
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    static void savepoint(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("insert into every_type (id) values (2000)");
            var savepoint = connection.setSavepoint();
            statement.executeUpdate("insert into every_type (id) values (2001)");
            connection.rollback(savepoint);
            connection.commit();
            equal("before the savepoint", 1L, count(statement, "id >= 2000"));
            statement.executeUpdate("delete from every_type where id >= 2000");
            connection.commit();
        }
        connection.setAutoCommit(true);
    }

    static long count(Statement statement, String condition) throws SQLException {
        String select = "select count(*) from every_type where " + condition;
        try (ResultSet result = statement.executeQuery(select)) {
            result.next();
            return result.getLong(1);
        }
    }

    static void equal(String what, Object expected, Object found) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError(what + ": expected " + expected + ", found " + found);
        }
    }
}
