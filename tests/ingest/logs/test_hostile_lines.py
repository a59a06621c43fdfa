"""Lines that somebody wrote to stop an import: each is read in time that grows with its length and no faster.

What is measured is CPU time, with a limit that the system holds: a pattern that reads a line twice for each of its
characters would need hours for these.
"""

from __future__ import annotations

import base64
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from activity.enrich import SiteRules
from ingest.logs import formats
from ingest.logs.batch import Batch, masked
from ingest.logs.reader import batches, reader

ROOT = Path(__file__).parents[3]
LENGTH = 200_000
CPU_SECONDS = 40
SITE = SiteRules("example.com")
STAMP = "[01/Jun/2025:12:00:00 +0000]"
HEAD = f"192.0.2.1 - - {STAMP}"
LINE = f'{HEAD} "GET / HTTP/1.1" 200 1'

# What stands before, what is repeated until the line is long, what stands behind.
HOSTILE = [
    ("", "[", ""), ("", STAMP, ""), ("", f"{STAMP} ", ""), ("", "[01/Jun/2025:12:00:00 ", ""), ("", '"', ""),
    ("", " ", "x"), ("", "a ", ""), ("", "a:", ""), ("", "1:", "x"), ("", ":", "x"), ("", "1.", "x"), ("", "0", "x"),
    ("", "192.0.2.", "x"), ("", "a:1:", f" - - {STAMP}"), ("", "192.0.2.1:", f"x - - {STAMP}"), ("", ",", f" {STAMP}"),
    ("", "example.com ", STAMP), ("", "a.", f" 192.0.2.1 - - {STAMP}"), (HEAD, ' "', ""), (HEAD, ' "a" ', ""),
    (HEAD, ' "a"b', ""), (f'{HEAD} "', "\\", ""), (f'{HEAD} "', '\\"', ""), (f'{HEAD} "', "a\\", ""), (HEAD, " a", '"'),
    (HEAD, ' "a" 200', ""), (HEAD, " ", '"'), (LINE, " ", '"'), (LINE, ' "-"', ""), (LINE, ' "a"', ' "'),
    (LINE, " a", '"'),
    (f'{LINE} "', "a://", '" "x" "y"'), (f'{LINE} "-" "', "(", '"'), (f'{LINE} "-" "', "Mozilla ", '"'),
    (f'{HEAD} "GET /', "%", ' HTTP/1.1" 200 1'), (f'{HEAD} "GET /', "%zz", ' HTTP/1.1" 200 1'),
    (f'{HEAD} "GET /', "\\xff", ' HTTP/1.1" 200 1'), (f'{HEAD} "GET /', "../", ' HTTP/1.1" 200 1'),
    (f'{HEAD} "GET /', ";jsessionid=", ' HTTP/1.1" 200 1'), (f'{HEAD} "GET /', "é", ' HTTP/1.1" 200 1'),
    (f'{HEAD} "GET /?', "a=b&", ' HTTP/1.1" 200 1'), (f'{HEAD} "GET /?q=', "+", ' HTTP/1.1" 200 1'),
    (f'{HEAD} "GET ', "://", ' HTTP/1.1" 200 1'), ("", '{"a":', ""), ("", "[", "]"), ('{"status":"', "1", '"}'),
    ("", ' "" ""', ""), ("", '""', "x"), ("", ",", " x"), ('{"time":"', " ", 'x","status":200,"method":"GET"}'),
    ("x]: ", "{|", '} "'), ("", "|a.b/1", '} "'), ('"a" [', " HTTP/", ""), ("", '\\"', ""), ("", '\\\\"', ""),
    ('{"time":"', "1", '","status":200,"method":"GET"}'), ('{"a":"', "\\u00e9", '"}'), ("", "\udcff", ""),
    ("", 'a="', ""), ("", 'a=" ', ""), ('a="', "\\", ""), ("", "a=b ", ""), ("", "a:b\t", ""), ("", "@", "="),
    ("[pid: 1|app: 0|req: 1/1] 1 () {} [x] GET ", " => generated", ""), ("[pid: 1|app: 0|req: ", "] ", ""),
    ("A|200|1748779200000|1|1|1|", "|", " "), ("1, -, 1/1/25, 1:00:00, ", "1, ", ""), ("", "\x1b[1m", " |"),
    ("[GIN] 2025/06/01 - 12:00:00 | 200 |", " | ", '"'), ("1748779200.000 1 ", "1 ", ""),
    ("<1>1 - a b c d ", "[a ", "x"), ("<1>1 - a b c d [", 'a="b" ', ""), ("10.0.0.1 ", "10.0.0.1 ", STAMP),
    (f"{STAMP} ", "10.0.0.1 ", '"GET / x" 200 1'),
    (HEAD, " GET /a HTTP/1.1", ""), (HEAD, " GET", ""), ('a - [x] "GET / HTTP/1.1" 200 1 1 "" "', '\\"', ""),
    ("2025/06/01 12:00:00.000\tinfo\thttp.log.access\t", "a\t{", ""), ("", " ", "2025-06-01T12:00:00Z x"),
    ("192.0.2.1 ", "{a ", "}"), ("192.0.2.1 ", "10.0.0.1:80 : ", STAMP), ('"', "192.0.2.1 ", '"'),
    ("", "Feb  5 12:00:00 ", f"x: 192.0.2.1 {STAMP}"), ("<1>1 - ", "a[", f"]: {STAMP}"),
]  # fmt: skip

WORK = """
import json, sys
from activity import geo, url, user_agent
from activity.attribution import origin, referrer_host
from ingest.logs import client, formats
from ingest.logs.batch import masked

PARSERS = [
    formats.parser(shape)
    for shape in (
        *(shape for shape in formats.FORMATS if shape != "events"), "w3c date time c-ip cs-method cs-uri sc-status",
        'layout %h %l %u %t "%r" %>s "%{User-Agent}i"', "layout $time_local $http_x_forwarded_for $request $status",
        "layout %ci %hr [%tr] %ST %{+Q}r", 'layout $remote_addr $upstream_addr [$time_local] "$request" $status',
    )
]

for before, repeated, behind in json.load(sys.stdin):
    text = before + repeated * (LENGTH // len(repeated)) + behind
    line = text.encode("utf-8", "surrogateescape")
    for parser in PARSERS:
        parser(text), parser("2025-06-01 12:00:00 " + text), parser("192.0.2.1 - - " + text)
    formats.detect([line]), formats.nearest([line])
    client.client_of(text), geo.canonical_address(text), masked(line), user_agent.parse(text)
    normal = url.normal_path("/" + text)
    url.readable(normal), url.parse("https://example.com/" + text)
    referrer_host(text), origin(url.parameters(text.partition("?")[2][:4096]), "")
"""


def test_no_pattern_takes_more_than_the_length_of_the_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORK.replace("LENGTH", str(LENGTH))],
        input=json.dumps(HOSTILE).encode(),
        cwd=ROOT,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS)),
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("shape", formats.FORMATS)
def test_hostile_lines_are_accounted_for_between_others(shape: str) -> None:
    texts = [before + repeated * (70_000 // len(repeated)) + behind for before, repeated, behind in HOSTILE]
    lines = [text.encode("utf-8", "surrogateescape") + b"\n" for text in texts]
    found = next(batches([lines], reader(shape, SITE, b"k" * 32, 1_790_000_000_000, None)))
    assert accounted(found) == len(lines)
    if shape != "events":
        assert {why for _, line, why in found.not_understood if len(line) > formats.LONGEST} == {
            f"longer than {formats.LONGEST} bytes"
        }


def accounted(batch: Batch) -> int:
    return len(batch.accepted) + sum(batch.refused.values()) + len(batch.not_understood)


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1", "192.000.002.001", "192.0.2.1:51000", "2001:db8::1", "2001:DB8:0:0:0:0:0:1", "[2001:db8::1]:51000",
     "::ffff:192.0.2.1", "fe80::1%eth0", "2001:db8:1:2:3:4:5:6"],
)  # fmt: skip
@pytest.mark.parametrize(
    "line", ["{} - - [", "example.com:443 {} x", "access.log:{} x", "access.log.1:{} x", "a.log:12:{} x", "{}, {} x"]
)
def test_a_dead_letter_holds_no_address_in_any_spelling(line: str, address: str) -> None:
    kept = base64.b64decode(masked(line.replace("{}", address).encode())).decode()
    for part in ("192.0", "192.000", "db8", "DB8", "fe80", "ffff", "3:4:5"):
        assert part not in kept
    assert "0.0.0.0" in kept
