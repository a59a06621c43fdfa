"""The dashboards with accounts: a site that few may see, with words in it that must not be told, and a client each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient

import stores
from dashboards.access import COOKIE, Access
from dashboards.app import create
from stores.accounts import Accounts
from stores.accounts.roles import Grants, Role
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards.conftest import NOW, VISITS, Visit, at, event_rows, ms, session_rows

PASSWORD = "correct horse battery staple"
SITE, SECRET = "example.com", "secret.example"
CANARY = "canary7f3a"
HIDDEN = Visit(
    70, at(30, 4), [(0, "pageview", f"/{CANARY}", ""), (1, "search", "/", CANARY), (2, "custom", "/", CANARY)],
    f"{CANARY}.example", CANARY, browser=CANARY, os=CANARY, city=CANARY, campaign=CANARY, site=SECRET,
)  # fmt: skip
ALL = [*VISITS, HIDDEN]
PEOPLE = {
    "owner": Grants({"*": Role.OWNER}),
    "admin": Grants({"*": Role.ADMIN}),
    "viewer": Grants({"*": Role.VIEWER}),
    "site-admin": Grants({SITE: Role.ADMIN}),
    "site-viewer": Grants({SITE: Role.VIEWER}),
    "two-sites": Grants({SITE: Role.ADMIN, "other.example": Role.VIEWER}),
    "stranger": Grants({"other.example": Role.VIEWER}),
    "nobody": Grants({}),
}
TOKENS = {
    "reads": ({"read"}, "*"),
    "asks": ({"sql"}, "*"),
    "writes": ({"write"}, "*"),
    "all": ({"read", "sql", "write"}, "*"),
    "site-reads": ({"read"}, SITE),
    "site-all": ({"read", "sql", "write"}, SITE),
}


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Warehouse]:
    opened = stores.connect_warehouse("chdb://")
    opened.migrate()
    opened.insert("event_rows", event_rows(ALL), "events")
    opened.insert("session_rows", session_rows(ALL), "sessions")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    opened = Accounts(tmp_path_factory.mktemp("accounts") / "accounts.db")
    for name, grants in PEOPLE.items():
        opened.users.add(name, PASSWORD, grants)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def secrets(accounts: Accounts) -> dict[str, str]:
    """The secret of each token."""
    return {name: accounts.tokens.add(name, scopes, site) for name, (scopes, site) in TOKENS.items()}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    opened = stores.connect_live(f"file://{tmp_path_factory.mktemp('live')}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def application(warehouse: Warehouse, live: Live) -> Callable[[Access], Flask]:
    """The application under some rules."""
    sites = {SITE: "Europe/Berlin", "other.example": "UTC", "quiet.example": "UTC", SECRET: "UTC"}

    def control(verb: str) -> tuple[str, int]:
        return f"not with this token: {verb}", 401

    def make(access: Access) -> Flask:
        routes = Blueprint("control", __name__, url_prefix="/control")
        routes.post("/<verb>", endpoint="control")(control)
        return create(
            warehouse,
            lambda: sites,
            live,
            control=routes,
            collect_url="http://127.0.0.1:8420/",
            access=access,
            add_site=lambda domain: None,
            metrics=lambda: f"footfall_of_{CANARY} 1\n",
            countries=True,
            clock=lambda: ms(NOW),
        )

    return make


@pytest.fixture(scope="module")
def app(application: Callable[[Access], Flask], accounts: Accounts) -> Flask:
    return application(Access(accounts=accounts, secret="the token of the settings"))


@pytest.fixture(scope="module")
def signed_in(app: Flask, accounts: Accounts) -> Callable[[str], FlaskClient]:
    """A client with a session of the user; "" is one without."""

    def make(name: str) -> FlaskClient:
        client = app.test_client()
        if name:
            client.set_cookie(COOKIE, accounts.users.start_session(accounts.users.get(name)))
        return client

    return make


