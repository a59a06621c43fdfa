"""Signing in by name and password, the ways around it that are closed, and how long one waits after guesses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboards.access import COOKIE, Access
from dashboards.access.attempts import WRONG
from stores.accounts import Accounts
from tests.dashboards.access.conftest import PASSWORD, PEOPLE, SITE

PAGE = {"Accept": "text/html"}


@pytest.fixture
def client(application: Callable[[Access], Flask], accounts: Accounts) -> FlaskClient:
    """On an application of its own, whose guesses others do not feel."""
    return application(Access(accounts=accounts, secret="the token of the settings")).test_client()


def enter(client: FlaskClient, name: str, password: str, peer: str = "127.0.0.1") -> tuple[int, str]:
    form = {"name": name, "password": password, "next": f"/{SITE}"}
    answer = client.post("/login", data=form, environ_base={"REMOTE_ADDR": peer})
    return answer.status_code, answer.headers.get("Location", "") or answer.text


def test_a_name_and_its_password_lead_to_the_page_and_leaving_ends_the_session(client: FlaskClient) -> None:
    assert client.get(f"/{SITE}", headers=PAGE).headers["Location"] == f"/login?next=/{SITE}"
    assert 'name="password"' in client.get("/login").text
    assert enter(client, " Site-Viewer ", PASSWORD) == (303, f"/{SITE}")
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    assert "Sign out" in client.get(f"/{SITE}").text
    assert client.get("/login").status_code == 303
    client.post("/logout")
    client.set_cookie(COOKIE, cookie.value)  # somebody kept it
    assert client.get(f"/{SITE}").status_code == 401


def test_a_wrong_name_and_a_wrong_password_are_answered_alike(client: FlaskClient) -> None:
    status, words = enter(client, "owner", "wrong horse battery staple")
    assert status == 401
    assert "do not belong together" in words
    assert enter(client, "stranger2", "wrong horse battery staple") == (401, words.replace('"owner"', '"stranger2"'))


def test_who_came_and_who_did_not_is_in_the_log(client: FlaskClient, accounts: Accounts) -> None:
    enter(client, "viewer", "wrong horse battery", "192.0.2.7")
    enter(client, PASSWORD, "viewer, in the wrong field", "192.0.2.7")
    enter(client, "viewer", PASSWORD, "192.0.2.8")
    client.post("/logout", environ_base={"REMOTE_ADDR": "192.0.2.8"})
    client.get(f"/{SITE}", headers={"Authorization": "Bearer guessed"}, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert [tuple(entry[2:]) for entry in reversed(accounts.audit.latest(5))] == [
        ("viewer", "192.0.2.7", "did not sign in", ""),
        ("an unknown name", "192.0.2.7", "did not sign in", ""),
        ("viewer", "192.0.2.8", "signed in", ""),
        ("viewer", "192.0.2.8", "signed out", ""),
        ("", "192.0.2.7", "sent a wrong token", f"/{SITE}"),
    ]


def test_the_token_of_the_settings_is_an_owners_but_no_login(client: FlaskClient) -> None:
    bearer = {"Authorization": "Bearer the token of the settings"}
    assert client.get(f"/{SITE}", headers=bearer).status_code == 200
    assert client.post("/sql", data="SELECT 1", headers=bearer).text == "1\n"
    assert client.get("/metrics", headers={"X-ClickHouse-Key": "the token of the settings"}).status_code == 200
    assert client.post("/login", data={"token": "the token of the settings"}).status_code == 401
    assert client.get(f"/{SITE}", headers={"Authorization": f"Bearer {PASSWORD}"}).status_code == 401


def test_a_cookie_of_the_token_is_none_once_there_are_users(
    application: Callable[[Access], Flask], accounts: Accounts, client: FlaskClient, tmp_path: Path
) -> None:
    before = Accounts(tmp_path / "accounts.db")
    alone = application(Access(accounts=before, secret="the token of the settings")).test_client()
    assert alone.post("/login", data={"token": "the token of the settings"}).status_code == 303
    cookie = alone.get_cookie(COOKIE)
    assert cookie is not None
    assert alone.get(f"/{SITE}").status_code == 200
    client.set_cookie(COOKIE, cookie.value)
    assert client.get(f"/{SITE}").status_code == 401
    before.users.add("ann", PASSWORD, PEOPLE["owner"])
    assert alone.get(f"/{SITE}").status_code == 401
    before.close()


def test_loopback_is_open_until_there_is_a_user(application: Callable[[Access], Flask], tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "accounts.db")
    client = application(Access(accounts=accounts)).test_client()
    assert client.get(f"/{SITE}").status_code == 200
    accounts.users.add("ann", PASSWORD, PEOPLE["owner"])
    assert client.get(f"/{SITE}").status_code == 401
    accounts.close()
    (tmp_path / "accounts.db").write_bytes(b"no database" * 100)
    broken = client.get(f"/{SITE}")
    assert (broken.status_code, "the accounts cannot be read" in broken.text) == (503, True)
    assert client.get("/login").status_code == 503
    assert client.get("/live").status_code == 200


def test_guesses_from_many_addresses_are_counted_by_the_name(client: FlaskClient) -> None:
    for at in range(WRONG[0].amount):
        assert enter(client, "viewer", "wrong horse battery", f"192.0.2.{at}")[0] == 401
    status, words = enter(client, "VIEWER", PASSWORD, "192.0.2.200")
    assert (status, "too many wrong passwords" in words) == (429, True)
    assert enter(client, "admin", PASSWORD, "192.0.2.200")[0] == 303


def test_guesses_at_many_names_are_counted_by_the_address(client: FlaskClient) -> None:
    for at in range(WRONG[0].amount):
        assert enter(client, f"name{at}", "wrong horse battery", "192.0.2.9")[0] == 401
    assert enter(client, "admin", PASSWORD, "192.0.2.9")[0] == 429
    assert enter(client, "admin", PASSWORD, "192.0.2.10")[0] == 303
