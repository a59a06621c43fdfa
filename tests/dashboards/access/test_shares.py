"""Shares: every route by the addresses of good, other, locked, expired and withdrawn ones, whatever comes along."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards.access import COOKIE, Access, guests
from dashboards.access.attempts import WRONG
from dashboards.links import VIEWS
from stores.accounts import Accounts
from stores.accounts.roles import AccountRefused
from tests.dashboards.access.conftest import CANARY, SECRET, SITE
from tests.dashboards.access.test_routes import NAMES, VALUES, ask, path_of, rules

# What a guest may ask for, told here too; and what more by a share with files.
PAGES = {
    "pages.home", "pages.board", "lists.whole", "lists.card", "views.visits", "views.visit", "views.paths",
    "views.funnel", "views.add_step", "views.searches", "views.retention", "views.live", "views.watch",
    "chips.add", "now.now",
}  # fmt: skip
FILES = {"lists.download", "exports.rows"}
PASSWORD = "a word for guests"
FRAMED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}


@pytest.fixture(scope="module")
def tokens(accounts: Accounts) -> dict[str, str]:
    """The token of a share of each kind."""
    long_ago = Accounts(accounts._file.path, clock=lambda: 1_000_000)
    made = {
        "plain": accounts.shares.add(SITE, "plain", "ann"),
        "files": accounts.shares.add(SITE, "files", "ann", files=True),
        "locked": accounts.shares.add(SITE, "locked", "ann", password=PASSWORD),
        "framed": accounts.shares.add(SITE, "framed", "ann", origins=["https://a.example", "http://[::1]:81"]),
        "secret": accounts.shares.add(SECRET, "secret", "ann", files=True),
        "expired": long_ago.shares.add(SITE, "expired", "ann", days=1, files=True),
        "withdrawn": accounts.shares.add(SITE, "withdrawn", "ann", files=True),
        "made up": "x" * 43,
    }
    long_ago.close()
    accounts.shares.remove(SITE, "withdrawn")
    return made


@pytest.mark.parametrize("how", ["plain", "files", "framed", "secret"])
@pytest.mark.parametrize("along", ["nothing", "a session", "a token"])
def test_a_guest_reads_one_site_and_nothing_else_whatever_comes_along(
    signed_in: Callable[[str], FlaskClient], app: Flask, tokens: dict[str, str], how: str, along: str
) -> None:
    client = signed_in("owner") if along == "a session" else app.test_client()
    headers = {"Authorization": "Bearer the token of the settings"} if along == "a token" else {}
    shared = SECRET if how == "secret" else SITE
    may = PAGES | (FILES if how in ("files", "secret") else set())
    for rule, method in rules(app):
        if rule.endpoint == "static":
            continue
        for site in (SITE, "other.example", SECRET):
            answer = ask(client, f"/share/{tokens[how]}{path_of(rule, site)}", method=method, headers=headers)
            case = (method, rule.rule, site, answer.status_code)
            if rule.endpoint in may and method == "GET" and site == shared:
                assert answer.status_code in (200, 302, 303, 400), case
                assert urlsplit(answer.headers.get("Location", f"/share/{tokens[how]}/")).path.startswith(
                    f"/share/{tokens[how]}/"
                ), case
            else:
                assert answer.status_code in (404, 405), case
            if shared != SECRET:
                assert CANARY not in answer.text, case
                assert site == SECRET or SECRET not in answer.text, case


def test_what_guests_may_ask_for_is_told_here_too() -> None:
    assert (guests.PAGES, guests.FILES) == (PAGES, FILES)


@pytest.mark.parametrize("how", ["expired", "withdrawn", "made up"])
def test_what_is_over_is_answered_like_what_never_was(
    signed_in: Callable[[str], FlaskClient], app: Flask, tokens: dict[str, str], how: str
) -> None:
    for client in (app.test_client(), signed_in("owner")):
        for rule, method in rules(app):
            if rule.endpoint == "static":
                continue
            path = path_of(rule, SITE)
            answer, never = (ask(client, f"/share/{each}{path}", method=method) for each in (tokens[how], "y" * 43))
            assert answer.status_code == 404, rule.rule
            assert answer.text.replace(tokens[how], "y" * 43) == never.text
            assert CANARY not in answer.text
            assert SITE not in answer.text


def test_a_token_of_a_share_opens_nothing_elsewhere(app: Flask, tokens: dict[str, str]) -> None:
    for token in tokens.values():
        client = app.test_client()
        assert client.get(f"/{SITE}", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        client.set_cookie(COOKIE, token)
        assert client.get(f"/{SITE}").status_code == 401


def test_where_nobody_signs_in_a_guest_is_a_guest_all_the_same(
    application: Callable[[Access], Flask], tmp_path_factory: pytest.TempPathFactory
) -> None:
    accounts = Accounts(tmp_path_factory.mktemp("open") / "accounts.db")
    client = application(Access(accounts=accounts)).test_client()
    token = accounts.shares.add(SITE, "x", "")
    assert client.get(f"/{SECRET}").status_code == 200
    assert client.get(f"/share/{token}/{SITE}").status_code == 200
    pages = (f"/{SECRET}", f"/{SITE}/shares", f"/{SITE}/saved", "/people")
    for path in (*pages, "/sql?query=SELECT+1", "/?query=SELECT+1", f"/api/v1/stats?site={SITE}&period=7d"):
        assert client.get(f"/share/{token}{path}").status_code == 404, path
    assert client.post(f"/share/{token}/", data="SELECT 1").status_code == 404
    accounts.close()


def test_all_links_of_a_guests_pages_stay_below_the_address(app: Flask, tokens: dict[str, str]) -> None:
    client, root = app.test_client(), f"/share/{tokens['files']}/"
    for view in ("", "/list/page", "/visit/0000000000000006-00000000000003ee", *(f"/{view}" for view in VIEWS)):
        answer = client.get(f"{root}{SITE}{view}?period=7d&theme=dark")
        assert answer.status_code == 200, view
        found = re.findall(r'(?:href|src|action|data-now|data-stream)="([^"]*)"', answer.text)
        inside = [each for each in found if not each.startswith(("#", "data:"))]
        assert [each for each in inside if not each.startswith(root)] == []
        assert 'data-theme="dark"' in answer.text
        periods = [html.unescape(each) for each in inside if "period=30d" in each]
        assert bool(periods) == (view != "/live")  # that is of no period
        assert all("theme=dark" in each for each in periods)
        for word in ("Sign out", "Add another site", "Save these filters", "Annotate", "/saved", "/shares"):
            assert word not in answer.text, (view, word)
    assert ("Export" in client.get(f"{root}{SITE}").text, "Export" in client.get(
        f"/share/{tokens['plain']}/{SITE}").text) == (True, False)  # fmt: skip


def test_an_address_is_kept_from_search_engines_and_from_other_sites(app: Flask, tokens: dict[str, str]) -> None:
    for how in ("plain", "made up"):
        answer = app.test_client().get(f"/share/{tokens[how]}/{SITE}")
        assert answer.headers["X-Robots-Tag"] == "noindex"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "Set-Cookie" not in answer.headers


def test_only_its_origins_show_it_in_a_frame(app: Flask, tokens: dict[str, str]) -> None:
    client = app.test_client()
    for how in ("plain", "files", "framed", "made up"):
        answer = client.get(f"/share/{tokens[how]}/{SITE}", headers=FRAMED)
        allowed = "https://a.example http://[::1]:81" if how == "framed" else "'none'"
        assert answer.status_code == (200 if how == "framed" else 403)
        policy = client.get(f"/share/{tokens[how]}/{SITE}").headers["Content-Security-Policy"]
        assert policy.endswith(f"; frame-ancestors {allowed}")
    assert client.get("/login", headers=FRAMED).status_code == 403
    moved = client.get(f"/share/{tokens['framed']}?theme=dark", headers=FRAMED)
    assert moved.headers["Location"] == f"/share/{tokens['framed']}/{SITE}?theme=dark"
    for mode in ("cors", "no-cors"):
        read = client.get(f"/share/{tokens['framed']}/{SITE}", headers=FRAMED | {"Sec-Fetch-Mode": mode})
        assert read.status_code == 403
    assert client.post(f"/share/{tokens['framed']}/open", headers=FRAMED).status_code == 403


def test_a_password_opens_this_share_and_no_other(app: Flask, accounts: Accounts, tokens: dict[str, str]) -> None:
    accounts.shares.add(SITE, "other lock", "ann", password=PASSWORD)
    other = accounts.shares.add(SECRET, "other lock", "ann", password=PASSWORD)
    client, root = app.test_client(), f"/share/{tokens['locked']}"
    for path in (f"/{SITE}", f"/{SECRET}", "/", f"/{SITE}/now", f"/api/v1/stats?site={SITE}&period=7d"):
        answer = client.get(f"{root}{path}")
        assert (answer.status_code, SITE in answer.text) == (401, False), path
    assert client.post(f"{root}/open", data={"password": "another word"}).status_code == 401
    assert accounts.audit.latest(1)[0][2:] == ("a guest", "127.0.0.1", "did not open the share locked", SITE)
    entered = client.post(f"{root}/open", data={"password": PASSWORD})
    assert (entered.status_code, entered.headers["Location"]) == (303, f"{root}/{SITE}")
    cookie = entered.headers["Set-Cookie"]
    assert f"Path={root}/" in cookie
    assert "HttpOnly" in cookie
    assert client.get(f"{root}/{SITE}").status_code == 200
    assert client.get(f"{root}/{SECRET}").status_code == 404
    value = cookie.partition("=")[2].partition(";")[0]
    client.set_cookie(guests.COOKIE, value, path=f"/share/{other}/")
    assert client.get(f"/share/{other}/{SECRET}").status_code == 401
    assert client.post(f"/share/{tokens['plain']}/open", data={"password": PASSWORD}).status_code == 404
    assert client.post("/open", data={"password": PASSWORD}).status_code == 404
    accounts.shares.remove(SITE, "other lock")
    accounts.shares.remove(SECRET, "other lock")


def test_behind_the_password_a_page_looks_as_its_address_says(
    application: Callable[[Access], Flask], accounts: Accounts, tokens: dict[str, str]
) -> None:
    client, root = application(Access(accounts=accounts)).test_client(), f"/share/{tokens['locked']}"
    door = client.get(f"{root}/{SITE}?theme=dark&lang=de&period=7d")
    (action,) = re.findall(r'action="([^"]*)"', door.text)
    assert ("Öffnen" in door.text, html.unescape(action)) == (True, f"{root}/open?theme=dark&lang=de")
    wrong = client.post(html.unescape(action), data={"password": "another word"})
    assert (wrong.status_code, "Öffnen" in wrong.text, f'action="{action}"' in wrong.text) == (401, True, True)
    entered = client.post(html.unescape(action), data={"password": PASSWORD})
    assert entered.headers["Location"] == f"{root}/{SITE}?theme=dark&lang=de"


def test_who_keeps_guessing_has_to_wait(
    application: Callable[[Access], Flask], accounts: Accounts, tokens: dict[str, str]
) -> None:
    client = application(Access(accounts=accounts)).test_client()
    for _ in range(WRONG[0].amount):
        assert client.post(f"/share/{tokens['locked']}/open", data={"password": "x"}).status_code == 401
    answer = client.post(f"/share/{tokens['locked']}/open", data={"password": PASSWORD})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert client.get(f"/share/{tokens['plain']}/{SITE}").status_code == 200


def test_an_admin_makes_lists_and_withdraws_a_share(signed_in: Callable[[str], FlaskClient], app: Flask) -> None:
    admin, guest = signed_in("site-admin"), app.test_client()
    sent = {"deed": "add", "share": "The board", "days": "7", "files": "on", "origins": "https://A.example/ "}
    answer = admin.post(f"/{SITE}/shares", data=sent)
    address = re.search(r'<pre id="address">http://localhost(.*?)</pre>', answer.text)
    assert address is not None
    assert f'src="http://localhost{address[1]}?theme=system"' in html.unescape(answer.text)
    assert guest.get(address[1]).status_code == 200
    page = admin.get(f"/{SITE}/shares").text
    assert "by site-admin; used" in page
    assert "with files; in frames of https://a.example" in page
    assert address[1].split("/")[2] not in page
    again = admin.post(f"/{SITE}/shares", data=sent)
    assert (again.status_code, "already" in again.text) == (400, True)
    assert admin.post(f"/{SITE}/shares", data={"deed": "remove", "share": "The board"}).status_code == 303
    assert guest.get(address[1]).status_code == 404
    assert admin.post(f"/{SITE}/shares", data={"deed": "remove", "share": "The board"}).status_code == 400


@pytest.mark.parametrize(
    "origin",
    ["*", "https://*.example.com", "https://a.example/path", "a.example", "'self'", "https://a;b", "https://a b;c",
     "javascript:alert(1)", "https://", "https://a.example\n'self'", "https://ä.example", "https://u@a.example"],
)  # fmt: skip
def test_what_is_no_origin_makes_no_share(accounts: Accounts, origin: str) -> None:
    with pytest.raises(AccountRefused, match="is no origin"):
        accounts.shares.add(SITE, "x", "ann", origins=[origin])


def test_a_frame_and_a_password_do_not_go_together(accounts: Accounts) -> None:
    with pytest.raises(AccountRefused, match="has no password"):
        accounts.shares.add(SITE, "x", "ann", origins=["https://a.example"], password=PASSWORD)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6),
    st.integers(min_value=0),
    st.sampled_from(["", SITE, SECRET]),
)
def test_no_parameter_tells_a_guest_of_another_site(
    app: Flask, tokens: dict[str, str], parameters: dict[str, str], which: int, site: str
) -> None:
    every = rules(app)
    rule, method = every[which % len(every)]
    path = path_of(rule, site or SITE).partition("?")[0]
    sent = parameters | ({"site": site} if site else {})
    how = {"query_string": sent} | ({"data": sent} if method != "GET" else {})
    answer = ask(app.test_client(), f"/share/{tokens['files']}{path}", method=method, **how)
    assert answer.status_code < 500, answer.text
    if not any(CANARY in value for value in sent.values()):  # what was sent may be told back
        assert CANARY not in answer.text
