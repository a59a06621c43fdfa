"""The service's parts that need no server: sites file, proxies, scripts, visitors over midnight, the Flask shell."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import brotli
import pytest

import brokers
from activity.event import ALL_TOPICS
from ingest import assets
from ingest.client import LookUp, Proxies, Visitors
from ingest.http import Bodies, Message, Request, Unread, peer_address
from ingest.limiter import Limiter
from ingest.service import Service
from ingest.sites import Site, Sites, SitesError, add, parse
from ingest.spool import FolderSpool
from ingest.terms import SiteTerms
from ingest.wsgi import create
from stores import connect_live
from tests.ingest.conftest import AGENT, pageview
from tests.patience import patient

DAY = 86_400_000
MIDNIGHT = 20_000 * DAY
SECRET_A, SHARED = "a-secret-write-key", "both-sites-share-it"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[site]", "not TOML"),
        ("[[site]]", "domain"),
        ('[[site]]\ndomain = "https://Example.com/x"', "write it in lower case without https://"),
        ('[[site]]\ndomain = "a.example"\norigins = ["a.example"]', "https://www.example.com"),
        ('[[site]]\ndomain = "a.example"\nkey = "short"', "key"),
        ('[[site]]\ndomain = "a.example"\ncolour = "red"', "colour"),
        ('[[site]]\ndomain = "a.example"\n[[site]]\ndomain = "a.example"', "twice"),
        *((f'[[site]]\ndomain = "a.example"\nretention_days = {days}', "a whole number of days, 1 or more")
          for days in ("0", "-1", "1.5", "true", '"30"', "100000")),
    ],
)
def test_a_wrong_sites_file_says_what_to_change(text: str, said: str) -> None:
    with pytest.raises(SitesError, match=r"sites\.toml") as caught:
        parse(text, "sites.toml")
    assert said in str(caught.value)


def test_a_tracker_s_id_belongs_to_one_site_and_is_no_secret() -> None:
    text = """[[site]]
domain = "a.example"
key = "0123456789abcdef"
ids = ["7", "G-1", "b.example", "0123456789abcdef"]
[[site]]
domain = "b.example"
ids = ["7"]
"""
    with pytest.raises(SitesError) as caught:
        parse(text, "x")
    for said in ("id '7' of b.example is a.example's too", "'b.example' of a.example", "is a secret key, too"):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "credential", "domain", "trusted"),
    [
        ("a.example", "", "a.example", False),
        ("WWW.A.example", "", "a.example", False),
        ("7", "", "a.example", False),
        ("8", "", "b.example", False),  # of this protocol only
        ("", "G-1", "b.example", False),  # a public key as the credential
        ("", SECRET_A, "a.example", True),
        ("7", SECRET_A, "a.example", True),
        ("b.example", SECRET_A, "b.example", False),  # the key is another site's
        ("a.example", "wrong", "a.example", False),
        ("nobody", "", None, False),
        ("", "", None, False),
        ("", SHARED, None, False),  # two sites have it, and none is named
        ("b.example", SHARED, "b.example", True),
    ],
)
def test_whose_event_a_tracker_sends(name: str, credential: str, domain: str | None, trusted: bool) -> None:
    sites = parse(
        f"""[[site]]
domain = "a.example"
ids = ["7"]
write_keys = ["{SECRET_A}", "{SHARED}"]
[[site]]
domain = "b.example"
ids = ["matomo:8", "G-1"]
write_keys = ["{SHARED}"]
""",
        "x",
    )
    terms = SiteTerms(Sites(sites=sites), Limiter()).of_tracker("matomo", name, credential, {})
    assert (domain, trusted) == (None, False) if terms is None else (terms.domain, terms.trusted) == (domain, trusted)


def test_a_site_says_for_how_long_it_keeps_what_happened() -> None:
    site = parse('[[site]]\ndomain = "a.example"\nretention_days = 30\n[[site]]\ndomain = "b.example"', "x")
    assert [each.rules().retention_days for each in site.values()] == [30, None]


def test_origins_are_those_that_browsers_write() -> None:
    spelt = '["https://Shop.Example:443", "http://A.example:80", "https://a.example:80", "http://[::443]"]'
    (site,) = parse(f'[[site]]\ndomain = "a.example"\norigins = {spelt}\nredirects = {spelt}', "x").values()
    assert site.origins == site.redirects
    assert site.origins == ("https://shop.example", "http://a.example", "https://a.example:80", "http://[::443]")


def test_every_problem_of_a_sites_file_is_told_at_once() -> None:
    with pytest.raises(SitesError) as caught:
        parse('[[site]]\ndomain = "A"\n[[site]]\ndomain = "b.example"\norigins = ["no"]', "x")
    assert "'A'" in str(caught.value)
    assert "b.example" in str(caught.value)


def test_adding_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    path = tmp_path / "sites.toml"
    path.write_text('# ours\n[[site]]\ndomain = "a.example"  # first\n')
    assert add(path, "B.example.", timezone="Europe/Berlin")
    assert not add(path, "a.example")
    assert path.read_text().startswith('# ours\n[[site]]\ndomain = "a.example"  # first\n')
    assert parse(path.read_text(), "x")["b.example"].timezone == "Europe/Berlin"
    with pytest.raises(SitesError):
        add(path, "not a domain")
    assert set(parse(path.read_text(), "x")) == {"a.example", "b.example"}


def test_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sites.toml"
    code = "import sys; from pathlib import Path; from ingest.sites import add; add(Path(sys.argv[1]), sys.argv[2])"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), f"s{number}.example"], env={**os.environ, "PYTHONPATH": "."}
        )
        for number in range(6)
    ]
    assert [process.wait(patient(60)) for process in running] == [0] * 6
    assert len(parse(path.read_text(), "x")) == 6


def test_a_site_is_known_as_soon_as_it_is_added(tmp_path: Path) -> None:
    path = tmp_path / "sites.toml"
    add(path, "a.example")
    sites = Sites(path)
    assert sites.get("a.example")
    assert sites.get("b.example") is None
    add(path, "b.example")
    assert sites.get("b.example")


def test_a_file_that_became_wrong_leaves_the_known_sites(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "sites.toml"
    sites = Sites(path)
    assert sites.all() == []
    add(path, "a.example")
    assert [site.domain for site in sites.all()] == ["a.example"]
    path.write_text("[[[")
    assert [site.domain for site in sites.all()] == ["a.example"]
    assert "not TOML" in caplog.text


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "localtime", "Factory", "right/Europe/Berlin"])
def test_a_site_with_an_unknown_zone_still_counts_and_is_told(
    zone: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sites.toml"
    path.write_text(f'[[site]]\ndomain = "a.example"\ntimezone = "{zone}"\n[[site]]\ndomain = "b.example"\n')
    assert {site.domain for site in Sites(path).all()} == {"a.example", "b.example"}
    for word in (str(path), "a.example", f"timezone '{zone}' is not known", "such as UTC or Europe/Berlin"):
        assert word in caplog.text
    assert add(path, "c.example", timezone="Europe/Berlin"), "the others are not hindered"
    with pytest.raises(SitesError, match=r"d\.example is not added: timezone .* is not known"):
        add(path, "d.example", timezone=zone)
    assert "d.example" not in path.read_text()


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.7", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.7", "6.6.6.6, 203.0.113.1, 10.0.0.8", "203.0.113.1"),
        ("10.0.0.7", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.7", "203.0.113.1:55", "203.0.113.1"),
        ("10.0.0.7", "nonsense", "10.0.0.7"),
        ("10.0.0.7", "", "10.0.0.7"),
        ("::ffff:10.0.0.7", "203.0.113.1", "203.0.113.1"),
        ("192.0.2.1", "203.0.113.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "203.0.113.1", "192.0.2.1"),
        ("2001:DB8:0::1", "", "2001:db8::1"),
        ("fe80::1%eth0", "", "fe80::1"),
        ("unix:", "203.0.113.1", "unix:"),
        ("10.0.0.7", "::ffff:203.0.113.1", "203.0.113.1"),
        ("10.0.0.7", "[::ffff:cb00:7101]:443, ::ffff:10.0.0.8", "203.0.113.1"),
        ("10.0.0.7", "fe80::1%25eth0", "fe80::1"),
        ("10.0.0.7", "203.000.113.001", "203.0.113.1"),
    ],
)
def test_the_client_behind_proxies(peer: str, forwarded: str, client: str) -> None:
    assert Proxies(["10.0.0.0/8"]).client(peer_address(peer), [(b"x-forwarded-for", forwarded.encode())]) == client


@pytest.mark.parametrize("listed", ["::ffff:10.0.0.0/104", "::ffff:10.0.0.7", "10.0.0.7"])
@pytest.mark.parametrize("peer", ["::ffff:10.0.0.7", "10.0.0.7"])
def test_a_proxy_is_listed_in_any_spelling(listed: str, peer: str) -> None:
    assert Proxies([listed]).client(peer_address(peer), [(b"x-forwarded-for", b"203.0.113.1")]) == "203.0.113.1"


def test_a_wrong_proxy_is_told() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/8"):
        Proxies(["nginx"])


def get(path: str, **headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request("GET", path, b"", named, b"", "::1")


def names() -> list[str]:
    chosen = [words for count in range(6) for words in itertools.combinations(assets.FEATURES, count)]
    return [".".join(["beacon", *(("all",) if len(words) == 5 else words)]) for words in chosen]


def documented() -> dict[str, int]:
    """How many bytes docs/beacon.md says that a script has at most, by its name."""
    text = (Path(__file__).parents[2] / "docs" / "beacon.md").read_text(encoding="utf-8")
    return {name: int(size.replace(",", "")) for name, size in re.findall(r"`/(beacon[a-z.]*)\.js` \| ([\d,]+)", text)}


def test_a_script_is_cacheable_and_comes_packed() -> None:
    for name in names():
        plain = assets.script(get(f"/{name}.js"))
        lasting = assets.script(get(assets.lasting_name(name), accept_encoding="gzip, br;q=0"))
        assert b"FOOTFALL_" not in plain.body
        assert gzip.decompress(lasting.body) == plain.body
        assert dict(lasting.headers)[b"cache-control"] == b"public, max-age=31536000, immutable"
        digest = hashlib.sha384(plain.body).digest()
        assert assets.integrity(name) == f"sha384-{base64.b64encode(digest).decode()}"
        if assets.built(name):
            packed = assets.script(get(f"/{name}.js", accept_encoding="gzip, br"))
            assert dict(packed.headers)[b"content-encoding"] == b"br"
            assert brotli.decompress(packed.body) == plain.body
    etag = dict(assets.script(get("/beacon.js")).headers)[b"etag"].decode()
    again = assets.script(get("/beacon.js", if_none_match=f'W/"x", {etag}'))
    assert (again.status, again.body) == (304, b"")
    assert assets.script(get("/beacon.queue.clicks.js")).body == assets.script(get("/beacon.clicks.queue.js")).body
    for wrong in ("/beacon.clicks.more.js", "/beacon.all.queue.js", "/beacons.js", "/beacon.more.0000000000000000.js"):
        assert assets.script(get(wrong)).status == 404, wrong


def test_a_name_of_another_version_is_the_script_of_this_one_and_checked_each_time() -> None:
    for name in ("beacon", "beacon.clicks.queue", "beacon.all"):
        short = assets.script(get(f"/{name}.js"))
        old = assets.script(get(f"/{name}.0000000000000000.js"))
        kept, kept_old = dict(short.headers), dict(old.headers)
        assert kept.pop(b"cache-control") == b"public, max-age=3600"
        assert kept_old.pop(b"cache-control") == b"no-cache"  # the name may be that of a newer version
        assert (old.status, kept_old, old.body) == (200, kept, short.body)
        again = assets.script(get(f"/{name}.0000000000000000.js", if_none_match=kept[b"etag"].decode()))
        assert (again.status, again.body, dict(again.headers)[b"cache-control"]) == (304, b"", b"no-cache")
        for before in ("/stats/", "/", "", "https://stats.example/"):
            for behind in ("", "?v=1", "#x", "?a=/b.js#x"):
                given, now = f"{before}{name}.0000000000000000.js{behind}", assets.lasting_name(name).removeprefix("/")
                assert assets.renamed(given, short.body) == f"{before}{now}{behind}"
        for same in (f"/{name}.js", "/shop/s.js", f"/s.js?old=/{name}.0000000000000000.js"):
            assert assets.renamed(same, short.body) == same


def test_no_script_is_larger_than_the_documentation_says() -> None:
    said = documented()
    assert set(said) == set(names())
    assert said["beacon"] <= 1000
    assert said["beacon.all"] <= 2500
    for name in filter(assets.built, said):
        assert len(gzip.compress(assets.script(get(f"/{name}.js")).body, 9, mtime=0)) <= said[name], name


def test_a_visit_that_crosses_midnight_keeps_its_visitor(tmp_path: Path) -> None:
    live = connect_live(f"file://{tmp_path}")
    visitors = Visitors(live)

    def of(address: str, at: int) -> str:
        wanted = LookUp(["a.example"], address, AGENT, at, named=False)
        if visitors.may_have_to_look_up(at, named=False) and visitors.has_to_look_up(wanted):
            visitors.look_up(wanted)
        return visitors.of("a.example", address, AGENT, at)

    late = MIDNIGHT - 60_000
    before = of("192.0.2.1", late)
    live.touch_many([("a.example", before, late)])
    after = MIDNIGHT + 20 * 60_000
    assert of("192.0.2.1", after) == before
    live.touch_many([("a.example", before, after)])
    assert of("192.0.2.1", after + 25 * 60_000) == before
    live.touch_many([("a.example", before, after + 40 * 60_000)])  # by another process
    assert of("192.0.2.1", after + 65 * 60_000) == before
    new = of("192.0.2.1", after + 96 * 60_000)
    assert new != before
    assert of("192.0.2.2", after) != before
    assert of("192.0.2.1", MIDNIGHT + DAY // 2) == new


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    broker = brokers.connect(f"sqlite://{tmp_path}/log.sqlite")
    for topic in ALL_TOPICS:
        broker.create_topic(topic)
    service = Service(
        broker=broker,
        live=connect_live(f"file://{tmp_path}/live"),
        sites=Sites(sites={"example.com": Site(domain="example.com")}),
        spool=FolderSpool(tmp_path / "spool"),
    )
    yield service
    service.close()
    broker.close()


def test_the_first_page_says_how_to_use_it(service: Service) -> None:
    shown = service.handle_and_wait(Request("GET", "/", b"", [(b"host", b"t.example:8000")], b"", "::1", "https"))
    text = shown.body.decode()
    assert shown.status == 200
    scripts = ("/beacon.js", assets.lasting_name(), assets.lasting_name("beacon.all"))
    assert assets.integrity("beacon.all") in text
    for path in (*scripts, "/collect.gif?site=example.com", "/collect\n"):
        assert f"https://t.example:8000{path}" in text
    assert create(service).test_client().get("/", base_url="https://t.example:8000").text == text
    assert service.handle_and_wait(Request("POST", "/", b"", [], b"", "::1")).status == 405
    assert service.handle_and_wait(Request("GET", "/elsewhere", b"", [], b"", "::1")).status == 404


def test_flask_answers_as_the_asgi_application_does(service: Service) -> None:
    client = create(service).test_client()
    taken = client.post("/collect", data=json.dumps(pageview()), headers={"User-Agent": AGENT})
    assert (taken.status_code, taken.json) == (202, {"accepted": 1, "duplicates": 0, "refused": []})
    assert client.post("/collect", data=b"{").headers["X-Footfall-Refused"] == "malformed"
    assert client.post("/collect", data=b"x" * 10_000_000).status_code == 413
    assert client.options("/collect").status_code == 204
    assert client.get("/collect.gif?site=example.com&url=https://example.com/").mimetype == "image/gif"
    assert client.get("/ready").status_code == 200
    assert client.get("/beacon.js").status_code == 200
    assert client.get("/nothing").status_code == 404
    assert b"data-site" in client.get("/").data


@pytest.mark.parametrize(("more", "why"), [(True, Unread.STILL_COMING), (False, Unread.TOO_LARGE)])
def test_a_body_too_large_that_is_all_here_is_waited_for_no_longer(more: bool, why: Unread) -> None:
    """Its answer would otherwise be held back until the sender sends more, which it never does."""
    messages = iter([{"type": "http.request", "body": b"x" * 11, "more_body": more}])

    async def receive() -> Message:
        return next(messages)

    assert asyncio.run(Bodies().read(receive, [], 10)) is why
