"""Users, passwords, grants and sessions in a real file, shared by processes."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.accounts import Accounts
from stores.accounts.passwords import SHORTEST
from stores.accounts.roles import ALL, AccountRefused, Grants, Role
from stores.accounts.users import SESSION_MS
from stores.base import StoreUnreachable, Unreadable, Unusable
from tests.stores.accounts.conftest import PASSWORD, Clock

OWNER = Grants({ALL: Role.OWNER})
VIEWER = Grants({"example.com": Role.VIEWER})


def test_reading_makes_no_file_and_the_first_write_makes_a_private_one(accounts: Accounts, tmp_path: Path) -> None:
    assert not accounts.users.any
    assert not accounts.users.any_owner
    assert accounts.users.all() == []
    assert accounts.users.of_session("x") is None
    accounts.users.end_session("x")
    assert list(tmp_path.iterdir()) == []
    accounts.users.add("ann@example.com", PASSWORD, OWNER)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert PASSWORD.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_the_first_user_is_an_owner_and_a_name_is_taken_once(accounts: Accounts) -> None:
    with pytest.raises(AccountRefused, match="first user has to be an owner"):
        accounts.users.add("bob", PASSWORD, VIEWER)
    assert not accounts.users.any
    accounts.users.add(" Ann@Example.com ", PASSWORD, OWNER)
    with pytest.raises(AccountRefused, match="already"):
        accounts.users.add("ANN@example.COM", PASSWORD, VIEWER)
    added = accounts.users.add("bob", PASSWORD, VIEWER)
    assert [user.name for user in accounts.users.all()] == ["ann@example.com", "bob"]
    assert (added.grants, added.is_owner) == (VIEWER, False)


@pytest.mark.parametrize("name", ["", " ", "a b", "a\0b", "a\tb", "x" * 255])
def test_what_is_no_name(accounts: Accounts, name: str) -> None:
    with pytest.raises(AccountRefused, match="no user's name"):
        accounts.users.add(name, PASSWORD, OWNER)


@pytest.mark.parametrize("password", ["", "x" * (SHORTEST - 1), "x" * 1001, "\ud800" * 20])
def test_what_is_no_password(accounts: Accounts, password: str) -> None:
    with pytest.raises(AccountRefused):
        accounts.users.add("ann", password, OWNER)


def test_only_the_right_name_and_password_go_together(accounts: Accounts) -> None:
    accounts.users.add("ann", PASSWORD, OWNER)
    accounts.users.add("bob", PASSWORD[::-1], VIEWER)
    found = accounts.users.verify("Ann", PASSWORD)
    assert found is not None
    assert found.name == "ann"
    for name, password in (("ann", PASSWORD[::-1]), ("bob", PASSWORD), ("eve", PASSWORD), ("ann", ""), ("", PASSWORD)):
        assert accounts.users.verify(name, password) is None
    assert accounts.users.verify("ann", PASSWORD + "x" * 2000) is None
    accounts.users.set_disabled("bob", True)
    assert accounts.users.verify("bob", PASSWORD[::-1]) is None
    accounts.users.set_disabled("bob", False)
    assert accounts.users.verify("bob", PASSWORD[::-1]) is not None


def test_a_session_runs_out_and_ends_with_the_user_the_password_and_the_door(
    accounts: Accounts, clock: Clock, tmp_path: Path
) -> None:
    users = accounts.users
    users.add("ann", PASSWORD, OWNER)
    bob = users.add("bob", PASSWORD, VIEWER)

    def begun() -> str:
        session = users.start_session(bob)
        found = users.of_session(session)
        assert found is not None
        assert (found.name, found.grants) == ("bob", VIEWER)
        assert session.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
        return session

    left, other = begun(), begun()
    users.end_session(left)
    assert users.of_session(left) is None
    assert users.of_session(other) is not None
    clock.now += SESSION_MS - 1
    assert users.of_session(other) is not None
    clock.now += 1
    assert users.of_session(other) is None
    for change in (
        lambda: users.set_password("bob", PASSWORD + "!"),
        lambda: users.set_disabled("bob", True),
        lambda: users.remove("bob"),
    ):
        users.set_disabled("bob", False)
        session = begun()
        change()
        assert users.of_session(session) is None
    assert users.of_session("") is None


def test_the_last_owner_stays(accounts: Accounts) -> None:
    users = accounts.users
    users.add("ann", PASSWORD, OWNER)
    users.add("bob", PASSWORD, OWNER)
    users.set_disabled("bob", True)
    for change in (
        lambda: users.remove("ann"),
        lambda: users.set_disabled("ann", True),
        lambda: users.grant("ann", Role.VIEWER, ["example.com"]),
        lambda: users.grant("ann", None),
    ):
        with pytest.raises(AccountRefused, match="last owner"):
            change()
    users.set_disabled("bob", False)
    users.grant("ann", Role.ADMIN)
    users.remove("ann")
    assert [user.name for user in users.all()] == ["bob"]
    with pytest.raises(AccountRefused, match="no user 'ann'"):
        users.remove("ann")


def test_a_role_for_some_sites_is_beside_others_and_in_place_of_one_for_all(accounts: Accounts) -> None:
    users = accounts.users
    users.add("ann", PASSWORD, OWNER)
    users.add("bob", PASSWORD, Grants({ALL: Role.VIEWER}))

    def after(role: Role | None, *sites: str) -> dict[str, Role]:
        users.grant("bob", role, sites)
        return dict(users.get("bob").grants)

    assert after(Role.ADMIN, "a.example", "b.example") == {"a.example": Role.ADMIN, "b.example": Role.ADMIN}
    assert after(Role.VIEWER, "b.example", "c.example") == {
        "a.example": Role.ADMIN, "b.example": Role.VIEWER, "c.example": Role.VIEWER,
    }  # fmt: skip
    assert after(None, "a.example", "c.example") == {"b.example": Role.VIEWER}
    assert after(Role.OWNER) == {ALL: Role.OWNER}
    assert after(None) == {}


def test_all_sessions_but_one_are_ended(accounts: Accounts, clock: Clock) -> None:
    users = accounts.users
    ann = users.add("ann", PASSWORD, OWNER)
    other = users.start_session(users.add("bob", PASSWORD, VIEWER))
    sessions = []
    for _ in range(3):
        clock.now += 1
        sessions.append(users.start_session(ann))
    assert users.sessions(ann) == [(clock.now - at, clock.now - at + SESSION_MS) for at in range(3)]
    users.end_other_sessions(ann, sessions[1])
    assert [users.of_session(session) is not None for session in [*sessions, other]] == [False, True, False, True]


def test_a_change_in_another_process_is_noticed(accounts: Accounts, tmp_path: Path) -> None:
    assert not accounts.users.any
    code = (
        "import sys; from pathlib import Path; from stores.accounts import Accounts\n"
        "from stores.accounts.roles import Grants, Role\n"
        "users = Accounts(Path(sys.argv[1])).users\n"
        "users.add('ann', 'correct horse battery', Grants({'*': Role.OWNER}))\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "accounts.db"], check=True, cwd=Path(__file__).parents[3])
    assert accounts.users.any_owner


def test_a_file_that_was_taken_away_opens_no_door(accounts: Accounts, tmp_path: Path) -> None:
    accounts.users.add("ann", PASSWORD, OWNER)
    copy = (tmp_path / "accounts.db").read_bytes()
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(StoreUnreachable, match="was removed"):
        _ = accounts.users.any
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "accounts.db").write_bytes(copy)  # another inode; what was in the log beside it is lost
    _ = accounts.users.all()


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    path.write_bytes(b"this is no database, and long enough to be seen as one that is none" * 20)
    with pytest.raises(Unreadable, match="damaged or no accounts file"):
        _ = Accounts(path).users.any
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Unusable, match="newer version"):
        _ = Accounts(path).users.any
    with pytest.raises(StoreUnreachable):
        Accounts(tmp_path / "accounts.db" / "x").users.add("ann", PASSWORD, OWNER)


SITES = st.sampled_from(["a.example", "b.example", "c.example"])
GRANTS = st.dictionaries(SITES, st.sampled_from([Role.VIEWER, Role.ADMIN]))


@given(GRANTS, st.none() | st.sampled_from(list(Role)), st.sampled_from(list(Role)), SITES)
def test_a_role_for_all_sites_is_one_for_each_and_none_is_taken_by_another(
    roles: dict[str, Role], everywhere: Role | None, needed: Role, site: str
) -> None:
    grants = Grants(roles | ({ALL: everywhere} if everywhere else {}))
    order = list(Role)
    held = [order.index(role) for role in (roles.get(site), everywhere) if role]
    assert grants.allow(needed, site) == any(rank >= order.index(needed) for rank in held)
    assert grants.over(ALL) is everywhere
    if grants.allow(needed, ALL):
        assert grants.allow(needed, site)


def test_one_site_has_no_owner() -> None:
    with pytest.raises(AccountRefused, match="make it an admin"):
        Grants({"a.example": Role.OWNER})
