"""What other trackers' clients send, from outside: packed, in other charsets, ids and addresses spelt otherwise."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import zstandard

from ingest import http
from tests.ingest.conftest import Log, Running, prepare

WEBSITE = "94db1cb1-74f4-4a40-ad6c-962362670409"
SITES = f"""
[[site]]
domain = "example.com"
ids = ["{WEBSITE}", "pub"]
write_keys = ["a-secret-write-key"]
redirects = ["https://www.example.com", "http://partner.example:8080", "https://Shop.Example.com:443"]
"""
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("trackers")
    url = prepare(folder)
    Path(folder / "sites.toml").write_text(SITES)
    running = Running(folder, url)
    yield running
    running.stop()


def track(event: str) -> bytes:
    sent = {"event": event, "userId": "u", "writeKey": "pub", "type": "track"}
    return json.dumps(sent, ensure_ascii=False).encode()


def in_frames(body: bytes, frames: int) -> bytes:
    """A body as that many frames of zstd, one behind the other."""
    ends = [len(body) * each // frames for each in range(frames + 1)]
    return b"".join(zstandard.compress(body[begin:end]) for begin, end in pairwise(ends))


def flushed(lines: bytes) -> bytes:
    """A body as one frame of zstd, in which each line is a block that can be unpacked alone."""
    packer = zstandard.ZstdCompressor().compressobj()
    blocks = [
        packer.compress(line) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for line in lines.splitlines(True)
    ]
    return b"".join([*blocks, packer.flush()])


def deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKED: dict[str, tuple[bytes, dict[str, str]]] = {
    "zstd": (zstandard.compress(track("zstd")), {"Content-Encoding": "zstd"}),
    "frames": (in_frames(track("frames"), 16), {}),
    "deflate": (deflated(track("deflate")), {"Content-Encoding": "deflate"}),
    "said to be packed": (track("said to be packed"), {"Content-Encoding": "br"}),
    "behind a space": (b" " + track("behind a space"), {"Content-Encoding": "br"}),
    "behind a mark": (b"\xef\xbb\xbf" + track("behind a mark"), {"Content-Encoding": "br"}),
    "no deflate": (b"\n" + track("no deflate"), {"Content-Encoding": "deflate"}),
    "Größe": (track("Größe").decode().encode("latin-1"), {"Content-Type": "application/json; charset=iso-8859-1"}),
    "größer": (track("größer").decode().encode("utf-16"), {"Content-Type": "application/json; charset=utf-16"}),
}


@pytest.mark.parametrize("event", PACKED)
def test_a_body_is_unpacked_and_decoded(server: Running, log: Log, event: str) -> None:
    body, headers = PACKED[event]
    assert server.post(body, headers, "/v1/track").status == 200
    assert [each["name"] for each in log.events("footfall.custom")] == [event]


@pytest.mark.parametrize("body", [b"", track("plain"), b"[" + track("plain") + b"]", b"data=a&b=c", b'\n {"a": 1}'])
def test_for_a_usual_body_no_header_is_looked_at(body: bytes) -> None:
    class Unseen(list[tuple[bytes, bytes]]):
        def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
            raise AssertionError("the headers of each request are gone through")

    headers = Unseen([(b"content-encoding", b"br"), (b"content-type", b"text/plain; charset=utf-16")])
    unpacked = http.plain(body, headers, len(body))
    assert unpacked == body and http.as_utf8(body, headers) == body


def test_a_form_that_is_said_to_be_packed_and_is_not_is_read(server: Running, log: Log) -> None:
    form = urlencode({"data": json.dumps({"api_key": "pub", "event": "Größe", "distinct_id": "d"}, ensure_ascii=False)})
    assert server.post(form.encode(), {"Content-Encoding": "br"}, "/e").status == 200
    assert [each["name"] for each in log.events("footfall.custom")] == ["Größe"]


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (b"\x0b\x02\x80", {"Content-Encoding": "br"}, "Brotli"),
        (zstandard.compress(track("broken"))[:-9] + b"broken", {}, "ends too early"),
        (in_frames(track("broken"), 2)[:-3], {}, "ends too early"),
        (in_frames(track("broken"), 2) + b"broken", {}, "begins like zstd and is not"),
        (in_frames(track("broken"), 17), {}, "16 frames"),
        (in_frames(b" " * 2_000_000, 4), {}, "decompressed"),
        (b"\x28\xb5\x2f\xfdbroken", {}, "zstd"),
        (deflated(track("broken"))[:-9], {"Content-Encoding": "deflate"}, "deflate"),
        (zstandard.compress(b" " * 2_000_000), {}, "decompressed"),
        (deflated(b" " * 2_000_000), {"Content-Encoding": "deflate"}, "decompressed"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_in_words(
    server: Running, body: bytes, headers: dict[str, str], says: str
) -> None:
    for path in ("/v1/track", "/collect"):
        answer = server.post(body, headers, path)
        assert answer.status in (400, 413) and says in answer.body.decode(), answer
        assert answer.headers["x-footfall-refused"] in ("malformed", "too_large")


def test_of_a_body_of_lines_none_is_silently_left_out(server: Running, log: Log) -> None:
    lines = b"".join(b"en=e%d\n" % number for number in range(25))
    path = "/g/collect?v=2&tid=pub&cid=c&dl=https%3A%2F%2Fexample.com%2Fa"
    cut = server.post(flushed(lines)[:-90], {"Content-Encoding": "zstd"}, path)
    assert cut.headers["x-footfall-refused"] == "malformed"
    assert server.post(in_frames(lines, 2), {"Content-Encoding": "zstd"}, path).status == 204
    assert [event["name"] for event in log.events("footfall.custom")] == [f"e{number}" for number in range(25)]


def test_the_site_and_its_pages_may_be_spelt_otherwise(server: Running, log: Log) -> None:
    sent: list[dict[str, Any]] = [
        {"website": WEBSITE.upper(), "url": "https://example.com/a"},
        {"website": f" {WEBSITE}", "url": "//www.example.com/a"},
        {"website": WEBSITE, "url": "/a"},
    ]
    for payload in sent:
        assert server.post({"type": "event", "payload": payload}, JSON, "/api/send").status == 200
    bare = {"n": "pageview", "u": "example.com/a", "d": "example.com"}
    assert server.post(bare, JSON, "/api/event").status == 202
    assert [event["path"] for event in log.events()] == ["/a"] * 4


def test_a_query_may_have_its_letters_in_latin_1(server: Running, log: Log) -> None:
    for title in (quote("Größe"), "Gr%F6%DFe"):
        assert server.get(f"/count/pub?p=/a&t={title}").status == 200
    assert [event["title"] for event in log.events()] == ["Größe"] * 2


@pytest.mark.parametrize(
    ("target", "site", "status"),
    [
        ("https://www.example.com/a?b=1#c", "pub", 302),
        ("http://PARTNER.example:8080/", "pub", 302),
        ("https://shop.example.com/", "pub", 302),
        ("https://SHOP.example.com:443/a", "pub", 302),
        ("https://www.example.com:443/", "pub", 302),
        ("http://www.example.com:443/", "pub", 403),
        ("https://www.example.com:80/", "pub", 403),
        ("http://www.example.com/", "pub", 403),
        ("https://www.example.com.evil.example/", "pub", 403),
        ("https://www.example.com/", "another", 403),
        ("https://www.example.com@evil.example/", "pub", 400),
    ],
)
def test_a_link_leads_only_where_its_site_lets_it(
    server: Running, log: Log, target: str, site: str, status: int
) -> None:
    path = f"/r/tp2?u={quote(target, safe='')}&aid={site}"
    answer = server.get(path)
    assert (answer.status, answer.headers.get("location")) == (status, target if status == 302 else None)
    assert [each["name"] for each in log.events("footfall.custom")] == (["uri_redirect"] if status == 302 else [])
    if status == 302:
        silent = server.get(path, {"Sec-GPC": "1"})
        assert (silent.status, silent.headers["location"]) == (302, target)
        assert len(log.events("footfall.custom")) == 1
    else:
        assert answer.body
