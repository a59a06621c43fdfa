"""Lines read by columns and events put together from parts: the same as each line taken by itself."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from activity import codec
from activity.enrich import DAY, SiteRules
from ingest.logs import formats
from ingest.logs.client import client_of
from ingest.logs.columns.combined import usual
from ingest.logs.formats.combined import host_among
from ingest.logs.reader import batches, reader
from tests.ingest.logs.plainly import KEY, RECEIVED_AT, SITE, own_values, together, totals

STAMP = "17/May/2015:10:05:03 +0000"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def line(
    target: str = "/", *, ip: str = "192.0.2.1", stamp: str = STAMP, status: str = "200", method: str = "GET",
    referrer: str = "-", agent: str = FIREFOX, size: str = "512", user: str = "- -", version: str = " HTTP/1.1",
) -> str:  # fmt: skip
    return f'{ip} {user} [{stamp}] "{method} {target}{version}" {status} {size} "{referrer}" "{agent}"'


LINES = [
    line(), line(), line("/a?q=red+shoes"), line("/a?q=%22quoted%22&utm_source=news"), line("/ü?q=grün"),
    line("/a\\x22b"), line(referrer="https://www.google.com/"), line(referrer="https://example.com/x"),
    line(agent="-"), line(agent=""), line(agent="Googlebot/2.1 (+http://www.google.com/bot.html)"),
    line("/style.css"), line("/a.b/c"), line("/feed.XML?x=1"), line(method="POST"), line(status="404"),
    line(status="304"), line("http://example.com/whole"), line("/two words"), line("/old", version=""),
    line(stamp="31/Feb/2015:10:05:03 +0000"), line(stamp="17/mAy/2015:10:05:61 -0130"),
    *(line(stamp=f"{stamp} +0000") for stamp in ("31/Dec/1989:23:59:59", "01/Jan/1990:00:00:00")),
    *(line(stamp=f"{stamp} -0130") for stamp in ("31/Dec/2099:22:29:59", "31/Dec/2099:22:30:00")),
    *(line(stamp=f"09/Oct/2015:14:13:{second} +0000") for second in (19, 20, 21)),  # 4,000 days before RECEIVED_AT
    line(stamp="17/May/1970:10:05:03 +0000"), line(stamp="17/May/2150:10:05:03 +0000"), line(size="-"),
    line(ip="2001:db8::1", user="- frank"), line(user='- "fra nk"'), line(user="- [x] y"), line() + ' "more" 0.005',
    line().rpartition(' "')[0], line().rpartition(' "')[0].rpartition(' "')[0], line() + ' "torn \\',
    line("/" + "x" * 1_100 + "?q=long"), line("/%zz?q=%zz"), line('/a" 200 1 "b'), line()[:40], "what is this", "",
    line(ip="example.com:443 192.0.2.7"), line(ip="shop.example.org 2001:DB8::7"), line(ip="access.log.1:192.0.2.7"),
    line(ip="192.0.2.7:51000"), line(ip="[2001:db8::7]:51000"), line(ip="192.0.2.7, 198.51.100.1"), line(ip="-"),
    line(ip="::ffff:192.0.2.7"), line(ip="127.0.1.1:80 192.0.2.7"), line(ip="dialup.example.net"),
    *(line(ip=ip) for ip in ("127.0.0.1", "127.0.0.1 192.0.2.7", "10.0.0.1 192.0.2.7", "192.0.2.256", "192.0.02.1")),
    *(line(ip=ip) for ip in ("0.0.0.0", "255.255.255.255", "1.2.3.4.5", " 192.0.2.7", "192.0.2.7\t198.51.100.1")),
    line(size="512 0.012"), line(size='512 "GET"'), line(size='512 "example.com"'), line(size="512  0.012 -"),
    line() + ' "192.0.2.8"', line() + ' "-" 0.1', line(referrer="https://a.example/") + ' "https://b.example/"',
    line(referrer="not a page") + ' "-"', line(agent="https://b.example/") + ' "-"', line().replace(" ", "  "),
    line().replace(" ", "\t"), line().replace("] ", "] 0.012 example.com "), line().replace("] ", '] "h" '),
    line(stamp="17/May/2015:10:05:03.250 +0000"), line(stamp="2015-05-17T10:05:03+00:00"),
    line(stamp="17/May/2015:10:05:03 +05:30"), line(stamp="2015-05-17T10:05:03"), line() + "  ", line() + ' "',
    line("/a%2fb/../%7Ec;jsessionid=1A?x=%c3%a9"), line("/x.css;jsessionid=1A"), line("/caf\\xE9?q=caf\\xe9"), "# top",
    "#" + line(), "# " + line(),
    line("/" + "x" * 70_000), line(agent="x" * 2_000), line(agent="Prometheus/2.40.5"), line(user="- -", ip="1.2.3"),
    *(line(referrer=FIREFOX, agent=agent) for agent in ("-", "", "192.0.2.8", "h", "HTTP/1.1", "https://b.example/")),
    *(line(agent="-") + f' "{field}"' for field in (FIREFOX, "HTTP/1.1", "192.0.2.8", "h", "-")),
    *(line(referrer=field) for field in ("192.0.2.8", "2001:db8::1, 10.0.0.1", "bad", "a.example/1")),
    line(agent="192.0.2.8"), line(agent="bad"), line(agent="HTTP/1.1"), line(agent="HTTrack/3.0") + ' "-"',
    line(ip="Feb  5 12:00:00 10.1.1.1 nginx: 192.0.2.7"), line(ip="<190>Feb  5 12:00:00 10.1.1.1 192.0.2.7"),
    *(line(ip=ip, user="- 8.8.8.8") for ip in ("192.0.2.7", "10.0.0.5", "10.0.0.5 192.0.2.7")),
    line(ip="10.0.0.5", user="- 8.8.8.8") + ' "192.0.2.8"', line(ip="10.0.0.5", user="- 8.8.8.8 ann"),
    line(ip="10.0.0.5 192.0.2.7"), line(user="- 192.0.2.7", ip="10.0.0.5"), line(user="shop.example.org -"),
    line(size="512 shop.example.org"), line(size="512 0.1 shop.example.org"), line().replace("] ", "] TLSv1.3 a.b "),
    line().replace("] ", "] 0.1 a.bb:80 "), line().replace("] ", "] web01.internal "), line(size="512 index.html"),
    line(user="- john.doe"), line(ip='"192.0.2.7'), '"' + line() + '"', line(agent='a ""b"" c'), line(referrer='""'),
    *(line(ip=ip) for ip in ("[192.0.2.7]:1", "(192.0.2.7)", "for=192.0.2.7;by=x", "10.0.0.5 (192.0.2.7)")),
    *(line(stamp=stamp) for stamp in ("17/May/2015 10:05:03", "2015/05/17:10:05:03", "1431857103")),
    line("http://b.example:81?q=x"), line("a?q=x"), line("  /a?q=x "), line(version=" 1.1"), line("*"),
    f"[1431857103] [7] {line()}", f"[{STAMP}] {line().replace(f'- - [{STAMP}] ', '')}",
    line(agent="unknown, 192.0.2.8"), line(stamp="17/May/2015:10:05:03Z"),
    "  ", line("/tab\there"), line("/nul\0here"), line("/sep\x1cara\x85tor"), line(agent='a\\"b'), line("/100%?s=1%25"),
]  # fmt: skip


@pytest.mark.parametrize("shape", ["combined", "common"])
@pytest.mark.parametrize("days", [None, 4_000], ids=["kept for ever", "kept for a while"])
def test_lines_read_together_give_what_each_gives_alone(shape: str, days: int | None) -> None:
    site = SiteRules("example.com", origins=SITE.origins, retention_days=days)
    recent = f"{line('/new?q=x', stamp='20/Sep/2026:10:00:00 +0000')}"
    assert days is None or RECEIVED_AT - days * DAY < 1_789_898_400_000
    texts = [*LINES, *LINES, recent, recent]
    random.Random(4).shuffle(texts)
    lines = [text.encode() + end for text, end in zip(texts, itertools.cycle([b"\n", b"\r\n"]), strict=False)]
    lines.append(b'192.0.2.9 - - [' + STAMP.encode() + b'] "GET /\xff\xfe HTTP/1.1" 200 1 "-" "\xc3"')
    found = together(lines, shape, site, 17)
    for batch in found:
        accepted = batch.accepted
        events = [codec.decode(value) for value in own_values(batch)]
        assert accepted.ids == [event.id for event in events]
        assert accepted.visitors == [event.visitor for event in events]
        assert accepted.bots == [bool(event.bot) for event in events]


BALANCED = [line(ip=ip) + f' "{chain}"' for ip in ("10.0.0.5", "192.0.2.9", "::ffff:10.1.1.1", "x:10.0.0.5:80")
            for chain in ("198.51.100.7, 10.0.0.5", "-", "2001:db8::7", "10.9.9.9", "nobody", "https://b.example/",
                          "10.9.9.9:80", "unknown, 198.51.100.7", "-, 198.51.100.7", "[2001:db8::7]:80", "unknown")]


@pytest.mark.parametrize("shape", ["combined", "common"])
def test_a_client_that_a_balancer_passed_on_is_found_together_and_alone(shape: str) -> None:
    found = together([text.encode() for text in BALANCED], shape, SITE, 7)
    assert len({visitor for batch in found for visitor in batch.accepted.visitors}) > 3


USUAL = [
    line(), line(ip="2001:db8::1", user="- frank"), line(agent="-"), line(size="-"), line(status="304", method="POST"),
    line() + ' "more" 0.005', line() + "  ", line(size="512 0.012"), line(ip="example.com:443 192.0.2.7"),
    line().replace("] ", "] 0.012 example.com "), line("/two words"), line(stamp="17/mAy/2015:10:05:61 -0130"),
    line(agent="é"),
]  # fmt: skip


@pytest.mark.parametrize("common", [False, True])
def test_lines_of_the_usual_form_are_parsed_by_columns(common: bool) -> None:
    texts = [*USUAL, *(text.partition(' "-"')[0] for text in USUAL)]
    lines = [text.encode() + b"\r\n" for text in (*texts, "# top", line("/\\x22"))]
    found = usual(lines, common)
    assert found["_row"].to_list() == list(range(len(texts)))
    parser = formats.common if common else formats.combined
    for text, row in zip(texts, found.iter_rows(named=True), strict=True):
        request = parser(text)
        assert isinstance(request, formats.Request)
        client = client_of(row["client"])
        assert client is not None
        client = client._replace(host=client.host or host_among((row["between"] or "").split(), row["next"] or ""))
        start = formats.apache_minute(f"{row['date']}:00:00", row["zone"])
        assert start is not None
        parts = (start * 1_000 + row["time"], row["request"], row["status"], row["referrer"], row["agent"])
        assert formats.request_of(client, *parts) == request


def json_line(**fields: Any) -> bytes:
    usual = {
        "remote_addr": "192.0.2.1", "time_iso8601": "2015-05-17T10:05:03+00:00", "request": "GET /a?q=x HTTP/1.1",
        "status": 200, "http_referer": "https://www.google.com/", "http_user_agent": FIREFOX,
    }  # fmt: skip
    return json.dumps(usual | fields).encode()


JSON_LINES = [
    json_line(), json_line(), json_line(host="shop.example.org"), json_line(remote_addr="2001:DB8::1"),
    json_line(http_user_agent="-"), json_line(status=404), json_line(request="GET /a.css HTTP/1.1"),
    json_line(time_iso8601="1970-05-17T10:05:03+00:00"), json_line(msec=1.5), json_line(remote_addr="nobody"),
    json_line(request="GET /caf\u00e9 HTTP/1.1"), json_line().replace(b"/a?", b"/\xff\xfe?"),
    json_line(http_referer=None), json_line(request="POST / HTTP/1.1"), b"{", b"", b"# top",
    json_line(http_user_agent="x" * 2_000),
]  # fmt: skip


def test_lines_of_json_give_what_each_gives_alone() -> None:
    together([*JSON_LINES, *JSON_LINES], "json", SITE, 7)


W3C = [
    b"#Software: a server", b"#Fields: date time c-ip cs-method cs-uri-stem sc-status",
    b"2025-06-01 12:00:00 192.0.2.1 GET /a 200", b"2025-06-01 12:00:01 192.0.2.1 GET /b.css 200",
    b"#Fields: c-ip sc-status cs-method cs-uri-stem date time", b"192.0.2.2 200 GET /c 2025-06-01 12:00:02",
    b"192.0.2.2 200 GET", b"", b"#Date: 2025-06-02", b"#Fields: time c-ip cs-method cs-uri-stem sc-status",
    b"12:00:03 192.0.2.3 GET /d 200", b"#Remark: the same", b"12:00:04 192.0.2.3 GET /e 304",
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_the_fields_of_a_w3c_log_may_change_inside_it(size: int) -> None:
    chunks = [W3C[at : at + size] for at in range(0, len(W3C), size)]
    found = list(batches(chunks, reader("w3c", SITE, KEY, RECEIVED_AT, None)))
    events = [codec.decode(value) for batch in found for value in own_values(batch)]
    assert [(event.path, event.occurred_at % DAY // 1_000 - 43_200) for event in events] == [
        ("/a", 0), ("/c", 2), ("/d", 3), ("/e", 4),
    ]  # fmt: skip
    assert events[3].occurred_at - events[0].occurred_at == DAY + 4_000
    assert totals(found) == {"comment": 6, "asset": 1, "empty": 1, "not understood": 1}
    # The line that is not understood is kept with the names under which it stood, so that it can be mended.
    ((shape, number),) = [(batch.shape, number) for batch in found for number, _, _ in batch.not_understood]
    assert (shape, number) == ("w3c c-ip sc-status cs-method cs-uri-stem date time", 7)
    (mended,) = batches([[W3C[5]]], reader(shape, SITE, KEY, RECEIVED_AT, None))
    assert len(mended.accepted) == 1


HEADS = [
    "192.0.2.1 - - ", "10.0.0.1 - - ", "10.0.0.1 - 8.8.8.8 ",
    "2001:DB8::1 - ann ", "example.com:443 192.0.2.1 - - ", "- - - ",
    "a.log:192.0.2.1:5 - - ", "", "192.0.2.1\x1c- - ", "192.0.2.1 \u2028 ",
]  # fmt: skip
QUOTED = [' "-"', ' "h"', ' ""', ' "https://a.example/"', f' "{FIREFOX}"', ' "192.0.2.8"', ' "é\x0b/1"', ' "torn']
PIECES = [
    *HEADS, *QUOTED, f"[{STAMP}]", "[2015-05-17T10:05:03Z]", ' "GET /a;jsessionid=1?q=x HTTP/1.1"', " 200 512",
    ' "GET /%c3%a9 HTTP/1.1"', " 304 -", " 0.012", " ", "\t", '"', "\\", "[", "é", "\x1c", "\r", "\0",
    "\x85", "\u2028", "ſ",
]  # fmt: skip
PARTS = (
    HEADS,
    [f"[{STAMP}]", "[2015-05-17T10:05:03Z]", "[17/May/2015:10:05:03.5 +0530]"],
    ["", " 0.1", ' "h"', " "],
    [' "GET /a?q=x HTTP/1.1"', '\t"GET /b HTTP/1.1"'],
    [" 200 512", "  304\t-", " 404 1", " 200"],
    ["", " 0.012", " - -"],
)
NEARLY = st.tuples(
    *map(st.sampled_from, PARTS), st.lists(st.sampled_from([*QUOTED, " 0.1"]), max_size=4).map("".join)
).map("".join)
ANY = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)


@given(
    st.lists(NEARLY | ANY, min_size=1, max_size=12),
    st.sampled_from(["combined", "common"]),
)
@example(['10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a?q=x HTTP/1.1" 200 512 "-" "192.0.2.8"'], "combined")
@example(["\0shop.example.com:443 " + line(), "\0" + line()], "combined")
@settings(max_examples=150, deadline=None)
def test_any_lines_read_together_give_what_each_gives_alone(texts: list[str], shape: str) -> None:
    together([text.encode() for text in texts], shape, SITE, 7)
