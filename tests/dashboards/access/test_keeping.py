"""Who keeps what of a site: for all who see it, or for himself; seen through the doors of the accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from stores.accounts import Accounts
from stores.accounts.saved import Kind
from tests.dashboards.access.conftest import PEOPLE, SECRET, SITE

HOME = '[["is","page",["/"]]]'


@pytest.fixture(autouse=True)
def empty(accounts: Accounts) -> Iterator[None]:
    """The accounts are the module's: nothing is kept from test to test."""
    yield
    for user in (None, *(each.id for each in accounts.users.all())):
        for site in (SITE, SECRET):
            for kind in Kind:
                for each in accounts.saved.seen(site, kind, user):
                    if each.own == (user is not None):
                        accounts.saved.remove(site, kind, each.name, user)


def save(client: FlaskClient, whose: str, kind: str = "segment", site: str = SITE) -> tuple[int, str]:
    sent = {"deed": "add", "kind": kind, "name": f"of {whose}", "for": whose, "filters": HOME, "steps": HOME}
    answer = client.post(f"/{site}/saved", data=sent | {"dimension": "page", "operator": "is", "values": "/"})
    return answer.status_code, answer.text


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("kind", [*Kind])
def test_admins_keep_for_all_and_everybody_for_himself(
    signed_in: Callable[[str], FlaskClient], who: str, kind: str
) -> None:
    client = signed_in(who)
    role = PEOPLE[who].over(SITE)
    expected = 404 if role is None else 303 if role != "viewer" else 403
    assert save(client, "all", kind)[0] == expected
    alone = 404 if role is None else 400 if kind == "goal" else 303
    assert save(client, "me", kind)[0] == alone


def test_nobody_sees_or_changes_what_another_keeps_for_himself(
    signed_in: Callable[[str], FlaskClient], accounts: Accounts
) -> None:
    assert save(signed_in("site-viewer"), "me")[0] == 303
    assert accounts.audit.latest(1)[0].deed == "added the segment of the own: of me"
    for who in PEOPLE:
        client = signed_in(who)
        answer = client.get(f"/api/v1/stats?site={SITE}&period=7d&segment=of+me")
        if who == "site-viewer":
            assert answer.status_code == 200
            continue
        assert answer.status_code == (400 if PEOPLE[who].over(SITE) else 404)
        assert "of me" not in client.get(f"/{SITE}").text
        gone = client.post(f"/{SITE}/saved", data={"deed": "remove", "kind": "segment", "name": "of me"})
        assert gone.status_code in (400, 403, 404)
    assert "only you" in signed_in("site-viewer").get(f"/{SITE}").text


def test_a_viewer_is_offered_only_what_he_may(signed_in: Callable[[str], FlaskClient]) -> None:
    assert save(signed_in("site-admin"), "all")[0] == 303
    viewer, admin = (signed_in(who).get(f"/{SITE}/saved").text for who in ("site-viewer", "site-admin"))
    assert "Remove of all" in admin
    assert "Add a goal" in admin
    assert "of all" in viewer
    assert "Remove of all" not in viewer
    assert "Add a goal" not in viewer


def test_what_is_kept_for_a_site_is_told_to_nobody_else(app: Flask, signed_in: Callable[[str], FlaskClient]) -> None:
    assert save(signed_in("owner"), "all", site=SECRET)[0] == 303
    client = signed_in("site-admin")
    for path in (f"/{SECRET}/saved", f"/api/v1/goals?site={SECRET}&period=7d"):
        assert client.get(path).status_code == 404
    answer = client.get(f"/api/v1/stats?site={SITE}&period=7d&segment=of+all")
    assert (answer.status_code, "there are none yet" in answer.text) == (400, True)


def test_a_token_keeps_nothing_and_sees_what_is_for_all(
    app: Flask, secrets: dict[str, str], signed_in: Callable[[str], FlaskClient]
) -> None:
    assert save(signed_in("owner"), "all")[0] == 303
    bearer = {"Authorization": f"Bearer {secrets['all']}"}
    client = app.test_client()
    found = client.get(f"/api/v1/stats?site={SITE}&period=7d&segment=of+all", headers=bearer)
    assert found.status_code == 200
    assert client.post(f"/{SITE}/saved", data={"deed": "add"}, headers=bearer).status_code == 403
