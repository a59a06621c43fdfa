"""Every page in every language: nothing of it is left in English, and no `lang` in an address does harm."""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Callable
from datetime import date, time
from urllib.parse import urlencode, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards.language import COOKIE, LANGUAGES
from dashboards.pages import CARDS
from stores.accounts import Accounts
from stores.accounts.saved import Kind
from tests.dashboards.access.conftest import SITE
from tests.dashboards.access.test_routes import ask, path_of, rules
from tests.dashboards.test_language import OTHERS, catalog, forms

LONG = 12  # characters; what is shorter may be in a word of the other language
STEPS = json.dumps([["is", "page", ["/"]], ["contains", "page", ["/shoes"]]])
FILTERS = json.dumps([["is", "page", ["/"]], ["contains_not", "source", ["x"]]])
DAYS = "from=2026-03-27&to=2026-03-31"
# Pages that have more to say than by the parameters of `path_of`.
MORE = (
    f"/{SITE}?{DAYS}&compare=year&{urlencode({'filters': FILTERS})}",
    *(f"/{SITE}?{DAYS}&tabs={','.join(filter(None, names))}" for names in itertools.zip_longest(*CARDS.values())),
    f"/{SITE}/funnel?{DAYS}&{urlencode({'steps': STEPS})}",
    f"/{SITE}/paths?{DAYS}&direction=to&path=%5B%22/%22%5D",
    f"/{SITE}/visits?{DAYS}",
    f"/{SITE}/searches?{DAYS}",
    f"/{SITE}/retention?{DAYS}",
    f"/{SITE}/list/page?{DAYS}&search=nowhere",
    "/quiet.example",
    "/quiet.example/visits?period=7d",
    "/quiet.example/searches?period=7d",
)


@pytest.fixture(scope="module")
def kept(accounts: Accounts) -> str:
    """One of everything that is kept for a site; the token of the share."""
    accounts.saved.add(SITE, Kind.GOAL, "Shoes", '[["contains","page",["/shoes"]]]', None)
    accounts.saved.add(SITE, Kind.SEGMENT, "Shoes", '[["contains","page",["/shoes"]]]', None)
    accounts.saved.add(SITE, Kind.FUNNEL, "Shoes", STEPS, None)
    accounts.annotations.add(SITE, date(2026, 3, 29), time(2, 30), "Spring")
    accounts.reports.add(SITE, "ann@example.com", "week")
    accounts.alerts.add(SITE, "visitors", 5, "ann@example.com")
    return accounts.shares.add(SITE, "board", "ann", days=30, files=True, origins=["https://a.example"])


def english(language: str) -> dict[str, str]:
    """The parts of texts that a page in the language should not have, each with its text."""
    pairs = [pair for message in catalog(language) if message.id for pair in forms(message)]
    own = " ".join(string for _, string in pairs)
    places = re.compile(r"%\(\w+\)s|%s|<code>.*?</code>|<[^>]*>|\n\s*")
    return {
        part.strip(): text
        for text, string in pairs
        if text != string
        for part in places.split(text)
        if len(part.strip()) > LONG and part.strip() not in own
    }


def said(page: str) -> str:
    """What a page says: its texts, and those of attributes that are read out or shown."""
    page = re.sub(r"<script.*?</script>|<pre.*?</pre>|<code.*?</code>", " ", page, flags=re.DOTALL)
    attributes = re.findall(r'(?:title|aria-label|placeholder|data-done|data-other)="([^"]*)"', page)
    texts = re.findall(r">([^<]+)<", page)
    return html.unescape("\n".join(" ".join(text.split()) for text in (*texts, *attributes)))


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.usefixtures("kept", "secrets")
def test_no_page_has_a_text_left_in_english(app: Flask, signed_in: Callable[[str], FlaskClient], language: str) -> None:
    unwanted, client, seen = english(language), signed_in("owner"), 0
    paths = [path_of(rule, SITE) for rule, method in rules(app) if method == "GET" and rule.endpoint != "static"]
    for path in (*paths, *MORE):
        answer = ask(client, path, headers={"Accept-Language": language})
        if answer.status_code != 200 or answer.mimetype != "text/html":
            continue
        assert f'<html lang="{language}"' in answer.text or "<html" not in answer.text, path
        page, seen = said(answer.text), seen + 1
        assert {part: text for part, text in unwanted.items() if part in page} == {}, path
    assert seen > len(MORE) + 15


ODD = ["", "de", "DE", "de-CH", "xx", "en", "\r\nX: y", "../en", "//evil.example", "0", "*", "\ud83d\ude00"]
ANY = st.sampled_from(ODD) | st.text(max_size=30)
PATHS = ["/", f"/{SITE}", f"/{SITE}/live", "/login", "//evil.example", "//evil.example/..", "/\\evil.example", "/%00"]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(ANY, max_size=3), ANY, ANY, st.sampled_from(PATHS), st.sampled_from(["GET", "HEAD", "POST"]), st.booleans()
)
def test_no_language_in_a_request_does_harm(
    app: Flask, kept: str, languages: list[str], cookie: str, header: str, path: str, method: str, shared: bool
) -> None:
    client = app.test_client()
    asked = f"/share/{kept}{path}" if shared else path
    query = urlencode([("period", "7d"), *(("lang", each) for each in languages)], errors="replace")
    accepted = header.encode("ascii", "replace").decode()
    sent = {"Accept": "text/html", "Accept-Language": "".join(each for each in accepted if each.isprintable())}
    client.set_cookie(COOKIE, "".join(each for each in cookie if each.isalnum()))
    answer = ask(client, f"{asked}?{query}", method=method, headers=sent)
    assert answer.status_code < 500
    if led := answer.headers.get("Location"):
        assert urlsplit(led).netloc in ("", "localhost")
        assert not led.startswith(("//", "/\\"))
    found = re.search(r'<html lang="([^"]*)"', answer.text)
    assert found is None or found[1] in LANGUAGES


def test_a_share_keeps_the_language_of_its_address_and_sets_no_cookie(app: Flask, kept: str) -> None:
    client, root = app.test_client(), f"/share/{kept}"
    answer = client.get(f"{root}/{SITE}?period=7d&lang=de", headers={"Accept": "text/html"})
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (200, False)
    assert '<html lang="de"' in answer.text
    links = [html.unescape(link) for link in re.findall(r'href="([^"]*)"', answer.text)]
    views = [link for link in links if "/visits?" in link or "/list/" in link]
    assert len(views) > 5
    assert [link for link in views if "lang=de" not in link or not link.startswith(f"{root}/")] == []
    other = next(link for link in links if "lang=en" in link)
    assert '<html lang="en"' in client.get(other, headers={"Accept": "text/html"}).text
