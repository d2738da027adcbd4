"""sqlcommenter's text: tags, order, escaping, and what is left alone."""

import sys
from types import ModuleType

import pytest
from nuages import settings
from nuages.hooks import sql_comment

PARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    module = ModuleType("fakedb")
    module.__dict__.update(__version__="1.2 (dt)", apilevel="2.0", threadsafety=2, paramstyle="pyformat")
    monkeypatch.setitem(sys.modules, "fakedb", module)
    monkeypatch.setattr(sql_comment, "_origin", lambda match: match or ("", "", "", ""))
    yield
    settings.reset()
    sql_comment.refresh()


def commented(sql, percent=False, origin=None, parent=PARENT, state="", **options):
    settings.override(sql_commenter=True, commenter_options=options)
    assert sql_comment.refresh() is sql_comment.commented
    text = sql.decode() if isinstance(sql, bytes) else sql
    return sql_comment.commented(sql, text, "fakedb", percent, parent, state, origin)


DRIVER = "db_driver='fakedb%3A1.2',dbapi_level='2.0',dbapi_threadsafety='2',driver_paramstyle='pyformat'"


def test_off_by_default():
    settings.reset()
    assert sql_comment.refresh() is None


def test_keys_in_order_and_values_encoded():
    origin = ("django:5.2", "shop.views.it's", "orders/<int:pk>/ü", "shop")
    assert commented("SELECT 1", origin=origin, state="a=1,b=2") == (
        "SELECT 1 /*app_name='shop',controller='shop.views.it%27s'," + DRIVER + ",framework='django%3A5.2',"
        f"route='orders%2F%3Cint%3Apk%3E%2F%C3%BC',traceparent='{PARENT}',tracestate='a%3D1%2Cb%3D2'*/"
    )


def test_percent_is_doubled_where_the_driver_formats():
    assert (
        commented("SELECT %s", percent=True, opentelemetry_values=False) == f"SELECT %s /*{DRIVER.replace('%', '%%')}*/"
    )


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1;", "SELECT 1 {};"),
        ("SELECT 1 ;\n ", "SELECT 1  {};\n "),
        (b"SELECT 1", b"SELECT 1 {}"),
        (b"A; ", b"A {}; "),
    ],
)
def test_the_closing_semicolon_stays_last(sql, expected):
    comment = f"/*{DRIVER}*/"
    wanted = (
        expected.replace(b"{}", comment.encode()) if isinstance(expected, bytes) else expected.replace("{}", comment)
    )
    assert commented(sql, opentelemetry_values=False) == wanted


@pytest.mark.parametrize(
    "sql", ["SELECT 1 /* mine */", "SELECT 1 -- mine", "/*+ hint */ SELECT 1", "", "  \n", b"SELECT 1 --"]
)
def test_left_alone(sql):
    assert commented(sql) is None


@pytest.mark.parametrize(
    ("option", "gone"),
    [
        ("db_driver", "db_driver="),
        ("dbapi_level", "dbapi_level="),
        ("driver_paramstyle", "driver_paramstyle="),
        ("framework", "framework="),
        ("db_framework", "framework="),
        ("route", "route="),
        ("controller", "controller="),
        ("opentelemetry_values", "traceparent="),
    ],
)
def test_each_option_takes_away_its_tag(option, gone):
    origin = ("django:5.2", "view", "orders/", "")
    everything = commented("SELECT 1", origin=origin).split(" /*")[1][:-2].split(",")
    less = commented("SELECT 1", origin=origin, **{option: False}).split(" /*")[1][:-2].split(",")
    assert [tag for tag in everything if tag not in less] == [tag for tag in everything if tag.startswith(gone)] != []
    assert commented("SELECT 1", origin=origin, **{option: True}).split(" /*")[1][:-2].split(",") == everything


def test_nothing_to_say():
    none = dict.fromkeys(
        ("db_driver", "dbapi_level", "dbapi_threadsafety", "driver_paramstyle", "opentelemetry_values"), False
    )
    assert commented("SELECT 1", **none) is None


@pytest.mark.parametrize("package", ["psycopg", "psycopg2"])
def test_composed_statements(package):
    sql = pytest.importorskip(f"{package}.sql")
    statement = sql.SQL("SELECT {}").format(sql.SQL("1"))
    settings.override(sql_commenter=True, commenter_options={"opentelemetry_values": False})
    sql_comment.refresh()
    made = sql_comment.commented(statement, "SELECT 1", "fakedb", False, "", "", None)
    assert made.as_string(None) == f"SELECT 1 /*{DRIVER}*/"
    assert sql_comment.commented(object(), "SELECT 1", "fakedb", False, "", "", None) is None
