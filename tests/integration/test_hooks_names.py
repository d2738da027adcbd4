"""Names made of Django's routes, and the excluded-URL rule, by tables."""

import pytest
from nuages.hooks.routes import route_name
from nuages.hooks.support import UrlFilter


@pytest.mark.parametrize(
    ("route", "name"),
    [
        ("", "/"),
        ("orders/", "/orders/"),
        ("orders/<int:order_id>/", "/orders/{order_id}/"),
        ("<name>/<uuid:key>", "/{name}/{key}"),
        ("api/^books/$", "/api/books/"),
        (r"api/^books/(?P<pk>[^/.]+)/$", "/api/books/{pk}/"),
        (r"api/^books/(?P<pk>[^/.]+)/restock/$", "/api/books/{pk}/restock/"),
        (r"api/^books\.(?P<format>[a-z0-9]+)/?$", "/api/books.{format}/"),
        (r"^x/(?P<year>[0-9]{4})/(?P<slug>[-\w]+)/\Z", "/x/{year}/{slug}/"),
        (r"^a/(\d+)/([^/]+)/$", "/a/{0}/{1}/"),
        (r"^a/(?:page-(?P<number>\d+)/)?$", "/a/page-{number}/"),
        (r"^a/(?P<kind>one|two(?:-three)?)/$", "/a/{kind}/"),
        (r"^a/(?P<odd>[)\]]+)/b$", "/a/{odd}/b"),
        (r"<slug:shop>/^(?P<pk>\d+)/$", "/{shop}/{pk}/"),
        (r"^broken/(?P<open>[a-z", "/broken/{open}"),
        ("/orders//twice/", "/orders/twice/"),
    ],
)
def test_route_name(route, name):
    assert route_name(route) == name


@pytest.mark.parametrize(
    ("entries", "path", "excluded"),
    [
        (("admin/",), "/admin/", True),
        (("admin/",), "/admin/orders/1/", True),
        (("admin/",), "/shop/admin/", True),
        (("admin/",), "/superadmin/", False),
        (("admin/",), "/administration/", False),
        (("metrics/",), "/biometrics/", False),
        (("favicon.ico",), "/favicon.ico", True),
        (("favicon.ico",), "/faviconxico", False),
        (("accounts/profile/",), "/accounts/profile/", True),
        (("accounts/profile/",), "/accounts/other/profile/", False),
        (("health",), "/health", True),
        (("health", "^/inner"), "/inner/x", True),
        (("testserver/only",), "/only/", False),
        (("testserver/on.y$", "("), "/only", True),
        ((r"testserver/on[l]y$",), "/only", True),
        (("", "/"), "/anything/", False),
    ],
)
def test_excluded_urls(entries, path, excluded):
    assert UrlFilter(entries)(path, f"http://testserver{path}") is excluded


def test_a_bad_pattern_is_said_once_and_ignored(caplog):
    for _ in range(2):
        assert UrlFilter(("[a-", "good/"))("/good/", "http://testserver/good/")
    said = [record.getMessage() for record in caplog.records if "[a-" in record.getMessage()]
    assert len(said) == 1
