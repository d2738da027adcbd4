"""Commands, cache, mail, signals and authentication of a small project, as spans (R7.01, R7.03, R7.04, R9.01, R10.01, R10.02, R11.01)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import Driver


@pytest.fixture(scope="module")
def shop():
    driver = Driver()
    yield driver
    assert driver.close() == 0


def attributes(span, prefix):
    return {name[len(prefix) :]: value for name, value in span["attributes"].items() if name.startswith(prefix)}


class TestCommand:
    def test_a_command_is_the_root_of_its_trace(self, shop):
        answer = shop.scenario("command", argv=["--limit=5", "--api-key=abcdef"])
        assert answer.result == {"code": 0, "out": "restocked 5\n"}
        assert answer.tree() == ["manage.py restock", "  SELECT FROM catalog_book"]
        root = answer.named("manage.py restock")
        assert attributes(root, "django.command.") == {
            "name": "restock",
            "app": "catalog",
            "option.limit": 5,
            "option.api_key": "***",
            "option.end": "well",
        }
        assert root["attributes"]["process.exit.code"] == 0
        assert root["status"] == "UNSET"

    def test_call_command_nests(self, shop):
        answer = shop.scenario("command", end="nested")
        assert answer.tree() == [
            "manage.py restock",
            "  SELECT FROM catalog_book",
            "  manage.py restock",
            "    SELECT FROM catalog_book",
        ]
        inner = answer.children(answer.named("manage.py restock"))
        assert all("process.exit.code" not in span["attributes"] for span in inner)

    @pytest.mark.parametrize(
        ("end", "code", "recorded", "message"),
        [
            ("error", 3, 3, "CommandError: no such shelf"),
            ("exit", 4, 4, "exit status 4"),
            ("interrupt", "interrupted", 130, "exit status 130"),
        ],
    )
    def test_the_end_of_a_command(self, shop, end, code, recorded, message):
        answer = shop.scenario("command", end=end)
        assert answer.result["code"] == code
        root = answer.named("manage.py restock")
        assert root["attributes"]["process.exit.code"] == recorded
        assert (root["status"], root["status_message"]) == ("ERROR", message)
        assert [event["name"] for event in root["events"]] == (["exception"] if end == "error" else [])

    def test_commands_that_serve_have_no_span(self, shop):
        answer = shop.scenario("excluded_command")
        assert answer.tree() == ["SELECT FROM catalog_book"]


class TestCache:
    def test_every_operation_is_one_span(self, shop):
        answer = shop.scenario("cache_operations")
        assert answer.result[:10] == [None, None, 5, 5, False, 6, True, True, ["stock"], []]
        outer = answer.named("outer")
        told = [(span["name"], attributes(span, "cache.")) for span in answer.children(outer)]
        common = {"alias": "default", "backend": "LocMemCache"}
        assert told == [
            (f"cache.{name}", {"operation": name, **common, **rest})
            for name, rest in [
                ("get", {"key": "stock", "hit": False}),
                ("set", {"key": "stock"}),
                ("get", {"key": "stock", "hit": True}),
                ("get", {"key": "stock", "hit": True}),
                ("add", {"key": "stock"}),
                ("incr", {"key": "stock", "hit": True}),
                ("touch", {"key": "stock", "hit": True}),
                ("has_key", {"key": "stock", "hit": True}),
                ("get_many", {"key_count": 2, "hit_count": 1}),
                ("set_many", {"key_count": 2}),
                ("get_or_set", {"key": "c"}),
                ("delete", {"key": "c"}),
                ("delete_many", {}),
                ("set", {"key": "buyer ***@***.**"}),
                ("set", {"key": "django.contrib.sessions.cache"}),
                ("decr", {"key": "nothing", "hit": False}),
                ("clear", {}),
            ]
        ]
        assert {span["status"] for span in answer.spans} == {"UNSET"}
        assert {span["attributes"].get("nuages.kind") for span in answer.children(outer)} == {"cache"}

    def test_asynchronous_forms(self, shop):
        answer = shop.scenario("asynchronous_cache")
        assert answer.result == 1
        assert answer.tree() == ["outer", "  cache.set", "  cache.get"]

    def test_an_error_is_recorded_and_stays_the_application_s(self, shop):
        answer = shop.scenario("cache_failure")
        assert answer.result == "away"
        span = answer.named("cache.get")
        assert span["status"] == "ERROR"
        assert attributes(span, "cache.") == {"operation": "get", "backend": "Away", "key": "x"}


class TestMail:
    def test_addresses_and_text_stay_out(self, shop):
        answer = shop.scenario("send_mail")
        assert answer.result == 1
        span = answer.named("mail.send")
        assert span["attributes"] == {
            "nuages.kind": "mail",
            "mail.recipients": 2,
            "mail.backend": "django.core.mail.backends.locmem.EmailBackend",
            "mail.sent": 1,
        }


class TestAuthentication:
    def test_outcomes_without_credentials(self, shop):
        answer = shop.scenario("authentication")
        assert answer.result[:3] == [True, "ann", [False, False]]
        outer = answer.named("outer")
        told = [(span["name"], attributes(span, "auth.")) for span in answer.children(outer)]
        assert told == [
            ("auth.authenticate", {"authenticated": False}),
            ("auth.authenticate", {"authenticated": True, "backend": "django.contrib.auth.backends.ModelBackend"}),
            ("auth.login", {}),
            ("auth.has_perm", {"permission": "catalog.add_book", "granted": False}),
            ("auth.has_perm", {"permission": "catalog.add_book", "granted": False}),
            ("auth.logout", {}),
        ]
        text = str(answer.spans)
        assert "correct" not in text
        assert "wrong" not in text

    def test_coroutines_stay_coroutines(self, shop):
        answer = shop.scenario("authentication")
        assert answer.result[3:] == [None, True]
        outers = [span for span in answer.spans if span["name"] == "outer"]
        assert [span["name"] for span in answer.children(outers[-1])] == ["auth.authenticate"]

    def test_names_imported_earlier_are_replaced_and_restored(self, shop):
        assert shop.scenario("imported_earlier").result == [True, True]


class TestSignals:
    def test_custom_signals_with_their_receivers(self, shop):
        answer = shop.scenario("signals")
        assert answer.result["responses"] == ["12", "12", "no shelf"]
        assert answer.result["raised"] == "no shelf"
        assert all(all(row) for row in answer.result["receivers"]), "responses name the receivers themselves"
        counts = ["    receiver catalog.signals.count_stock", "      SELECT FROM catalog_book"]
        complains = "    receiver catalog.signals.complain"
        tree = [line for line in answer.tree(answer.named("outer")) if "UPDATE" not in line and "atomic" not in line]
        assert tree[:12] == [
            "outer",
            "  signal restocked",
            *counts,
            "  signal restocked",
            *counts,
            complains,
            "  signal restocked",
            *counts,
            complains,
        ]
        assert tree[12] == "  signal restocked"
        assert sorted(tree[13:]) == sorted([*counts, "    receiver catalog.signals.tell_later"]), (
            "these run side by side"
        )
        signals = [span for span in answer.spans if span["name"] == "signal restocked"]
        assert [span["status"] for span in signals] == ["UNSET", "UNSET", "ERROR", "UNSET"]
        assert attributes(signals[1], "django.signal.") == {
            "name": "catalog.signals.restocked",
            "sender": "catalog.models.Book",
            "receivers": 2,
        }

    def test_django_s_own_signals_are_opt_in(self, shop):
        names = [span["name"] for span in shop.scenario("signals", wanted="all").spans]
        assert "signal pre_save" in names
        assert not any(
            span["name"].startswith(("signal", "receiver")) for span in shop.scenario("signals", wanted="none").spans
        )


class TestJinja2:
    def test_templates_are_named(self, shop):
        answer = shop.scenario("jinja2_templates")
        assert answer.result == ["2", "UndefinedError", "1"]
        told = [(span["name"], span["status"]) for span in answer.children(answer.named("outer"))]
        assert told == [("list.html", "UNSET"), ("bad.html", "ERROR"), ("list.html", "UNSET")]
        assert {span["attributes"]["django.template.engine"] for span in answer.spans if span["name"] != "outer"} == {
            "jinja2"
        }
