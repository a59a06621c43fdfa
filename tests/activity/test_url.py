"""A page's address: taken apart, and one page in one spelling. A client's address in one spelling."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from activity import geo, url
from activity.attribution import origin, referrer_host
from activity.url import Address, normal_path, readable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://Example.COM:8443/A?b=1#c", Address("https://example.com:8443/A?b=1", "example.com", "/A", "b=1")),
        ("https://example.com", Address("https://example.com", "example.com", "/", "")),
        ("https://example.com?q=1", Address("https://example.com?q=1", "example.com", "/", "q=1")),
        ("https://me:secret@example.com/", Address("https://example.com/", "example.com", "/", "")),
        ("http://localhost:3000/x", Address("http://localhost:3000/x", "localhost", "/x", "")),
        ("http://[::1]:80/", Address("http://[::1]/", "::1", "/", "")),
        ("file:///home/me/a.html", Address("file:///home/me/a.html", "", "/home/me/a.html", "")),
        ("HTTPS://e.com/a\tb\n", Address("https://e.com/ab", "e.com", "/ab", "")),
        ("https://e.com:99999999/[", Address("https://e.com:99999999/%5B", "e.com", "/%5B", "")),
        ("https://e.com/#top", Address("https://e.com/", "e.com", "/", "")),
        ("https://e.com/#/about", Address("https://e.com/#/about", "e.com", "/#/about", "")),
        ("https://e.com#!/x", Address("https://e.com#!/x", "e.com", "/#!/x", "")),
        ("https://e.com/app?a=1#/é", Address("https://e.com/app?a=1#/%C3%A9", "e.com", "/app#/%C3%A9", "a=1")),
        ("https://e.com/?a=1#/find?q=x", Address("https://e.com/?a=1#/find?q=x", "e.com", "/#/find", "a=1&q=x")),
        ("https://e.com/#/?q=x", Address("https://e.com/#/?q=x", "e.com", "/", "q=x")),
        ("https://e.com/#/", Address("https://e.com/", "e.com", "/", "")),
        ("https://e.com/#/a?#b", Address("https://e.com/#/a", "e.com", "/#/a", "")),
        ("https://e.com/#/a:~:text=x", Address("https://e.com/#/a", "e.com", "/#/a", "")),
        ("https://e.com:443/a?b", Address("https://e.com/a?b", "e.com", "/a", "b")),
        ("http://e.com:443/", Address("http://e.com:443/", "e.com", "/", "")),
        ("https://E.com.:/a", Address("https://e.com/a", "e.com", "/a", "")),
        ("https:\\\\e.com\\a?b=\\", Address("https://e.com/a?b=%5C", "e.com", "/a", "b=%5C")),
        ("https://e.com/a?PHPSESSID=1&b=2", Address("https://e.com/a?b=2", "e.com", "/a", "b=2")),
        ("https://e.com/a?b=2;jsessionid=1#/c?ASPSESSIONIDQ=1",
         Address("https://e.com/a?b=2#/c", "e.com", "/a#/c", "b=2")),
        ("https://e.com/?CFID=1&CFTOKEN=2", Address("https://e.com/", "e.com", "/", "")),
        ("https://e.com/#/access_token=secret&x=1", Address("https://e.com/", "e.com", "/", "")),
        ("https://e.com/a#!id_token=secret", Address("https://e.com/a", "e.com", "/a", "")),
        ("https://e.com/#state=x&access_token=secret", Address("https://e.com/", "e.com", "/", "")),
        ("https://e.com/#/code=secret&state=x", Address("https://e.com/", "e.com", "/", "")),
        ("https://e.com/#/error=denied&error_description=x", Address("https://e.com/", "e.com", "/", "")),
        ("https://e.com/#/state=NY", Address("https://e.com/#/state=NY", "e.com", "/#/state=NY", "")),
        ("https://e.com/#/code=1&size=2", Address("https://e.com/#/code=1&size=2", "e.com", "/#/code=1&size=2", "")),
        ("https://e.com/#/state", Address("https://e.com/#/state", "e.com", "/#/state", "")),
        ("https://e.com/#/a;jsessionid=1", Address("https://e.com/#/a", "e.com", "/#/a", "")),
        ("https://xn--bcher-kva.example/", Address("https://bücher.example/", "bücher.example", "/", "")),
        ("https://xn--a.example/", Address("https://xn--a.example/", "xn--a.example", "/", "")),
        ("https://bücher.example/ö", Address("https://bücher.example/%C3%B6", "bücher.example", "/%C3%B6", "")),
        ("https://b%C3%BCcher.example/", Address("https://bücher.example/", "bücher.example", "/", "")),
        ("https://bu\u0308cher.example", Address("https://bücher.example", "bücher.example", "/", "")),
        ("https://%65x%41mple.com/", Address("https://example.com/", "example.com", "/", "")),
        ("https://ｅxample。com/x", Address("https://example.com/x", "example.com", "/x", "")),
        ("https://xn--fa-hia.example/", Address("https://faß.example/", "faß.example", "/", "")),
        ("https://xn--ls8h.example/", Address("https://💩.example/", "💩.example", "/", "")),
        ("https://[2001:DB8:0:0::1]/", Address("https://[2001:db8::1]/", "2001:db8::1", "/", "")),
        ("https://e.com#utm_source=fb&utm_medium=cpc",
         Address("https://e.com?utm_source=fb&utm_medium=cpc", "e.com", "/", "utm_source=fb&utm_medium=cpc")),
        ("https://e.com/x?a=1#pk_campaign=é&x=y",
         Address("https://e.com/x?a=1&pk_campaign=%C3%A9", "e.com", "/x", "a=1&pk_campaign=%C3%A9")),
        ("https://e.com/#?UTM_Source=fb:~:t", Address("https://e.com/?UTM_Source=fb", "e.com", "/", "UTM_Source=fb")),
        ("https://e.com/#top?mtm_source=a", Address("https://e.com/?mtm_source=a", "e.com", "/", "mtm_source=a")),
        *((f"https://e.com/?a=1{mark}utm_source=g{mark}utm_medium=cpc",
           Address("https://e.com/?a=1&utm_source=g&utm_medium=cpc", "e.com", "/", "a=1&utm_source=g&utm_medium=cpc"))
          for mark in ("&#038;", "&#x26;", "&#38;")),
        ("https://e.com/#utm_source=g&amp;utm_medium=c",
         Address("https://e.com/?utm_source=g&utm_medium=c", "e.com", "/", "utm_source=g&utm_medium=c")),
        ("https://e.com/#top_utm_source=a", Address("https://e.com/", "e.com", "/", "")),
        ("https://e.com/#access_token=secret&utm_source=a", Address("https://e.com/", "e.com", "/", "")),
        ("https://e.com/a?sid=0123456789abcdef0123456789abcdef&b", Address("https://e.com/a?b", "e.com", "/a", "b")),
        ("https://e.com/a?sid=12&s=hats", Address("https://e.com/a?sid=12&s=hats", "e.com", "/a", "sid=12&s=hats")),
        ("https://e.com/a?s=0123456789abcdef0123456789abcdef", Address("https://e.com/a", "e.com", "/a", "")),
    ],
)
def test_addresses(text: str, expected: Address) -> None:
    assert url.parse(text) == expected


@pytest.mark.parametrize(
    "value",
    ["507f1f77bcf86cd799439011", "0" * 32, "1" * 26, "internationalconference", "a" * 40, "12", "42345840",
     "CA0123456789abcdef0123456789abcdef"],
)  # fmt: skip
def test_what_only_is_called_as_a_session_stays(value: str) -> None:
    for address in (f"https://e.com/a?sid={value}", f"https://e.com/a;sid={value}"):
        found = url.parse(address)
        assert found is not None
        assert found.url == address


@pytest.mark.parametrize("value", ["0123456789abcdefghijklmnop", "0123456789abcdef" * 2, "0123456789" * 3 + "a" * 10])
def test_what_is_as_long_as_a_session_is_one(value: str) -> None:
    found = url.parse(f"https://e.com/a;sid={value}?sid={value}&b")
    assert found is not None
    assert found.url == "https://e.com/a?b"


@pytest.mark.parametrize(
    "text",
    ["", "/pricing", "example.com", "about:blank", "data:text/html,x", "chrome-extension://abc/x", "ftp://e.com/",
     "https://", "https:///path", "https://e.com%3A80/", "https://%00/", "https://a%2Fb/", "https://℀.com/", "https://%ff.com/",
     "https://e：80/", "https://?q", "https://a b/", "http://[::1/", "https://@/", "https://:80/",
     "https://［.example/", "https://a］/"],
)  # fmt: skip
def test_no_addresses(text: str) -> None:
    assert url.parse(text) is None


@given(st.text() | st.text().map("https://".__add__) | st.text(alphabet="/:@[]?#.%a&=;é4ß。").map("http://".__add__))
@example("HTTP://\x85\x08")
@example("http://a:\x85#top")
@example("https://［.example/")
@example("https://e.com/?a&&#38;#38;b=1&#x26;amp;utm_source=a")
@example("https://xn--a-93t.example/")
@example("https://e.com/%2525%2532%2535C3%2525%2532%2535A9%25C3%25A9")
def test_garbage_never_raises_and_the_normal_form_is_one(text: str) -> None:
    found = url.parse(text)
    if found is not None:
        assert url.parse(found.url) == found
        assert found.path.isascii()
        assert found.query.isascii()
        origin(url.parameters(found.query), referrer_host(text))


def test_parameters() -> None:
    assert url.parameters("a=1&a=2&b=&c=%20&d=x+y&e=%ff&f") == {"a": "1", "d": "x y", "e": "ÿ"}


@pytest.mark.parametrize(
    ("normal", "spellings", "shown"),
    [
        ("/caf%C3%A9", ["/caf%c3%a9", "/café", "/%63af%C3%A9", "/x/../caf%C3%A9", "/./café", "/%2E%2e/café"], "/café"),
        ("/a~b-c_d.e", ["/a%7Eb%2Dc%5fd%2Ee", "/a%7eb-c_d.e"], "/a~b-c_d.e"),
        ("/caf%E9", ["/caf%e9"], "/caf%E9"),
        ("/a%2Fb%3Fc%23d", ["/a%2fb%3fc%23d"], "/a%2Fb%3Fc%23d"),
        ("/two%20words", ["/two words"], "/two words"),
        ("/100%25", ["/100%"], "/100%"),
        ("/%2541", ["/%2541"], "/%2541"),
        ("/caf%C3%A9/a%20b", ["/caf%25C3%25A9/a%2520b", "/caf%25c3%25a9/a%2520b", "/caf%2525C3%2525A9/%2561 b"],
         "/café/a b"),
        ("/x#/caf%C3%A9", ["/x#/caf%25C3%25A9"], "/x#/café"),
        ("/%25C3", ["/%25C3"], "/%25C3"),
        ("/shop", ["/shop;jsessionid=A1B", "/shop;JSESSIONID=a.node1", "/shop;jsession%69d=1", "/shop%3Bjsessionid%3d1",
                   "/shop;jsessionid=x!-12!34", "/shop;PHPSESSID=1", "/shop;cfid=1;cftoken=2",
                   "/shop;sid=0123456789abcdef0123456789"], "/shop"),
        ("/shop;sid=12", ["/shop;sid=12"], "/shop;sid=12"),
        ("/a/b", ["/a\\b", "/a\\.\\b"], "/a/b"),
        ("/a%5Cb", ["/a%5cb"], "/a%5Cb"),
        ("/shop/a", ["/(S(lit3py55t21z5v55vlm25s55))/shop/a", "/shop/(X(1)F(aB_-9)S(lit3py55t21z5v55vlm25s55))/a"],
         "/shop/a"),
        ("/shop/(S(x))y", ["/shop/(S(x))y"], "/shop/(S(x))y"),
        ("/shop;v=1/x", ["/shop;jsessionid=A1;v=1/x;jsessionid=A1"], "/shop;v=1/x"),
        ("/%E2%80%AEgpj.exe", ["/\u202egpj.exe"], "/%E2%80%AEgpj.exe"),
        ("/%5Ba%5D%7Cb", ["/[a]|b"], "/[a]|b"),
        ("/%F0%9F%98%80", ["/😀"], "/😀"),
        ("/", ["/..", "/a/..", "/."], "/"),
        ("/app#/caf%C3%A9", ["/./app#/café", "/app#/caf%c3%a9"], "/app#/café"),
    ],
)
def test_one_page_has_one_spelling_and_people_read_it_decoded(normal: str, spellings: list[str], shown: str) -> None:
    assert {normal_path(spelling) for spelling in [normal, *spellings]} == {normal}
    assert readable(normal) == shown
    for spelling in spellings:
        page, mark, route = spelling.partition("#")
        found = url.parse(f"https://example.com{page}?q=%c3%a9é{mark}{route}")
        assert found is not None
        assert (found.path, found.query) == (normal, "q=%C3%A9%C3%A9")
        page, mark, route = normal.partition("#")
        assert found.url == f"https://example.com{page}?q=%C3%A9%C3%A9{mark}{route}"


@given(st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from("%/;.4é"), max_size=30), st.randoms())
@example("%2525%2532%2535C3%2525%2532%2535A9%25C3%25A9", random.Random(0))
def test_what_people_read_is_the_same_page_and_so_is_each_spelling_of_it(text: str, rng: random.Random) -> None:
    normal = normal_path("/" + text)
    assert normal_path(normal) == normal
    assert normal_path(readable(normal)) == normal
    respelled = "".join(
        f"%{ord(char):02x}" if char.isascii() and char.isalnum() and rng.random() < 0.5 and "%" not in normal else char
        for char in normal
    )
    assert normal_path(respelled) == normal


def test_a_monstrous_address_is_cut_and_stays_one() -> None:
    found = url.parse("https://example.com/" + "é/" * 4_000 + "?q=" + "é" * 4_000)
    assert found is not None
    assert len(found.url) <= url.LONGEST_URL
    assert url.parse(found.url) == found


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:51000", "192.0.2.1"),
        ("192.000.002.001", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:51000", "192.0.2.1"),
        ("::ffff:192.0.2.1:51000", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:51000", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
    ],
)
def test_a_client_has_one_spelling(spelling: str, canonical: str) -> None:
    assert geo.canonical_address(spelling) == canonical


@pytest.mark.parametrize(
    "text", ["", "-", "443", "example.com", "192.0.2", "192.0.2.256", "192.0.2.1:", "192.0.2.1:x", "[192.0.2.1]:80",
             "[2001:db8::1", "2001:db8::g", "1" * 100_000, ":" * 100_000, "unix:", "１９２.0.2.1"],
)  # fmt: skip
def test_what_is_no_address_of_a_client(text: str) -> None:
    assert geo.canonical_address(text) is None


@given(st.from_regex(r"\d{1,3}(\.\d{1,3}){3}", fullmatch=True) | st.ip_addresses().map(str))
def test_an_address_that_is_canonical_already_is_told_at_a_glance(text: str) -> None:
    assert geo.canonical_address(text) == geo.canonical_address(f" {text} "), "the second one is taken apart"


@given(st.ip_addresses(), st.integers(0, 65_535), st.booleans())
def test_an_address_is_the_same_with_and_without_a_port(
    parsed: IPv4Address | IPv6Address, port: int, upper: bool
) -> None:
    text = parsed.exploded.upper() if upper else str(parsed)
    with_port = f"{text}:{port}" if parsed.version == 4 else f"[{text}]:{port}"
    assert geo.canonical_address(text) == geo.canonical_address(with_port)
    assert geo.canonical_address(text) == str(getattr(parsed, "ipv4_mapped", None) or parsed)
