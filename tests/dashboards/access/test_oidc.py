"""Signing in by a provider, against a real one over HTTP: who is let in, and what is forged is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from dashboards.access import COOKIE, Access
from dashboards.access.oidc import Provider, register
from stores.accounts import Accounts
from stores.accounts.roles import Grants, Role
from tests.dashboards.access import provider
from tests.dashboards.access.conftest import PASSWORD, SITE

ANN = {"email": "ann@example.com", "email_verified": True}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, dict[str, Flask]]]:
    """The address of the provider, and the application behind it, which each test makes anew."""
    behind: dict[str, Flask] = {}
    server = make_server("127.0.0.1", 0, lambda environ, start: behind["app"](environ, start), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", behind
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def world(served: tuple[str, dict[str, Flask]]) -> provider.World:
    address, behind = served
    made = provider.World()
    behind["app"] = provider.create(address, made)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Accounts]:
    opened = Accounts(tmp_path / "accounts.db")
    opened.users.add("ann@example.com", PASSWORD, Grants({"*": Role.OWNER}))
    yield opened
    opened.close()


@pytest.fixture
def client(
    application: Callable[[Access], Flask], store: Accounts, served: tuple[str, dict[str, Flask]], world: Any
) -> FlaskClient:
    known = Provider(served[0], provider.CLIENT, provider.SECRET)
    app = application(Access(accounts=store, provider_name=known.name))
    register(app, known, "")
    return app.test_client()


def there(client: FlaskClient, target: str = f"/{SITE}") -> str:
    """Goes to the provider; the address that it leads back to."""
    left = client.get(f"/login/provider?next={target}")
    assert left.status_code == 302, left.text
    answer = requests.get(left.headers["Location"], allow_redirects=False, timeout=60)
    assert answer.status_code == 302, answer.text
    back = urlsplit(answer.headers["Location"])
    assert back.path == "/login/provider/back"
    return f"{back.path}?{back.query}"


FROM_THERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def test_a_user_with_the_verified_address_is_let_in(
    client: FlaskClient, world: provider.World, store: Accounts
) -> None:
    world.claims = {"email": "Ann@Example.com", "email_verified": True}
    assert "Sign in with 127.0.0.1" in client.get("/login").text
    back = there(client)
    entered = client.get(back, headers=FROM_THERE)
    assert (entered.status_code, f"url=/{SITE}" in entered.text) == (200, True)
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    assert cookie.same_site == "Strict"
    assert "ann@example.com" in client.get(f"/{SITE}").text
    assert world.verifiers[0]
    assert [(entry.who, entry.deed) for entry in store.audit.latest(1)] == [
        ("ann@example.com", "signed in by the provider")
    ]
    assert client.get(back).status_code == 401, "the same answer of the provider once more"


def test_an_address_that_only_the_userinfo_tells(client: FlaskClient, world: provider.World) -> None:
    world.told = {"sub": "somebody", **ANN}
    assert client.get(there(client)).status_code == 200
    world.told = {"sub": "somebody else", **ANN}
    assert client.get(there(client)).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": "ann@example.com"},
        {"email": "ann@example.com", "email_verified": False},
        {"email": "ann@example.com", "email_verified": "false"},
        {"email": "eve@example.com", "email_verified": True},
        {"email": "ａnn@example.com", "email_verified": True},
        {"email": ["ann@example.com"], "email_verified": True},
        {"email": " ann@example.com", "email_verified": True},
    ],
    ids=str,
)
def test_who_is_no_user_or_not_verified_stays_out(
    client: FlaskClient, world: provider.World, claims: dict[str, Any]
) -> None:
    world.claims, world.told = claims, {"sub": "somebody"}
    answer = client.get(there(client))
    assert (answer.status_code, "Nobody here has this e-mail address" in answer.text) == (403, True)
    assert client.get(f"/{SITE}").status_code == 401


def test_a_disabled_user_stays_out(client: FlaskClient, world: provider.World, store: Accounts) -> None:
    store.users.add("bob", PASSWORD, Grants({"*": Role.OWNER}))
    store.users.set_disabled("ann@example.com", True)
    world.claims = ANN
    assert client.get(there(client)).status_code == 403


@pytest.mark.parametrize(
    "forged", [{"forged": True}, {"issuer": "https://evil.example"}, {"audience": "another"}, {"nonce": "another"}],
    ids=str,
)  # fmt: skip
def test_a_token_that_is_not_for_us_lets_nobody_in(
    client: FlaskClient, world: provider.World, forged: dict[str, Any]
) -> None:
    world.claims = ANN
    for name, value in forged.items():
        setattr(world, name, value)
    assert client.get(there(client)).status_code == 401
    assert client.get(f"/{SITE}").status_code == 401


def test_an_answer_that_this_browser_did_not_ask_for_lets_nobody_in(client: FlaskClient, world: provider.World) -> None:
    world.claims = ANN
    back = there(client)
    for path in ("/login/provider/back", "/login/provider/back?error=access_denied", f"{back}x"):
        assert client.get(path).status_code == 401
    assert client.application.test_client().get(back).status_code == 401
    state = parse_qs(urlsplit(back).query)["state"][0]
    assert client.get(f"/login/provider/back?code=guessed&state={state}").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example"])
def test_it_leads_nowhere_else(client: FlaskClient, world: provider.World, target: str) -> None:
    world.claims = ANN
    entered = client.get(there(client, target))
    assert "url=/\"" in entered.text


def test_a_provider_that_is_away_is_told(
    client: FlaskClient, served: tuple[str, dict[str, Flask]], world: provider.World
) -> None:
    served[1]["app"] = Flask("nothing")
    answer = client.get("/login/provider")
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)


def test_without_a_provider_there_is_none(application: Callable[[Access], Flask], store: Accounts) -> None:
    client = application(Access(accounts=store)).test_client()
    assert client.get("/login/provider").status_code == 404
    assert client.get("/login/provider/back").status_code == 404
    assert "/login/provider" not in client.get("/login").text
