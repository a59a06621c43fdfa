"""What browsers make of the tags in a page: by pages and scripts that a real server serves."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra import tags
from ingest import assets
from ingest.http import Request
from tests.e2e.harness import footfall

GET = Request("GET", "/beacon.js", b"", [], b"", "::1")
OLD = f"sha384-{base64.b64encode(hashlib.sha384(b'an older version').digest()).decode()}"
OLD_NAME = "/beacon.all.0123456789abcdef.js"
NOW = assets.integrity("beacon.all")
CURRENT = assets.lasting_name("beacon.all")
RENEWED = f'<script defer data-site="shop.example" src="{CURRENT}" integrity="{NOW}"></script>'


class Web:
    """A web site at `/`, with the tracking port's scripts on the same host."""

    def __init__(self) -> None:
        self.head = ""
        self.page_headers: dict[str, str] = {}
        self.script_headers: dict[str, str] = {}  # instead of those of the same names, which none has if it is empty
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, headers = self.path.partition("?")[0], web.page_headers
                status, body = 200, f"<!doctype html><title>Shop</title>{web.head}<p>Shoes".encode()
                if path == "/packed":
                    body = gzip.compress(body)
                elif path not in ("/", "/%C3%BCber-uns"):
                    given = assets.script(Request("GET", path.removeprefix("/sch%C3%B6n"), b"", [], b"", "::1", "http"))
                    status, body = given.status, given.body
                    own = {name.decode().title(): value.decode() for name, value in given.headers}
                    headers = {**own, **web.script_headers, "Content-Length": ""}
                self.send_response(status)
                for name, value in headers.items():
                    if value:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.address = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tag(self, src: str, more: str = "") -> tags.Tag:
        other = "<![ie]><!-- <script src=/beacon.js> --><script>1</script>"
        self.head = f'{other}<script defer data-site="shop.example" src="{src}"{more}></script>'
        (found,) = tags.check(self.address)
        return found


@pytest.fixture(scope="module")
def served() -> Iterator[Web]:
    made = Web()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def web(served: Web) -> Web:
    served.page_headers, served.script_headers = {}, {}
    return served


def test_a_tag_that_browsers_run_has_no_problem(web: Web) -> None:
    other = f"http://localhost:{web.port}"
    for src, more in (
        ("/beacon.js", ""),
        (CURRENT, f' integrity="{NOW}"'),
        (CURRENT, f' integrity="{OLD} {NOW}"'),
        (CURRENT, ' integrity="of no kind"'),
        (f"{other}/beacon.queue.js", ""),
        (f"{other}{CURRENT}", f' integrity="{NOW}" crossorigin="anonymous"'),
    ):
        found = web.tag(src, more)
        assert (found.site, found.problem, found.renewed) == ("shop.example", "", ""), (src, more)


def test_a_tag_of_an_older_version_is_told_with_the_one_to_paste(web: Web) -> None:
    outdated = web.tag(OLD_NAME)
    assert "outdated" in outdated.problem
    assert outdated.renewed == f'<script defer data-site="shop.example" src="{CURRENT}"></script>'
    refused = web.tag(OLD_NAME, f' integrity="{OLD}"')
    assert "browsers do not run" in refused.problem
    assert refused.renewed == RENEWED
    # The weaker hash does not count where there is a stronger one.
    weak = base64.b64encode(hashlib.sha256(assets.script(Request("GET", CURRENT, b"", [], b"", "", "")).body).digest())
    assert web.tag(CURRENT, f' integrity="sha256-{weak.decode()} {OLD}"').renewed == RENEWED
    assert web.tag(CURRENT, f' integrity="sha256-{weak.decode()}"').problem == ""
    elsewhere = web.tag(f"http://localhost:{web.port}{CURRENT}", f' integrity="{NOW}"')
    assert "crossorigin" in elsewhere.problem
    assert elsewhere.renewed.endswith(f' integrity="{NOW}" crossorigin="anonymous"></script>')


def test_an_empty_site_is_told(web: Web) -> None:
    web.head = '<script data-site src="/beacon.js"></script>'
    (found,) = tags.check(web.address)
    assert "data-site is empty" in found.problem
    assert found.renewed == '<script data-site="127.0.0.1" src="/beacon.js"></script>'


@pytest.mark.parametrize("behind", ["?v=1", "#x"])
def test_an_outdated_name_is_told_whatever_is_behind_it(web: Web, behind: str) -> None:
    outdated = web.tag(f"{OLD_NAME}{behind}")
    assert "outdated" in outdated.problem
    assert f'src="{CURRENT}{behind}"' in outdated.renewed
    assert f'src="{CURRENT}{behind}"' in web.tag(f"{OLD_NAME}{behind}", f' integrity="{OLD}"').renewed


OURS = '<script data-site="shop.example" src="/beacon.js"></script>'


@pytest.mark.parametrize(
    "page",
    [
        *(OURS.replace("<script", f"<script {more}") for more in (
            'type="text/plain"', 'type="text/javascript; charset=utf-8"', "type=' '", "nomodule", "language=vbscript",
            'type="text/plain" type="text/javascript"', 'src=""',
        )),
        *(f"<{name}>{OURS}</{name}>" for name in (
            "template", "textarea", "title", "noscript", "style", "iframe", "noembed", "noframes", "xmp"
        )),
        f"<template><template></template>{OURS}</template>",
        f"<TEXTAREA class=a>{OURS}",
        f"<textarea/>{OURS}",
        f"<textarea><script></textarea><textarea>{OURS}</textarea>",
        f"<script src=/other.js />{OURS}",
        f"<!-- > {OURS} -->",
        f"<!-- a -- > {OURS} -->",
        f"<!--!> {OURS} -->",
        f"<!--- > {OURS} -->",
        f"<!---!> {OURS} -->",
        f"<!-- {OURS}",
        f"<svg>{OURS}</svg>",
        f"<svg><foreignObject><math>{OURS}",
        f"<plaintext>{OURS}",
        f"<frameset>{OURS}",
        f"<script><!-- <script></script>{OURS}",
    ],
)  # fmt: skip
def test_a_tag_that_browsers_do_not_run_does_not_count(web: Web, page: str) -> None:
    web.head = page
    with pytest.raises(tags.Unread, match="no tag"):
        tags.check(web.address)


@pytest.mark.parametrize(
    "page",
    [
        *(OURS.replace("<script", f"<script {more}") for more in (
            "type", 'type=""', "type=' Text/JavaScript '", "type=application/x-javascript", "type=module",
            "type=module nomodule", "language=JavaScript", 'src=" /beacon.js " data-site="shop.example"',
        )),
        OURS.replace("></", ' DATA-SITE="other.example" src="/other.js"></'),
        f'<base target=_top><base href="/"><base href="http://127.0.0.1:1/">{OURS.replace("/beacon", "beacon")}',
        f'<template><base href="http://127.0.0.1:1/"></template>{OURS.replace("/beacon", "beacon")}',
        f'{OURS.replace("/beacon", "beacon")}<base href="http://127.0.0.1:1/">',
        *(f"{comment}{OURS}<!-- -->" for comment in (
            "<!-->", "<!--->", "<!---->", "<!-- x --!>", "<!----!>", "<!--x--->", "<!-- <!-->", "<!-- a -- b -->"
        )),
        f"<template></template>{OURS}",
        f"</template>{OURS}",
        f"<noscript><img src=/collect.gif></noscript>{OURS}",
        f"<svg><title/><style/><path/></svg><math/><svg/>{OURS}<textarea></textarea>",
        f"<svg><title>Shop</title></svg></svg>{OURS}",
        f"<svg><p>{OURS}",
        f"<svg><foreignObject>{OURS}</foreignObject></svg>",
        f'<svg><base href="http://127.0.0.1:1/"/></svg>{OURS.replace("/beacon", "beacon")}',
        f"<select><option>{OURS}</select>",
        f"<script><!-- <script></script> --></script>{OURS}",
    ],
)  # fmt: skip
def test_a_tag_is_read_as_browsers_read_it(web: Web, page: str) -> None:
    web.head = page
    (found,) = tags.check(web.address)
    assert found == ("shop.example", f"{web.address}beacon.js", "", "")


def test_what_is_no_page_no_tag_or_no_script_is_told(web: Web) -> None:
    assert "404" in web.tag("/beacon.nothing.js").problem
    assert "no script of Footfall's" in web.tag("/").problem
    assert "is no address" in web.tag("data:,").problem
    assert "is no address" in web.tag("//[").problem
    web.head = "<script src=/jquery.js></script>"
    for page, why in (
        (web.address, "no tag"), (f"{web.address}missing", "404"), ("file:///etc/passwd", "no address"),
        ("http://127.0.0.1:1/", "cannot be read"), ("http://[", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(tags.Unread, match=why):
            tags.check(page)


def test_the_command_says_what_to_paste_and_exits_1(web: Web, tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text('[[site]]\ndomain = "shop.example"\n')
    line = ["site", "check", "--data", str(tmp_path), "--page", web.address]
    web.tag(OLD_NAME, f' integrity="{OLD}"')
    done = footfall(*line)
    assert (done.returncode, RENEWED in done.stdout) == (1, True), done.stdout + done.stderr
    web.tag("/beacon.js")
    web.head = web.head.replace("shop.example", "https://www.Shop.example/")
    done = footfall(*line, "--json")
    page, total = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, page["problem"], page["tag"], total) == (0, "", "", {"sites": 1, "problem": ""})
    web.head = web.head.replace("https://www.Shop.example/", "other.example")
    done = footfall(*line, "--json")
    assert done.returncode == 1
    assert "footfall site add other.example" in json.loads(done.stdout.splitlines()[0])["problem"]


def test_scripts_of_others_with_such_names_are_left_out(web: Web) -> None:
    cloudflare, fathom = "<script src=/beacon.min.js></script>", "<script data-site=ABCDEF src=/></script>"
    web.head = f"{cloudflare}{fathom}{OURS}"
    (found,) = tags.check(web.address)
    assert found.problem == ""
    web.head = cloudflare
    with pytest.raises(tags.Unread, match="no tag"):
        tags.check(web.address)
    web.head = fathom  # may be ours, by a proxy that hands on the wrong thing
    assert "no script of Footfall's" in tags.check(web.address)[0].problem


def test_a_page_is_read_at_an_address_in_any_letters_and_packed(web: Web) -> None:
    web.head = '<script data-site="shop.example" src="/schön/beacon.js"></script>'
    for path in ("packed", "über-uns", "%C3%BCber-uns", "über-uns?ort=Köln am Rhein#oben"):
        (found,) = tags.check(f"{web.address}{path}")
        assert (found.site, found.problem) == ("shop.example", ""), path
    web.head = '<script data-site="shop.example" src="\\schön\\beacon.js?a=\\"></script>'
    assert tags.check(web.address)[0].src.endswith("/schön/beacon.js?a=\\")
    with pytest.raises(tags.Unread, match="cannot be read"):
        tags.check("http://bücher.invalid/")
    web.page_headers = {"Content-Encoding": "br"}
    for packing in ("br", "zstd", "DEFLATE", "compress", "gzip, br"):
        web.page_headers = {"Content-Encoding": packing}
        with pytest.raises(tags.Unread, match=f"packed as {packing.lower().removeprefix('gzip, ')}"):
            tags.check(web.address)
    for plain in ("utf-8", "aws-chunked", "none", "identity"):
        web.page_headers = {"Content-Encoding": plain}
        assert tags.check(web.address)[0].problem == ""


@pytest.mark.parametrize(
    ("more", "answers", "refused"),
    [
        ("", {"Content-Type": "text/plain"}, "comes as text/plain"),
        ("", {"Content-Type": "text/html; charset=utf-8"}, "comes as text/html"),
        ("", {"Content-Type": "text/plain", "X-Content-Type-Options": ""}, ""),
        (" type=module", {"Content-Type": "text/plain", "X-Content-Type-Options": ""}, "comes as text/plain"),
        ("", {"Content-Type": "application/x-javascript"}, ""),
        ("", {"Access-Control-Allow-Origin": ""}, ""),
        (" type=module", {"Access-Control-Allow-Origin": ""}, "without Access-Control-Allow-Origin"),
        (" crossorigin", {"Access-Control-Allow-Origin": "https://a.example"}, "without Access-Control-Allow-Origin"),
        (" crossorigin", {}, ""),
    ],
)
def test_a_script_is_refused_for_how_it_comes(web: Web, more: str, answers: dict[str, str], refused: str) -> None:
    web.script_headers = answers
    found = web.tag(f"http://localhost:{web.port}/beacon.js", more)
    assert (refused in found.problem, bool(found.problem), found.renewed) == (True, bool(refused), "")


def test_a_page_by_https_has_no_script_by_http(monkeypatch: pytest.MonkeyPatch) -> None:
    script = assets.script(Request("GET", "/beacon.js", b"", [], b"", "::1")).body
    monkeypatch.setattr(tags, "_fetch", lambda url, _: (script, url, Message()))
    has: dict[str, str | None] = {"data-site": "a.example", "src": "http://stats.example/beacon.js"}
    found = tags._look("https://a.example/", "http://stats.example/beacon.js", has, [])
    assert "by HTTP" in found.problem
    assert found.renewed == '<script data-site="a.example" src="https://stats.example/beacon.js"></script>'
    assert tags._look("https://a.example/", "http://127.0.0.1:8420/beacon.js", has, []).problem == ""
    for page in ("http://a.example/", "https://a.example/"):
        asked = tags._look(page, str(has["src"]), has, ["upgrade-insecure-requests"])
        assert asked == ("a.example", "https://stats.example/beacon.js", "", "")


@pytest.mark.parametrize(
    ("policy", "more", "refused"),
    [
        ("script-src 'self'; connect-src 'self'", "", ""),
        ("default-src 'self'", "", ""),
        ("script-src 'none'", "", "in script-src"),
        ("img-src 'none'", "", ""),
        ("default-src https://cdn.example", "", "in default-src"),
        ("script-src 'self' 'unsafe-inline'; connect-src 'none'", "", "in connect-src"),
        ("script-src 'nonce-abc' 'strict-dynamic'", "", "in script-src"),
        ("script-src 'nonce-abc' 'strict-dynamic'", " nonce=abc", ""),
        ("connect-src https://api.example", ' data-endpoint="https://api.example/e"', ""),
    ],
)
def test_a_policy_of_the_page_counts(web: Web, policy: str, more: str, refused: str) -> None:
    web.page_headers = {"Content-Security-Policy": policy, "Content-Security-Policy-Report-Only": "script-src 'none'"}
    by_header = web.tag("/beacon.js", more).problem
    web.page_headers = {}
    written = f'<script src="/beacon.js" data-site="shop.example"{more}></script>'
    web.head = f'<meta http-equiv="content-security-policy" content="{policy}">{written}'
    (by_meta,) = tags.check(web.address)
    for problem in (by_header, by_meta.problem):
        assert (refused in problem, bool(problem)) == (True, bool(refused))
    web.head = f"{written}<meta http-equiv=content-security-policy content=\"script-src 'none'\">"  # comes too late
    assert tags.check(web.address)[0].problem == ""


@pytest.mark.parametrize(
    ("page", "policy", "refused"),
    [
        ('<script data-endpoint="http://[x/c" TAG', "default-src 'self'", "no address"),
        ('<script data-endpoint="//x:99999/c" TAG', "", "no address"),
        ("<script TAG", f"default-src a.example:{'4' * 5000}", "in default-src"),
        ('<base href="//cdn.example"><script data-endpoint=/e TAG', "connect-src https://cdn.example", ""),
        ('<script data-endpoint=/e TAG<base href="//cdn.example">', "connect-src https://cdn.example", ""),
        ('<base href="//cdn.example"><script data-endpoint=/e TAG', "connect-src 'self'", "https://cdn.example/e"),
        (
            "<script data-endpoint=http://s.example:80/e TAG",
            "connect-src https://s.example; upgrade-insecure-requests", "",
        ),
        ("<script data-endpoint=http://localhost:8420/e TAG", "connect-src https:; upgrade-insecure-requests", "in "),
        ("<script data-endpoint=https://stra\u00dfe.example/e TAG", "connect-src xn--strae-oqa.example", ""),
    ],
)  # fmt: skip
def test_where_events_go_is_found_as_browsers_find_it(
    monkeypatch: pytest.MonkeyPatch, page: str, policy: str, refused: str
) -> None:
    script = assets.script(Request("GET", "/beacon.js", b"", [], b"", "::1")).body
    text = page.replace("TAG", "data-site=a.example src=https://a.example/beacon.js></script>").encode()
    headers = Message()
    headers["Content-Security-Policy"] = policy

    def fetched(url: str, origin: str = "") -> tuple[bytes, str, Message]:
        return (script, url, Message()) if origin else (text, url, headers)

    monkeypatch.setattr(tags, "_fetch", fetched)
    (found,) = tags.check("https://a.example/")
    assert (refused in found.problem, bool(found.problem)) == (True, bool(refused)), found.problem


def test_one_host_is_one_however_it_is_spelt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags, "_fetch", lambda *_: (assets.script(GET).body, "", Message()))
    for page, src in (
        ("https://a.example/", "https://A.example:443/beacon.js"),
        ("https://a.example:443/", "https://a.example/beacon.js"),
        ("http://b\u00fccher.example/", "http://xn--bcher-kva.example:80/beacon.js"),
    ):
        has = {"data-site": "a.example", "src": src, "crossorigin": ""}
        assert tags._look(page, src, has, []).problem == "", src
        other = src.replace("example", "example.org")
        assert "without Access-Control" in tags._look(page, other, has, []).problem


def test_a_policy_holds_for_the_scripts_behind_it() -> None:
    meta = '<meta http-equiv=content-security-policy content="img-src a.example">'
    text = f"<head>{meta}{OURS}{'<meta http-equiv=content-security-policy>' * 1000}{meta}{OURS}".encode()
    policies = ["of the header"]
    scripts, _ = tags._scripts("https://a.example/", text, policies)
    assert [count for _, _, count in scripts] == [2, 3]
    assert policies == ["of the header", "img-src a.example", "img-src a.example"]
