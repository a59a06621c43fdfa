"""Which sources of a Content Security Policy take an address: as the standard says. Chromium was asked the like."""

from __future__ import annotations

import pytest

from infra import policy

SRC = "https://stats.example.com/beacon.js"


@pytest.mark.parametrize(
    ("source", "page", "url", "taken"),
    [
        ("*", "https://a.example/", SRC, True),
        ("*", "https://a.example/", "data:,", False),
        ("'none'", "https://a.example/", SRC, False),
        ("", "https://a.example/", SRC, False),
        ("'self'", "https://stats.example.com/page", SRC, True),
        ("'SELF'", "https://stats.example.com/page", SRC, True),
        ("'self'", "https://example.com/", SRC, False),
        ("'self'", "http://stats.example.com/", SRC, True),
        ("'self'", "https://stats.example.com/", SRC.replace("https", "http"), False),
        ("'self'", "http://localhost:8000/", "http://localhost:8420/beacon.js", False),
        ("https:", "http://a.example/", SRC, True),
        ("http:", "http://a.example/", SRC, True),
        ("https:", "https://a.example/", "http://a.example/s.js", False),
        ("data:", "https://a.example/", SRC, False),
        ("stats.example.com", "https://a.example/", SRC, True),
        ("STATS.example.com", "https://a.example/", SRC, True),
        ("stats.example.com", "http://a.example/", SRC, True),
        ("stats.example.com", "https://a.example/", "http://stats.example.com/beacon.js", False),
        ("http://stats.example.com", "https://a.example/", SRC, True),
        ("https://stats.example.com", "http://a.example/", "http://stats.example.com/b.js", False),
        ("example.com", "https://a.example/", SRC, False),
        ("*.example.com", "https://a.example/", SRC, True),
        ("*.example.com", "https://a.example/", "https://example.com/b.js", False),
        ("*.example.com", "https://a.example/", "https://badexample.com/b.js", False),
        ("https://*.example.com", "https://a.example/", SRC, True),
        ("https://*", "https://a.example/", SRC, True),
        ("stats.example.com:443", "https://a.example/", SRC, True),
        ("stats.example.com:80", "http://a.example/", SRC, True),
        ("stats.example.com:8443", "https://a.example/", SRC, False),
        ("stats.example.com:0443", "https://a.example/", SRC, True),
        (f"stats.example.com:{'4' * 5000}", "https://a.example/", SRC, False),
        ("*", "https://a.example/", "http://[x/c", False),
        ("stats.example.com:8443", "https://a.example/", "https://stats.example.com:8443/b.js", True),
        ("stats.example.com", "https://a.example/", "https://stats.example.com:8443/b.js", False),
        ("stats.example.com:*", "https://a.example/", "https://stats.example.com:8443/b.js", True),
        ("stats.example.com/", "https://a.example/", SRC, True),
        ("stats.example.com/beacon.js", "https://a.example/", SRC, True),
        ("stats.example.com/beacon", "https://a.example/", SRC, False),
        ("stats.example.com/js/", "https://a.example/", SRC, False),
        ("stats.example.com/beacon.js?v=1", "https://a.example/", SRC, True),
        ("stats.example.com/js/", "https://a.example/", "https://stats.example.com/js/b.js?v=1", True),
        ("stats.example.com/b%C3%BC.js", "https://a.example/", "https://stats.example.com/bü.js", True),
        ("'unsafe-inline'", "https://a.example/", SRC, False),
        ("'nonce-abc'", "https://a.example/", SRC, False),
        ("stats.example.com;", "https://a.example/", SRC, True),
        ("no host, really", "https://a.example/", SRC, False),
        ("stats.example.com", "file:///a.html", SRC, False),
        ("https://stats.example.com", "file:///a.html", SRC, True),
    ],
)
def test_a_source_takes_an_address(source: str, page: str, url: str, taken: bool) -> None:
    assert (policy.refuses_sending([f"connect-src {source}"], page, url) == "") is taken
    assert (policy.refuses_script([f"script-src {source}"], page, url, {}) == "") is taken


def test_each_policy_has_to_take_it_by_its_narrowest_directive() -> None:
    page, only = "https://a.example/", "script-src stats.example.com"
    elements = f"default-src 'none'; script-src 'none'; SCRIPT-SRC-ELEM {SRC}"
    assert policy.refuses_script([only, elements], page, SRC, {}) == ""
    assert policy.refuses_script([only, "default-src 'self'"], page, SRC, {}) == "default-src"
    assert policy.refuses_script([f"{only}, script-src-elem 'self'"], page, SRC, {}) == "script-src-elem"
    assert policy.refuses_script([f"{only}; script-src 'none'"], page, SRC, {}) == ""  # the first of one name counts
    assert policy.refuses_sending(["script-src 'none'", "", ";;"], page, SRC) == ""


def test_a_nonce_or_a_hash_takes_a_script_from_anywhere() -> None:
    page, digest = "https://a.example/", "sha384-" + "A" * 64
    for words in ("'nonce-xYz'", "'nonce-xYz' 'strict-dynamic'"):
        assert policy.refuses_script([f"script-src {words}"], page, SRC, {"nonce": "xYz"}) == ""
        assert policy.refuses_script([f"script-src {words}"], page, SRC, {"nonce": "xyz"}) == "script-src"
        assert policy.refuses_script([f"script-src {words}"], page, SRC, {}) == "script-src"
    assert policy.refuses_script([f"script-src '{digest}'"], page, SRC, {"integrity": digest}) == ""
    assert policy.refuses_script([f"script-src '{digest}'"], page, SRC, {"integrity": f"{digest} sha256-B="}) != ""
    assert policy.refuses_script([f"script-src {SRC} 'strict-dynamic'"], page, SRC, {}) == "script-src"


@pytest.mark.parametrize("part", ["a.", "*", "x:", "/", "; ", "[", "'sha256-", "a:1/"])
def test_a_hostile_policy_is_read_to_its_end(part: str) -> None:
    """What takes the square of its length would take hours."""
    page, long = "https://a.example/", part * 500_000
    assert policy.refuses_sending([f"connect-src {long}"], page, SRC) == "connect-src"
    assert policy.refuses_script([f"script-src {long}"], page, SRC, {"integrity": long}) == "script-src"
