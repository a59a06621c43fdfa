"""Who is let in at the dashboards port: names, pages of others, the token. Over real HTTP, against a real `up`."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.e2e.harness import SITE, Up, fetch, footfall, running

TOKEN = "correct horse battery staple = 7"  # with what a header's parser may trip over
# Every kind of route: pages, API, SQL, the form, control, files, and what is not there.
ROUTES = [
    ("GET", "/"),
    ("GET", f"/{SITE}"),
    ("GET", f"/{SITE}/now"),
    ("GET", f"/api/v1/stats?site={SITE}&period=7d"),
    ("GET", "/sql"),
    ("POST", "/sql"),
    ("POST", "/sites"),
    ("GET", "/a/b/c"),
    ("GET", "/metrics"),
]
ALWAYS_OPEN = [("GET", "/live"), ("GET", "/ready")]
FOREIGN_HOSTS = (
    "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.7:8421", "0.0.0.0", "[fe80::1]",
    "2130706433",
    "user@localhost", "localhost/evil", "localhost,evil.example", "localhost:x", "",
)  # fmt: skip
OWN_HOSTS = ("localhost", "LocalHost:9", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8421")
FOREIGN_PAGES: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Referer": "https://evil.example/page"},
    {"Referer": "http://[evil/"},
]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """On loopback, without a token."""
    with running(tmp_path_factory.mktemp("walls") / "data", "--site", SITE) as started:
        yield started


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Listening everywhere, with a token."""
    folder = tmp_path_factory.mktemp("closed") / "data"
    with running(folder, "--site", SITE, "--host", "0.0.0.0", env={"FOOTFALL_DASHBOARDS_TOKEN": TOKEN}) as started:
        yield started


def body_of(method: str, path: str) -> bytes | None:
    return {"/sql": b"SELECT 1", "/sites": b"domain=new.example"}.get(path, b"{}") if method == "POST" else None


def asked(up: Up, method: str, path: str, headers: dict[str, str], peer: str = "127.0.0.1") -> tuple[int, str, str]:
    """Status, words and Location, asked from an address of loopback."""
    address = urlsplit(up.dashboards)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60, source_address=(peer, 0))
    kind = {"Content-Type": "application/x-www-form-urlencoded"} if path in ("/sites", "/login") else {}
    try:
        connection.request(method, path, body_of(method, path), kind | headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.getheader("Location", "")
    finally:
        connection.close()


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_name_is_answered_nowhere(up: Up, host: str) -> None:
    for method, path in [*ROUTES, ("POST", "/control/ping"), ("GET", "/static/board.css"), ("GET", "/login")]:
        if path == "/metrics" and host in ("10.0.0.7:8421", "0.0.0.0", "[fe80::1]"):
            continue
        status, words, _ = asked(up, method, path, {"Host": host})
        assert status in (400, 421), (method, path, words)
        if status == 421:
            assert "--dashboards-url" in words
    for method, path in ALWAYS_OPEN:
        assert asked(up, method, path, {"Host": host})[0] in (200, 400, 421 if host else 400), path


def test_probes_are_answered_under_any_name_and_metrics_under_any_address(up: Up) -> None:
    for path in ("/live", "/ready"):
        for host in ("evil.example", "10.0.0.7:8421", "localhost"):
            assert asked(up, "GET", path, {"Host": host})[0] == 200
    assert asked(up, "GET", "/metrics", {"Host": "10.0.0.7:8421"})[0] == 200


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_loopback_under_all_its_names(up: Up, host: str) -> None:
    assert asked(up, "GET", f"/{SITE}", {"Host": host})[0] == 200
    assert asked(up, "POST", "/sql", {"Host": host, "Origin": f"http://{host}"})[:2] == (200, "1\n")


@pytest.mark.parametrize("headers", FOREIGN_PAGES, ids=str)
@pytest.mark.parametrize("path", ["/sql", "/sites", "/control/sql", "/login", "/logout"])
def test_a_page_of_somebody_else_changes_and_asks_nothing(up: Up, path: str, headers: dict[str, str]) -> None:
    status, words, _ = asked(up, "POST", path, headers)
    assert status == 403, words
    assert "another site" in words
    assert f"{SITE}" in (up.data / "sites.toml").read_text(encoding="utf-8")
    assert "new.example" not in (up.data / "sites.toml").read_text(encoding="utf-8")


def test_what_is_no_foreign_page_passes(up: Up) -> None:
    port = urlsplit(up.dashboards).port
    for headers in (
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": f"http://127.0.0.1:{port}"},
        {"Referer": f"http://127.0.0.1:{port}/{SITE}"},
    ):
        assert asked(up, "POST", "/sql", headers)[:2] == (200, "1\n"), headers


def test_a_foreign_page_may_link_here_but_embeds_nothing(up: Up) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert asked(up, "GET", f"/{SITE}", link)[0] == 200
    for dest, mode in (("image", "no-cors"), ("script", "no-cors"), ("empty", "cors"), ("iframe", "navigate")):
        embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
        assert asked(up, "GET", f"/api/v1/stats?site={SITE}&period=7d", embedded)[0] == 403, dest


@pytest.mark.parametrize(
    "line",
    [
        ("up", "--host", "0.0.0.0"),
        ("up", "--dashboards-host", "::"),
        ("dashboards", "--host", "stats.example.com", "--warehouse", "clickhouse://127.0.0.1:9/none"),
    ],
    ids=" ".join,
)
def test_nothing_starts_beyond_loopback_without_a_token(tmp_path: Path, line: tuple[str, ...]) -> None:
    data = tmp_path / "data"
    done = footfall(*line, "--data", str(data))
    assert done.returncode == 2, done.stderr
    for words in ("FOOTFALL_DASHBOARDS_TOKEN", "--dashboards-password-file", "--dashboards-host 127.0.0.1"):
        assert words in done.stderr
    assert not data.exists()


def test_tracking_may_listen_everywhere_while_the_dashboards_stay_on_loopback(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--host", "0.0.0.0", "--dashboards-host", "127.0.0.1", "--site", SITE) as up:
        assert up.dashboards.startswith("http://127.0.0.1:")
        assert up.collect()["accepted"] == 1
        up.shows({"pageviews": 1})


def test_with_a_token_nothing_is_shown_without(closed: Up) -> None:
    assert closed.collect()["accepted"] == 1  # tracking is for everybody
    for method, path in ROUTES:
        status, words, _ = asked(closed, method, path, {})
        assert status == 401, path
        assert "token" in words and TOKEN not in words
        assert SITE not in words
    for method, path in ALWAYS_OPEN:
        assert asked(closed, method, path, {})[0] == 200
    seen = asked(closed, "GET", f"/{SITE}?period=7d", {"Accept": "text/html"})
    assert (seen[0], seen[2]) == (303, f"/login?next=/{SITE}?period%3D7d")
    assert SITE not in asked(closed, "GET", "/login", {})[1]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_each_way_to_show_the_token(closed: Up) -> None:
    for headers in (
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer  {TOKEN}"},
        basic("grafana", TOKEN),
        basic("", TOKEN),
        {"X-ClickHouse-User": "default", "X-ClickHouse-Key": TOKEN},
    ):
        assert asked(closed, "POST", "/sql", headers)[:2] == (200, "1\n"), headers
        assert asked(closed, "GET", "/metrics", headers)[0] == 200


def test_wrong_tokens_are_refused_and_then_not_looked_at(closed: Up) -> None:
    wrong = [
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer ü\xff"},
        {"Authorization": "Basic !"},
        basic(TOKEN, ""),
        {"X-ClickHouse-Key": ""},
    ]
    for headers in wrong:
        assert asked(closed, "POST", "/sql", headers, "127.0.0.9")[0] == 401, headers
    statuses = [asked(closed, "POST", "/sql", wrong[0], "127.0.0.9")[0] for _ in range(30)]
    assert statuses[-1] == 429
    assert asked(closed, "POST", "/sql", {"Authorization": f"Bearer {TOKEN}"}, "127.0.0.9")[0] == 429
    assert asked(closed, "POST", "/login", {}, "127.0.0.9")[0] == 429
    assert asked(closed, "POST", "/sql", {"Authorization": f"Bearer {TOKEN}"}, "127.0.0.10")[0] == 200


def sign_in(up: Up, token: str, **more: str) -> tuple[int, dict[str, str]]:
    form = urlencode({"token": token} | more).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    status, named, _ = fetch(f"http://127.0.0.1:{urlsplit(up.dashboards).port}/login", form, headers)
    return status, named


def test_the_login_gives_a_cookie_that_is_not_the_token_and_no_other_lets_in(closed: Up) -> None:
    assert sign_in(closed, "wrong")[0] == 401
    status, named = sign_in(closed, TOKEN, next=f"/{SITE}")
    assert (status, named["location"]) == (303, f"/{SITE}")
    cookie, *attributes = named["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes) and "Secure" not in attributes
    assert TOKEN.split()[0] not in cookie
    page = {"Accept": "text/html"}
    shown = asked(closed, "GET", f"/{SITE}", page | {"Cookie": cookie})
    assert shown[0] == 200 and "Sign out" in shown[1]
    name, _, value = cookie.partition("=")
    flipped = [value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :] for at in range(0, len(value) - 1, 3)]
    for tampered in (*flipped, value.partition(".")[0], "", TOKEN, f"{value}x", "." + value):
        assert asked(closed, "GET", f"/{SITE}", {"Cookie": f"{name}={tampered}"})[0] == 401, tampered
    _, left, _ = fetch(f"http://127.0.0.1:{urlsplit(closed.dashboards).port}/logout", b"", {"Cookie": cookie})
    assert "Max-Age=0" in left["set-cookie"]


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/\n/evil.example", "x"]
)
def test_the_login_leads_nowhere_else(closed: Up, target: str) -> None:
    assert sign_in(closed, TOKEN, next=target)[1]["location"] == "/"


def test_commands_beside_it_need_no_token(closed: Up) -> None:
    done = footfall("sql", "SELECT 1 AS one", "--json", "--data", str(closed.data))
    assert (done.returncode, json.loads(done.stdout)) == (0, {"one": 1}), done.stderr
    status, _, _ = asked(closed, "POST", "/control/sql", {"Authorization": f"Bearer {TOKEN}"})
    assert status == 401


def test_a_password_file_under_an_address_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("pässwörd mit Leerzeichen\n", encoding="utf-8")
    url = "https://Stats.Example.com/"
    with running(
        tmp_path / "data", "--dashboards-password-file", str(file), "--dashboards-url", url, "--site", SITE
    ) as up:
        assert up.ready["dashboards"] == "https://Stats.Example.com"
        here = json.loads((up.data / "owner.json").read_text(encoding="utf-8"))["url"]
        form = urlencode({"token": "pässwörd mit Leerzeichen"}).encode()
        headers = {
            "Host": "stats.example.com",
            "Origin": "https://stats.example.com",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        status, named, _ = fetch(f"{here}/login", form, headers)
        assert status == 303 and "; Secure" in named["set-cookie"]
        cookie = named["set-cookie"].partition(";")[0]
        assert fetch(f"{here}/{SITE}", None, {"Host": "stats.example.com", "Cookie": cookie})[0] == 200
        encoded = base64.b64encode("x:pässwörd mit Leerzeichen".encode()).decode()
        assert fetch(f"{here}/sql", b"SELECT 1", {"Authorization": f"Basic {encoded}"})[0] == 200
        assert fetch(f"{here}/sql", b"SELECT 1", {"Cookie": cookie, "Origin": "http://stats.example.com"})[0] == 403
        assert "ässwör" not in up.said()


def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for flags, env, words in (
        (("--dashboards-password-file", str(tmp_path / "none")), {}, "cannot be read: No such file"),
        (("--dashboards-password-file", str(empty)), {}, "as its only line"),
        (("--dashboards-password-file", str(empty)), {"FOOTFALL_DASHBOARDS_TOKEN": "x"}, "keep one"),
        ((), {"FOOTFALL_DASHBOARDS_TOKEN": "a\nb"}, "line breaks"),
        (("--dashboards-url", "stats.example.com"), {}, "is no http:// or https:// address"),
    ):
        done = footfall("up", "--data", str(tmp_path / "data"), *flags, env=env)
        assert done.returncode == 2 and words in done.stderr, done.stderr
