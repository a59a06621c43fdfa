"""Lines as hosts, gateways, programs and collectors write them, other than the servers of `test_known_formats`."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest

from activity import codec
from ingest.logs import formats
from ingest.logs.formats import NotUnderstood, Request
from ingest.logs.trust import trusting
from tests.ingest.logs.plainly import SITE, own_values, together
from tests.ingest.logs.test_known_formats import AGENT, FROM, HEAD, KNOWN, NO_HOST, NOON, WHOLE

REQUEST = '"GET /a?q=x HTTP/1.1" 200 12'
TAIL = f'"{FROM}" "{AGENT}"'
LINE = f"{HEAD} {REQUEST} {TAIL}"
COMMON = NO_HOST._replace(referrer="", agent=None)
AT_HOST = WHOLE._replace(referrer="", agent=None)
MAYBE_AT_HOST = COMMON._replace(named="www.example.com")
NO_REFERRER = WHOLE._replace(referrer="")
LATER = 123  # milliseconds

TEXTS: dict[str, tuple[str, Request]] = {
    "ingress-nginx": (f"{LINE} 489 0.003 [default-web-80] [] 10.244.0.7:80 612 0.004 200 5c1d8f0c", NO_HOST),
    "ingress-nginx that asked twice": (
        f"{LINE} 489 0.003 [default-web-80] [] 10.244.0.7:80, 10.244.0.8:80 0, 612 0.000, 0.004 502, 200 5c1d",
        NO_HOST),
    "ingress-nginx of old": (
        f"192.0.2.7 - [192.0.2.7] - - [01/Jun/2025:12:00:00 +0000] {REQUEST} {TAIL} 489 0.003 [default-web-80]",
        NO_HOST),
    "Traefik that keeps no headers": (
        f'{HEAD} "GET /a?q=x HTTP/2.0" 200 612 "-" "-" 1 "web@docker" "http://10.0.0.2:80" 5ms',
        COMMON._replace(agent="")),
    "mod_logio": (f"{LINE} 512 4096", NO_HOST),
    "Amplify": (
        f'{LINE} "-" "www.example.com" sn="www.example.com" rt=0.001 ua="unix:/run/php.sock" us="200" cs=-', NO_HOST),
    "Kong": (f'{LINE} kong_request_id: "5f2d1c0b9a8e7d6c5b4a392817060504"', NO_HOST),
    "fields with names": (
        f"10.0.0.9 - - [01/Jun/2025:12:00:00 +0000] {REQUEST} {TAIL} vhost=prod.cloud.example host=www.example.com p=9 "
        'forwarded_for="192.0.2.7, 10.0.0.1" request_id="v-0"',
        NO_HOST._replace(named="www.example.com prod.cloud.example")),
    "fields with names, some with two blanks between": (
        f'127.0.0.1 - - [01/Jun/2025:12:00:00 +0000] {REQUEST} {TAIL} http_host=www.example.com affinity="-"  '
        'upstream_addr="171.0.0.1:80" request_time=1.263 forwarded_for="192.0.2.7, 172.16.0.1" ssl="TLSv1.2"', WHOLE),
    "a chain with a name, and no agent": (
        f"10.0.0.9 - - [01/Jun/2025:12:00:00 +0000] {REQUEST} xff=192.0.2.7 host=www.example.com", MAYBE_AT_HOST),
    "a machine with a name": (
        f"{LINE} rt=0.1 host=web01.hoster.example", NO_HOST._replace(named="web01.hoster.example")),
    "every field in quotes": (
        f'"192.0.2.7" "-" "-" "[01/Jun/2025:12:00:00 +0000]" "GET /a?q=x HTTP/1.1" "200" "15" {TAIL} "bytes=0-9" "0.1"',
        NO_HOST),
    "Payara": ('"192.0.2.7" "NULL-AUTH-USER" "01/Jun/2025:14:00:00 +0200" "GET /a?q=x HTTP/1.1" 200 12', COMMON),
    "a time without brackets": (
        '192.0.2.7 -  01/Jun/2025:12:00:00 +0000 "GET /a?q=x HTTP/1.1" 200', COMMON),
    "TLS between the time and the request, and no bytes": (
        f'{HEAD} TLSv1.3 "GET /a?q=x HTTP/1.1" 200', COMMON),
    "TLS and a host between the time and the request": (
        f'{HEAD} www.example.com "TLSv1.3" TLS_AES "GET /a?q=x HTTP/1.1" 200', AT_HOST),
    "a referrer before the request": (
        f'[1/Jun/2025:20:00:00 +0800] 192.0.2.7 - 15 "{FROM}" "GET http://www.example.com/a?q=x" 200 191 2830 MISS '
        f'"{AGENT}" "text/html"', WHOLE),
    "a time of the request instead of its bytes": (
        f'{HEAD} "GET http://www.example.com/a?q=x" 200 955.123 - 1234 {TAIL} "-" "id" "HIT" "10.0.0.1" 0.1', WHOLE),
    "no bytes": (f'{HEAD} "GET /a?q=x HTTP/1.1" 200 {TAIL}', NO_HOST),
    "Amazon's gateway": ('192.0.2.7 - - [01/Jun/2025:12:00:00 +0000]"GET /a?q=x HTTP/1.1" 200 12 c6af9ac6', COMMON),
    "Amazon's gateway by routes": (
        f'{HEAD} "GET GET /a HTTP/1.1" 200 12 AbC=', COMMON._replace(target="/a")),
    "a method before the quotes": (
        f'www.example.com 192.0.2.7 [01/Jun/2025:12:00:00 +0000] GET "/a?q=x" HTTP/2.0 200 {TAIL} 192.0.2.7 - 12 0.1',
        WHOLE),
    "a request without quotes": (f"{HEAD} GET /a?q=x HTTP/1.1 200 12 {TAIL} - 2 2", NO_HOST),
    "a request without quotes, and no more": (f"{HEAD} GET /a?q=x HTTP/1.1 200 12", COMMON),
    "a request without quotes, a status in quotes": (
        f'{HEAD} "www.example.com" GET /a?q=x HTTP/1.1 "200" 333 {TAIL} "192.0.2.7" "-"', WHOLE),
    "Virtualmin": (f"{LINE.replace(' - - ', ' - www.example.com www.example.com - ')}", WHOLE),
    "Cloud Foundry": (
        f"   2025-06-01T12:00:03.01+0000 [RTR/0] OUT {KNOWN['gorouter'][1]}", WHOLE),
    "Caddy's console": (
        f"2025/06/01 12:00:00.000\tinfo\thttp.log.access.log0\t{HEAD} {REQUEST}\t"
        + json.dumps({name: its for name, its in json.loads(KNOWN["caddy"][1]).items() if name != "ts"}), WHOLE),
    "HAProxy that captured whom a balancer passed on": (
        "Jun  1 12:00:00 lb haproxy[14389]: 10.0.0.9:33317 [01/Jun/2025:12:00:00.000] fe be/s1 0/0/0/5/5 200 12 - - "
        f'---- 1/1/0/0/0 0/0 {{www.example.com|192.0.2.7, 10.0.0.3|{AGENT}}} "GET /a?q=x HTTP/1.1"', NO_REFERRER),
    "HAProxy that captured an address, of a public client": (
        "192.0.2.7:33317 [01/Jun/2025:12:00:00.000] fe be/s1 0/0/0/5/5 200 12 - - ---- 1/1/0/0/0 0/0 {203.0.113.5} "
        '"GET /a?q=x HTTP/1.1"', COMMON),
    "Domino": (
        f'192.0.2.7 www.example.com - [01/Jun/2025:12:00:00 +0000] {REQUEST} {TAIL} 5 "" "/local/a"', WHOLE),
    "Pound": (f"www.example.com {LINE} (www.example.com -> 10.0.0.1:80) 0.012 sec", WHOLE),
    "Linkerd": (
        "192.0.2.7:51160 traffic.app.serviceaccount.identity.linkerd.cluster.local - [2025-06-01T12:00:00Z] "
        '"GET http://www.example.com/a?q=x HTTP/2.0" 200 ', AT_HOST),
    "Emissary": ("ACCESS " + KNOWN["envoy"][1], NO_REFERRER),
    "HAProxy's httpslog": (
        "Jun  1 12:00:00 lb haproxy[14389]: 192.0.2.7:33317 [01/Jun/2025:12:00:00.000] fe~ be/s1 0/0/0/5/5 200 12 - - "
        '---- 1/1/0/0/0 0/0 "GET https://www.example.com/a?q=x HTTP/2.0" 0/0/0/0/0 www.example.com/TLSv1.3/TLS_AES',
        AT_HOST),
    "HAProxy's clf": (
        f'{HEAD} {REQUEST} "" "" 51000 123 "fe" "be" "srv1" 0 0 0 5 5 ---- 1 1 0 0 0 0 0 "" ""',
        COMMON._replace(agent="")),
    "uvicorn behind a time": (
        '2025-06-01 12:00:00,000 - uvicorn.access - INFO - 192.0.2.7:51000 - "GET /a?q=x HTTP/1.1" 200', COMMON),
    "uvicorn behind a time in brackets": (
        '[2025-06-01 12:00:00] INFO: 192.0.2.7:51000 - "GET /a?q=x HTTP/1.1" 200 OK', COMMON),
    "uvicorn in a container": (
        '2025-06-01T12:00:00.000000001Z stdout F INFO:     192.0.2.7:51000 - "GET /a?q=x HTTP/1.1" 200 OK', COMMON),
    "Werkzeug in colours": (
        '192.0.2.7 - - [01/Jun/2025 12:00:00] "\x1b[36mGET /a?q=x HTTP/1.1\x1b[0m" 304 -', COMMON._replace(status=304)),
    "aiohttp": (f"INFO:aiohttp.access:{HEAD} {REQUEST} {TAIL}", NO_HOST),
    "Actix": (f"[2025-06-01T12:00:00Z INFO  actix_web::middleware::logger] 192.0.2.7 {REQUEST} {TAIL} 0.0001", NO_HOST),
    "Actix of old": (f" 2025-06-01T12:00:00Z INFO  actix_web::logger > 192.0.2.7:51000 {REQUEST} {TAIL} 0.1", NO_HOST),
    "Gin in colours": (
        '[GIN] 2025/06/01 - 12:00:00 |\x1b[97;42m 200 \x1b[0m| 1ms | 192.0.2.7 |\x1b[97;44m GET \x1b[0m "/a?q=x"',
        COMMON),
    "Gin of old": ("[GIN] 2025/06/01 - 12:00:00 | 200 |   87.3\u00b5s |   192.0.2.7 |  GET     /a?q=x", COMMON),
    "Gin that says more": (
        '[GIN] 2025/06/01 - 12:00:00 | 200 |  1.2\u00b5s |  192.0.2.7 | GET      "/a?q=x" | curl/8 "b"', COMMON),
    "Gin that had an error": (
        '[GIN] 2025/06/01 - 12:00:00 | 200 |  1ms |  192.0.2.7 | GET      "/a?q=x" Error #01: no such row', COMMON),
    "Gin with a blank at the end": (
        '[GIN] 2025/06/01 - 12:00:00 | 200 |  1ms |  192.0.2.7 | GET      "/a?q=x" ', COMMON),
    "Gin with a quote in the page": (
        r'[GIN] 2025/06/01 - 12:00:00 | 200 |  1ms |  192.0.2.7 | GET      "/a\"b\\?q=x"',
        COMMON._replace(target='/a"b\\?q=x')),
    "uWSGI that sent a file": (KNOWN["uwsgi"][1].replace("msecs", "msecs via sendfile()"), COMMON),
    "Gin in the journal": (
        'Jun 01 12:00:00 web app[12]: [GIN] 2025/06/01 - 12:00:00 | 200 |  1.2\u00b5s |  192.0.2.7 | GET      "/a?q=x"',
        COMMON),
    "Spring": (f"2025-06-01 12:00:03.123  INFO 1 --- [nio-8080-exec-1] access : {LINE}", NO_HOST),
    "Netty, with the name of a zone": (
        '192.0.2.7 - - [2025-06-01T12:00:00.000Z[Etc/UTC]] "GET /a?q=x HTTP/1.1" 200 12 5', COMMON),
    "Fly": (f"2025-06-01T12:00:03Z app[148e21] fra [info]{LINE}", NO_HOST),
    "a platform's head in brackets": (f"[web] [2025-06-01 12:00:03] {LINE}", NO_HOST),
    "Loki's labels": (f'2025-06-01T12:00:03Z {{filename="/var/log/access.log", job="nginx"}} {LINE}', NO_HOST),
    "Loki's labels before an object": (
        f'2025-06-01T12:00:03Z {{job="a b", x="\\""}} {json.dumps(json.loads(KNOWN["caddy"][1]))}', WHOLE),
    "Ruby's time without quotes": (
        "method=GET path=/a?q=x format=html status=200 time=2025-06-01 12:00:00 UTC ip=192.0.2.7 host=www.example.com",
        AT_HOST),
    "Ruby's time with an offset, last": (
        "method=GET path=/a?q=x status=200 ip=192.0.2.7 host=www.example.com time=2025-06-01 14:00:00 +0200", AT_HOST),
    "Go's structured log": (
        "time=2025-06-01T12:00:00.000Z level=INFO msg=\"200: OK\" request.method=GET request.host=www.example.com "
        f'request.path=/a request.query=q=x request.ip=192.0.2.7:51 request.user-agent="{AGENT}" response.status=200',
        NO_REFERRER),
}  # fmt: skip

OF_ONE = "192.0.2.7 - - [{}] " + f"{REQUEST} {TAIL}"
SPELT: dict[str, tuple[str, Request]] = {
    "a quote in an address": (LINE.replace("?q=x", '?q="x"'), NO_HOST._replace(target='/a?q="x"')),
    "a quote in a referrer": (LINE.replace(FROM, f'{FROM}?"x"'), NO_HOST._replace(referrer=f'{FROM}?"x"')),
    "a quote in an agent": (LINE.replace("X11", '"X11"'), NO_HOST._replace(agent=AGENT.replace("X11", '"X11"'))),
    "an address without its last part": (LINE.replace("192.0.2.7", "192.0.2.x"), NO_HOST._replace(ip="192.0.2.0")),
    "an address without its last two": (LINE.replace("2.7", "xxx.xxx"), NO_HOST._replace(ip="192.0.0.0")),
    "a year of two digits": (OF_ONE.format("01/Jun/25:12:00:00 +0000"), NO_HOST),
    "a day with a blank": (OF_ONE.format(" 1/Jun/2025:12:00:00 +0000"), NO_HOST),
    "a zone by name": (OF_ONE.format("01/Jun/2025:14:00:00 CEST"), NO_HOST),
    "a zone by name, west": (OF_ONE.format("01/Jun/2025:08:00:00 EDT"), NO_HOST),
    "a zone of half hours": (OF_ONE.format("01/Jun/2025:08:30:00 -0330"), NO_HOST),
    "a line as a cell of a table": ('"' + LINE.replace('"', '""') + '"', NO_HOST),
    "a user with blanks": (LINE.replace(" - - ", " - john doe "), NO_HOST),
    "a user of a domain": (LINE.replace(" - - ", " - CORP\\john "), NO_HOST),
    "no request": (LINE.replace("GET /a?q=x HTTP/1.1", ""), NO_HOST._replace(method="", target="")),
}  # fmt: skip
TEXTS |= SPELT

GIN = '[GIN] 2025/06/01 - 12:00:00 | 200 |      1.2\u00b5s |       192.0.2.7 | GET      "/a?q=x"'
ROUTER = 'at=info method=GET path="/a?q=x" host=www.example.com fwd="192.0.2.7" dyno=web.1 status=200 bytes=12'
SIMPLE = {"remote_ip": "192.0.2.7", "method": "GET", "path": "/a", "status": 200, "time": "2025-06-01T12:00:00Z"}
OBJECTS: dict[str, tuple[dict[str, Any], Request]] = {
    "a line of Gin": ({"log": f"{GIN}\n", "stream": "stdout", "time": "2025-06-01T12:00:03Z"}, COMMON),
    "a line of Gin in the journal": ({"__REALTIME_TIMESTAMP": "1748779203000000", "MESSAGE": GIN}, COMMON),
    "a line of Amazon's balancer": ({"message": KNOWN["alb"][1]}, NO_REFERRER),
    "a line of Envoy": ({"log": KNOWN["envoy"][1] + "\n", "time": "2025-06-01T12:00:03Z"}, NO_REFERRER),
    "a line of HAProxy": (
        {"MESSAGE": KNOWN["haproxy"][1].partition("]: ")[2], "__REALTIME_TIMESTAMP": "1748779203000000"}, WHOLE),
    "a line of Nginx Proxy Manager": ({"log": KNOWN["nginx proxy manager"][1]}, WHOLE),
    "a line of logfmt, with its time beside it": ({"message": ROUTER, "timestamp": "2025-06-01T12:00:00Z"}, AT_HOST),
    "uvicorn, with its time beside it": (
        {"log": 'INFO:     192.0.2.7:51000 - "GET /a?q=x HTTP/1.1" 200 OK\n', "time": "2025-06-01T12:00:00.000000001Z"},
        COMMON),
    "uvicorn in Python's log": (
        {"asctime": "2025-06-01 12:00:00,000", "message": '192.0.2.7:51000 - "GET /a?q=x HTTP/1.1" 200'}, COMMON),
    "colours": ({"log": f"\x1b[32m{LINE}\x1b[0m\n"}, NO_HOST),
    "rsyslog, which keeps a blank": ({"@timestamp": "2025-06-01T12:00:03Z", "host": "web", "message": f" {LINE}"},
        NO_HOST),
    "a query that is taken apart": ({**SIMPLE, "query": {"q": "x"}}, COMMON),
    "a query of several values": ({**SIMPLE, "query": {"q": "x y", "a": [1, 2], "n": {}}},
        COMMON._replace(target="/a?q=x+y&a=1&a=2")),
    "a query with JSON's words": ({**SIMPLE, "query": {"a": None, "b": True, "c": [False, None, "x"], "d": [{}]}},
        COMMON._replace(target="/a?b=true&c=false&c=x")),
    "when the line was stored, beside when it was requested": (
        {"createdAt": "2025-06-02T03:00:00Z", "insertedAt": "2025-06-02T03:00:00Z", "loggedAt": "2025-06-02T03:00:00Z",
         "accessTime": "2025-06-01T12:00:00Z", "ip": "192.0.2.7", "method": "GET", "path": "/a?q=x", "status": 200},
        COMMON),
    "a path beside the whole address": (
        {"timestamp": "2025-06-01T12:00:00Z", "httpRequest": {
            "remoteIP": "192.0.2.7:51000", "requestMethod": "GET", "requestPath": "/a",
            "requestURL": "http://www.example.com/a?q=x"}, "httpResponse": {"status": 200}}, AT_HOST),
    "a path beside another path": ({**SIMPLE, "url": "/b?q=x"}, COMMON._replace(target="/a")),
    "OpenTelemetry's names of old": (
        {"timestamp": "2025-06-01T12:00:00Z", "http.method": "GET", "http.status_code": 200, "http.target": "/a?q=x",
         "net.host.name": "www.example.com", "net.peer.ip": "192.0.2.7"}, MAYBE_AT_HOST),
    "NLog's names": (
        {"time": "2025-06-01 12:00:00.0000", "aspnet-request-ip": "192.0.2.7", "aspnet-request-method": "GET",
         "aspnet-request-url": "https://www.example.com/a?q=x", "aspnet-response-statuscode": 200}, AT_HOST),
    "a row of a database": (
        {"id": "1", "created_at": "2025-06-01 12:00:00.000000+00", "ip": "192.0.2.7", "method": "GET", "path": "/a?q=x",
         "status_code": "200"}, COMMON),
    "short names": (
        {"ts": NOON / 1000, "ip": "192.0.2.7", "method": "GET", "host": "www.example.com", "uri": "/a?q=x", "code": 200,
         "ua": AGENT, "ref": FROM}, WHOLE),
    "the branch of a request": ({**SIMPLE, "ref": "refs/heads/main"}, COMMON._replace(target="/a")),
    "a branch behind no referrer": ({**SIMPLE, "referer": "-", "ref": "main"}, COMMON._replace(target="/a")),
    "CloudFront's milliseconds": (
        {"timestamp(ms)": str(NOON), "c-ip": "192.0.2.7", "cs-method": "GET", "x-host-header": "www.example.com",
         "cs-uri-stem": "/a", "cs-uri-query": "q=x", "sc-status": "200", "cs(User-Agent)": AGENT.replace(" ", "%20")},
        NO_REFERRER),
    "Amazon's gateway": (
        {"ip": "192.0.2.7", "requestTime": "01/Jun/2025:12:00:00 +0000", "httpMethod": "GET", "path": "/a?q=x",
         "status": "200", "domainName": "www.example.com"}, MAYBE_AT_HOST),
    "Amazon's balancer out of a table": (
        {"time": "2025-06-01T12:00:00Z", "client_ip": "192.0.2.7", "elb_status_code": "200",
         "target_status_code": "500", "request_verb": "GET",
         "request_url": "https://www.example.com:443/a?q=x"}, AT_HOST),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_line_is_read(name: str) -> None:
    line, expected = TEXTS[name]
    shape = formats.detect([line.encode()])
    assert shape is not None, formats.nearest([line.encode()])
    assert formats.parser(shape)(formats.decoded(line.encode())) == expected
    together([line.encode()] * 3, shape, SITE, 2)


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_is_read(name: str) -> None:
    given, expected = OBJECTS[name]
    line = json.dumps(given).encode()
    assert formats.detect([line]) == "json", formats.nearest([line])
    assert formats.json(line.decode()) == expected
    together([line] * 3, "json", SITE, 2)


@pytest.mark.parametrize(
    ("named", "host"),
    [
        ("web01.hoster.example", "example.com"), ("www.example.com", "www.example.com"),
        ("web01.hoster.example vhost=Blog.Example.com:443", "blog.example.com"),
        ("web01.hoster.example server_name=shop.example.org", "shop.example.org"),
        ("web01.hoster.example http_host=elsewhere.example", "elsewhere.example"),
    ],
)  # fmt: skip
def test_a_host_that_may_be_a_machine_counts_where_it_is_the_sites(named: str, host: str) -> None:
    lines = [(f"{LINE} rt=0.1 host={named}".encode(), "combined")]
    if " " not in named:
        lines += [(json.dumps({**SIMPLE, name: named}).encode(), "json") for name in ("domainName", "net.host.name")]
    for line, shape in lines:
        (batch,) = together([line, line], shape, SITE, 2)
        assert [codec.decode(value).host for value in own_values(batch)] == [host, host]


@pytest.mark.parametrize(
    ("written", "day"),
    [("01/Mai/2025", 121), ("01/Okt/2025", 274), ("01/Dez/2025", 335), ("01/f\u00e9vr./2025", 32), ("01/mrt/2025", 60),
     ("01/ago/2025", 213), ("01/set/2025", 244), ("01/ao\u00fbt/2025", 213), ("29/Feb/2024", 60)],
)  # fmt: skip
def test_months_of_other_languages(written: str, day: int) -> None:
    found = formats.combined(f"192.0.2.7 - - [{written}:00:00:00 +0000] {REQUEST} {TAIL}")
    assert isinstance(found, Request)
    assert (found.at // 86_400_000) - (20_088 if written.endswith("2025") else 19_722) == day


@pytest.mark.parametrize(
    "time", ["Sunday, 01-Jun-25 12:00:00 UTC", "01 Jun 25 12:00 UTC", "Sun Jun 01 12:00:00 +0000 2025",
             "Sun Jun  1 12:00:00 UTC 2025", "Sun Jun  1 14:00:00 CEST 2025", "01.06.2025 12:00", "1.6.2025, 12:00:00",
             "2025-06-01T14:00:00.000+0200", "Sun, 1 Jun 2025 12:00:00 GMT"],
)  # fmt: skip
def test_a_time_by_the_notations_of_gos_library(time: str) -> None:
    assert formats.json(json.dumps(json.loads(KNOWN["caddy"][1]) | {"ts": time})) == WHOLE


@pytest.mark.parametrize("field", [AGENT, "/a", "/a?q=x HTTP/1.1"])
def test_what_is_no_request_by_columns_is_none_alone_either(field: str) -> None:
    line = f'{HEAD} "{field}" 200 12 {TAIL}'
    (batch,) = together([line.encode(), LINE.encode()], "combined", SITE, 2)
    assert [number for number, _, _ in batch.not_understood] == [1]


@pytest.mark.parametrize(("chain", "client"), [("10.1.2.3,+192.0.2.7", "192.0.2.7"), ("192.0.2.7:51000", "192.0.2.7")])
def test_a_blank_that_iis_wrote_as_plus_is_no_part_of_an_address(chain: str, client: str) -> None:
    shape = "w3c date time cs-method cs-uri-stem c-ip sc-status X-Forwarded-For"
    found = formats.parser(shape)(f"2025-06-01 12:00:00 GET /a 10.0.0.9 200 {chain}")
    assert isinstance(found, Request) and found.ip == client


@pytest.mark.parametrize(
    ("line", "times"),
    [
        (f'{HEAD} "/a" 200 12 {TAIL}', 1),
        (f'{HEAD} "GET /a', 2),
        ("2025/06/01 12:00:00 [error] 7#0: *1 open() failed", 1),
    ],
)
def test_a_line_that_is_not_understood_is_read_again_only_where_that_may_help(
    monkeypatch: pytest.MonkeyPatch, line: str, times: int
) -> None:
    module = import_module("ingest.logs.formats.combined")
    read, request = [], module._request
    monkeypatch.setattr(module, "_request", lambda *given, **more: read.append(given) or request(*given, **more))
    assert isinstance(formats.combined(line), NotUnderstood)
    assert len(read) == times


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('INFO:     192.0.2.7:51000 - "GET /a HTTP/1.1" 200 OK', "no time"),
        ('[01/Jun/2025 12:00:00] "GET /a HTTP/1.1" 200 12', "no field before the request is surely a client's address"),
        ('2025-06-01 12:00:00 DEBUG https://api.example.com:443 "GET /a HTTP/1.1" 200 12', "client's address"),
        (f'{HEAD} a.example GET web "/a" HTTP/1.1 "{AGENT}" 200 12', 'no "request" with status'),
        (f'[01/Jun/2025:12:00:00 +0000] 192.0.2.7 GET www.example.com "/a" 200 12 {TAIL}', 'no "request" with status'),
        (OF_ONE.format("06/01/2025:12:00:00 -0000"), "+0000]: [06/01/2025:12:00:00 -0000] is none"),
        (OF_ONE.format("01/Jun/2025:12:00:00 CST"), "[01/Jun/2025:12:00:00 CST] is none"),
        ("2025-06-01 12:00:00 10.0.0.1 GET /a - 443 - 192.0.2.7 x - 200 0 0", "no #Fields line stands before"),
        ("timestamp,id,url,resultCode,client_Browser", "table: no column has a name that is known for the client"),
        ('[01/Jun/2025:12:00:00 +0000] 192.0.2.7 TLSv1.3 TLS_AES "GET /a HTTP/2.0" 204', "no status: the number"),
        ('web-1 | [01/Jun/2025:12:00:00 +0000] 192.0.2.7 TLSv1.3 TLS_AES "GET /a HTTP/2.0" 204', "no status: the"),
        ('Jun  1 12:00:00 198.51.100.9 httpd[1]: [01/Jun/2025:12:00:00 +0000] 192.0.2.7 TLSv1.3 "GET /a HTTP/2.0" 5',
         "nearest is combined"),
        ("2025-06-01 12:00:00,123 10.0.0.1 x: GET /a HTTP/1.1 200", 'no "request" with status'),
        ('2025-06-01 12:00:00 INFO 192.0.2.7 said "hello" 200 12', 'no "request" with status'),
        (json.dumps({"level": 30, "time": NOON, "req": {"method": "GET", "url": "/a", "remoteAddress": "192.0.2.7"}}),
        "status"),
        (json.dumps({"EventTimestampMs": NOON, "Event": {"Request": {"URL": "https://a.example/", "Method": "GET"},
                                                         "Response": {"Status": 200}}}), "client"),
    ],
)  # fmt: skip
def test_what_lacks_a_part_says_which(line: str, why: str) -> None:
    assert formats.detect([line.encode()]) is None
    assert why in formats.nearest([line.encode()])
    assert isinstance(formats.combined(line), NotUnderstood)


CAPTURED = (
    "10.0.0.9:33317 [01/Jun/2025:12:00:00.000] fe be/s1 0/0/0/5/5 200 12 - - ---- 1/1/0/0/0 0/0 {{{}}} "
    '"GET /a HTTP/1.1"'
)


@pytest.mark.parametrize(
    ("fields", "client", "behind_proxies"),
    [
        (f"203.0.113.10|192.0.2.7|{AGENT}", "192.0.2.7", "192.0.2.7"),
        (f"203.0.113.10:8080|6.6.6.6, 192.0.2.7|{AGENT}", "6.6.6.6", "192.0.2.7"),
        ("192.0.2.7, 10.0.0.3|203.0.113.10", "192.0.2.7", "203.0.113.10"),
        ("192.0.2.7|10.0.0.4", "192.0.2.7", "10.0.0.9"),
        ("203.0.113.10|6.6.6.6, 192.0.2.7|10.0.0.4", "6.6.6.6", "10.0.0.9"),
        ("10.0.0.4|192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("www.example.com|192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.7|-|www.example.com", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.4, 10.0.0.3", "10.0.0.9", "10.0.0.9"),
        ("10.0.0.4|10.0.0.5", "10.0.0.9", "10.0.0.9"),
        ("|", "10.0.0.9", "10.0.0.9"),
    ],
)
def test_an_address_that_was_captured_as_the_host_is_no_client(
    fields: str, client: str, behind_proxies: str
) -> None:
    for proxies, expected in (((), client), (("10.0.0.0/8",), behind_proxies)):
        with trusting(proxies):
            found = formats.parser("haproxy")(CAPTURED.format(fields))
            assert isinstance(found, Request) and found.ip == expected
            together([CAPTURED.format(fields).encode()] * 2, "haproxy", SITE, 2)


@pytest.mark.parametrize(
    ("times", "written"),
    [
        ("date-local time-local date-utc time-utc", "2025-06-01 14:00:00 2025-06-01 12:00:00"),
        ("date-utc time-utc date-local time-local", "2025-06-01 12:00:00 2025-06-02 01:00:00"),
        ("date time date-local time-local", "2025-06-01 12:00:00 2025-06-01 14:00:00"),
        ("date-local time-local date time", "2025-06-01 14:00:00 2025-06-01 12:00:00"),
        ("date time date-utc time-utc", "2025-06-01 12:00:00 2025-06-01 12:00:01"),
        ("c-status date-local time-local", "0 2025-06-01 12:00:00"),
        ("date-local time-local", "2025-06-01 12:00:00"),
        ("date-utc time-utc", "2025-06-01 12:00:00"),
        ("time-local date-utc time-utc", "14:00:00 2025-06-01 12:00:00"),
    ],
)
def test_of_several_times_of_a_line_of_iis_that_in_utc_counts(times: str, written: str) -> None:
    shape = f"w3c {times} cs-method cs-uri-stem cs-uri-query c-ip sc-status"
    line = f"{written} GET /a q=x 192.0.2.7 200"
    assert formats.parser(shape)(line) == COMMON
    together([line.encode(), line.replace("12:00:00", "12:30:00").encode()], shape, SITE, 2)


@pytest.mark.parametrize("times", ["date-local time-utc", "date-utc time-local"])
def test_a_day_and_a_clock_of_different_zones_are_no_time(times: str) -> None:
    shape = f"w3c {times} cs-method cs-uri-stem c-ip sc-status"
    assert isinstance(formats.parser(shape)("2025-06-02 23:00:00 GET /a 192.0.2.7 200"), NotUnderstood)
