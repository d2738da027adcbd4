"""What happens around a view, as traces in text: sessions, files, forms, templates, caches, users, middleware. And applications that misbehave
(R3.07, R3.12, R3.14, R5.04, R6.05, R7.01, R10.01, R10.04, R21)."""

import sys
from pathlib import Path

import pytest
from nuages import hooks

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import MIDDLEWARE, Driver


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    driver = Driver(BOOKSHOP_DATABASE=tmp_path_factory.mktemp("shop") / "shop.sqlite3")
    yield driver
    assert driver.close() == 0


def tree(answer, start=None):
    return "\n".join(answer.tree(answer.named(start) if start else None))


SESSION_SAVE = """\
  session.save
    SELECT FROM django_session WHERE session_key = ?
    transaction.atomic
      BEGIN
      INSERT INTO django_session (...) VALUES (...)
      COMMIT"""
SESSION_LOAD = """
  session.load
    SELECT FROM django_session WHERE session_key = ? AND expire_date > ?"""
SESSION_DELETE = """
  session.delete
    SELECT FROM django_session WHERE session_key = ?
    transaction.atomic
      BEGIN
      DELETE FROM django_session WHERE session_key IN (?)
      COMMIT"""
CACHE_SESSION = """\
  session.save
    cache.has_key
    cache.add
  session.load
    cache.get
  session.delete
    cache.delete"""
PLAIN_SESSION = "  session.save\n  session.load\n  session.delete"


class TestSessions:
    @pytest.mark.parametrize(
        ("backend", "steps"),
        [
            ("cache", CACHE_SESSION),
            ("file", PLAIN_SESSION),
            ("signed_cookies", PLAIN_SESSION),
        ],
    )
    def test_backends(self, shop, backend, steps):
        answer = shop.scenario("sessions", backend=backend)
        assert answer.result == [1, 1]
        assert tree(answer) == f"outer\n{steps}\n{steps}"
        assert {span["attributes"].get("session.backend") for span in answer.children(answer.named("outer"))} == {
            backend
        }

    @pytest.mark.parametrize("backend", ["db", "cached_db"])
    def test_backends_with_a_database(self, shop, backend):
        answer = shop.scenario("sessions", backend=backend)
        assert answer.result == [1, 1]
        steps = [span["name"] for span in answer.children(answer.named("outer"))]
        assert steps == ["session.save", "session.load", "session.delete"] * 2
        assert "INSERT INTO django_session" in tree(answer, "session.save")
        assert ("cache.set" in tree(answer, "session.save")) is (backend == "cached_db")

    def test_a_key_never_leaves(self, shop):
        answer = shop.scenario("sessions", backend="cache")
        keys = {span["attributes"]["cache.key"] for span in answer.spans if "cache.key" in span["attributes"]}
        assert keys == {"django.contrib.sessions.cache"}


def test_storage(shop):
    answer = shop.scenario("storage")
    assert answer.result == ["notes.txt", "secret content", True, 14, "the shelf is locked"]
    told = [
        (
            span["name"],
            span["attributes"]["storage.backend"].rpartition(".")[2],
            span["attributes"]["file.path"],
            span["status"],
        )
        for span in answer.children(answer.named("outer"))
    ]
    plain = "FileSystemStorage"
    assert told == [
        ("storage.save", plain, "notes.txt", "UNSET"),
        ("storage.open", plain, "notes.txt", "UNSET"),
        ("storage.exists", plain, "notes.txt", "UNSET"),
        ("storage.size", plain, "notes.txt", "UNSET"),
        ("storage.delete", plain, "notes.txt", "UNSET"),
        ("storage.exists", "Shelf", "missing.txt", "UNSET"),
        ("storage.delete", "Shelf", "missing.txt", "ERROR"),
    ]
    assert "secret content" not in str(answer.spans)


def test_forms(shop):
    answer = shop.scenario("forms")
    assert answer.result == [True, True, False, True]
    assert tree(answer) == (
        "outer\n  form.full_clean\n  form.save\n    INSERT INTO catalog_author (...) VALUES (...)\n"
        "  form.full_clean\n  form.full_clean"
    )
    classes = [span["attributes"]["django.form"].rpartition(".")[2] for span in answer.children(answer.named("outer"))]
    assert classes == ["AuthorForm", "AuthorForm", "Search", "SearchFormSet"]


def test_upload(shop):
    answer = shop.scenario("upload")
    assert answer.result == "14 x"
    assert tree(answer, "catalog.views.upload") == "catalog.views.upload\n  multipart.parse"


class TestRestFramework:
    @pytest.mark.parametrize(
        ("what", "codes", "steps"),
        [
            ("fine", [200], ""),
            ("throttled", [200, 429], "\n  drf.throttle\n    cache.get\n    cache.set"),
            ("missing", [404], "\n  drf.exception"),
        ],
    )
    def test_steps(self, shop, what, codes, steps):
        answer = shop.scenario("rest_framework", answer=what)
        assert answer.result == codes
        expected = f"outer\n  drf.authentication\n  drf.permissions{steps}\n  drf.render"
        if what == "throttled":
            expected += "\n  drf.authentication\n  drf.permissions\n  drf.throttle\n    cache.get\n  drf.exception\n  drf.render"
        assert tree(answer) == expected
        assert {span["status"] for span in answer.spans} == {"UNSET"}

    @pytest.mark.parametrize(
        ("what", "name", "status"),
        [
            ("throttled", "Throttled", "UNSET"),
            ("forbidden", "PermissionDenied", "UNSET"),
            ("missing", "NotFound", "UNSET"),
            ("broken", "ZeroDivisionError", "ERROR"),
        ],
    )
    def test_exception_handler(self, shop, what, name, status):
        span = shop.scenario("rest_framework", answer=what).named("drf.exception")
        assert (span["attributes"]["drf.exception"], span["status"]) == (name, status)


class TestTemplates:
    def test_loops_are_aggregated(self, shop):
        """R6.05: a thousand includes stay a page that can be read; nothing is lost from count and time."""
        answer = shop.scenario("template_loop", count=1000)
        page = answer.named("page")
        below = answer.children(page)
        shown = [span for span in below if "nuages.folded.count" not in span["attributes"]]
        folded = {span["name"]: span for span in below if "nuages.folded.count" in span["attributes"]}
        assert [span["name"] for span in shown] == ["row"] * 20 + ["foot"]
        assert {name: span["attributes"]["nuages.folded.count"] for name, span in folded.items()} == {
            "row": 980,
            "icon": 980,
        }
        for span in folded.values():
            assert page["start"] <= span["start"] <= span["end"] <= page["end"]
            assert 0 < span["attributes"]["nuages.folded.duration"] * 1e9 <= span["end"] - span["start"]
        assert len(answer.spans) == 1 + 1 + 20 + 20 + 1 + 2

    def test_blocks(self, shop):
        """`{{ block.super }}` is a rendering of its own; a loop of blocks folds; the error of one is told once."""
        answer = shop.scenario("template_blocks", count=50)
        assert answer.result == "[old new]" + "." * 50 + " ZeroDivisionError"
        assert tree(answer, "child") == ("child\n  parent\n    block head\n      block head" + "\n    block row" * 21)
        [folded] = [span for span in answer.spans if "nuages.folded.count" in span["attributes"]]
        assert folded["attributes"]["django.template.block"] == "row"
        assert folded["attributes"]["nuages.folded.count"] == 30
        assert "django.template.name" not in folded["attributes"]
        failed = [span["name"] for span in answer.spans if span["status"] == "ERROR"]
        assert sorted(failed) == ["block wrong", "broken"]
        assert sum(len(span["events"]) for span in answer.spans) == 1

    def test_few_includes_are_all_shown(self, shop):
        answer = shop.scenario("template_loop", count=3)
        assert tree(answer, "page") == "page" + "\n  row\n    icon" * 3 + "\n  foot"

    def test_templates_that_include_themselves(self, shop):
        answer = shop.scenario("template_recursion", depth=30)
        assert answer.result.endswith("210 RecursionError")
        top = next(span for span in answer.spans if span["name"] == "tree")
        assert sum(span["name"] == "tree" for span in answer.spans) == 31
        assert top["status"] == "UNSET"
        endless = answer.children(answer.named("outer"))[1]
        assert (endless["name"], endless["status"]) == ("endless", "ERROR")
        assert "RecursionError" in endless["status_message"]
        told = [span for span in answer.spans if span["events"]]
        assert len(told) == 1, "the innermost tells the exception, for all that include it"

    def test_inclusion_tags_and_cached_fragments(self, shop):
        answer = shop.scenario("template_tags")
        assert answer.result == ["row3", "row3", "TemplateDoesNotExist"]
        assert tree(answer) == (
            "outer\n  page\n    cache.get\n    row\n    cache.set\n    shelf\n  page\n    cache.get\n    shelf\n  <template>"
        )
        assert answer.children(answer.named("outer"))[-1]["status"] == "ERROR"


class TestAsynchronousCache:
    def test_every_operation_is_one_span(self, shop):
        """R7.01: the coroutine forms, on the thread of the event loop and below the span that asked."""
        answer = shop.scenario("cache_later")
        assert answer.result == [
            7,
            None,
            5,
            False,
            True,
            6,
            True,
            ["stock"],
            [],
            3,
            True,
            None,
            "ValueError",
            [0, 1, 2],
        ]
        outer = answer.named("outer")
        told = [
            (
                span["attributes"]["cache.operation"],
                span["attributes"].get("cache.hit", span["attributes"].get("cache.hit_count")),
            )
            for span in answer.children(outer)
        ]
        assert told == [
            ("get", False),
            ("set", None),
            ("get", True),
            ("add", None),
            ("has_key", True),
            ("incr", True),
            ("touch", True),
            ("get_many", 1),
            ("set_many", None),
            ("get_or_set", None),
            ("delete", None),
            ("delete_many", None),
            ("decr", False),
            ("clear", None),
            ("get", False),
            ("get", False),
            ("get", False),
        ]
        assert len(answer.spans) == len(told) + 1
        assert {span["status"] for span in answer.spans} == {"UNSET"}

    def test_a_full_trace_is_no_obstacle(self, shop):
        answer = shop.scenario("full_trace")
        assert answer.result == 3
        assert len(answer.spans) <= 10_001


class TestUsers:
    def test_login_step_by_step(self, shop):
        """R10.01: each backend that is asked, and the hashing of the password."""
        answer = shop.scenario("login")
        assert answer.result is True
        asked = "  auth.authenticate\n    ModelBackend.authenticate\n      SELECT FROM auth_user WHERE username = ?\n"
        text = tree(answer, "outer")
        assert text.startswith("outer\n" + asked + "      auth.check_password\n  auth.login\n    session.create\n")
        assert text.endswith(asked + "      auth.check_password")
        assert "correct" not in str(answer.spans)

    def test_capture_is_a_switch(self, shop):
        """R10.04: off by default; on, it says who was loaded and asks no query of its own; never under gdpr and hipaa."""

        def who(**options):
            answer = shop.scenario("users", **options)
            assert answer.result == [200] * 5
            servers = sorted(answer.of_kind("SERVER"), key=lambda span: span["start"])
            return [
                (
                    span["attributes"].get("user.id"),
                    span["attributes"].get("user.username"),
                    span["attributes"].get("db.query_count", 0),
                )
                for span in servers
            ]

        queries = [count for *_, count in who(capture=False)]
        user = "1"
        assert who(capture=False) == [
            (None, None, queries[0]),
            (None, None, queries[1]),
            (None, None, queries[2]),
            ("somebody else", None, queries[3]),
            (None, None, queries[4]),
        ]
        assert who(capture=True) == [
            (user, "ann", queries[0]),
            (None, None, queries[1]),  # nobody asked for the user, nor do we
            (user, None, queries[2]),  # the name was deferred
            ("somebody else", "ann", queries[3]),
            (None, None, queries[4]),
        ]
        assert queries[1] == 0
        for masking in ("gdpr", "hipaa"):
            seen = who(capture=True, masking=masking)
            assert [seen[index][0] for index in (0, 1, 2, 4)] == [None] * 4
            assert {name for _, name, _ in seen} == {None}


class TestMiddleware:
    def test_self_time_is_without_the_next_layer(self, shop):
        answer = shop.request("/books/")
        for outer, inner in (
            ("CallableMiddleware", "function_middleware"),
            ("function_middleware", None),
        ):
            span = answer.named(outer)
            layers = [
                child
                for child in answer.children(span)
                if child["attributes"].get("nuages.kind") in ("middleware", "view")
            ]
            assert inner is None or [layer["name"] for layer in layers] == [inner]
            own = span["end"] - span["start"] - sum(layer["end"] - layer["start"] for layer in layers)
            assert span["attributes"]["django.middleware.self_time"] == pytest.approx(own / 1e9, abs=2e-9)

    def test_by_its_middleware_alone(self, shop):
        """R3.14: the agent's entry in MIDDLEWARE and every other way in are one span of the request."""
        plain = tree(shop.request("/books/3/"))
        for position in ("first", "last", "nowhere"):
            answer = shop.scenario("by_middleware_alone", position=position)
            assert answer.result == "200 OK"
            assert tree(answer) == plain

    @pytest.mark.parametrize("kind", ["list", "tuple"])
    def test_instrument_puts_it_first(self, shop, kind):
        """R5.04: first, ahead of SecurityMiddleware, whatever MIDDLEWARE is; gone again after uninstrument()."""
        ours = "nuages.middleware.NuagesMiddleware"
        changed, middleware, restored = shop.scenario("injected", kind=kind).result
        assert changed == kind
        assert middleware[:2] == [ours, "django.middleware.security.SecurityMiddleware"]
        assert middleware.count(ours) == 1
        assert restored

    def test_the_position_can_be_chosen(self, shop):
        """R5.04"""
        ours = "nuages.middleware.NuagesMiddleware"
        assert shop.scenario("injected", kind="list", middleware_position=2).result[1].index(ours) == 2
        assert shop.scenario("injected_by_environment", position="3").result[1].index(ours) == 3
        assert shop.scenario("injected_by_environment", position="top").result[1].index(ours) == 0


class TestRequests:
    def test_answers_before_any_view(self, shop):
        """R3.07: 404, disallowed host, CSRF failure, redirect of a middleware: one SERVER span, no path in its name."""
        answer = shop.scenario("early_answers")
        assert [line.split()[0] for line in answer.result] == ["404", "400", "403", "302"]
        servers = sorted(answer.of_kind("SERVER"), key=lambda span: span["start"])
        assert [(span["name"], span["attributes"]["http.status_code"], span["status"]) for span in servers] == [
            ("GET", 404, "UNSET"),
            ("GET", 400, "UNSET"),
            ("POST /books/create/", 403, "UNSET"),
            ("GET", 302, "UNSET"),
        ]

    @pytest.mark.parametrize("request_hook", ["", "works", "raises"])
    @pytest.mark.parametrize("response_hook", ["", "works", "raises"])
    def test_hooks_of_instrument(self, shop, request_hook, response_hook):
        """R3.12: (span, request) and (span, request, response), sync and async; one that raises changes nothing; None switches off."""
        answer = shop.scenario("user_hooks", request_hook=request_hook, response_hook=response_hook)
        assert answer.result["codes"] == [204, 200, 204]
        expected = []
        for path, code in (("/status/204/", 204), ("/async/", 200)):
            expected += [["request", True, path]] if request_hook else []
            expected += [["response", True, path, code]] if response_hook else []
        assert answer.result["calls"] == expected
        assert answer.result["failures"] == 2 * (request_hook == "raises") + 2 * (response_hook == "raises")
        servers = sorted(answer.of_kind("SERVER"), key=lambda span: span["start"])
        assert len(servers) == 3
        for span in servers[:2]:
            assert ("hook.request" in span["attributes"]) is bool(request_hook)
            assert ("hook.response" in span["attributes"]) is bool(response_hook)
        assert "hook.request" not in servers[2]["attributes"]

    def test_headers_on_request(self, shop):
        """The variables of the official instrumentation, with its names; none without them."""

        def told(**options):
            answer = shop.scenario("captured_headers", **options)
            server = min(answer.of_kind("SERVER"), key=lambda span: span["start"])
            return {name: value for name, value in server["attributes"].items() if ".header." in name}

        assert told() == {}
        request = "http.request.header."
        assert told(request_names="x-tenant,Accept") == {
            f"{request}x_tenant": ["blue"],
            f"{request}accept": ["text/html"],
        }
        assert told(request_names="X-.*", sanitize="x-api-.*") == {
            f"{request}x_tenant": ["blue"],
            f"{request}x_api_key": ["[REDACTED]"],
        }
        assert told(response_names="content-type,x-function") == {
            "http.response.header.content_type": ["text/html; charset=utf-8"],
            "http.response.header.x_function": ["1"],
        }
        assert told(request_names="[broken") == {}

    def test_asynchronous_client(self, shop):
        answer = shop.scenario("asynchronous_client")
        assert answer.result == ["0\n", "1\n"]
        first = min(answer.of_kind("SERVER"), key=lambda span: span["start"])
        assert answer.tree(first, skip=MIDDLEWARE) == [
            "GET /later/",
            "  catalog.views.later",
            "  SELECT FROM catalog_book WHERE id = ?",
            "  SELECT FROM catalog_book WHERE id = ?",
        ]


class TestExcluded:
    PATHS = (
        "/health/",
        "/healthy/",
        "/books/3/",
        "/metrics",
        "/metrics/",
        "/biometrics/",
        "/favicon.ico",
        "/static/a.css",
    )

    def traced(self, shop, entries, paths=PATHS):
        answer = shop.scenario("excluded_list", entries=entries, paths=list(paths))
        roots = [span for span in answer.spans if not span["parent_id"]]
        assert {span["kind"] for span in roots} <= {"SERVER"}, "R21.03: nothing below an excluded request is a root"
        return [span["attributes"]["http.target"] for span in sorted(roots, key=lambda span: span["start"])]

    def test_production_list(self, shop):
        """R21.01: also /metrics, which is how Prometheus asks for `metrics/`."""
        entries = "health/,readiness/,liveness/,metrics/,favicon.ico"
        assert self.traced(shop, entries) == ["/healthy/", "/books/3/", "/biometrics/", "/static/a.css"]

    def test_high_volume_list(self, shop):
        """R21.02"""
        entries = "health/, readiness/, metrics/, static/, media/, favicon.ico"
        assert self.traced(shop, entries) == ["/healthy/", "/books/3/", "/biometrics/"]

    def test_internal_list(self, shop):
        """R21.02: FAQ 12"""
        paths = ("/admin/", "/admin/books/1/", "/superadmin/", "/debug", "/internal/x/", "/books/3/")
        assert self.traced(shop, "admin/,debug/,internal/", paths) == ["/superadmin/", "/books/3/"]

    def test_below_an_excluded_request(self, shop):
        """R21.03: queries, templates, streams, tasks, DRF, coroutine views and failures of an excluded request make nothing."""
        paths = (
            "/health/",
            "/stream/",
            "/buy/1/",
            "/api/books/",
            "/async/",
            "/fails/",
            "/later/",
            "/misbehaving/leaves/x",
        )
        assert self.traced(shop, ",".join(paths), paths) == []

    def test_patterns(self, shop):
        """R21.04: segments by default, regular expressions where they look like ones."""
        assert self.traced(shop, "health", ("/health/", "/healthy/", "/x/health/")) == ["/healthy/"]
        assert self.traced(shop, "^/heal", ("/health/", "/healthy/", "/x/health/")) == ["/x/health/"]
        assert self.traced(shop, r"testserver/books/\d+", ("/books/3/", "/books/")) == ["/books/"]

    def test_a_bad_pattern_leaves_the_rest(self, shop):
        """R21.05"""
        assert self.traced(shop, "[broken,health/", ("/health/", "/healthy/")) == ["/healthy/"]

    def test_script_name(self, shop):
        """R21.05"""
        answer = shop.scenario("excluded", entries="health/", path="/health/")
        assert answer.spans == []


MISBEHAVING = [
    *(
        f"middleware {name}"
        for name in (
            "returns_nothing",
            "is_nothing",
            "exits",
            "NoResponse",
            "Slotted",
            "Unhashable",
            "refuses",
        )
    ),
    *(
        f"view {name}"
        for name in ("keyboard", "leaves", "unprintable", "nothing", "coroutine", "broken_stream", "strange_status")
    ),
    "settings changed at run time",
    "generator never exhausted",
]


class TestMisbehaving:
    @pytest.mark.parametrize("what", MISBEHAVING)
    def test_as_without_us(self, shop, what):
        plain = shop.scenario("misbehaving", what=what, traced=False)
        assert plain.spans == []
        traced = shop.scenario("misbehaving", what=what, traced=True)
        assert traced.result == plain.result
        assert traced.of_kind("SERVER") or what == "middleware is_nothing"

    @pytest.mark.parametrize(
        ("view", "status", "kind"),
        [
            ("keyboard", "ERROR", "KeyboardInterrupt"),
            ("leaves", "ERROR", "SystemExit"),
            ("unprintable", "ERROR", "catalog.misbehaving.Unprintable"),
            ("nothing", "ERROR", "ValueError"),
            ("broken_stream", "ERROR", "LookupError"),
        ],
    )
    def test_what_the_span_says(self, shop, view, status, kind):
        server = shop.scenario("misbehaving", what=f"view {view}", traced=True).server
        assert server["status"] == status
        assert server["events"][-1]["attributes"]["exception.type"] == kind


def test_uninstall_restores_every_original(shop):
    """By identity, each attribute of each hook, in whatever class or module."""
    shop.request("/books/")
    result = shop.scenario("every_original").result
    assert result["different"] == []
    assert result["count"] > 100
    web = {
        "request",
        "middleware",
        "view",
        "template",
        "drf",
        "serializer",
        "form",
        "session",
        "storage",
        "cache",
        "auth",
    }
    assert web <= set(result["hooks"]) <= set(hooks.NAMES)
