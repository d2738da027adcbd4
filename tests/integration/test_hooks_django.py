"""Requests, middleware, views, templates and DRF of a small project, as spans. Runs the project in one process per module (tests/apps)."""

import sys
from pathlib import Path

import django
import pytest
from nuages import hooks

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps"))
from client import MIDDLEWARE, VIEWS, Driver


@pytest.fixture(scope="module")
def shop():
    driver = Driver()
    yield driver
    assert driver.close() == 0


class TestRequest:
    def test_function_view(self, shop):
        answer = shop.request("/books/3/?q=1")
        assert answer["status"] == 200
        server = answer.server
        assert server["name"] == "GET /books/{book_id}/"
        assert server["parent_id"] == ""
        assert server["status"] == "UNSET"
        expected = {
            "http.method": "GET",
            "http.scheme": "http",
            "http.host": "testserver",
            "http.target": "/books/3/?q=1",
            "http.url": "http://testserver/books/3/?q=1",
            "http.route": "/books/{book_id}/",
            "http.status_code": 200,
        }
        assert expected.items() <= server["attributes"].items()
        assert answer.tree(skip=MIDDLEWARE) == [
            "GET /books/{book_id}/",
            "  catalog.views.book_detail",
            "    SELECT FROM catalog_book WHERE id = ?",
        ]

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/books/", "GET /books/"),
            ("/pages/books/blue-one/", "GET /pages/books/{slug}/"),
            ("/api/books/", "GET /api/books/"),
            ("/api/books/1/", "GET /api/books/{pk}/"),
            ("/api/ping/", "GET /api/ping/"),
            ("/old/first-one/page-3/", "GET /old/{slug}/page-{number}/"),
        ],
    )
    def test_route_names(self, shop, path, name):
        assert shop.request(path).server["name"] == name

    def test_unmatched_url_has_no_path_in_its_name(self, shop):
        answer = shop.request("/nowhere/123/")
        assert answer["status"] == 404
        assert answer.server["name"] == "GET"
        assert "http.route" not in answer.server["attributes"]
        assert answer.server["attributes"]["http.status_code"] == 404
        assert answer.server["status"] == "UNSET"

    def test_unknown_method_does_not_become_a_name(self, shop):
        assert shop.request("/nowhere/", method="BREW").server["name"] == "HTTP"

    def test_disallowed_host(self, shop):
        answer = shop.request("/books/", headers={"Host": "evil.example"})
        assert answer["status"] == 400
        assert answer.server["attributes"]["http.status_code"] == 400
        assert answer.server["status"] == "UNSET"

    def test_not_found_raised_by_a_view_is_no_error(self, shop):
        answer = shop.request("/books/999/")
        assert answer["status"] == 404
        assert answer.server["name"] == "GET /books/{book_id}/"
        assert answer.server["status"] == "UNSET"
        assert answer.named("catalog.views.book_detail")["status"] == "UNSET"

    def test_unhandled_exception(self, shop):
        answer = shop.request("/fails/")
        assert answer["status"] == 500
        for name in ("GET /fails/", "catalog.views.fails"):
            span = answer.named(name)
            assert (span["status"], span["status_message"]) == ("ERROR", "ZeroDivisionError: the view fails")
            [event] = span["events"]
            assert event["name"] == "exception"
            assert event["attributes"]["exception.type"] == "ZeroDivisionError"
            assert event["attributes"]["exception.message"] == "the view fails"
            assert "views.py" in event["attributes"]["exception.stacktrace"]
        assert answer.server["attributes"]["http.status_code"] == 500

    @pytest.mark.parametrize(
        ("code", "status"), [(302, "UNSET"), (404, "UNSET"), (499, "UNSET"), (500, "ERROR"), (503, "ERROR")]
    )
    def test_status_by_code(self, shop, code, status):
        server = shop.request(f"/status/{code}/").server
        assert (server["attributes"]["http.status_code"], server["status"]) == (code, status)

    def test_traceparent_continues_the_trace(self, shop):
        server = shop.request("/books/", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}).server
        assert (server["trace_id"], server["parent_id"]) == ("ab" * 16, "cd" * 8)

    def test_baggage_is_current_during_the_request(self, shop):
        headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "baggage": "tenant=blue,kind=x%20y"}
        answer = shop.scenario("propagation", headers=headers)
        assert answer.result == [[{"tenant": "blue", "kind": "x y"}], {}, {}]
        assert (answer.server["trace_id"], answer.server["parent_id"]) == ("ab" * 16, "cd" * 8)
        assert shop.scenario("propagation", headers={}).result == [[{}], {}, {}]

    def test_other_propagators_are_asked(self, shop):
        headers = {"x-b3-traceid": "ef" * 16, "x-b3-spanid": "12" * 8, "x-b3-sampled": "1"}
        server = shop.scenario("propagation", headers=headers, propagator="b3").server
        assert (server["trace_id"], server["parent_id"]) == ("ef" * 16, "12" * 8)
        unread = shop.scenario("propagation", headers=headers).server
        assert unread["parent_id"] == ""

    @pytest.mark.parametrize(
        "header",
        ["garbage", f"00-{'0' * 32}-{'cd' * 8}-01", f"00-{'ab' * 16}-{'cd' * 8}", f"ff-{'ab' * 16}-{'cd' * 8}-01"],
    )
    def test_malformed_traceparent_starts_a_new_trace(self, shop, header):
        server = shop.request("/books/", headers={"traceparent": header}).server
        assert server["parent_id"] == ""
        assert server["trace_id"] != "ab" * 16

    def test_unsampled_parent_records_nothing(self, shop):
        answer = shop.request("/books/", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00"})
        assert answer["status"] == 200
        assert answer.spans == []

    def test_streaming_ends_at_close_and_keeps_its_queries(self, shop):
        answer = shop.request("/stream/")
        assert answer["body"] == "Book 1\nBook 2\n"
        before = [span["name"] for span in answer["before_close"]]
        assert "GET /stream/" not in before
        query = answer.named("SELECT FROM catalog_book")
        assert query["parent_id"] == answer.server["span_id"]
        assert answer.server["end"] >= query["end"]

    def test_the_view_has_ended_when_an_ordinary_response_closes(self, shop):
        answer = shop.request("/books/")
        assert "catalog.views.book_list" in [span["name"] for span in answer["before_close"]]
        assert "GET /books/" not in [span["name"] for span in answer["before_close"]]

    def test_script_name_is_part_of_the_target(self, shop):
        server = shop.request("/books/", script="/shop").server
        assert server["attributes"]["http.target"] == "/shop/books/"
        assert server["name"] == "GET /books/"

    def test_user_hooks_and_one_that_raises(self, shop):
        answer = shop.scenario("hooks_and_attributes")
        assert answer.result == {"status": 200, "failures": 1}
        assert answer.server["attributes"]["hook.path"] == "/books/3/"
        assert answer.server["attributes"]["hook.status"] == 200

    def test_client_of_django_is_traced_like_a_server(self, shop):
        answer = shop.scenario("test_client")
        assert answer.result == 200
        assert (answer.server["trace_id"], answer.server["parent_id"]) == ("ab" * 16, "cd" * 8)

    def test_request_inside_a_span_is_its_child(self, shop):
        answer = shop.scenario("inside_own_span", path="/books/3/")
        assert answer.server["parent_id"] == answer.named("outer")["span_id"]
        assert answer.server["attributes"]["db.query_count"] == 1

    def test_exception_through_the_client_is_recorded_and_answered(self, shop):
        answer = shop.scenario("inside_own_span", path="/fails/")
        assert answer.result == 500
        assert answer.server["status"] == "ERROR"


class TestSemanticConventions:
    OLD = {
        "http.method": "GET",
        "http.scheme": "http",
        "http.host": "testserver:8000",
        "http.target": "/books/3/?q=1",
        "http.url": "http://testserver:8000/books/3/?q=1",
        "http.flavor": "1.1",
        "http.status_code": 200,
    }
    STABLE = {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/books/3/",
        "url.query": "q=1",
        "server.address": "testserver",
        "server.port": 8000,
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
    }

    @pytest.mark.parametrize(
        ("opt_in", "names"), [("", OLD), ("database", OLD), ("http", STABLE), ("database, http/dup", {**OLD, **STABLE})]
    )
    def test_names_of_a_request(self, shop, opt_in, names):
        answer = shop.scenario("semantic_conventions", opt_in=opt_in, path="/books/3/?q=1")
        common = {"http.route": "/books/{book_id}/", "shop.shelf": "none", "shop.status": 200}
        told = {key: value for key, value in answer.server["attributes"].items() if not key.startswith("db.")}
        assert told == {**common, **names}

    def test_error_type(self, shop):
        answer = shop.scenario("semantic_conventions", opt_in="http", path="/status/503/")
        assert answer.server["attributes"]["error.type"] == "503"
        answer = shop.scenario("semantic_conventions", opt_in="http", path="/fails/")
        assert answer.server["attributes"]["error.type"] == "ZeroDivisionError"


class TestExcluded:
    @pytest.mark.parametrize(
        ("entries", "path", "traced"),
        [
            ("health/,metrics/", "/health/", False),
            (" health/ , metrics/ ", "/health/", False),
            ("/health/", "/health/", False),
            ("health", "/health/", False),
            ("health/", "/healthy/", True),
            ("ealth/", "/health/", True),
            ("^/heal.*$", "/health/", False),
            ("[broken", "/healthy/", True),
            ("books/3/", "/books/3/", False),
            ("books/3/", "/api/books/", True),
        ],
    )
    def test_entries_match_whole_segments_or_are_patterns(self, shop, entries, path, traced):
        answer = shop.scenario("excluded", entries=entries, path=path)
        assert answer.result == 200
        assert bool(answer.spans) is traced

    @pytest.mark.parametrize("path", ["/health/", "/stream/", "/buy/1/", "/api/books/", "/async/", "/fails/"])
    def test_nothing_below_an_excluded_request_is_recorded(self, shop, path):
        # queries, templates, a streamed body, a task, DRF, a coroutine view, an exception
        assert shop.scenario("excluded", entries=path, path=path).spans == []


class TestMiddleware:
    def test_every_hook_in_order(self, shop):
        names = [
            line.strip()
            for line in shop.request("/books/").tree()
            if not line.strip().startswith(("GET", "catalog.", "SELECT"))
        ]
        assert names == [
            "SecurityMiddleware.process_request",
            "SessionMiddleware.process_request",
            "CommonMiddleware.process_request",
            "AuthenticationMiddleware.process_request",
            "ShelfMiddleware.process_request",
            "CallableMiddleware",
            "function_middleware",
            "FaultMiddleware.process_request",
            "urls.resolve",
            "ShelfMiddleware.process_view",
            "FaultMiddleware.process_response",
            "ShelfMiddleware.process_response",
            "CommonMiddleware.process_response",
            "SessionMiddleware.process_response",
            "SecurityMiddleware.process_response",
        ]

    def test_the_rest_of_the_chain_is_inside_a_callable_one(self, shop):
        answer = shop.request("/books/")
        outer, inner = answer.named("CallableMiddleware"), answer.named("function_middleware")
        assert inner["parent_id"] == outer["span_id"]
        assert answer.named("catalog.views.book_list")["parent_id"] == inner["span_id"]
        assert outer["attributes"]["nuages.kind"] == "middleware"
        assert outer["attributes"]["code.namespace"] == "catalog.middleware"

    def test_template_response_and_exception_hooks(self, shop):
        assert shop.request("/pages/late/").named("ShelfMiddleware.process_template_response")["status"] == "UNSET"
        assert shop.request("/fails/").named("ShelfMiddleware.process_exception")["status"] == "UNSET"

    def test_short_circuit(self, shop):
        answer = shop.request("/books/", headers={"X-Short": "1"})
        assert answer["status"] == 202
        assert answer.server["name"] == "GET"
        assert answer.named("CallableMiddleware")["status"] == "UNSET"
        assert not [span for span in answer.spans if span["name"].startswith("catalog.views")]

    def test_raising_middleware_is_the_one_marked(self, shop):
        answer = shop.request("/books/", headers={"X-Fault": "1"})
        assert answer["status"] == 500
        fault = answer.named("FaultMiddleware.process_request")
        assert fault["status"] == "ERROR"
        assert fault["events"][0]["attributes"]["exception.type"] == "RuntimeError"
        assert answer.server["status"] == "ERROR"
        assert answer.server["events"][0]["attributes"]["exception.type"] == "RuntimeError"
        assert answer.named("function_middleware")["status"] == "UNSET"

    def test_attributes_set_in_hooks_reach_the_request(self, shop):
        answer = shop.request("/annotate/", headers={"X-Shelf": "north"})
        attributes = answer.server["attributes"]
        assert attributes["shop.shelf"] == "north"
        assert attributes["shop.status"] == 200
        assert attributes["shop.page"] == "annotated"
        assert attributes["shop.price"] == 12.5
        assert "nuages.kind" not in attributes
        assert "code.function" not in attributes
        assert answer.named("ShelfMiddleware.process_request")["attributes"]["shop.shelf"] == "north"

    def test_anonymous_requests_never_touch_the_session(self, shop):
        assert "django_session" not in str([span["name"] for span in shop.request("/status/204/").spans])


class TestView:
    def test_function_view_says_where_it_is(self, shop):
        attributes = shop.request("/books/").named("catalog.views.book_list")["attributes"]
        assert attributes["nuages.kind"] == "view"
        assert (attributes["code.namespace"], attributes["code.function"]) == ("catalog.views", "book_list")
        assert attributes["code.filepath"] == str(VIEWS)
        assert VIEWS.read_text().splitlines()[attributes["code.lineno"] - 1].startswith("def book_list")

    def test_class_view_carries_the_class(self, shop):
        answer = shop.request("/books/create/", method="POST", body='{"title": "New", "author": 1}')
        assert answer["status"] == 201
        assert answer.server["name"] == "POST /books/create/"
        attributes = answer.named("BookCreateView.post")["attributes"]
        assert attributes["code.namespace"] == "catalog.views.BookCreateView"
        assert VIEWS.read_text().splitlines()[attributes["code.lineno"] - 1].strip().startswith("def post")

    def test_api_view_function(self, shop):
        attributes = shop.request("/api/ping/").named("catalog.views.ping")["attributes"]
        assert attributes["code.filepath"] == str(VIEWS)

    def test_one_view_span_per_request(self, shop):
        for path in ("/books/", "/api/books/", "/api/ping/", "/pages/"):
            views = [span for span in shop.request(path).spans if span["attributes"].get("nuages.kind") == "view"]
            assert len(views) == 1, path

    def test_coroutine_view_under_wsgi(self, shop):
        answer = shop.request("/async/")
        assert answer["body"] == "async"
        assert answer.server["name"] == "GET /async/"
        assert len([span for span in answer.spans if span["attributes"].get("nuages.kind") == "view"]) == 1
        assert answer.named("catalog.views.async_view")["trace_id"] == answer.server["trace_id"]


class TestRestFramework:
    def test_create_holds_authentication_validation_and_save(self, shop):
        answer = shop.request(
            "/api/books/", method="POST", body='{"title": "T", "author": 1, "stock": 3}', headers={"X-User": "ann"}
        )
        assert answer["status"] == 201
        assert answer.server["name"] == "POST /api/books/"
        assert answer.tree(answer.named("BookViewSet.create")) == [
            "BookViewSet.create",
            "  drf.authentication",
            "    SELECT FROM auth_user WHERE username = ?",
            "  drf.permissions",
            "  drf.parse",
            "  serializer.is_valid",
            "    SELECT FROM catalog_author WHERE id = ?",
            "  serializer.save",
            "    INSERT INTO catalog_book (...) VALUES (...)",
            "  serializer.data",
        ]
        view = answer.named("BookViewSet.create")["attributes"]
        assert (view["code.function"], view["code.filepath"]) == (
            "create",
            str(VIEWS),
        )  # the method is DRF's, the class ours
        assert VIEWS.read_text().splitlines()[view["code.lineno"] - 1].startswith("class BookViewSet")
        assert answer.named("serializer.save")["attributes"] == {
            "nuages.kind": "serializer",
            "drf.serializer": "BookSerializer",
        }

    def test_list_is_serialised_once(self, shop):
        answer = shop.request("/api/books/")
        [data] = [span for span in answer.spans if span["name"] == "serializer.data"]
        assert data["attributes"]["drf.serializer"] == "ListSerializer"
        assert data["parent_id"] == answer.named("BookViewSet.list")["span_id"]

    def test_invalid_input_is_an_answer_not_an_error(self, shop):
        answer = shop.request("/api/books/", method="POST", body='{"title": "T"}')
        assert answer["status"] == 400
        assert answer.server["status"] == "UNSET"
        assert answer.named("serializer.is_valid")["events"][0]["attributes"]["exception.type"].endswith(
            "ValidationError"
        )

    def test_head_is_named_after_the_handler(self, shop):
        assert shop.request("/api/books/", method="HEAD").named("BookViewSet.list")


class TestTemplates:
    def test_extends_and_includes(self, shop):
        answer = shop.request("/pages/")
        [select] = answer.of_kind("CLIENT")
        tree = answer.tree(answer.named("catalog/page.html"))
        assert tree[:6] == [
            "catalog/page.html",
            "  catalog/base.html",
            "    block title",
            "    block body",
            "      catalog/includes/head.html",
            "      SELECT FROM catalog_book",
        ]
        rows = set(tree[6:])
        assert rows == {"      catalog/includes/row.html"}
        block = answer.named("block body")
        assert select["parent_id"] == block["span_id"]
        assert block["attributes"] == {
            "nuages.kind": "template",
            "django.template.block": "body",
            "django.template.engine": "django",
        }
        attributes = answer.named("catalog/page.html")["attributes"]
        assert attributes == {
            "nuages.kind": "template",
            "django.template.name": "catalog/page.html",
            "django.template.engine": "django",
        }

    def test_template_response_renders_after_the_view(self, shop):
        answer = shop.request("/pages/late/")
        assert answer.named("catalog/page.html")["start"] >= answer.named("catalog.views.late_page")["end"]


class TestAsgi:
    def test_request_and_coroutine_view(self, shop):
        answer = shop.scenario("asgi")
        assert answer.result["status"] == 200
        assert answer.result["body"] == "async"
        assert answer.result["coroutine"] is True
        assert answer.server["name"] == "GET /async/"
        assert answer.server["attributes"]["http.status_code"] == 200
        view = answer.named("catalog.views.async_view")
        assert view["trace_id"] == answer.server["trace_id"]

    def test_coroutine_middleware(self, shop):
        answer = shop.scenario("asgi", middleware=["catalog.middleware.AsyncOnlyMiddleware"])
        assert answer.result["headers"]["X-Async"] == "1"
        outer = answer.named("AsyncOnlyMiddleware")
        assert answer.named("catalog.views.async_view")["parent_id"] == outer["span_id"]


class TestConcurrency:
    @pytest.mark.parametrize("scenario", ["threads", "coroutines"])
    def test_requests_never_mix(self, shop, scenario):
        answer = shop.scenario(scenario, count=40)
        servers = answer.of_kind("SERVER")
        assert len(servers) == 40
        assert len({server["trace_id"] for server in servers}) == 40
        assert {server["attributes"]["shop.shelf"] for server in servers} == {str(number) for number in range(40)}
        shapes = set()
        for server in servers:
            spans = [span for span in answer.spans if span["trace_id"] == server["trace_id"]]
            known = {span["span_id"] for span in spans}
            assert [span["name"] for span in spans if span["parent_id"] not in known] == [server["name"]]
            assert {span["attributes"]["shop.shelf"] for span in spans if "shop.shelf" in span["attributes"]} == {
                server["attributes"]["shop.shelf"]
            }
            shapes.add(tuple(sorted(span["name"] for span in spans)))
        assert len(shapes) == 1


class TestInstall:
    def test_middleware_is_not_kept_alive(self, shop):
        assert shop.scenario("middleware_instances").result == {"hooked": True, "left": 0, "gone": True, "more": 0}

    def test_uninstall_restores_every_original_by_identity(self, shop):
        result = shop.scenario("install_and_uninstall").result
        assert result["unchanged"] == []
        assert result["different"] == []
        assert result["again"] == []
        absent = {"task"} if django.VERSION < (6, 0) else set()  # Django's own tasks; their hook has tests/compat
        assert set(result["installed"]) == set(hooks.NAMES) - absent

    def test_uninstall_under_a_foreign_wrapper_passes_through(self, shop):
        answer = shop.scenario("uninstall_under_a_wrapper")
        assert answer.result == {"value": 1, "calls": ["SELECT 1"], "theirs": True, "enabled": False}
        assert answer.spans == []

    def test_a_hook_is_like_the_function_it_stands_for(self, shop):
        result = shop.scenario("function_likeness").result
        assert result.pop("bound") == "method"
        assert result.pop("keywords") == 7
        assert all(result.values()), result

    def test_no_python_frame_is_added(self, shop):
        assert shop.scenario("no_python_frame").result == []

    def test_requests_are_traced_again_after_all_that(self, shop):
        assert shop.request("/books/").server["name"] == "GET /books/"
