"""Tokens of programs, and the audit log, in a real file."""

from __future__ import annotations

from pathlib import Path

import pytest

from stores.accounts import Accounts
from stores.accounts import audit as log
from stores.accounts.roles import ALL, AccountRefused, Role
from stores.accounts.tokens import PREFIX
from tests.stores.accounts.conftest import Clock

DAY = 86_400_000


def test_a_token_opens_until_it_is_removed_and_only_its_hash_is_stored(accounts: Accounts, tmp_path: Path) -> None:
    assert accounts.tokens.of_secret("x") is None
    secret = accounts.tokens.add("grafana", ["read", "sql"], ALL)
    assert secret.startswith(PREFIX)
    assert len(secret) > 40
    found = accounts.tokens.of_secret(secret)
    assert found is not None
    assert (found.name, found.scopes, found.grants) == ("grafana", {"read", "sql"}, {ALL: Role.VIEWER})
    for wrong in (secret[:-1], secret + "x", secret.removeprefix(PREFIX), "", "grafana", "\udcff"):
        assert accounts.tokens.of_secret(wrong) is None
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert secret.removeprefix(PREFIX).encode() not in stored
    assert accounts.tokens.add("other", ["write"], "example.com") != secret
    accounts.tokens.remove("grafana")
    assert accounts.tokens.of_secret(secret) is None
    assert [(token.name, dict(token.grants)) for token in accounts.tokens.all()] == [
        ("other", {"example.com": Role.ADMIN})
    ]


def test_a_token_runs_out_and_tells_to_the_minute_when_it_was_used(accounts: Accounts, clock: Clock) -> None:
    secret = accounts.tokens.add("grafana", ["read"], ALL, days=2)
    begun = clock.now

    def used() -> int | None:
        assert accounts.tokens.of_secret(secret) is not None
        return accounts.tokens.all()[0].used

    assert accounts.tokens.all()[0].used is None
    assert used() == begun
    clock.now += 59_999
    assert used() == begun
    clock.now += 1
    assert used() == clock.now
    clock.now = begun + 2 * DAY - 1
    assert used() is not None
    clock.now += 1
    assert accounts.tokens.of_secret(secret) is None
    assert [token.name for token in accounts.tokens.all()] == ["grafana"]


@pytest.mark.parametrize(
    ("name", "scopes", "words"),
    [
        ("", ["read"], "no name of a token"),
        ("x" * 101, ["read"], "no name of a token"),
        ("a\nb", ["read"], "no name of a token"),
        ("x", [], "needs a scope"),
        ("x", ["read", "owner"], "needs a scope"),
        ("there", ["read"], "already"),
    ],
)
def test_what_is_no_token(accounts: Accounts, name: str, scopes: list[str], words: str) -> None:
    accounts.tokens.add("there", ["read"], ALL)
    with pytest.raises(AccountRefused, match=words):
        accounts.tokens.add(name, scopes, ALL)
    with pytest.raises(AccountRefused, match="no token"):
        accounts.tokens.remove("another")


def test_the_log_is_read_backwards_and_the_oldest_make_room(
    accounts: Accounts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accounts.audit.latest(10) == []
    monkeypatch.setattr(log, "MOST", 5)
    for number in range(8):
        clock.now += 1
        accounts.audit.add("ann", "192.0.2.1", "did", f"{number}")
    latest = accounts.audit.latest(3)
    assert [(entry.target, entry.at) for entry in latest] == [(f"{7 - at}", clock.now - at) for at in range(3)]
    assert [entry.target for entry in accounts.audit.latest(10, latest[-1].id)] == ["4", "3"]
    accounts.audit.add("x" * 1000, "\ud800", "did", "")
    assert (len(accounts.audit.latest(1)[0].who), accounts.audit.latest(1)[0].address) == (500, "?")
