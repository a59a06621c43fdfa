"""Lines of every format taken apart by columns: the same as each line taken by itself, and no usual line is left."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from ingest.logs.columns import columns_of
from ingest.logs.formats.fields import NAMES
from ingest.logs.formats.programs import PATTERNS, STRINGS
from tests.ingest.logs.plainly import SITE, together
from tests.ingest.logs.test_known_formats import KNOWN

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPS = ["192.0.2.1", "10.0.0.5", "2001:DB8::7", "192.0.2.1:51000", "127.0.0.1", "-", "nobody", "", "[2001:db8::7]:443",
       "192.0.2.1, 198.51.100.1", "192.0.2.1:999999", "192.0.2.256", "unix:"]  # fmt: skip
ISO = [
    "2025-06-01T12:00:00Z", "2025-06-01T12:00:00.000499Z", "2025-06-01T12:00:00.0005Z", "2025-06-01T12:00:00.9999999Z",
    "2025-06-01 12:00:61", "2025-02-30T12:00:00+00:00", "2025-06-01T12:00:00.5+05:30", "2025-06-01T24:00:00-0130",
    "1748779200", "1748779200.9995", "1748779200.123456", "1748779200123", "0000000000", "yesterday", "",
    "1970-06-01T12:00:00Z", "2025-06-01T12:00:00,25Z",
]  # fmt: skip
APACHE = ["01/Jun/2025:12:00:00 +0000", "31/Feb/2025:12:00:00 +0000", "01/jUn/2025:23:59:61 -0130", "-",
          "1/Jun/2025:12:00:00 +05:30", "01/Jun/2025:12:00:00.9999 +0000", "01/Jun/2025:12:00:00.5 +0000",
          "01/Jun/2025:12:00:00.123"]  # fmt: skip
DATES = ["2025-06-01", "2025/06/01", "2025-13-01", "-", "1/6/2025", "20250601", "2025-06-01T05:00:00Z", "1748779200"]
CLOCKS = ["12:00:00", "12:00:00.5", "24:00:00", "12:00", "-"]
METHODS = ["GET", "POST", "-", "get"]
PATHS = ["/", "/a.css", "/a%20b", "/a?q=x", "https://www.example.com:443/a?q=red+shoes", "/ü", "/%2525", "-", ""]
QUERIES = ["-", "q=red+shoes", "q=%2525", "a,b", ""]
STATUSES = ["200", "304", "404", "-1", "000", "-", "2OO", ""]
REFERRERS = ["-", "https://www.google.com/", "https://a.example/%2520?x", "", "odd"]
AGENTS = [FIREFOX, "Googlebot/2.1 (+http://www.google.com/bot.html)", "-", "", "a|b", "x/1 {y} \\x22", "curl/8.5.0"]
REQUESTS = [f"{method} {path} HTTP/1.1" for method in METHODS for path in PATHS] + ["<BADREQ>", "GET /two words", ""]
ODD = ['"', "\\", " ", "\t", ",", "é", "\x1c", "]: ", "{", "}", "[", "-", "#", '"" ']

W3C = "w3c date time c-ip cs-method cs-uri-stem cs-uri-query sc-status cs(Referer) cs(User-Agent) x-forwarded-for"
CLOUDFRONT = W3C.replace("sc-status", "x-edge-location sc-status")
TIMES_ONLY = "w3c #2025-06-01 time c-ip cs-method cs-uri sc-status cs-host"
NGINX = (
    'layout $remote_addr - $remote_user [$time_local] $host "$request" $status "$http_referer" "$http_user_agent" '
    '"$http_x_forwarded_for"'
)
SPACED = "layout $http_x_real_ip $time_iso8601 $request_method $request_uri $status $args"
VERSIONED = 'layout $remote_addr:$remote_port [$time_local] "%s" $status "$http_user_agent" $request_time'
VERSIONED %= "$request_method $request_uri $server_protocol"
APACHES = 'layout %v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"'


def blanks(text: str, blank: str) -> str:
    return text.replace(" ", blank)


def one_of(*values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """Mostly the first of each, which is the usual one."""
    return st.tuples(*(st.one_of(st.just(some[0]), st.sampled_from(some)) for some in values))


w3c_words = one_of(DATES, CLOCKS, IPS, METHODS, PATHS, QUERIES, STATUSES, REFERRERS, AGENTS, ["-", "198.51.100.7"])
text = one_of(IPS, APACHE, REQUESTS, STATUSES, REFERRERS, AGENTS, ["-", "198.51.100.7, 10.0.0.1"], ISO)


def quoted(words: tuple[str, ...]) -> str:
    return " ".join(f'"{word}"' if " " in word else word for word in words)


LINES: dict[str, tuple[str, st.SearchStrategy[str]]] = {
    "iis": (W3C, w3c_words.map(lambda words: " ".join(blanks(word, "+") for word in words))),
    "netscaler": (W3C, w3c_words.map(quoted)),
    "cloudfront": (
        CLOUDFRONT,
        w3c_words.map(lambda words: "\t".join(blanks(word, "%20") for word in (*words[:6], "FRA", *words[6:]))),
    ),
    "times only": (
        TIMES_ONLY, one_of(CLOCKS, IPS, METHODS, PATHS, STATUSES, ["-", "www.example.com"]).map(" ".join)
    ),
    "nginx": (NGINX, text.map(lambda t: f'{t[0]} - - [{t[1]}] h "{t[2]}" {t[3]} "{t[4]}" "{t[5]}" "{t[6]}"')),
    "apache": (APACHES, text.map(lambda t: f'a.example:443 {t[0]} - - [{t[1]}] "{t[2]}" {t[3]} 12 "{t[4]}" "{t[5]}"')),
    "spaced": (SPACED, text.map(lambda t: f"{t[0]} {t[7]} GET {t[2].partition(' ')[2]} {t[3]} q=x")),
    "versioned": (VERSIONED, text.map(lambda t: f'{t[0]}:51000 [{t[1]}] "{t[2]}" {t[3]} "{t[5]}" 0.1')),
    "squid": ("squid", text.map(
        lambda t: f"1748779200.123    120 {t[0]} TCP_MISS/{t[3]} 1 {t[2][:-9]} - HIER_DIRECT/10.0.0.1 text/html")),
    "iis-native": ("iis-native", st.tuples(text, one_of(["6/1/25", "06/01/2025", "13/1/25", "1.6.2025"], CLOCKS)).map(
        lambda t: f"{t[0][0]}, -, {', '.join(t[1])}, W3SVC1, S, 10.0.0.1, 1, 5, 9, {t[0][3]}, 0, GET, /a, {t[0][4]},")),
    "envoy": ("layout " + STRINGS["envoy"], text.map(
        lambda t: f'[{t[7]}] "{t[2]}" {t[3]} - 0 154 5 4 "{t[0]}" "{t[5]}" "id" "a.example" "{t[6]}"')),
    "alb": ("alb", text.map(
        lambda t: f'h2 {t[7]} app/x {t[0]}:51000 - 0 0 0 {t[3]} - 1 2 "{t[2]}" "{t[5]}" ECDHE TLSv1.2 arn "Root=1"')),
    "elb": ("elb", text.map(lambda t: f'{t[7]} x {t[0]}:51000 - 0 0 0 {t[3]} - 1 2 "{t[2]}" "{t[5]}" ECDHE TLSv1.2')),
    "s3": ("s3", text.map(
        lambda t: f'own b [{t[1]}] {t[0]} - 1A GET a,b "{t[2]}" {t[3]} - 1 2 3 4 "{t[4]}" "{t[5]}" - x')),
    "s3 that ends with the agent": ("s3", text.map(
        lambda t: f'own b [{t[1]}] {t[0]} - 1A GET a,b "{t[2]}" {t[3]} - 1 2 3 4 "{t[4]}" "{t[5]}"')),
    "haproxy": ("haproxy", text.map(
        lambda t: f"Feb 6 12:00:00 h haproxy[1]: {t[0]}:51000 [{t[1]}] in s/1 1/0/3 {t[3]} 5 - - ---- 1/1 0/0 "
        f'{{a.example|{t[4]}|{t[5]}}} {{x}} "{t[2]}"')),
    "haproxy without captures": ("haproxy", text.map(
        lambda t: f'{t[0]}:51000 [{t[1]}] in s/1 1/0/3 {t[3]} 5 - - ---- 1/1 0/0 "{t[2]}"')),
}  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, lines: st.SearchStrategy[str]) -> bytes:
    """A line into which something odd may have come, or which is cut short."""
    line = draw(lines)
    for odd in draw(st.lists(st.sampled_from(ODD), max_size=1)):
        at = draw(st.integers(0, len(line)))
        line = line[:at] + odd + line[at:]
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\xff"]))
    return line[: draw(st.none() | st.integers(0, len(line)))].encode() + end


@pytest.mark.parametrize("name", LINES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_lines_of_a_format_give_what_each_gives_alone(name: str, data: st.DataObject) -> None:
    shape, lines = LINES[name]
    together(data.draw(st.lists(lines.map(str.encode) | spoilt(lines), min_size=1, max_size=8)), shape, SITE, 5)


@pytest.mark.parametrize("name", PATTERNS)
def test_lines_of_a_program_give_what_each_gives_alone(name: str) -> None:
    texts = [line for shape, line, _ in KNOWN.values() if shape == name]
    assert texts
    line = texts[0]
    texts += [line[:at] + odd + line[at:] for at in range(0, len(line), 9) for odd in ('"', "|", " ", "é", ",")]
    together([text.encode() for text in texts], name, SITE, 50)


@pytest.mark.parametrize("count", [300, 5_000])
def test_lines_of_very_many_fields_give_what_each_gives_alone(count: int) -> None:
    more = " ".join(f"x-{number}" for number in range(count))
    line = b"2025-06-01 12:00:00 192.0.2.1 GET /a 200" + b" 1" * count
    together([line, line, line[:-2]], f"w3c date time c-ip cs-method cs-uri-stem sc-status {more}", SITE, 3)


SCALARS = st.sampled_from([None, True, 7, -0.0, 1.5, 1e300, 10**30, "", "-", "x", [], ["x", {}], [None], {}, {"a": 1}])
USUAL = {"time": "ts", "client": "remote_ip", "status": "status", "method": "method", "target": "uri", "host": "host",
         "referrer": "referer", "agent": "user_agent", "forwarded": "x_forwarded_for"}  # fmt: skip
FIELDS: dict[str, list[Any]] = {
    "time": [1748779200.25, 1748779200, *ISO], "client": [*IPS, ["192.0.2.1"], None],
    "status": [200, "304", 404, None],
    "method": METHODS, "target": PATHS, "host": ["a.example", None, 7], "referrer": [*REFERRERS, None],
    "agent": [*AGENTS, [FIREFOX], None], "forwarded": [None, "-", "198.51.100.7"],
}  # fmt: skip
OTHERS = ["msg", "level", "log", "Client-IP", "clientip", "verb", "x-edge-location", "User-Agent", "request"]
INNER = ("remote_ip", "method", "uri", "host")
names = st.fixed_dictionaries({part: st.just(name) | st.sampled_from(NAMES[part]) for part, name in USUAL.items()})


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    values = {part: some[0] for part, some in FIELDS.items()}
    for part in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=3)):
        values[part] = draw(st.sampled_from(FIELDS[part]))
    its = draw(st.just(USUAL) | names)
    usual = {its[part]: value for part, value in values.items()}
    usual |= draw(st.dictionaries(st.sampled_from([*OTHERS, *itertools.chain(*NAMES.values())]), SCALARS, max_size=2))
    for name in draw(st.lists(st.sampled_from(sorted(usual)), max_size=1)):
        del usual[name]
    if draw(st.booleans()):
        usual = {name: value for name, value in usual.items() if name not in INNER} | {
            "request": {name: usual[name] for name in INNER if name in usual}
        }
    return json.dumps(usual, ensure_ascii=draw(st.booleans())).encode()


def wrapped(line: str) -> st.SearchStrategy[bytes]:
    """A line of a program as runtimes of containers put it into an object."""
    names = st.sampled_from(["log", "message", "msg", "MESSAGE", "Log"])
    lines = st.sampled_from([f"{line}\n", line, [line], line[:40], f"#{line}", "{}", 7, None])
    objects = st.dictionaries(names, lines, min_size=1, max_size=2)
    return objects.map(lambda given: json.dumps({"stream": "stdout", "time": ISO[0]} | given).encode())


COMBINED = f'192.0.2.1 - - [{APACHE[0]}] "GET /a?q=x HTTP/1.1" 200 12 "-" "{FIREFOX}"'


@given(st.lists(wrapped(COMBINED) | json_lines(), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_lines_inside_objects_give_what_each_gives_alone(lines: list[bytes]) -> None:
    together(lines, "json", SITE, 5)


def test_no_combined_line_inside_an_object_is_left() -> None:
    columns = columns_of("json")
    line = json.dumps({"log": f"{COMBINED}\n", "stream": "stdout", "time": ISO[0]}).encode()
    list(columns.found([line]))
    (found,) = columns.found([b"{}", line, line])
    assert found.frame["_row"].to_list() == [1, 2]


@given(st.lists(json_lines() | spoilt(json_lines().map(bytes.decode)), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_lines_of_json_give_what_each_gives_alone(lines: list[bytes]) -> None:
    together(lines, "json", SITE, 5)


@pytest.mark.parametrize("part", USUAL)
def test_a_field_by_any_of_its_names_gives_what_each_line_gives_alone(part: str) -> None:
    values = {part: some[0] for part, some in FIELDS.items()}
    for name in NAMES[part]:
        named = USUAL | {part: name}
        lines = [
            json.dumps({named[its]: value for its, value in (values | {part: some}).items()}).encode()
            for some in [*FIELDS[part][:3], *FIELDS[part][-2:]]
        ]
        together([lines[0], *lines], "json", SITE, 5)


@pytest.mark.parametrize("date", [*DATES, 1748779200, 1748779200.5, None])
def test_a_date_beside_a_time_gives_what_each_line_gives_alone(date: object) -> None:
    usual = {USUAL[part]: values[0] for part, values in FIELDS.items() if part != "time"}
    times = [*CLOCKS, *ISO, 0.25, None]
    dates = ["2025-06-01", date]
    lines = [json.dumps({"date": its, "time": at, **usual}).encode() for at, its in itertools.product(times, dates)]
    together([lines[-1], lines[0], *lines], "json", SITE, 7)


@pytest.mark.parametrize("shape", ["w3c date time ip cs-method cs-uri sc-status",
                                   "layout $date $time $ip $method $uri $status"])
def test_a_client_by_the_name_of_its_column_gives_what_each_line_gives_alone(shape: str) -> None:
    together([f"2025-06-01 12:00:00 {ip} GET /a 200".encode() for ip in IPS], shape, SITE, 20)


@pytest.mark.parametrize("name", ["json", *LINES])
def test_no_usual_line_of_a_format_is_left(name: str) -> None:
    shape, lines = LINES.get(name, ("json", st.just("")))
    usual = json.dumps({USUAL[part]: values[0] for part, values in FIELDS.items()})
    line = usual if name == "json" else simplest(lines)
    columns = columns_of(shape)
    list(columns.found([line.encode()]))  # of JSON the first line tells the fields
    (found,) = columns.found([f"{line}\r\n".encode()] * 3)
    assert found.frame["_row"].to_list() == [0, 1, 2]
    assert found.frame["_at"].null_count() == found.frame["_ip"].null_count() == 0


def simplest(lines: st.SearchStrategy[str]) -> str:
    return find(lines, lambda _: True)
