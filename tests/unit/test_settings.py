"""Settings: precedence, bad values that never stop anything, unknown names, Django's settings."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from nuages import settings
from nuages.checks import check_settings


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    settings.reset()
    yield
    settings.reset()


@pytest.fixture
def django(monkeypatch: Any) -> Any:
    values = SimpleNamespace(configured=True)
    monkeypatch.setitem(sys.modules, "django.conf", SimpleNamespace(settings=values))
    return values


def test_defaults() -> None:
    assert settings.get("hooks") == ("all",)
    assert settings.get("celery_relation") == "link"
    assert settings.get("masking") == "on"
    assert settings.get("capture_parameters") is False
    assert settings.get("shutdown_timeout") == 5.0


def test_code_over_environment_over_django_over_default(monkeypatch: Any, django: Any) -> None:
    django.NUAGES = {"CELERY_RELATION": "child"}
    assert settings.get("celery_relation") == "child"
    monkeypatch.setenv("NUAGES_CELERY_RELATION", "link")
    settings.reset()
    assert settings.get("celery_relation") == "link"
    settings.override(celery_relation="child")
    assert settings.get("celery_relation") == "child"


@pytest.mark.parametrize("word", ["true", "True", "TRUE", "1", "yes", " on "])
def test_disabled_words(monkeypatch: Any, word: str) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", word)
    assert settings.get("sdk_disabled") is True


@pytest.mark.parametrize("word", ["false", "False", "0", "no", ""])
def test_enabled_words(monkeypatch: Any, word: str) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", word)
    assert settings.get("sdk_disabled") is False


def test_a_bad_value_gives_the_default_and_one_error(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setenv("NUAGES_CELERY_RELATION", "sideways")
    with caplog.at_level(logging.ERROR, logger="nuages"):
        assert settings.get("celery_relation") == "link"
        settings.report()
        settings.report()
    (record,) = caplog.records
    assert "NUAGES_CELERY_RELATION" in record.getMessage() and "'sideways'" in record.getMessage()


def test_unknown_names_are_reported_with_a_suggestion(monkeypatch: Any, django: Any) -> None:
    monkeypatch.setenv("NUAGES_CELERY_RELATIONS", "child")
    django.NUAGES = {"MASKNIG": "off"}
    messages = {problem.message: problem.hint for problem in settings.problems()}
    assert messages["unknown environment variable NUAGES_CELERY_RELATIONS"] == "Did you mean NUAGES_CELERY_RELATION?"
    assert messages["unknown key NUAGES['MASKNIG'] in the Django settings"] == "Did you mean MASKING?"


def test_names_of_the_server_and_the_build_are_not_unknown(monkeypatch: Any) -> None:
    for name in ("NUAGES_SERVER", "NUAGES_CHDB_LIBRARY", "NUAGES_PYTHON", "NUAGES_UI_URL"):
        monkeypatch.setenv(name, "/somewhere")
    assert settings.problems() == []


def test_nuages_setting_of_the_wrong_type(django: Any) -> None:
    django.NUAGES = ["hooks"]
    (problem,) = settings.problems()
    assert problem.id == "W003"


def test_django_settings_fill_absent_variables(monkeypatch: Any, django: Any) -> None:
    import os

    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-env")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setitem(os.environ, "OTEL_SDK_DISABLED", "")
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    django.OTEL_SERVICE_NAME = "from-django"
    django.OTEL_EXPORTER_OTLP_ENDPOINT = "http://collector:4317"
    django.OTEL_SDK_DISABLED = True
    settings.django_settings_loaded()
    assert os.environ["OTEL_SERVICE_NAME"] == "from-env"
    assert os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4317"
    assert settings.get("sdk_disabled") is True
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    monkeypatch.delenv("OTEL_SDK_DISABLED")


def test_django_checks_are_warnings_with_hints(django: Any) -> None:
    django.NUAGES = {"HOOKS": "none,orm"}
    (message,) = check_settings()
    assert message.id == "nuages.W001" and message.hint and message.level < 40


def test_lists(monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_PYTHON_DJANGO_EXCLUDED_URLS", "health/, ready/ ,")
    assert settings.get("excluded_urls") == ("health/", "ready/")
    settings.override(excluded_urls=["a/", "b/"])
    assert settings.get("excluded_urls") == ("a/", "b/")
    settings.override(excluded_urls=None)
    assert settings.get("excluded_urls") == ("health/", "ready/")


def test_unknown_setting_in_code_is_reported(caplog: Any) -> None:
    settings.override(hokks="all")
    assert "hokks" in caplog.text and "hooks" in caplog.text
