"""Django: migrations forth and back, the ORM, introspection (inspectdb)."""

import datetime
import decimal
import io
import uuid

import django
from django.apps import AppConfig
from django.conf import settings

from common import DATABASE, HOST, PORT, USER, check, finish



class Shop(AppConfig):
    """The application whose models are below."""

    name, label, path = "__main__", "shop", "."


settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "USER": USER, "HOST": HOST,
                           "PORT": PORT, "CONN_MAX_AGE": None}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions",
                    "django.contrib.admin", "django.contrib.messages", "__main__.Shop"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True, SECRET_KEY="for tests", MIDDLEWARE=[],
    TEMPLATES=[], LOGGING_CONFIG=None, SILENCED_SYSTEM_CHECKS=["admin.E403", "admin.E408", "admin.E409", "admin.E410"])
django.setup()

from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.models import Count, F, Max, Q, Sum, Window
from django.db.models.functions import Coalesce, Lower, Rank, TruncMonth


class Author(models.Model):
    name = models.CharField(max_length=80, unique=True, db_comment="full name")
    email = models.EmailField(blank=True, db_index=True)

    class Meta:
        app_label = "shop"


class Book(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    title = models.TextField()
    price = models.DecimalField(max_digits=8, decimal_places=2)
    pages = models.PositiveIntegerField(null=True)
    meta = models.JSONField(default=dict)
    made = models.DateTimeField(auto_now_add=True)
    out = models.DateField(null=True)
    took = models.DurationField(default=datetime.timedelta(hours=1))
    cover = models.BinaryField(default=b"\x00\xff")
    score = models.FloatField(default=0.5)
    groups = models.ManyToManyField(Group)

    class Meta:
        app_label = "shop"
        constraints = [models.UniqueConstraint(fields=["author", "title"], name="shop_book_once"),
                       models.CheckConstraint(condition=Q(price__gt=0), name="shop_book_price")]
        indexes = [models.Index(fields=["-made", "title"], name="shop_book_made")]


def migrations():
    call_command("migrate", verbosity=0)
    call_command("migrate", "sessions", "zero", verbosity=0)
    call_command("migrate", "sessions", verbosity=0)
    out = io.StringIO()
    call_command("showmigrations", "auth", stdout=out)
    check("[ ]" in out.getvalue(), False, "migrations that are left")
    # What a migration of a model's change runs.
    with connection.schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Book)
    field = models.CharField(max_length=10, default="none", db_default="none")
    field.set_attributes_from_name("label")
    field.model = Book
    with connection.schema_editor() as editor:
        editor.add_field(Book, field)
    longer = models.TextField(null=True)
    longer.set_attributes_from_name("label")
    longer.model = Book
    with connection.schema_editor() as editor:
        editor.alter_field(Book, field, longer)
    with connection.schema_editor() as editor:
        editor.remove_field(Book, longer)


def use_orm():
    user = User.objects.create_user("ann", "ann@example.com", "secret")
    check(user.check_password("secret"), True, "a user")
    user.groups.add(Group.objects.create(name="staff"))
    user.user_permissions.set(Permission.objects.filter(codename__startswith="add_"))
    check(user.has_perm("auth.add_user"), True, "a permission")
    check(ContentType.objects.count() > 3, True, "content types")
    ann = Author.objects.create(name="Ann", email="Ann@Example.com")
    Author.objects.bulk_create([Author(name=f"n{n}") for n in range(100)])
    Book.objects.bulk_create([Book(author=ann, title=f"t{n}", price=decimal.Decimal(n + 1), pages=n,
                                   meta={"n": n, "list": [n]}, out=datetime.date(2024, n % 12 + 1, 1)) for n in range(20)])
    check(Book.objects.filter(meta__n=3).get().title, "t3", "a key of JSON")
    check(Book.objects.filter(meta__list__contains=[4]).count(), 1, "a part of JSON")
    check(Book.objects.filter(Q(title__icontains="T1") | Q(title="t2")).count(), 12, "icontains")
    check(Book.objects.filter(title__regex="^t[0-4]$").count(), 5, "a regular expression")
    totals = Author.objects.annotate(n=Count("books"), total=Sum("books__price")).filter(n__gt=0).values_list("n", "total")
    check(list(totals), [(20, decimal.Decimal("210"))], "an aggregate")
    ranks = Book.objects.annotate(rank=Window(Rank(), order_by=F("price").desc())).order_by("rank")[:2]
    check([(b.title, b.rank) for b in ranks], [("t19", 1), ("t18", 2)], "a window function")
    months = Book.objects.annotate(month=TruncMonth("out")).values("month").annotate(n=Count("pk")).order_by("month")
    check((months[0]["month"], months[0]["n"]), (datetime.date(2024, 1, 1), 2), "months")
    check(Author.objects.annotate(low=Lower("email")).get(low="ann@example.com"), ann, "a function")
    check(Book.objects.update(pages=Coalesce(F("pages"), 0) + 1), 20, "an update")
    check(Book.objects.aggregate(Max("pages"))["pages__max"], 20, "what was updated")
    with transaction.atomic():
        book = Book.objects.select_for_update(of=("self",)).select_related("author").get(title="t5")
        check((bytes(book.cover), book.took, book.score), (b"\x00\xff", datetime.timedelta(hours=1), 0.5), "values")
        try:
            with transaction.atomic():
                Author.objects.create(name="Ann")
            check("no error", "IntegrityError", "a duplicate")
        except IntegrityError as error:
            check(error.__cause__.sqlstate, "23505", "a duplicate")
        book.title = "changed"
        book.save()
    check(Author.objects.get_or_create(name="Ann")[1], False, "get_or_create")
    Author.objects.bulk_create([Author(name="Ann", email="new")], update_conflicts=True, unique_fields=["name"],
                               update_fields=["email"])
    check(Author.objects.get(name="Ann").email, "new", "an upsert")
    check(len(list(Book.objects.order_by("title").iterator(chunk_size=7))), 20, "an iterator")
    check(Author.objects.exclude(books__isnull=False).count(), 100, "exclude")
    check(Book.objects.filter(author__in=Author.objects.filter(name__startswith="A")).distinct().count(), 20, "IN")
    check(ann.delete()[0] >= 21, True, "deleted")


def introspection():
    out = io.StringIO()
    call_command("inspectdb", "shop_author", "shop_book", "auth_user", stdout=out)
    text = out.getvalue()
    for part in ["name = models.CharField(unique=True, max_length=80", "price = models.DecimalField(max_digits=8, decimal_places=2)",
                 "author = models.ForeignKey(ShopAuthor, models.DO_NOTHING)", "unique_together = (('author', 'title'),)",
                 "meta = models.JSONField()", "id = models.UUIDField(primary_key=True)"]:
        check(part in text, True, f"{part} in\n{text}")
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, "shop_book")
        check(constraints["shop_book_once"]["columns"], ["author_id", "title"], "a unique constraint")
        check(constraints["shop_book_price"]["check"], True, "a check")
        check(constraints["shop_book_made"]["orders"], ["DESC", "ASC"], "an index's order")
        check([s["column"] for s in connection.introspection.get_sequences(cursor, "shop_author")], ["id"], "sequences")
    call_command("sqlflush", stdout=io.StringIO())
    call_command("flush", interactive=False, verbosity=0)
    check(User.objects.count(), 0, "flushed")


migrations()
use_orm()
introspection()
with connection.schema_editor() as editor:
    editor.delete_model(Book)
    editor.delete_model(Author)
finish()
