"""Odd and hostile requests, in bytes, against both ports of a running `footfall up`.

    python -m tests.fuzz --requests 100000 --seconds 1800 --seed 1 --json

starts one on a folder of its own (loopback only), sends as many requests as it may in the time it has, and counts
the answers. It fails when one is 5xx, but for a 503 that says when to come again; when a request that is whole gets
no answer; when a good event beside a bad one is not taken; and when a process of `up` is not the one it was.

`request` makes one from a `random.Random`, so that Hypothesis can make and shrink them too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from tests.e2e.harness import PATIENCE, SITE, Up

QUIET = 0.2  # seconds after which a request that may not be whole is given up
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")

GOOD = {"site": SITE, "type": "pageview", "url": f"https://{SITE}/good"}
# fmt: off
TEXTS = [
    "", "a", "\0", "\ud800", "\udfff\ud800", "\ufeff", "\U0001f600", "x" * 5000, "'; DROP TABLE x", "<b>", "%s%(a)s",
    "localtime", "{{7*7}}", "\r\n", "-1", "1e999", "NaN", "../../etc/passwd", "${jndi:x}", "\u00e9", "\ufb00", "\u202e",
]
NUMBERS = [0, -1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**40, 1e308, -1e-308]
RAW_VALUES = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "0" * 20, "1E+1000000", "tru", '"\\u12"', '"\\ud800"',
]
FIELDS = [
    "site", "type", "url", "referrer", "title", "name", "props", "search", "id", "ts", "visitor", "user", "screen",
    "language", "engaged_ms", "sent_at", "events", "unknown", "term", "results",
]
TRACKING = [
    "/batch/", "/e/", "/i/v0/e/", "/i/v1/analytics/events", "/flags/", "/array/x/config.js", "/compat/posthog/engage",
    "/mp/collect", "/debug/mp/collect", "/g/collect",
    "/collect", "/collect.gif", "/live", "/ready", "/metrics", "/beacon.js", "/beacon.x.js", "/", "/nothing",
    "/api/event", "/api/send", "/api/batch", "/api/auth/login", "/track", "/compat/openpanel/track", "/count/x",
    "/api/v0/count",
    "/v1/batch", "/v1/t", "/pixel/v1/page", "/api/s/s2s/track", "/compat/segment/v1/import",
    "/matomo.php", "/compat/matomo/piwik.php", "/com.snowplowanalytics.snowplow/tp2", "/i",
    "/event", "/compat/openpanel/profile", "/api/collect", "/js/", "/ice.png", "/api/px/page", "//v1//batch",
]
DASHBOARDS = [
    "/", f"/{SITE}", f"/{SITE}/now", f"/{SITE}/nothing", "/unknown.example", "/sql", "/sql", "/ready", "/live",
    "/metrics", "/api/v1/stats", "/api/v1/timeseries", "/api/v1/breakdown", "/control/ping", "/control/x", "/static/x",
    "/sites", f"/{SITE}/list/page", f"/{SITE}/list/page.csv", f"/{SITE}/list/source.parquet", f"/{SITE}/filter",
    f"/{SITE}/card/city", f"/{SITE}/card/x",
    f"/{SITE}/visits", f"/{SITE}/visit/{'0' * 16}-{'0' * 16}", f"/{SITE}/paths", f"/{SITE}/funnel", f"/{SITE}/searches",
    f"/{SITE}/funnel/step", f"/{SITE}/retention", f"/{SITE}/export/events.csv", f"/{SITE}/export/sessions.parquet",
    "/api/v1/visits", "/api/v1/visit", "/api/v1/funnel", "/api/v1/paths", "/api/v1/searches", "/api/v1/retention",
    "/api/v1/openapi.json", "/ping", "/login", "/login/provider", "/account", "/people", "/tokens", "/audit",
    f"/{SITE}/saved", f"/{SITE}/annotations", f"/{SITE}/shares", "/api/v1/goals", "/api/v1/annotations", "/open",
    "/share/", "/share/x", f"/share/{'x' * 43}/{SITE}", f"/share/{'x' * 43}/open", "/share//live",
    "/ops", "/api/v1/ops", f"/{SITE}/reports", f"/{SITE}/alerts", "/unsubscribe/none",
]
PARAMETERS = [
    "site", "site", "site", "period", "from", "to", "interval", "by", "metric", "limit", "query", "default_format",
    "param_a", "v", "url", "type", "props", "term", "results", "ts", "date", "filter", "compare", "page", "timezone",
    "filters", "filters", "steps", "steps", "path", "direction", "id", "sort", "dimension", "operator", "values",
    "segment", "theme", "lang", "lang",
    "database", "compress", "enable_http_compression", "client_protocol_version", "max_result_rows", "session_timezone",
]
VALUES = [
    SITE, SITE, "day", "7d", "month", "custom", "2026-01-01", "9999-12-31", "0000-00-00", "hour", "page", "JSON", "UTC",
    "visitors", "pageview", "search", "1790000000000", "0", "10", f"https://{SITE}/", "{\"a\": 1}",
    '[["is","page",["/"]]]', '[["contains","prop:a",["b","c"]]]', '["/","/a"]', "from", "to", "visitor", "event", "is",
    "previous", "year", "none", "de", "SELECT 1", "SELECT * FROM events FORMAT Native", "54460",
]
METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "PRI", "G\0T", ""]
VERSIONS = ["HTTP/1.1"] * 30 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "http/1.1", "HTTP/1.1 x", "", "HTTP/1.11"]
LENGTHS = ["0", "-1", "+1", "1e3", "0x10", "99999999999999999999", "", " ", "1,1", "\uff11", "9" * 5000]
CODINGS = ["chunked"] * 4 + [
    "Chunked", "identity", "gzip, chunked", "chunked, chunked", "chunked, gzip", "x", "", "\x0bchunked",
]
NAMES = [
    "Accept", "Accept-Encoding", "Authorization", "Cookie", "Range", "If-None-Match", "If-Modified-Since", "Origin",
    "Referer", "User-Agent", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Ssl", "Forwarded", "Content-Type",
    "Content-Encoding", "Expect", "Upgrade", "Connection", "TE", "Trailer", "Via", "DNT", "Sec-GPC", "Max-Forwards",
    "SCRIPT_NAME", "SCRIPT-NAME", "PATH_INFO", "REMOTE_USER", "Content_Length", "Transfer_Encoding", "Keep-Alive",
    "X-ClickHouse-Format", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "HTTP2-Settings", "Date", "Content-Type",
    "Accept-Language",
]
NO_NAMES = ["", "a b", "\u00e9", "x\0y", "X:", "Host"]
WORDS = [
    "gzip", "100-continue", "websocket", "h2c", "Upgrade", "close", "keep-alive", "https", "http", "on", "null", "*",
    "bytes=0-", "application/json", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain", "13",
    "text/html", "de", "de-CH, *;q=0",
    "Basic x", "Bearer x", "1", "127.0.0.1", "::1", "[::1]:80", "x" * 9000, "a=b; c", "http://[", "/x", "localhost",
]
STATEMENTS = [
    "SELECT 1", "SELECT", "SELECT '", "SELECT {a:String}", "SELECT 1 FORMAT x", "DROP TABLE events", "((((", "/*",
    "SELECT %(a)s", "SELECT 1;;", "SELECT * FROM events", "SELECT `", "WITH x AS (SELECT 1) SELECT * FROM x", "\0",
]
# fmt: on


class Odd(NamedTuple):
    """One request. A `whole` one must be answered; `good` events of it must be taken."""

    sent: bytes
    whole: bool
    good: int = 0


def request(random: Random, tracking: bool) -> Odd:
    """One for the tracking port or for the dashboards port."""
    if random.random() < 0.4:
        return _batch(random) if tracking else _question(random)
    method = random.choice(METHODS) if random.random() < 0.2 else random.choice(["GET", "POST", "POST"])
    line = f"{method} ".encode() + _target(random, tracking) + f" {random.choice(VERSIONS)}".encode()
    headers = [(b"Host", b"127.0.0.1")] if random.random() < 0.9 else []
    names = NAMES if random.random() < 0.9 else NAMES + NO_NAMES
    count = random.choice([0, 0, 0, 1, 1, 2, 2, 5]) if random.random() < 0.98 else 70
    headers += [(random.choice(names).encode(), _value(random)) for _ in range(count)]
    body = _body(random, tracking) if random.random() < 0.7 else b""
    whole = True
    framing = random.random()
    if framing < 0.5:
        headers.append((b"Content-Length", b"%d" % len(body)))
    elif framing < 0.7:
        headers.append((b"Transfer-Encoding", random.choice(CODINGS).encode()))
        body, whole = _chunks(random, body), False
    elif framing < 0.9:
        headers.append((b"Content-Length", random.choice(LENGTHS).encode()))
        whole = False
        if random.random() < 0.5:
            headers.append((b"Content-Length", b"%d" % len(body)))
        if random.random() < 0.3:
            headers.append((b"Transfer-Encoding", b"chunked"))
    else:
        whole = not body
    random.shuffle(headers)
    separator = random.choice([b": "] * 40 + [b":", b" : ", b" ", b":\t"])
    end = random.choice([b"\r\n"] * 60 + [b"\n", b"\r", b"\r\n\t"])
    sent = line + end + b"".join(name + separator + value + end for name, value in headers) + end + body
    whole = whole and end == b"\r\n"
    if random.random() < 0.05:
        cut = random.randrange(len(sent) + 1)
        sent, whole = sent[:cut], False
    if random.random() < 0.05:
        at = random.randrange(len(sent) + 1)
        sent, whole = sent[:at] + random.randbytes(random.randrange(8)) + sent[at:], False
    return Odd(sent, whole)


def _batch(random: Random) -> Odd:
    """A bad event between two good ones."""
    bad = json.dumps(_event(random))
    if random.random() < 0.3:
        bad = bad.replace('"unknown"', random.choice(RAW_VALUES) or '"unknown"')
        try:
            json.loads(bad)
        except ValueError:
            bad = "{}"
    body = f'{{"events":[{json.dumps(GOOD)},{bad},{json.dumps(GOOD)}]}}'.encode()
    head = b"POST /collect HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    if random.random() < 0.1:
        body = gzip.compress(body, 1)
    return Odd(head % len(body) + body, True, 2)


def _question(random: Random) -> Odd:
    """A page, an answer of the API or one of SQL, asked for as it should be but for a few parameters."""
    path = random.choice([path for path in DASHBOARDS if "control" not in path])
    pairs = [f"site={SITE}"] if path.startswith("/api") else []
    pairs += [f"{random.choice(PARAMETERS)}={quote(_text(random))}" for _ in range(random.randrange(4))]
    body = _body(random, False) if path in ("/sql", "/sites") else b""
    line = f"{'POST' if body else 'GET'} {path}?{'&'.join(pairs)} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    names = (b"Accept", b"Content-Type", b"X-ClickHouse-Format", b"Accept-Encoding", b"Accept-Language", b"Cookie")
    name = random.choice(names)
    value = random.choice(WORDS).encode()
    return Odd(line + b"%s: %s\r\nContent-Length: %d\r\n\r\n" % (name, value, len(body)) + body, True)


def _event(random: Random) -> Any:
    event: dict[str, Any] = dict(GOOD) if random.random() < 0.8 else {}
    for _ in range(random.randrange(4)):
        event[random.choice(FIELDS + TEXTS)] = _json(random, 0)
    return event if random.random() < 0.95 else _json(random, 0)


def _json(random: Random, depth: int) -> Any:
    kind = random.randrange(10 if depth < 3 else 7)
    if kind < 3:
        return random.choice(TEXTS)
    if kind == 3:
        return random.choice(NUMBERS)
    if kind == 4:
        return random.choice([True, False, None])
    if kind == 5:
        return "unknown"
    if kind == 6:
        return random.choice(VALUES)
    if kind == 7:
        return [_json(random, depth + 1) for _ in range(random.randrange(3))]
    if kind == 8 and depth == 0:
        deep: Any = random.choice(TEXTS)
        for _ in range(random.choice([50, 200])):
            deep = {random.choice(TEXTS): deep}
        return deep
    return {random.choice(TEXTS + FIELDS): _json(random, depth + 1) for _ in range(random.randrange(4))}


def _body(random: Random, tracking: bool) -> bytes:
    kind = random.randrange(7)
    if kind == 0:
        return random.randbytes(random.randrange(200))
    if kind == 1:
        return gzip.compress(bytes(random.choice([10, 3_000_000])), 1)[: random.choice([9, 10_000_000])]
    if kind == 2:
        return b"[" * random.choice([10, 1000, 100_000]) if random.random() < 0.5 else b'{"a":' * 2000
    if kind == 3:
        return "&".join(f"{random.choice(PARAMETERS)}={quote(_text(random))}" for _ in range(3)).encode()
    if kind == 4 or tracking:
        return json.dumps({"sent_at": _json(random, 2), "events": [_event(random) for _ in range(3)]}).encode()
    if kind == 5:
        return json.dumps({"query": random.choice(STATEMENTS), "default_format": _json(random, 2)}).encode()
    return random.choice(STATEMENTS).encode() + random.choice([b"", b" ", random.randbytes(3)])


def _chunks(random: Random, body: bytes) -> bytes:
    size = random.choice([b"%x" % len(body)] * 4 + [b"zz", b"-1", b"", b"0x5", b"fffffffffffffffff", b"5;a=b", b"1 "])
    return (
        size
        + random.choice([b"\r\n"] * 4 + [b"\n", b""])
        + body
        + random.choice([b"\r\n0\r\n\r\n"] * 4 + [b"", b"0\r\n"])
    )


def _target(random: Random, tracking: bool) -> bytes:
    path = random.choice(TRACKING if tracking else DASHBOARDS)
    if random.random() < 0.7:
        pairs = [f"{random.choice(PARAMETERS)}={quote(_text(random))}" for _ in range(random.randrange(5))]
        path += "?" + "&".join(pairs)
    odd = random.randrange(20)
    if odd == 0:
        return random.choice(
            [b"*", b"", b"//", b"/%00", b"/%ff", b"/a b", b"http://x/ready", b"/#x", b"/?%", b"/..%2f.."]
        )
    if odd == 1:
        return path.encode() + random.choice(
            [b"\xff\xfe", b"%", b"%zz", b"%ff%fe", b"\x7f", b"x" * 5000, b"/", b"%2e%2e/"]
        )
    if odd == 2:
        return b"/" + quote(_text(random)).encode() + path.encode()
    return path.encode()


def _text(random: Random) -> bytes:
    text = random.choice(TEXTS if random.random() < 0.4 else VALUES)
    return text.encode("utf-8", "surrogatepass") if random.random() < 0.95 else random.randbytes(6)


def _value(random: Random) -> bytes:
    if random.random() < 0.7:
        return random.choice(WORDS).encode()
    return random.choice([random.randbytes(random.randrange(12)), _text(random).replace(b"\r\n", b""), b"\r\n folded"])


class Answered(NamedTuple):
    status: int  # 0: closed without an answer, -1: no answer though the request was whole
    received: bytes


def send(address: tuple[str, int], odd: Odd) -> Answered:
    """What came back, up to the first whole answer or the end."""
    received = b""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        try:
            connection.sendall(odd.sent)
            connection.settimeout(PATIENCE if odd.whole else QUIET)
            while not _is_whole(received, odd.sent.startswith(b"HEAD ")):
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        except TimeoutError:
            if odd.whole:
                return Answered(-1, received)
        except OSError:
            pass
    statuses = [int(status) for status in _STATUS.findall(received) if status[:1] != b"1"]
    return Answered(max(statuses, default=0), received)


def _is_whole(received: bytes, headless: bool) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return _is_whole(body, headless)
    if found and (headless or head[9:12] in (b"204", b"304")):
        return True
    if re.search(rb"(?i)\r\ntransfer-encoding: chunked", head):  # of a file, which is sent while it is written
        return body.endswith(b"\r\n0\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(found) and length is not None and len(body) >= int(length[1])


def wrong(odd: Odd, answered: Answered) -> str:
    """What is wrong with an answer, in words; nothing when it is right."""
    if answered.status == -1:
        return "no answer"
    if odd.whole and answered.status == 0:
        return "closed without an answer"
    if answered.status >= 500 and not (answered.status == 503 and b"retry-after" in answered.received.lower()):
        return f"status {answered.status}"
    if odd.good and (answered.status != 202 or _accepted(answered.received) < odd.good):
        return f"of {odd.good} good events {_accepted(answered.received)} were taken"
    return ""


def _accepted(received: bytes) -> int:
    found = re.search(rb'"accepted":(\d+)', received)
    return int(found[1]) if found else 0


def addresses(up: Up) -> dict[bool, tuple[str, int]]:
    """Where the tracking port (True) and the dashboards port are."""
    found = {True: urlsplit(up.tracking), False: urlsplit(up.dashboards)}
    return {tracking: (url.hostname or "", url.port or 0) for tracking, url in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Odd requests against both ports.")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="counts as one JSON object")
    asked = parser.parse_args()
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    failures: list[tuple[str, bytes, bytes]] = []
    deadline = time.monotonic() + asked.seconds
    with tempfile.TemporaryDirectory(prefix="footfall-fuzz-") as folder:
        up = Up(Path(folder) / "data", "--site", SITE).wait_ready()
        try:
            before, where = set(up.group()), addresses(up)

            def work(thread: int) -> None:
                random = Random(f"{asked.seed}/{thread}")
                for number in range(thread, asked.requests, asked.threads):
                    if time.monotonic() > deadline:
                        return
                    tracking = number // asked.threads % 4 > 0  # a page costs a hundred times an event
                    odd = request(random, tracking)
                    answered = send(where[tracking], odd)
                    counts[tracking][str(answered.status) if answered.status > 0 else "not whole, closed"] += 1
                    if trouble := wrong(odd, answered):
                        failures.append((trouble, odd.sent[:3000], answered.received[:1000]))

            threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(asked.threads)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            same = before <= set(up.group()) and "ended (status" not in up.said()
            said = up.said()
        finally:
            up.end()
    result = {
        "seed": asked.seed,
        "requests": sum(sum(count.values()) for count in counts.values()),
        "tracking": dict(sorted(counts[True].items())),
        "dashboards": dict(sorted(counts[False].items())),
        "failures": len(failures),
        "same_processes": same,
        "tracebacks": said.count("Traceback"),
    }
    for trouble, sent, received in failures[:20]:
        sys.stderr.write(f"{trouble}: {sent!r}\n  -> {received!r}\n")
    if result["tracebacks"]:
        sys.stderr.write(said[-20_000:])
    text = json.dumps(result) if asked.json else "\n".join(f"{name}: {value}" for name, value in result.items())
    sys.stdout.write(text + "\n")
    return 0 if same and not failures and not result["tracebacks"] else 1


if __name__ == "__main__":
    sys.exit(main())
