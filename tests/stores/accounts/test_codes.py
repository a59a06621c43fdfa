"""The second factor, against an app that is pyotp with the same clock."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyotp
import pytest

from stores.accounts import Accounts, codes
from stores.accounts import file as accounts_file
from stores.accounts.roles import ALL, AccountRefused, Grants, Role
from stores.accounts.users import User
from tests.stores.accounts.conftest import PASSWORD, Clock

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.fixture
def ann(accounts: Accounts) -> User:
    return accounts.users.add("ann@example.com", PASSWORD, Grants({ALL: Role.OWNER}))


def app_shows(clock: Clock, seconds: int = 0) -> str:
    return pyotp.TOTP(SECRET).at(clock.now // 1000 + seconds)


def test_a_code_is_right_for_a_moment_and_once(accounts: Accounts, ann: User, clock: Clock) -> None:
    assert not ann.code
    assert accounts.codes.accepts(ann, "")
    first = app_shows(clock)
    made = accounts.codes.turn_on(ann, SECRET, f"{first[:3]} {first[3:]}")
    assert len(set(made)) == codes.RECOVERY_CODES
    assert accounts.users.get("ann@example.com").code
    for wrong in ("", first, "000000", app_shows(clock, 90), app_shows(clock, -90), "\ud800", "x" * 40):
        assert not accounts.codes.accepts(ann, wrong)
    clock.now += 60_000
    late, now, early = (app_shows(clock, seconds) for seconds in (-30, 0, 30))
    assert accounts.codes.accepts(ann, late)
    assert not accounts.codes.accepts(ann, late)
    assert accounts.codes.accepts(ann, early)
    assert not accounts.codes.accepts(ann, now), "a code from before one that was used"
    clock.now += 60_000
    assert accounts.codes.accepts(ann, app_shows(clock))


def test_each_recovery_code_works_once(accounts: Accounts, ann: User, clock: Clock, tmp_path: Path) -> None:
    made = accounts.codes.turn_on(ann, SECRET, app_shows(clock))
    bob = accounts.users.add("bob", PASSWORD, Grants({}))
    accounts.codes.turn_on(bob, SECRET, app_shows(clock))
    assert not accounts.codes.accepts(bob, made[0])
    assert accounts.codes.accepts(ann, f" {made[0].upper()} ")
    assert not accounts.codes.accepts(ann, made[0])
    assert (accounts.codes.recovery_left(ann), accounts.codes.recovery_left(bob)) == (9, 10)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert made[1].encode() not in stored
    again = accounts.codes.turn_on(ann, SECRET, app_shows(clock))
    assert not accounts.codes.accepts(ann, made[1])
    assert accounts.codes.accepts(ann, again[1])
    accounts.codes.turn_off(ann)
    assert accounts.codes.recovery_left(ann) == 0
    assert accounts.codes.accepts(ann, "")


@pytest.mark.parametrize(
    ("secret", "code"), [(SECRET, "000000"), (SECRET, ""), ("", ""), ("short", "1"), ("j" * 32, ""), ("1" * 32, "")]
)
def test_an_app_that_was_not_set_up_turns_nothing_on(accounts: Accounts, ann: User, secret: str, code: str) -> None:
    with pytest.raises(AccountRefused, match="not the code"):
        accounts.codes.turn_on(ann, secret, code)
    assert not accounts.users.get("ann@example.com").code


def test_a_removed_user_has_no_code(accounts: Accounts, ann: User, clock: Clock) -> None:
    bob = accounts.users.add("bob", PASSWORD, Grants({}))
    accounts.users.remove("bob")
    assert not accounts.codes.accepts(bob, app_shows(clock))


def test_the_link_is_what_apps_read(ann: User) -> None:
    secret = codes.new_secret()
    read = pyotp.parse_uri(codes.link(ann, secret))
    assert (read.secret, read.name, read.issuer) == (secret, "ann@example.com", "Footfall")
    assert codes.new_secret() != secret


def test_a_file_of_before_there_were_codes_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    db = sqlite3.connect(path)
    db.executescript(sorted(accounts_file._SCHEMA.glob("*.sql"))[0].read_text(encoding="utf-8"))
    db.execute("INSERT INTO users (name, password, created) VALUES ('ann', 'x', 1)")
    db.execute("INSERT INTO grants VALUES (1, '*', 'owner')")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    opened = Accounts(path)
    assert [(user.name, user.code, user.is_owner) for user in opened.users.all()] == [("ann", False, True)]
    assert opened.tokens.all() == []
    opened.close()
