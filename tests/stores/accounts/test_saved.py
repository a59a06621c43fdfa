"""Saved filters: what is seen by whom, against a plain dictionary."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.accounts import Accounts
from stores.accounts.roles import AccountRefused, Grants, Role
from stores.accounts.saved import Kind

SITES, NAMES = ("a.example", "b.example"), ("x", "y", "z")
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["add", "replace", "rename", "remove"]),
        st.sampled_from(SITES), st.sampled_from([*Kind]), st.sampled_from(NAMES), st.sampled_from(NAMES),
        st.sampled_from([None, 0, 1]),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(DEEDS)
def test_each_sees_what_is_for_all_and_the_own(deeds: list[tuple[str, str, Kind, str, str, int | None]]) -> None:
    with TemporaryDirectory() as folder:
        accounts = Accounts(Path(folder) / "accounts.db")
        users = [accounts.users.add(name, "x" * 12, Grants({"*": Role.OWNER})).id for name in ("ann", "bob")]
        held: dict[tuple[str, Kind, int | None], dict[str, str]] = {}
        for number, (deed, site, kind, name, new, whose) in enumerate(deeds):
            user = None if whose is None else users[whose]
            theirs = held.setdefault((site, kind, user), {})
            cannot = {
                "add": name in theirs,
                "rename": name not in theirs or (new in theirs and new != name),
            }.get(deed, name not in theirs)
            try:
                _do(accounts, deed, site, kind, name, new, user, str(number))
                assert not cannot
            except AccountRefused:
                assert cannot
                continue
            if deed == "rename":
                theirs[new] = theirs.pop(name)
            elif deed == "remove":
                del theirs[name]
            else:
                theirs[name] = str(number)
        for site in SITES:
            for kind in Kind:
                for user in (None, *users):
                    seen = accounts.saved.seen(site, kind, user)
                    own = held.get((site, kind, user), {}) if user is not None else {}
                    expected = held.get((site, kind, None), {}) | own
                    assert {each.name: each.content for each in seen} == expected
                    assert [each.name for each in seen] == sorted(expected)
                    assert {each.name for each in seen if each.own} == set(own)
        accounts.close()


def _do(
    accounts: Accounts, deed: str, site: str, kind: Kind, name: str, new: str, user: int | None, content: str
) -> None:
    match deed:
        case "add":
            accounts.saved.add(site, kind, name, content, user)
        case "replace":
            accounts.saved.replace(site, kind, name, content, user)
        case "rename":
            accounts.saved.rename(site, kind, name, new, user)
        case _:
            accounts.saved.remove(site, kind, name, user)


def test_what_somebody_saved_goes_with_the_user_and_what_is_for_all_stays(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "accounts.db")
    accounts.users.add("ann", "x" * 12, Grants({"*": Role.OWNER}))
    bob = accounts.users.add("bob", "x" * 12, Grants({"*": Role.VIEWER}))
    accounts.saved.add("a.example", Kind.SEGMENT, "own", "[]", bob.id)
    accounts.saved.add("a.example", Kind.SEGMENT, "all", "[]", None)
    accounts.users.remove("bob")
    assert [each.name for each in accounts.saved.seen("a.example", Kind.SEGMENT, bob.id)] == ["all"]
    accounts.close()


def test_saving_adds_no_user(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "accounts.db")
    assert accounts.saved.seen("a.example", Kind.SEGMENT, None) == []
    assert not (tmp_path / "accounts.db").exists()
    accounts.saved.add("a.example", Kind.SEGMENT, "all", "[]", None)
    assert not accounts.users.any
    with pytest.raises(AccountRefused, match="is no name"):
        accounts.saved.add("a.example", Kind.SEGMENT, "x" * 101, "[]", None)
    accounts.close()
