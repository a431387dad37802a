// node-postgres, Sequelize and Knex: types, prepared statements, cursors, transactions, models, migrations.

import { createRequire } from "node:module";
import assert from "node:assert/strict";

// Modules are where .ci/setup.sh has installed them.
const require = createRequire(process.env.NODE_CLIENTS + "/");
const pg = require("pg");
const Cursor = require("pg-cursor");
const knexOf = require("knex");
const { Sequelize, DataTypes, Op } = require("sequelize");

const host = process.env.PGHOST ?? "127.0.0.1";
const port = Number(process.env.PGPORT);
const place = { host, port, user: "conclave", database: "conclave" };

async function postgres() {
  const pool = new pg.Pool({ ...place, max: 4 });
  const client = await pool.connect();
  await client.query(`CREATE TABLE njs_types (id serial PRIMARY KEY, a bool, b smallint, c bigint, d float8,
    e numeric(10,3), f text, g varchar(9), h bytea, i date, j timestamptz, k interval, l uuid, m jsonb, n int[], o text[])`);
  const when = new Date("2024-02-29T12:34:56.789Z");
  const values = [true, -7, "9007199254740993", 0.1, "12.500", "it's ä\n", "short", Buffer.from([0, 255, 92]),
    "2024-02-29", when, "1 day 02:00:00", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", { x: [1, null] }, [1, null, 3],
    ['a"b', "c,d", null, ""]];
  const names = "a b c d e f g h i j k l m n o".split(" ");
  const marks = names.map((_, n) => `$${n + 1}`).join(", ");
  const made = await client.query({
    name: "insert", text: `INSERT INTO njs_types (${names}) VALUES (${marks}) RETURNING *`, values });
  const row = made.rows[0];
  for (const name of ["a", "b", "c", "d", "e", "f", "g", "h", "l", "m", "n", "o"]) {
    assert.deepEqual(row[name], values[names.indexOf(name)], name);
  }
  assert.equal(row.j.getTime(), when.getTime());
  assert.deepEqual({ ...row.k }, { days: 1, hours: 2 });
  assert.equal(made.rowCount, 1);
  const binary = await client.query({ text: "SELECT 1::int4 AS a, true AS b, 2.5::float8 AS c, 'x'::text AS d", binary: true });
  assert.deepEqual({ ...binary.rows[0] }, { a: 1, b: true, c: 2.5, d: "x" });
  for (let n = 0; n < 5; n++) {
    const again = await client.query({ name: "again", text: "SELECT $1::int * 2 AS v", values: [n] });
    assert.equal(again.rows[0].v, n * 2);
  }
  const many = await client.query("SELECT 1 AS a; SELECT 2 AS b");
  assert.deepEqual(many.map((m) => m.rows[0]), [{ a: 1 }, { b: 2 }]);
  const cursor = client.query(new Cursor("SELECT n FROM generate_series(1, 25) AS n"));
  let count = 0;
  for (let rows; (rows = await cursor.read(10)).length > 0; ) count += rows.length;
  assert.equal(count, 25);
  await cursor.close();

  await client.query("BEGIN");
  await client.query("SAVEPOINT here");
  await assert.rejects(client.query("INSERT INTO njs_types (id) VALUES (1)"), (error) => {
    assert.equal(error.code, "23505");
    assert.equal(error.constraint, "njs_types_pkey");
    assert.equal(error.table, "njs_types");
    return true;
  });
  await client.query("ROLLBACK TO SAVEPOINT here");
  await client.query("COMMIT");
  await assert.rejects(client.query("SELECT nothing FROM njs_types"), { code: "42703", position: "8" });
  client.release();
  const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => pool.query("SELECT $1::int AS n", [n])));
  assert.deepEqual(answers.map((a) => a.rows[0].n), Array.from({ length: 20 }, (_, n) => n));
  await pool.end();
}

async function sequelize() {
  const db = new Sequelize({ dialect: "postgres", ...place, username: "conclave", dialectModule: pg, logging: false });
  await db.authenticate();
  const User = db.define("njs_user", {
    name: { type: DataTypes.STRING, allowNull: false, unique: "njs_user_name" },
    age: { type: DataTypes.INTEGER, defaultValue: 3, comment: "in years" },
    meta: DataTypes.JSONB,
    tags: DataTypes.ARRAY(DataTypes.TEXT),
    born: DataTypes.DATEONLY,
    balance: DataTypes.DECIMAL(10, 2),
    key: { type: DataTypes.UUID, defaultValue: DataTypes.UUIDV4 },
  }, { indexes: [{ fields: ["age", { name: "born", order: "DESC" }] }] });
  const Post = db.define("njs_post", { title: DataTypes.TEXT });
  User.hasMany(Post, { onDelete: "CASCADE" });
  Post.belongsTo(User);
  await db.sync();
  await db.sync({ alter: true });
  const ann = await User.create({ name: "Ann", meta: { a: 1 }, tags: ["x"], born: "2000-01-02", balance: "1.50" });
  await User.bulkCreate(Array.from({ length: 20 }, (_, n) => ({ name: `n${n}`, age: n })));
  await Post.bulkCreate([{ title: "one", njsUserId: ann.id }, { title: "two", njsUserId: ann.id }]);
  const found = await User.findOne({ where: { name: "Ann", tags: { [Op.contains]: ["x"] }, "meta.a": 1 }, include: Post });
  assert.equal(found.njs_posts.length, 2);
  assert.equal(found.balance, "1.50");
  assert.equal(found.born, "2000-01-02");
  // findOrCreate makes a function in PL/pgSQL, findCreateFind does not.
  const [, created] = await User.findCreateFind({ where: { name: "Bob" }, defaults: { age: 9 } });
  assert.equal(created, true);
  await User.upsert({ id: ann.id, name: "Ann", age: 77 });
  assert.equal((await ann.reload()).age, 77);
  await assert.rejects(User.create({ name: "Ann" }), { name: "SequelizeUniqueConstraintError" });
  await assert.rejects(db.transaction(async (transaction) => {
    await User.destroy({ where: {}, transaction });
    throw new Error("no");
  }), /no/);
  assert.equal(await User.count(), 22);
  const page = await User.findAndCountAll({ where: { age: { [Op.between]: [5, 9] } }, order: [["age", "DESC"]], limit: 2 });
  assert.deepEqual([page.count, page.rows[0].age], [6, 9]);
  assert.equal(await User.sum("age", { where: { name: { [Op.iLike]: "N1%" } } }), 146);
  const described = await db.getQueryInterface().describeTable("njs_users");
  assert.equal(described.name.type, "CHARACTER VARYING(255)");
  assert.equal(described.id.primaryKey, true);
  assert.equal(described.age.comment, "in years");
  const indexes = await db.getQueryInterface().showIndex("njs_users");
  assert.ok(indexes.some((index) => index.primary && index.fields[0].attribute === "id"));
  const keys = await db.getQueryInterface().getForeignKeyReferencesForTable("njs_posts");
  assert.deepEqual([keys[0].columnName, keys[0].referencedTableName], ["njsUserId", "njs_users"]);
  assert.ok((await db.getQueryInterface().showAllTables()).some((t) => (t.tableName ?? t) === "njs_posts"));
  await db.getQueryInterface().addColumn("njs_posts", "likes", { type: DataTypes.INTEGER, defaultValue: 0, allowNull: false });
  await db.getQueryInterface().removeColumn("njs_posts", "likes");
  await db.close();
}

async function knex() {
  const db = knexOf({ client: "pg", connection: place });
  const steps = {
    one: {
      up: (k) => k.schema.createTable("kx_item", (t) => {
        t.increments();
        t.string("name", 40).notNullable().unique();
        t.decimal("price", 8, 2).defaultTo(1.5);
        t.jsonb("meta");
        t.timestamps(true, true);
        t.index(["price"]);
      }),
      down: (k) => k.schema.dropTable("kx_item"),
    },
    two: {
      up: (k) => k.schema.alterTable("kx_item", (t) => { t.integer("stock").defaultTo(0); t.renameColumn("name", "title"); }),
      down: (k) => k.schema.alterTable("kx_item", (t) => { t.dropColumn("stock"); t.renameColumn("title", "name"); }),
    },
  };
  const migrationSource = {
    getMigrations: async () => Object.keys(steps), getMigrationName: (name) => name, getMigration: async (name) => steps[name] };
  await db.migrate.latest({ migrationSource });
  const ids = await db("kx_item").insert([{ title: "a", meta: { k: 1 } }, { title: "b", price: 3 }]).returning("id");
  assert.equal(ids.length, 2);
  await db("kx_item").insert({ title: "a", price: 9 }).onConflict("title").merge();
  assert.equal((await db("kx_item").where({ title: "a" }).first()).price, "9.00");
  await db.transaction(async (trx) => {
    await trx("kx_item").where("title", "b").forUpdate().first();
    await trx("kx_item").where("title", "b").increment("stock", 4);
  });
  assert.deepEqual(await db("kx_item").sum({ s: "stock" }), [{ s: "4" }]);
  assert.equal(await db.schema.hasTable("kx_item"), true);
  assert.equal(await db.schema.hasColumn("kx_item", "stock"), true);
  assert.equal((await db("kx_item").columnInfo()).title.maxLength, 40);
  await db.migrate.rollback({ migrationSource }, true);
  assert.equal(await db.schema.hasTable("kx_item"), false);
  await db.destroy();
}

await postgres();
await sequelize();
await knex();
console.log("all is well");
