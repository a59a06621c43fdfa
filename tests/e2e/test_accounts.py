"""Accounts over a running `footfall up`: the first user closes the doors at once, and each sees their own sites."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.e2e.harness import SITE, Up, fetch, footfall, running

OTHER = "other.example"
TOKEN = "a token of the settings, long enough"
PASSWORD = "correct horse battery staple"
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """On loopback with a token, and with an owner."""
    with with_a_token(tmp_path_factory.mktemp("accounts") / "data") as started:
        command(started, "user", "add", "ann@example.com", "--role", "owner", "--password-file", "-", input=PASSWORD)
        yield started


def with_a_token(folder: Path) -> AbstractContextManager[Up]:
    return running(folder, "--site", SITE, "--site", OTHER, env={"FOOTFALL_DASHBOARDS_TOKEN": TOKEN})


def command(up: Up, *words: str, **options: str) -> dict[str, object]:
    done = footfall(*words, "--data", str(up.data), "--json", **options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def get(up: Up, path: str, **headers: str) -> tuple[int, str]:
    status, _, body = fetch(up.dashboards + path, None, headers)
    return status, body.decode()


def sign_in(up: Up, name: str, password: str) -> tuple[int, str]:
    """The status, and the cookie if there is one."""
    form = urlencode({"name": name, "password": password}).encode()
    status, named, _ = fetch(f"{up.dashboards}/login", form, FORM)
    return status, named.get("set-cookie", "").partition(";")[0]


def test_the_first_user_closes_the_doors_at_once(tmp_path: Path) -> None:
    with with_a_token(tmp_path / "data") as up:
        _the_first_user_closes_the_doors(up)


def _the_first_user_closes_the_doors(up: Up) -> None:
    old = urlencode({"token": TOKEN}).encode()
    _, named, _ = fetch(f"{up.dashboards}/login", old, FORM)
    cookie = named["set-cookie"].partition(";")[0]
    assert get(up, f"/{SITE}", Cookie=cookie)[0] == 200
    refused = footfall("user", "add", "bob", "--role", "viewer", "--data", str(up.data))
    assert refused.returncode == 1
    assert "first user has to be an owner" in refused.stderr
    made = command(up, "user", "add", "Ann@example.com", "--role", "owner")
    assert get(up, f"/{SITE}", Cookie=cookie)[0] == 401
    assert fetch(f"{up.dashboards}/login", old, FORM)[0] == 401
    assert get(up, f"/{SITE}", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert sign_in(up, "ann@example.com", "not her password")[0] == 401
    status, cookie = sign_in(up, "ann@example.com", str(made["password"]))
    assert status == 303
    status, page = get(up, "/", Cookie=cookie)
    assert status == 200
    assert SITE in page
    assert OTHER in page
    assert cookie.partition("=")[2] not in up.said()
    assert str(made["password"]) not in up.said()


def test_a_viewer_of_a_site_knows_of_no_other_until_a_role_is_given(up: Up) -> None:
    command(up, "user", "add", "bob", "--role", "viewer", "--site", SITE, "--password-file", "-", input=PASSWORD)
    _, cookie = sign_in(up, "bob", PASSWORD)
    status, page = get(up, f"/{SITE}", Cookie=cookie)
    assert (status, OTHER in page) == (200, False)
    seen = get(up, f"/{OTHER}", Cookie=cookie)
    unknown = get(up, "/nothing.example", Cookie=cookie)
    assert seen == (404, unknown[1].replace("nothing.example", OTHER))
    api = f"/api/v1/stats?site={OTHER}&period=7d"
    assert get(up, api, Cookie=cookie)[0] == 404
    assert fetch(f"{up.dashboards}/sql", b"SELECT count() FROM events", {"Cookie": cookie})[0] == 403
    assert fetch(f"{up.dashboards}/sites", b"domain=new.example", FORM | {"Cookie": cookie})[0] == 403
    assert "new.example" not in (up.data / "sites.toml").read_text(encoding="utf-8")
    given = command(up, "user", "role", "bob", "--role", "viewer", "--site", OTHER)
    assert given["roles"] == {SITE: "viewer", OTHER: "viewer"}
    assert get(up, api, Cookie=cookie)[0] == 200
    command(up, "user", "role", "bob", "--role", "none", "--site", OTHER)
    assert get(up, api, Cookie=cookie)[0] == 404
    assert command(up, "user", "no-code", "bob")["code"] is False
    command(up, "user", "password", "bob")
    assert get(up, f"/{SITE}", Cookie=cookie)[0] == 401
    assert sign_in(up, "bob", PASSWORD)[0] == 401
    command(up, "user", "remove", "bob")


def test_a_token_of_a_program_and_the_log_of_all_that(up: Up) -> None:
    made = command(up, "token", "add", "grafana", "--scope", "read", "--site", SITE)
    bearer = f"Bearer {made['secret']}"
    assert get(up, f"/api/v1/stats?site={SITE}&period=7d", Authorization=bearer)[0] == 200
    assert get(up, f"/api/v1/stats?site={OTHER}&period=7d", Authorization=bearer)[0] == 404
    status, _, words = fetch(f"{up.dashboards}/sql", b"SELECT 1", {"Authorization": bearer})
    assert (status, b"has not the scope 'sql'" in words) == (403, True)
    all_sites = command(up, "token", "add", "clickhouse", "--scope", "sql", "--days", "1")
    key = {"X-ClickHouse-Key": str(all_sites["secret"])}
    assert fetch(f"{up.dashboards}/sql", b"SELECT 1", key)[2] == b"1\n"
    listed = footfall("token", "list", "--json", "--data", str(up.data)).stdout.splitlines()
    assert [json.loads(line)["token"] for line in listed] == ["clickhouse", "grafana"]
    assert all(json.loads(line)["used"] for line in listed)
    command(up, "token", "remove", "grafana")
    assert get(up, f"/api/v1/stats?site={SITE}&period=7d", Authorization=bearer)[0] == 401
    assert [sign_in(up, "ann@example.com", word)[0] for word in ("not her password", PASSWORD)] == [401, 303]
    command(up, "user", "add", "dora", "--role", "viewer")
    command(up, "user", "remove", "dora")
    lines = footfall("audit-log", "--json", "--data", str(up.data)).stdout.splitlines()
    deeds = [json.loads(line) for line in lines]
    assert {"signed in", "did not sign in", "removed a token", "removed a user", "sent a wrong token"} <= {
        deed["deed"] for deed in deeds
    }
    assert {deed["address"] for deed in deeds if deed["deed"] == "signed in"} == {"127.0.0.1"}
    assert str(made["secret"]) not in "".join(lines) + up.said()


def test_other_commands_need_no_account(up: Up) -> None:
    assert command(up, "sql", "SELECT 1 AS one") == {"one": 1}


def test_what_cannot_be_is_told(up: Up) -> None:
    for words, said in (
        (("user", "remove", "ann@example.com"), "last owner"),
        (("user", "remove", "nobody"), "no user 'nobody'"),
        (("user", "add", "carl", "--role", "viewer", "--site", "unknown.example"), "is not counted"),
        (("user", "add", "carl", "--role", "owner", "--site", SITE), "make it an admin"),
        (("user", "add", "a b", "--role", "viewer"), "is no user's name"),
        (("user", "add", "ann@example.com", "--role", "viewer"), "already"),
    ):
        done = footfall(*words, "--data", str(up.data))
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    short = footfall("user", "password", "ann@example.com", "--password-file", "-", "--data", str(up.data), input="x")
    assert (short.returncode, "12 to 1000 characters" in short.stderr) == (1, True)


def test_an_owner_is_enough_beyond_loopback(tmp_path: Path) -> None:
    data = tmp_path / "data"
    refused = footfall("up", "--data", str(data), "--host", "0.0.0.0")
    assert (refused.returncode, "footfall user add NAME --role owner" in refused.stderr) == (2, True)
    assert footfall("user", "add", "ann", "--role", "owner", "--data", str(data)).returncode == 0
    with running(data, "--site", SITE, "--host", "0.0.0.0") as up:
        port = urlsplit(up.dashboards).port
        assert fetch(f"http://127.0.0.1:{port}/{SITE}")[0] == 401
        assert fetch(f"http://127.0.0.1:{port}/live")[0] == 200
        assert (up.data / "accounts.db").stat().st_mode & 0o077 == 0
