"""The pages of accounts: people, tokens, the log and one's own, as a browser's forms use them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards.access import COOKIE, Access
from stores.accounts import Accounts
from stores.accounts.roles import ALL, Grants, Role
from tests.dashboards.access.conftest import PASSWORD, SITE

NOW = 1_700_000_000  # seconds, and the clock stands still
OWNER = Grants({ALL: Role.OWNER})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Accounts]:
    opened = Accounts(tmp_path / "accounts.db", lambda: NOW * 1000)
    yield opened
    opened.close()


@pytest.fixture
def application_of_store(application: Callable[[Access], Flask], store: Accounts) -> Flask:
    return application(Access(accounts=store))


@pytest.fixture
def owner(application_of_store: Flask, store: Accounts) -> FlaskClient:
    client = application_of_store.test_client()
    client.set_cookie(COOKIE, store.users.start_session(store.users.add("ann", PASSWORD, OWNER)))
    return client


def shown_once(text: str) -> str:
    found = re.search(r"<pre>(.+)</pre>", text)
    assert found is not None
    return found[1]


def test_the_first_owner_is_made_on_the_page_and_signs_in(application_of_store: Flask, store: Accounts) -> None:
    client = application_of_store.test_client()
    assert "Nobody needs to sign in yet" in client.get("/people").text
    wrong = client.post("/people", data={"deed": "add", "user": "ann", "role": "viewer", "site": "*"})
    assert (wrong.status_code, "first user has to be an owner" in wrong.text) == (400, True)
    made = client.post("/people", data={"deed": "add", "user": "ann", "role": "owner", "site": "*"})
    password = shown_once(made.text)
    assert client.get("/people").status_code == 401
    assert client.post("/login", data={"name": "ann", "password": password}).status_code == 303
    page = client.get("/people").text
    assert "owner of all sites" in page
    assert password not in page


def test_an_owner_manages_people(owner: FlaskClient, application_of_store: Flask, store: Accounts) -> None:
    def deed(deed: str, **fields: str) -> int:
        return owner.post("/people", data={"deed": deed, "user": "bob", **fields}).status_code

    first = shown_once(
        owner.post("/people", data={"deed": "add", "user": "bob", "role": "viewer", "site": SITE}).text
    )
    assert store.users.verify("bob", first) is not None
    assert deed("role", role="admin", site="other.example") == 303
    assert dict(store.users.get("bob").grants) == {SITE: Role.VIEWER, "other.example": Role.ADMIN}
    assert deed("role", role="none", site=SITE) == 303
    assert dict(store.users.get("bob").grants) == {"other.example": Role.ADMIN}
    session = store.users.start_session(store.users.get("bob"))
    assert deed("disable") == 303
    assert store.users.of_session(session) is None
    assert "disabled" in owner.get("/people").text
    assert deed("enable") == 303
    second = shown_once(owner.post("/people", data={"deed": "password", "user": "bob"}).text)
    assert store.users.verify("bob", first) is None
    assert store.users.verify("bob", second) is not None
    assert deed("remove") == 303
    assert not store.users.has("bob")
    for fields, words in (
        ({"deed": "remove", "user": "ann"}, "last owner"),
        ({"deed": "role", "user": "ann", "role": "viewer", "site": "*"}, "last owner"),
        ({"deed": "add", "user": "carl", "role": "owner", "site": SITE}, "make it an admin"),
        ({"deed": "add", "user": "carl", "role": "viewer", "site": "unknown.example"}, "one that is counted"),
        ({"deed": "add", "user": "ann", "role": "viewer", "site": "*"}, "already"),
        ({"deed": "add", "user": "carl", "role": "king", "site": "*"}, "role must be one of"),
        ({"deed": "password", "user": "carl"}, "no user"),
        ({"user": "carl"}, "deed is needed"),
    ):
        answer = owner.post("/people", data=fields)
        assert (answer.status_code, words in answer.text) == (400, True), answer.text
    deeds = [(entry.deed, entry.target) for entry in store.audit.latest(20)]
    assert deeds[0] == ("removed a user", "bob")
    assert len(deeds) == 7


def test_an_owner_manages_tokens(owner: FlaskClient, application_of_store: Flask) -> None:
    made = owner.post("/tokens", data={"deed": "add", "token": "grafana", "scope": "read", "site": SITE, "days": "30"})
    bearer = {"Authorization": f"Bearer {shown_once(made.text)}"}
    program = application_of_store.test_client()
    assert program.get(f"/{SITE}", headers=bearer).status_code == 200
    assert program.get("/other.example", headers=bearer).status_code == 404
    page = owner.get("/tokens").text
    assert "grafana" in page
    assert bearer["Authorization"].split()[1] not in page
    for fields, words in (
        ({"deed": "add", "token": "grafana", "scope": "read", "site": SITE, "days": ""}, "already"),
        ({"deed": "add", "token": "x", "site": SITE, "days": ""}, "needs a scope"),
        ({"deed": "add", "token": "x", "scope": "read", "site": SITE, "days": "7"}, "days must be one of"),
        ({"deed": "add", "token": "x", "scope": "read", "site": "unknown.example", "days": ""}, "one that is counted"),
        ({"deed": "remove", "token": "x"}, "no token"),
    ):
        answer = owner.post("/tokens", data=fields)
        assert (answer.status_code, words in answer.text) == (400, True), answer.text
    assert owner.post("/tokens", data={"deed": "remove", "token": "grafana"}).status_code == 303
    assert program.get(f"/{SITE}", headers=bearer).status_code == 401


def test_the_log_is_read_by_the_page(owner: FlaskClient, store: Accounts) -> None:
    assert "Nothing here" in owner.get("/audit").text
    for number in range(120):
        store.audit.add("<b>ann", "192.0.2.1", "did", f"deed-{number}")
    seen: list[str] = []
    path: str | None = "/audit"
    while path:
        page = owner.get(path).text
        assert "<b>ann" not in page
        seen += re.findall(r"<strong>(deed-\d+)</strong>", page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = older[1] if older else None
    assert seen == [f"deed-{number}" for number in reversed(range(120))]
    assert owner.get("/audit?before=x").status_code == 400


def test_ones_own_password_and_sessions(owner: FlaskClient, store: Accounts) -> None:
    new = PASSWORD[::-1]
    other = store.users.start_session(store.users.get("ann"))
    for fields, words in (
        ({"password": "wrong horse battery", "new": new, "again": new}, "not your present password"),
        ({"password": PASSWORD, "new": new, "again": new + "x"}, "differ"),
        ({"password": PASSWORD, "new": "short", "again": "short"}, "12 to 1000 characters"),
    ):
        answer = owner.post("/account", data={"deed": "password", **fields})
        assert (answer.status_code, words in answer.text) == (400, True)
    assert store.users.of_session(other) is not None
    assert owner.post("/account", data={"deed": "sessions"}).status_code == 303
    assert store.users.of_session(other) is None
    other = store.users.start_session(store.users.get("ann"))
    changed = owner.post("/account", data={"deed": "password", "password": PASSWORD, "new": new, "again": new})
    assert changed.status_code == 303
    assert store.users.of_session(other) is None
    assert "That is done" in owner.get(changed.headers["Location"]).text
    assert store.users.verify("ann", new) is not None
    for _ in range(10):
        answer = owner.post("/account", data={"deed": "password", "password": "x", "new": new, "again": new})
    assert answer.status_code == 429


def test_a_code_is_asked_for_once_it_is_set_up(
    application_of_store: Flask, owner: FlaskClient, store: Accounts
) -> None:
    page = owner.get("/account").text
    secret = re.search(r'name="secret" value="([A-Z2-7]+)"', page)
    assert secret is not None
    assert "<svg" in page
    app = pyotp.TOTP(secret[1])
    step = NOW // 30
    setup = {"deed": "code", "secret": secret[1], "password": PASSWORD}
    for wrong in ({"code": "000000"}, {"code": app.generate_otp(step), "password": "x" * 12}):
        assert owner.post("/account", data=setup | wrong).status_code == 400
    made = owner.post("/account", data=setup | {"code": app.generate_otp(step)})
    recovery = re.findall(r"[0-9a-f]{8}-[0-9a-f]{8}", made.text)
    assert len(recovery) == 10
    assert recovery[0] not in owner.get("/account").text
    other = application_of_store.test_client()

    def enter(code: str, password: str = PASSWORD) -> int:
        return other.post("/login", data={"name": "ann", "password": password, "code": code}).status_code

    assert enter("") == enter(app.generate_otp(step)) == enter(recovery[0], "wrong horse battery") == 401
    assert enter(app.generate_otp(step + 1)) == 303
    assert enter(recovery[0]) == 303
    assert enter(recovery[0]) == 401
    store.users.add("bob", PASSWORD, OWNER)
    bob = application_of_store.test_client()
    bob.set_cookie(COOKIE, store.users.start_session(store.users.get("bob")))
    assert bob.post("/people", data={"deed": "no_code", "user": "ann"}).status_code == 303
    assert enter("") == 303
    store.codes.turn_on(store.users.get("ann"), secret[1], app.generate_otp(step))
    assert owner.post("/account", data={"deed": "no_code", "password": "x" * 12}).status_code == 400
    assert owner.post("/account", data={"deed": "no_code", "password": PASSWORD}).status_code == 303
    assert enter("") == 303


def test_who_came_by_a_token_has_no_account(application: Callable[[Access], Flask], store: Accounts) -> None:
    store.users.add("ann", PASSWORD, OWNER)
    client = application(Access(accounts=store, secret="s")).test_client()
    answer = client.get("/account", headers={"Authorization": "Bearer s"})
    assert (answer.status_code, "by name and password" in answer.text) == (403, True)


TEXT = st.sampled_from([
    "add", "role", "disable", "enable", "remove", "ann", "bob", "owner", "admin", "viewer", "none", "*", SITE, "read",
    "sql", "30", "", "code", "no_code", PASSWORD,
]) | st.text(max_size=20)  # fmt: skip
FIELDS = st.sampled_from([
    "deed", "user", "role", "site", "token", "scope", "days", "password", "new", "again", "code", "secret",
])  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["/people", "/tokens", "/account"]), st.dictionaries(FIELDS, TEXT))
def test_whatever_an_owner_sends_there_is_an_owner_afterwards(
    owner: FlaskClient, store: Accounts, path: str, fields: dict[str, str]
) -> None:
    answer = owner.post(path, data=fields)
    assert answer.status_code < 500, answer.text
    assert store.users.any_owner
    if "ann" not in [user.name for user in store.users.all() if user.is_owner and not user.disabled]:
        store.users.grant("ann", Role.OWNER) if store.users.has("ann") else store.users.add("ann", PASSWORD, OWNER)
        store.users.set_disabled("ann", False)
    owner.set_cookie(COOKIE, store.users.start_session(store.users.get("ann")))
