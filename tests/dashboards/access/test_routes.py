"""Every route, by every method, for everybody, for every site: walked from the application's own map of addresses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

import dashboards
from dashboards.access import Access
from dashboards.access.needs import NEEDS, OPEN, Over
from stores.accounts import Accounts
from stores.accounts.roles import Role
from tests.dashboards.access.conftest import ALL, CANARY, PEOPLE, SECRET, SITE, TOKENS

# What anybody may ask for without signing in; /control has a token of its own.
OPEN_TO_ALL = {
    "static", "health.live", "health.ready", "login.show", "login.enter", "login.leave", "control.control",
    "provider.leave", "provider.come_back", "clickhouse.ping", "guests.enter", "reports.ask", "reports.unsubscribe",
}  # fmt: skip
# What is read by another method than GET.
READ_BY_POST = {"sql.ask", "clickhouse.ask"}
# A value for each part of an address that is no site; a route with another part needs one here.
PARTS = {
    "name": "page", "page": "funnel", "filename": "board.css", "verb": "ping", "view": "events", "form": "csv",
    "key": "none",
}  # fmt: skip
# A visit of each site that has any.
VISIT_OF = {
    site: next(f"{visit.visitor:016x}-{1000 + place:016x}" for place, visit in enumerate(ALL) if visit.site == site)
    for site in (SITE, "other.example", SECRET)
}
RANK = {None: 0, Role.VIEWER: 1, Role.ADMIN: 2, Role.OWNER: 3}
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Referer": "https://evil.example/x"},
]


def rules(app: Flask) -> list[tuple[Rule, str]]:
    """Every route with each of its methods."""
    found = list(app.url_map.iter_rules())
    return [(rule, method) for rule in found for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]


def path_of(rule: Rule, site: str) -> str:
    """An address of the route, for a site if it is of one."""
    parts = PARTS | {"site": site, "visit": VISIT_OF.get(site, VISIT_OF[SITE])}
    built = rule.build({name: parts[name] for name in rule.arguments - set(rule.defaults or {})})
    assert built is not None
    query = {} if "site" in rule.arguments else {"site": site}
    return f"{built[1]}?{urlencode(query | {'period': '7d', 'by': 'page', 'id': parts['visit']})}"


def ask(client: FlaskClient, path: str, **how: Any) -> TestResponse:
    """The answer, read to its end, since that of a file stays open otherwise."""
    answer = client.open(path, **how)
    answer.get_data()
    answer.close()
    return answer


def role_of(who: str, site: str) -> int:
    """The rank of somebody's role for a site or "*", told apart from the product's own way of adding them up."""
    return max(RANK[PEOPLE[who].get(site)], RANK[PEOPLE[who].get("*")])


def test_every_route_has_a_line_and_every_line_a_route(app: Flask) -> None:
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    assert endpoints - NEEDS.keys() == set(), "these routes need a line in dashboards/access/needs.py"
    assert NEEDS.keys() - endpoints == set(), "these lines of dashboards/access/needs.py have no route"


def test_what_is_open_is_told_here_too(app: Flask) -> None:
    assert {endpoint for endpoint, need in NEEDS.items() if need is OPEN} == OPEN_TO_ALL
    for rule, method in rules(app):
        need = NEEDS[rule.endpoint]
        if "site" in rule.arguments:
            assert need.over is Over.SITE, rule.endpoint
        if method != "GET" and rule.endpoint not in OPEN_TO_ALL | READ_BY_POST:
            assert RANK[need.role] > RANK[Role.VIEWER] or need.scope == "", f"{rule.endpoint} changes something"


@pytest.mark.parametrize("who", PEOPLE)
def test_a_statement_at_the_address_of_the_home_page_needs_what_sql_needs(
    signed_in: Callable[[str], FlaskClient], who: str
) -> None:
    answer = ask(signed_in(who), "/?query=SELECT+count()+FROM+events")
    assert answer.status_code == (200 if role_of(who, "*") else 403)
    if answer.status_code == 403:
        assert answer.headers["X-ClickHouse-Exception-Code"] == "497"


@pytest.mark.parametrize("who", PEOPLE)
def test_who_may_do_what(app: Flask, signed_in: Callable[[str], FlaskClient], who: str) -> None:
    client = signed_in(who)
    for rule, method in rules(app):
        need = NEEDS[rule.endpoint]
        if need is OPEN:
            continue
        for site in (SITE, "other.example", SECRET):
            answer = ask(client, path_of(rule, site), method=method)
            case = (who, method, rule.rule, site, answer.status_code)
            if need.over is Over.SITE and not role_of(who, site):
                unknown = ask(client, path_of(rule, "unknown.example"), method=method)
                assert answer.status_code == 404, case
                assert answer.text.replace(site, "unknown.example") == unknown.text, case
                assert set(answer.headers.keys()) == set(unknown.headers.keys()), case
            elif need.over is Over.ANYTHING or role_of(who, site if need.over is Over.SITE else "*") >= RANK[need.role]:
                assert answer.status_code not in (401, 403, 404), case
                assert answer.status_code < 500, case
            else:
                assert answer.status_code == 403, case
                assert CANARY not in answer.text, case
        if need.over is Over.ANYTHING and not role_of(who, SECRET):
            assert SECRET not in ask(client, path_of(rule, SITE), method=method).text


@pytest.mark.parametrize("name", TOKENS)
def test_what_a_token_may_do(app: Flask, secrets: dict[str, str], name: str) -> None:
    scopes, of = TOKENS[name]
    client, bearer = app.test_client(), {"Authorization": f"Bearer {secrets[name]}"}
    for rule, method in rules(app):
        need = NEEDS[rule.endpoint]
        if need is OPEN:
            continue
        for site in (SITE, SECRET):
            answer = ask(client, path_of(rule, site), method=method, headers=bearer)
            case = (name, method, rule.rule, site, answer.status_code)
            far = {Over.ANYTHING: True, Over.SITE: of in ("*", site), Over.ALL_SITES: of == "*"}[need.over]
            if need.over is Over.SITE and not far:
                assert answer.status_code == 404, case
            elif not far or need.scope not in scopes or need.role is Role.OWNER:
                assert answer.status_code == 403, case
            else:
                assert answer.status_code not in (401, 403, 404), case
                assert answer.status_code < 500, case
            if of == SITE and CANARY not in site:
                assert CANARY not in answer.text, case


def test_every_change_is_in_the_log(
    app: Flask, accounts: Accounts, signed_in: Callable[[str], FlaskClient]
) -> None:
    client = signed_in("owner")
    for rule, method in rules(app):
        if method == "GET" or rule.endpoint in OPEN_TO_ALL | READ_BY_POST:
            continue
        before = accounts.audit.latest(1)
        answer = ask(client, path_of(rule, SITE), method=method, data={"domain": "new.example"})
        after = accounts.audit.latest(1)
        assert (after != before) == (answer.status_code < 400), rule.rule
        if after != before:
            assert (after[0].who, after[0].address) == ("owner", "127.0.0.1")


def test_without_signing_in_nothing_is_told(app: Flask, signed_in: Callable[[str], FlaskClient]) -> None:
    client = signed_in("")
    for rule, method in rules(app):
        for site in (SITE, "unknown.example"):
            answer = ask(client, path_of(rule, site), method=method)
            if rule.endpoint in OPEN_TO_ALL:
                assert answer.status_code != 403, rule.rule
                continue
            assert answer.status_code == 401, (method, rule.rule)
            assert SECRET not in answer.text
            browser = ask(client, path_of(rule, site), method=method, headers={"Accept": "text/html"})
            assert (browser.status_code, "/login?next=" in browser.headers.get("Location", "")) in (
                ((303, True),) if method == "GET" else ((401, False),)
            )
    assert client.get("/no/such/page").status_code == 401


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_no_page_of_another_site_has_a_user_change_anything(
    app: Flask, signed_in: Callable[[str], FlaskClient], headers: dict[str, str]
) -> None:
    client = signed_in("owner")
    for rule, method in rules(app):
        if method == "GET":
            continue
        answer = ask(client, path_of(rule, SITE), method=method, headers=headers)
        assert answer.status_code == 403, (method, rule.rule)
        assert "another site" in answer.text
    assert client.get(f"/{SITE}").status_code == 200


def test_a_route_without_a_line_is_nobodys(
    application: Callable[[Access], Flask], accounts: Accounts, signed_in: Callable[[str], FlaskClient]
) -> None:
    for access in (Access(), Access(accounts=accounts, secret="s")):
        new = application(access)
        routes = Blueprint("new", __name__)
        routes.get("/new", endpoint="one")(lambda: CANARY)
        routes.get("/<site>/new", endpoint="of_a_site")(lambda site: CANARY)
        new.register_blueprint(routes)
        for path in ("/new", f"/{SITE}/new"):
            answer = new.test_client().get(path, headers={"Authorization": "Bearer s"})
            assert (answer.status_code, CANARY in answer.text) == (403, False)
            assert "needs.py" in answer.text


def test_known_sites_are_those_that_one_may_see(signed_in: Callable[[str], FlaskClient]) -> None:
    for who in PEOPLE:
        client = signed_in(who)
        seen = {site for site in (SITE, "other.example", "quiet.example", SECRET) if role_of(who, site)}
        for path in ("/", "/unknown.example", "/api/v1/stats", "/api/v1/stats?site=unknown.example"):
            text = client.get(path, follow_redirects=True).text
            for site in {SITE, "other.example", "quiet.example", SECRET} - seen:
                assert site not in text.replace("footfall site add example.com", ""), (who, path)
        page = client.get("/").text
        assert ('name="domain"' in page) == (role_of(who, "*") >= 2 and len(seen) != 1)


SOURCES = "".join(path.read_text(encoding="utf-8") for path in Path(dashboards.__file__).parent.rglob("*.py"))
NAMES = sorted({*re.findall(r'(?:args|arguments|form)(?:\.get\(|\[|, )"(\w+)"', SOURCES), "from", "to", "param_site"})
VALUES = st.sampled_from([
    SITE, SECRET, "other.example", CANARY, "7d", "30d", "today", "all", "2026-03-01", "2026-03-31", "page", "source",
    "visitors", "1", "2", "-1", "day", "hour", "UTC", "is", "contains", '[["is","page",["/"]]]',
    VISIT_OF[SITE], VISIT_OF[SECRET], "visitor", f'["/{CANARY}"]',
    f'[["contains","page",["{CANARY}"]]]', f'[["is_not","source",["{SITE}"]],["contains","event",["a"]]]',
]) | st.text(max_size=30)  # fmt: skip


def test_the_names_of_parameters_are_found() -> None:
    assert {"site", "period", "filters", "metric", "search", "by", "limit", "interval", "timezone"} <= set(NAMES)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6),
    st.integers(min_value=0),
    st.sampled_from(["", SITE, SECRET]),
)
def test_no_parameter_tells_a_viewer_of_another_site(
    app: Flask, signed_in: Callable[[str], FlaskClient], parameters: dict[str, str], which: int, site: str
) -> None:
    client = signed_in("site-viewer")
    every = rules(app)
    rule, method = every[which % len(every)]
    path = path_of(rule, site or SITE).partition("?")[0]
    sent = parameters | ({"site": site} if site else {})
    how = {"query_string": sent} | ({"data": sent} if method != "GET" else {})
    answer = ask(client, path, method=method, **how)
    assert answer.status_code < 500, answer.text
    said = answer.text
    for value in sent.values():  # what was sent may be told back
        if CANARY in value:
            return
    assert CANARY not in said
