"""People log in: users from a command or the environment, sessions, roles, guessing; on a real server, over HTTP."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import requests
from server_fixture import PATIENCE, Server, make_server, nuages_server, server_binary, wait_until  # noqa: F401

PASSWORD = "correct horse battery"


def users(*words: str, password: str = "", code: int = 0) -> str:
    done = subprocess.run(
        [str(server_binary()), "users", *words], input=f"{password}\n", capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def log_in(server: Server, user: str, password: str, **headers: str) -> requests.Response:
    body = {"user": user, "password": password}
    return requests.post(f"{server.ui}/api/v1/login", json=body, headers=headers, timeout=PATIENCE)


def session(server: Server, cookies: Any = None) -> Any:
    return server.get("/api/v1/session", cookies=cookies).json()


def test_a_server_without_users_and_keys_wants_no_login(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server().start()
    assert session(server) == {"required": False, "user": "", "role": "admin"}
    assert server.get("/api/v1/traces").status_code == 200
    assert log_in(server, "admin", "admin").status_code == 401, "no default password"


def test_users_come_and_go_while_the_server_runs(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server().start()
    data = f"--data={server.data}"
    users("add", "anna", data, password=PASSWORD)
    users("add", "bo", "--role=admin", data, password=PASSWORD)
    assert users("list", data) == "anna  viewer\nbo  admin\n"
    assert "already" in users("add", "anna", data, password=PASSWORD, code=2)
    assert "no user 'carl'" in users("remove", "carl", data, code=2)
    assert "10 to 1024" in users("add", "carl", data, password="short", code=2)
    assert PASSWORD not in (server.data / "users").read_text()

    wait_until(lambda: session(server)["required"], "the running server wants a login")
    assert session(server) == {"required": True, "user": "", "role": "none"}
    refused = server.get("/api/v1/traces")
    assert refused.status_code == 401
    assert "log in at /" in refused.json()["error"]["message"]
    assert refused.headers["WWW-Authenticate"].startswith("Bearer"), "the page asks, not the browser"
    assert server.get("/healthz").status_code == server.get("/readyz").status_code == 200
    assert server.get("/").status_code == 200, "the page that asks"

    assert log_in(server, "anna", "wrong password").status_code == 401
    answer = log_in(server, "anna", PASSWORD)
    assert answer.status_code == 200
    assert answer.json() == {"required": True, "user": "anna", "role": "viewer"}
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert session(server, answer.cookies)["user"] == "anna"
    assert server.get("/api/v1/traces", cookies=answer.cookies).status_code == 200

    checks = f"{server.ui}/api/v1/checks"
    forbidden = requests.post(checks, cookies=answer.cookies, timeout=PATIENCE)
    assert forbidden.status_code == 403
    assert forbidden.json()["error"]["message"] == "anna may look; changes are for administrators"
    admin = log_in(server, "bo", PASSWORD).cookies
    assert requests.post(checks, cookies=admin, timeout=PATIENCE).status_code == 200
    evil = {"Origin": "http://evil.example"}
    assert requests.post(checks, cookies=admin, headers=evil, timeout=PATIENCE).status_code == 403
    assert log_in(server, "bo", PASSWORD, **evil).status_code == 403
    form = {"user": "bo", "password": PASSWORD}
    assert requests.post(f"{server.ui}/api/v1/login", data=form, timeout=PATIENCE).status_code == 400

    out = requests.post(f"{server.ui}/api/v1/logout", cookies=admin, timeout=PATIENCE)
    assert out.json()["user"] == ""
    assert "Max-Age=0" in out.headers["Set-Cookie"]

    users("password", "anna", data, password="another " + PASSWORD)
    wait_until(lambda: not session(server, answer.cookies)["user"], "a new password ends the session")
    users("remove", "bo", data)
    wait_until(lambda: not session(server, admin)["user"], "a removed user's session ends")
    metrics = server.get("/metrics", cookies=log_in(server, "anna", "another " + PASSWORD).cookies).text
    assert 'nuages_logins_total{result="good"} 3' in metrics


def test_a_first_administrator_from_the_environment_and_a_restart(
    make_server: Callable[..., Server],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NUAGES_ADMIN_PASSWORD", PASSWORD)
    server = make_server().start()
    cookies = log_in(server, "admin", PASSWORD).cookies
    assert session(server, cookies) == {"required": True, "user": "admin", "role": "admin"}
    users("add", "anna", f"--data={server.data}", password=PASSWORD)
    wait_until(lambda: log_in(server, "anna", PASSWORD).status_code == 200, "the new user can log in")
    anna = log_in(server, "anna", PASSWORD).cookies
    server.stop()
    server.start()
    assert session(server, anna)["user"] == "anna", "sessions live over restarts"


def test_a_key_logs_in_and_leaves_with_its_revocation(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server()
    data = f"--data={server.data}"
    made = [str(server_binary()), "keys", "add", data, "--scopes=read"]
    key = subprocess.run(made, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout.strip()
    server.start()
    answer = log_in(server, "", key)
    assert answer.json()["role"] == "viewer"
    assert server.get("/api/v1/traces", cookies=answer.cookies).status_code == 200
    number = answer.json()["user"].removeprefix("key ")
    subprocess.run([str(server_binary()), "keys", "revoke", data, number], check=True, timeout=PATIENCE)
    wait_until(lambda: server.get("/api/v1/traces", cookies=answer.cookies).status_code == 401, "the key is revoked")


def test_who_guesses_is_told_to_wait(make_server: Callable[..., Server]) -> None:  # noqa: F811
    server = make_server()
    users("add", "anna", f"--data={server.data}", password=PASSWORD)
    server.start()
    answers = [log_in(server, "anna", f"guess number {number}") for number in range(8)]
    assert [answer.status_code for answer in answers[:5]] == [401] * 5
    waiting = next(answer for answer in answers[5:] if answer.status_code == 429)
    assert "too many wrong passwords" in waiting.json()["error"]["message"]
    assert waiting.headers["Retry-After"]
