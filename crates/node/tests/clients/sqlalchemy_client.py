"""SQLAlchemy 2: core, ORM, reflection; alembic's migrations and its comparison of model and database."""

import datetime
import decimal
import os
import pathlib
import tempfile
import uuid

import sqlalchemy as sa
from alembic import autogenerate, command, config
from alembic.migration import MigrationContext
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg

from common import check, finish, url

# psycopg is the dialect's newest driver; asyncpg and psycopg2 are tried by their own scripts.
engine = sa.create_engine(url("postgresql+psycopg"))


class Base(orm.DeclarativeBase):
    """Of all models."""


tagged = sa.Table(
    "sa_tagged", Base.metadata,
    sa.Column("book_id", sa.ForeignKey("sa_book.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("tag_id", sa.ForeignKey("sa_tag.id"), primary_key=True))


class Author(Base):
    __tablename__ = "sa_author"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(80), comment="full name")
    born: orm.Mapped[datetime.date | None]
    books: orm.Mapped[list["Book"]] = orm.relationship(back_populates="author", cascade="all, delete-orphan")
    __table_args__ = (sa.UniqueConstraint("name", name="sa_author_name_once"), {"comment": "who writes"})


class Book(Base):
    __tablename__ = "sa_book"
    id: orm.Mapped[uuid.UUID] = orm.mapped_column(primary_key=True, default=uuid.uuid4)
    number: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, sa.Identity(start=100))
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("sa_author.id"), index=True)
    title: orm.Mapped[str]
    price: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(8, 2), server_default="9.99")
    tags: orm.Mapped[list[str] | None] = orm.mapped_column(pg.ARRAY(sa.Text))
    meta: orm.Mapped[dict | None] = orm.mapped_column(pg.JSONB)
    made: orm.Mapped[datetime.datetime] = orm.mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")
    labels: orm.Mapped[list["Tag"]] = orm.relationship(secondary=tagged)
    __table_args__ = (sa.CheckConstraint("price > 0", name="sa_book_price"),
                      sa.Index("sa_book_title_made", "title", sa.text("made DESC")))


class Tag(Base):
    __tablename__ = "sa_tag"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    word: orm.Mapped[str] = orm.mapped_column(sa.Text, unique=True)


def use_orm():
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        tag = Tag(word="novel")
        author = Author(name="Ann", born=datetime.date(1970, 1, 1), books=[
            Book(title="One", tags=["a", "b"], meta={"k": [1]}, labels=[tag]), Book(title="Two", price=decimal.Decimal("1.50"))])
        session.add_all([author, *[Author(name=f"n{i}") for i in range(50)]])
        session.commit()
        check(author.books[0].number >= 100, True, "an identity column")
        found = session.scalars(sa.select(Author).options(orm.selectinload(Author.books).joinedload(Book.labels))
                                .where(Author.name == "Ann")).unique().one()
        check(sorted((b.title, b.price) for b in found.books),
              [("One", decimal.Decimal("9.99")), ("Two", decimal.Decimal("1.50"))], "books")
        check([b.labels[0].word for b in found.books if b.labels], ["novel"], "labels")
        check(session.scalar(sa.select(sa.func.count()).select_from(Book).where(Book.meta["k"][0].as_integer() == 1)),
              1, "a path into JSON")
        check(session.scalars(sa.select(Book.title).where(Book.tags.any("b"))).all(), ["One"], "ANY")
        check(session.scalars(sa.select(Book.title).where(Book.tags.contains(["a"]))).all(), ["One"], "an array's part")
        with session.begin_nested() as nested:
            session.add(Author(name="lost"))
            session.flush()
            nested.rollback()
        try:
            session.add(Author(name="Ann"))
            session.commit()
            check("no error", "IntegrityError", "a duplicate")
        except sa.exc.IntegrityError as error:
            check(error.orig.sqlstate, "23505", "a duplicate")
            session.rollback()
        upsert = pg.insert(Tag).values([{"word": "novel"}, {"word": "essay"}])
        upsert = upsert.on_conflict_do_update(index_elements=["word"], set_={"word": upsert.excluded.word + "!"})
        check(sorted(session.scalars(upsert.returning(Tag.word))), ["essay", "novel!"], "an upsert")
        session.execute(sa.update(Book).where(Book.title == "Two").values(price=Book.price * 2))
        check(session.execute(sa.select(Book.price, sa.func.row_number().over(order_by=Book.price))
                              .order_by(Book.price)).all(),
              [(decimal.Decimal("3.00"), 1), (decimal.Decimal("9.99"), 2)], "a window function")
        session.commit()
        session.delete(session.scalars(sa.select(Author).where(Author.name == "Ann")).one())
        session.commit()
        check(session.scalar(sa.select(sa.func.count()).select_from(Book)), 0, "deleted by the ORM")


def reflect():
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA sa_other"))
        connection.execute(sa.text(
            "CREATE TABLE sa_other.thing (a int, b text DEFAULT 'x', c char(3), d timestamp(3), e numeric, f interval,"
            " g bytea, h double precision[], i json, j time, PRIMARY KEY (b, a), FOREIGN KEY (a) REFERENCES sa_author"
            " ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED)"))
        connection.execute(sa.text("CREATE VIEW sa_names AS SELECT name FROM sa_author"))
    inspector = sa.inspect(engine)
    names = [name for name in inspector.get_table_names() if name.startswith("sa_")]
    check(sorted(names), ["sa_author", "sa_book", "sa_tag", "sa_tagged"], "tables")
    check(set(inspector.get_schema_names()) >= {"public", "sa_other", "information_schema"}, True, "schemas")
    check("sa_names" in inspector.get_view_names(), True, "views")
    check("name" in inspector.get_view_definition("sa_names"), True, "a view's definition")
    check(inspector.get_pk_constraint("thing", "sa_other"),
          {"constrained_columns": ["b", "a"], "name": "thing_pkey", "comment": None, "dialect_options": {"postgresql_include": []}}, "a key")
    check(inspector.get_foreign_keys("thing", "sa_other"), [{
        "name": "thing_a_fkey", "constrained_columns": ["a"], "referred_schema": None,
        "referred_table": "sa_author", "referred_columns": ["id"],
        "options": {"onupdate": "CASCADE", "deferrable": True, "initially": "DEFERRED"}, "comment": None}], "a foreign key")
    columns = {column["name"]: column for column in inspector.get_columns("thing", "sa_other")}
    check([str(columns[name]["type"].compile(engine.dialect)) for name in "abcdefghij"],
          ["INTEGER", "TEXT", "CHAR(3)", "TIMESTAMP(3) WITHOUT TIME ZONE", "NUMERIC", "INTERVAL", "BYTEA",
           "DOUBLE PRECISION[]", "JSON", "TIME WITHOUT TIME ZONE"], "types")
    check(columns["b"]["default"], "'x'::text", "a default")
    book = {column["name"]: column for column in inspector.get_columns("sa_book")}
    check(book["number"]["identity"]["start"], 100, "an identity")
    check(str(book["price"]["type"]), "NUMERIC(8, 2)", "a modifier")
    author = {column["name"]: column for column in inspector.get_columns("sa_author")}
    check(author["name"]["comment"], "full name", "a column's comment")
    check(author["id"]["autoincrement"], True, "a serial column")
    check(inspector.get_table_comment("sa_author"), {"text": "who writes"}, "a table's comment")
    check([u["name"] for u in inspector.get_unique_constraints("sa_author")], ["sa_author_name_once"], "unique")
    check([(c["name"], c["sqltext"]) for c in inspector.get_check_constraints("sa_book")],
          [("sa_book_price", "price > 0::numeric")], "a check")
    indexes = {index["name"]: index for index in inspector.get_indexes("sa_book")}
    check(indexes["sa_book_title_made"]["column_names"], ["title", "made"], "an index")
    check(indexes["sa_book_title_made"]["column_sorting"], {"made": ("desc",)}, "an index's order")
    check(indexes["ix_sa_book_author_id"]["unique"], False, "an index")
    metadata = sa.MetaData()
    metadata.reflect(engine, schema="sa_other", views=True, resolve_fks=True)
    check("sa_author" in metadata.tables and "sa_other.thing" in metadata.tables, True, "reflected")
    check(inspector.has_table("sa_book") and not inspector.has_table("sa_nothing"), True, "has_table")
    check(sorted(s for s in inspector.get_sequence_names() if s.startswith("sa_")),
          ["sa_author_id_seq", "sa_book_number_seq", "sa_tag_id_seq"], "sequences")
    inspector.get_enums()
    inspector.get_domains()


MIGRATIONS = {
    "one": '''
revision, down_revision = "one", None
import sqlalchemy as sa
from alembic import op
def upgrade():
    op.create_table("al_item", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(20)))
    op.create_index("al_item_name", "al_item", ["name"])
    op.bulk_insert(sa.table("al_item", sa.column("name", sa.String)), [{"name": "a"}, {"name": "b"}])
def downgrade():
    op.drop_table("al_item")
''',
    "two": '''
revision, down_revision = "two", "one"
import sqlalchemy as sa
from alembic import op
def upgrade():
    op.add_column("al_item", sa.Column("price", sa.Numeric(8, 2), nullable=False, server_default="0"))
    op.alter_column("al_item", "name", new_column_name="title", type_=sa.Text())
    op.create_unique_constraint("al_item_title_once", "al_item", ["title"])
    op.create_check_constraint("al_item_price", "al_item", "price >= 0")
def downgrade():
    op.drop_constraint("al_item_price", "al_item")
    op.drop_constraint("al_item_title_once", "al_item")
    op.alter_column("al_item", "title", new_column_name="name", type_=sa.String(20))
    op.drop_column("al_item", "price")
''',
}


def migrate():
    with tempfile.TemporaryDirectory() as folder:
        versions = pathlib.Path(folder) / "versions"
        versions.mkdir()
        (pathlib.Path(folder) / "env.py").write_text(
            "from alembic import context\nimport sqlalchemy as sa\n"
            "engine = sa.create_engine(context.config.get_main_option('sqlalchemy.url'))\n"
            "with engine.connect() as connection:\n    context.configure(connection=connection)\n"
            "    with context.begin_transaction():\n        context.run_migrations()\n")
        for name, text in MIGRATIONS.items():
            (versions / f"{name}.py").write_text(text)
        settings = config.Config(stdout=open(os.devnull, "w"))
        settings.set_main_option("script_location", folder)
        settings.set_main_option("sqlalchemy.url", url("postgresql+psycopg"))
        command.upgrade(settings, "head")
        with engine.connect() as connection:
            check(connection.execute(sa.text("SELECT title, price FROM al_item ORDER BY 1")).all(),
                  [("a", 0), ("b", 0)], "migrated")
            check(MigrationContext.configure(connection).get_current_revision(), "two", "the revision")
        command.downgrade(settings, "one")
        check([c["name"] for c in sa.inspect(engine).get_columns("al_item")], ["id", "name"], "migrated back")
        command.downgrade(settings, "base")
    own = lambda thing, name, kind, reflected, other: kind != "table" or name.startswith("sa_")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": own, "compare_type": True, "compare_server_default": True})
        differences = autogenerate.compare_metadata(context, Base.metadata)
        check(differences, [], "model and database")


use_orm()
reflect()
migrate()
finish()
