// A Java application's first day: connect, DDL, prepared batch insert, read back every type,
// a transaction rolled back, errors with their codes, a result set fetched in pieces.
//
// java -cp /usr/share/java/postgresql.jar RoundTrip.java jdbc:postgresql://127.0.0.1:15432/conclave?user=conclave

import java.math.BigDecimal;
import java.sql.Connection;
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

public class RoundTrip {
    static final int ROWS = 200;
    static final UUID ID = UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    static final OffsetDateTime INSTANT =
            OffsetDateTime.of(2024, 2, 29, 12, 34, 56, 789_000_000, ZoneOffset.UTC);

    public static void main(String[] arguments) throws SQLException {
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            // The driver prepares on the server, and asks for binary, from the fifth execution on.
            types(connection);
            generatedResults(connection);
            rollback(connection);
            errors(connection);
            pieces(connection);
            savepoint(connection);
            try (Statement statement = connection.createStatement()) {
                statement.execute("drop table every_type");
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
