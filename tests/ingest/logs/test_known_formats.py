"""One line of each format, as its server writes it, and the request it is."""

from __future__ import annotations

import json
import re

import pytest

from ingest.logs import formats
from ingest.logs.formats import NotUnderstood, Request
from ingest.logs.formats.programs import STRINGS

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NOON = 1_748_779_200_000  # 2025-06-01T12:00:00Z
FROM = "https://b.example/"
HEAD = "192.0.2.7 - - [01/Jun/2025:12:00:00 +0000]"

IIS = """#Software: Microsoft Internet Information Services 10.0
#Version: 1.0
#Date: 2025-06-01 12:00:00
#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) \
sc-status sc-substatus sc-win32-status time-taken
"""
CLOUDFRONT = (
    "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status "
    "cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header "
    "cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol\n"
)
NETSCALER = (
    "#Version: 1.0\n#Fields: date time c-ip cs-username sc-servicename s-ip s-port cs-method cs-uri-stem cs-uri-query "
    "sc-status cs-bytes sc-bytes time-taken cs-version cs(User-Agent) cs(Cookie) cs(Referer)\n"
)
CADDY = {
    "level": "info", "ts": 1748779200.0, "logger": "http.log.access", "msg": "handled request",
    "request": {
        "remote_ip": "10.0.0.9", "client_ip": "192.0.2.7", "proto": "HTTP/2.0", "method": "GET",
        "host": "www.example.com", "uri": "/a?q=x", "headers": {"User-Agent": [AGENT], "Referer": [FROM]},
    },
    "duration": 0.001, "size": 9, "status": 200, "resp_headers": {"Server": ["Caddy"]},
}  # fmt: skip
TRAEFIK = {
    "ClientAddr": "192.0.2.7:51000", "ClientHost": "192.0.2.7", "DownstreamStatus": 200, "Duration": 4000,
    "RequestAddr": "www.example.com", "RequestHost": "www.example.com", "RequestMethod": "GET", "RequestPath": "/a?q=x",
    "StartUTC": "2025-06-01T12:00:00.000000000Z", "request_User-Agent": AGENT, "request_Referer": FROM,
    "level": "info", "msg": "", "time": "2025-06-01T12:00:09Z",
}  # fmt: skip
ECS = {
    "@timestamp": "2025-06-01T12:00:00.000Z", "client": {"ip": "192.0.2.7"}, "http": {
        "request": {"method": "GET", "referrer": FROM}, "response": {"status_code": 200}},
    "url": {"original": "/a?q=x", "domain": "www.example.com"}, "user_agent": {"original": AGENT},
}  # fmt: skip
GOOGLE = {
    "timestamp": "2025-06-01T12:00:00Z", "httpRequest": {
        "requestMethod": "GET", "requestUrl": "https://www.example.com/a?q=x", "status": 200, "remoteIp": "192.0.2.7",
        "userAgent": AGENT, "referer": FROM},
}  # fmt: skip
NGINX = {
    "remote_addr": "10.0.0.5", "http_x_forwarded_for": "192.0.2.7, 198.51.100.1", "request": "GET /a?q=x HTTP/1.1",
    "status": "200", "http_referer": FROM, "http_user_agent": AGENT, "host": "www.example.com",
}  # fmt: skip

WHOLE = Request("192.0.2.7", NOON, "GET", "/a?q=x", 200, FROM, AGENT, "www.example.com")
NO_HOST = WHOLE._replace(host="")
NO_REFERRER = WHOLE._replace(referrer="")

KNOWN: dict[str, tuple[str, str, Request]] = {
    "combined": ("combined", f'{HEAD} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"', NO_HOST),
    "combined behind a balancer": (
        "combined",
        f'10.0.0.5 - - [01/Jun/2025:12:00:00 +0000] "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}" '
        '"192.0.2.7, 198.51.100.1"',
        NO_HOST,
    ),
    "with a virtual host": (
        "combined", f'www.example.com:443 {HEAD} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"', WHOLE
    ),
    "icecast": ("combined", f'{HEAD} "GET /a?q=x HTTP/1.0" 200 98304 "{FROM}" "{AGENT}" 35', NO_HOST),
    "varnishncsa": (
        "combined", f'{HEAD} "GET http://www.example.com/a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"', WHOLE
    ),
    "lighttpd": (
        "combined",
        f'192.0.2.7 www.example.com - [01/Jun/2025:12:00:00 +0000] "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"',
        WHOLE,
    ),
    "ionos": (
        "combined", f'{HEAD} "GET /a?q=x HTTP/1.1" 200 12 www.example.com "{FROM}" "{AGENT}" "-"', WHOLE
    ),
    "apisix": (
        "combined",
        f'{HEAD} www.example.com "GET /a?q=x HTTP/1.1" 200 12 0.003 "{FROM}" "{AGENT}" 10.0.0.5:80 200 0.003 '
        '"http://www.example.com"',
        WHOLE,
    ),
    "nginx-proxy": (
        "combined",
        'nginx.1    | www.example.com 172.18.0.1 - - [01/Jun/2025:12:00:00 +0000] "GET /a?q=x HTTP/1.1" 200 12 '
        f'"{FROM}" "{AGENT}" "172.17.0.3:80"',
        WHOLE._replace(ip="172.18.0.1"),
    ),
    "traefik's common": (
        "combined", f'{HEAD} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}" 7 "web@docker" "http://10.0.0.2:80" 2ms',
        NO_HOST,
    ),
    "common": ("common", f'{HEAD} "GET /a?q=x HTTP/1.1" 200 12', NO_HOST._replace(referrer="", agent=None)),
    "iis": (
        "w3c",
        f"{IIS}2025-06-01 12:00:00 10.0.0.1 GET /a q=x 443 - 192.0.2.7 {AGENT.replace(' ', '+')} {FROM} 200 0 0 15",
        NO_HOST,
    ),
    "cloudfront": (
        "w3c",
        CLOUDFRONT + "\t".join([
            "2025-06-01", "12:00:00", "FRA2-C1", "512", "192.0.2.7", "GET", "d111.cloudfront.net", "/a", "200", FROM,
            AGENT.replace(" ", "%20"), "q=x", "-", "Hit", "id==", "www.example.com", "https", "23", "0.001", "-",
            "TLSv1.3",
        ]),
        WHOLE,
    ),
    "netscaler": (
        "w3c",
        f"{NETSCALER}2025-06-01 12:00:00 192.0.2.7 - svc 10.0.0.1 80 GET /a q=x 200 300 900 12 HTTP/1.1 "
        f'"{AGENT}" - {FROM}',
        NO_HOST,
    ),
    "w3c with the date above": (
        "w3c",
        f'#Date: 2025-06-01 00:00:00\n#Fields: time c-ip cs-method cs-uri sc-status cs(Referer) cs(User-Agent)\n'
        f'12:00:00 192.0.2.7 GET https://www.example.com:443/a?q=x 200 {FROM} "{AGENT}"',
        WHOLE,
    ),
    "iis's advanced logging": (
        "w3c",
        "#Fields:  date-local time-local s-ip cs-method cs-uri-stem cs-uri-query c-ip cs(User-Agent) cs(Referer) "
        "cs(Host) sc-status sc-substatus TimeTakenMS\n"
        f'2025-06-01 12:00:00.000 10.0.0.1 GET /a q=x "192.0.2.7" "{AGENT}" "{FROM}" "www.example.com" 200 " x y " 109',
        WHOLE,
    ),
    "shoutcast": (
        "w3c",
        "#Fields: c-ip c-dns date time cs-uri-stem c-status cs(User-Agent) sc-bytes x-duration\n"
        "192.0.2.7 198.51.100.6 2025-06-01 12:00:00 /a?q=x 200 NSPlayer%2F10.0%20WMFSDK%2F10.0 65580 1",
        NO_HOST._replace(referrer="", agent="NSPlayer/10.0 WMFSDK/10.0"),
    ),
    "weblogic": (
        "w3c",
        "#Fields:\tdate\ttime\tc-ip\tcs-method\tcs-uri\tsc-status\tcs(User-Agent)\tcs(Referer)\n"
        f'2025-06-01\t12:00:00\t192.0.2.7\tGET\t/a?q=x\t200 \t"{AGENT}"\t"{FROM}" ',
        NO_HOST,
    ),
    "zeek": (
        "w3c",
        "#separator \\x09\n#fields\tts\tid.orig_h\tid.resp_h\tmethod\thost\turi\treferrer\tuser_agent\tstatus_code\n"
        f"1748779200.000000\t192.0.2.7\t198.51.100.1\tGET\twww.example.com\t/a?q=x\t{FROM}\t{AGENT}\t200",
        WHOLE,
    ),
    "alb": (
        "alb",
        "h2 2025-06-01T12:00:00.000000Z app/web/50dc6c495c0c9188 192.0.2.7:2817 10.0.0.1:80 0.000 0.001 0.000 200 200 "
        f'34 366 "GET https://www.example.com:443/a?q=x HTTP/2.0" "{AGENT}" ECDHE TLSv1.2 arn:aws:x "Root=1" "-" "-" 0',
        NO_REFERRER,
    ),
    "elb": (
        "elb",
        "2025-06-01T12:00:00.000000Z web 192.0.2.7:2817 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "
        f'"GET http://www.example.com:80/a?q=x HTTP/1.1" "{AGENT}" - -',
        NO_REFERRER,
    ),
    "elb before it had agents": (
        "elb",
        "2025-06-01T12:00:00.000000Z web 192.0.2.7:2817 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "
        '"GET http://www.example.com:80/a?q=x HTTP/1.1"',
        NO_REFERRER._replace(agent=None),
    ),
    "s3": (
        "s3",
        "79a59df900b949e5 awsbucket [01/Jun/2025:12:00:00 +0000] 192.0.2.7 - 3E57427F3EXAMPLE WEBSITE.GET.OBJECT a "
        f'"GET /a?q=x HTTP/1.1" 200 - 113 113 7 6 "{FROM}" "{AGENT}" - s9lzHYrFp76ZVx',
        NO_HOST,
    ),
    "s3 that ends with the agent": (
        "s3",
        "79a59df900b949e5 awsbucket [01/Jun/2025:12:00:00 +0000] 192.0.2.7 - 3E57427F3EXAMPLE WEBSITE.GET.OBJECT a "
        f'"GET /a?q=x HTTP/1.1" 200 - 113 113 7 6 "{FROM}" "{AGENT}"',
        NO_HOST,
    ),
    "haproxy": (
        "haproxy",
        "Jun  1 12:00:00 lb haproxy[14389]: 192.0.2.7:33317 [01/Jun/2025:12:00:00.000] http-in web/srv1 10/0/30/69/109 "
        f'200 2750 - - ---- 1/1/1/1/0 0/0 {{www.example.com|{AGENT}|{FROM}}} {{}} "GET /a?q=x HTTP/1.1"',
        WHOLE,
    ),
    "iis's own": (
        "iis-native",
        "192.0.2.7, -, 6/1/25, 12:00:00, W3SVC1, SERVER1, 10.0.0.1, 15, 512, 1024, 200, 0, GET, /a, q=x,",
        NO_HOST._replace(referrer="", agent=None),
    ),
    "iis's own in the morning": (
        "iis-native",
        "192.0.2.7, ann, 06/01/2025, 3:04:05, W3SVC1, SERVER1, 10.0.0.1, 15, 512, 1024, 200, 0, GET, /a, -,",
        Request("192.0.2.7", NOON - 32_155_000, "GET", "/a", 200, "", None),
    ),
    "squid": (
        "squid",
        "1748779200.000    120 192.0.2.7 TCP_MISS/200 1234 GET http://www.example.com/a?q=x - HIER_DIRECT/203.0.113.5 "
        "text/html",
        WHOLE._replace(referrer="", agent=None),
    ),
    "uwsgi": (
        "uwsgi",
        "[pid: 26539|app: 0|req: 1/1] 192.0.2.7 () {58 vars in 1213 bytes} [Sun Jun  1 12:00:00 2025] GET /a?q=x => "
        "generated 12 bytes in 5 msecs (HTTP/1.1 200) 4 headers in 128 bytes (1 switches on core 0)",
        NO_HOST._replace(referrer="", agent=None),
    ),
    "gin": (
        "gin", '[GIN] 2025/06/01 - 12:00:00 | 200 |      13.1\u00b5s |       192.0.2.7 | GET      "/a?q=x"',
        NO_HOST._replace(referrer="", agent=None),
    ),
    "chi": (
        "chi",
        '2025/06/01 12:00:00 [web/VxRt0qzPq4-000001] "GET http://www.example.com/a?q=x HTTP/1.1" from 192.0.2.7:51000 '
        "- 200 12B in 123.4\u00b5s",
        WHOLE._replace(referrer="", agent=None),
    ),
    "bunny": (
        "bunny", f"HIT|200|1748779200000|412|3|192.0.2.7|{FROM}|https://www.example.com/a?q=x|WA|{AGENT}|32f2|DE", WHOLE
    ),
    "gorouter": (
        "gorouter",
        f'www.example.com - [2025-06-01T12:00:00.000000000Z] "GET /a?q=x HTTP/1.1" 200 0 12 "{FROM}" "{AGENT}" '
        '"10.0.0.1:41234" "10.0.0.2:61000" x_forwarded_for:"192.0.2.7, 10.0.0.1" x_forwarded_proto:"https"',
        WHOLE,
    ),
    "envoy": (
        f"layout {STRINGS['envoy']}",
        '[2025-06-01T12:00:00.000Z] "GET /a?q=x HTTP/1.1" 200 - 0 154 5 4 "192.0.2.7,10.0.0.1" '
        f'"{AGENT}" "cc21d9b0-cf5c" "www.example.com" "10.0.0.5:80"',
        NO_REFERRER,
    ),
    "istio": (
        f"layout {STRINGS['istio']}",
        '[2025-06-01T12:00:00.000Z] "GET /a?q=x HTTP/1.1" 200 - via_upstream - "-" 0 154 5 4 "-" '
        f'"{AGENT}" "cc21d9b0-cf5c" "www.example.com" "10.0.0.5:80" inbound|80|| 127.0.0.6:3 10.1.1.2:80 '
        "192.0.2.7:51000 - default",
        NO_REFERRER,
    ),
    "nginx proxy manager": (
        f"layout {STRINGS['proxy manager']}",
        '[01/Jun/2025:12:00:00 +0000] - 200 200 - GET https www.example.com "/a?q=x" [Client 192.0.2.7] [Length 12] '
        f'[Gzip -] [Sent-to 10.0.0.2] "{AGENT}" "{FROM}"',
        WHOLE,
    ),
    "nginx proxy manager without host": (
        f"layout {STRINGS['proxy manager without host']}",
        '[01/Jun/2025:12:00:00 +0000] 200 - GET https www.example.com "/a?q=x" [Client 192.0.2.7] [Length 12] '
        f'[Gzip 3.4] "{AGENT}" "{FROM}"',
        WHOLE,
    ),
    "heroku's router": (
        "logfmt",
        '2025-06-01T12:00:00.000000+00:00 heroku[router]: at=info method=GET path="/a?q=x" host=www.example.com '
        'request_id=8601b555 fwd="192.0.2.7,10.0.0.1" dyno=web.1 connect=1ms service=18ms status=200 bytes=13',
        WHOLE._replace(referrer="", agent=None),
    ),
    "logfmt": (
        "logfmt",
        f'ts=2025-06-01T12:00:00Z level=info msg="http \\"request\\"" method=GET uri=/a?q=x status=200 '
        f'remote_addr=192.0.2.7:51000 user_agent="{AGENT}" referer={FROM} host=www.example.com',
        WHOLE,
    ),
    "ltsv": (
        "ltsv",
        f"time:[01/Jun/2025:12:00:00 +0000]\thost:10.0.0.5\tforwardedfor:192.0.2.7\treq:GET /a?q=x HTTP/1.1\t"
        f"status:200\tsize:12\treferer:{FROM}\tua:{AGENT}\tvhost:www.example.com",
        WHOLE,
    ),
    "caddy": ("json", json.dumps(CADDY), WHOLE),
    "traefik": ("json", json.dumps(TRAEFIK), WHOLE),
    "elastic's names": ("json", json.dumps(ECS), WHOLE),
    "google's balancer": ("json", json.dumps(GOOGLE), WHOLE),
    "a container's runtime": (
        "json",
        json.dumps({"log": f'{HEAD} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"\n', "stream": "stdout"}),
        NO_HOST,
    ),
    "Logstash's COMBINEDAPACHELOG": (
        "json",
        json.dumps({"@timestamp": "2025-06-03T07:00:00Z", "clientip": "192.0.2.7", "verb": "GET", "request": "/a?q=x",
                    "timestamp": "01/Jun/2025:12:00:00 +0000", "response": "200", "agent": f'"{AGENT}"',
                    "referrer": f'"{FROM}"', "httpversion": "1.1", "host": "www.example.com"}),
        WHOLE,
    ),
    "cloudfront's JSON": (
        "json",
        json.dumps({"date": "2025-06-01", "time": "12:00:00", "x-edge-location": "FRA2-C1", "c-ip": "192.0.2.7",
                    "cs-method": "GET", "cs-uri-stem": "/a%2520b", "sc-status": "200", "cs(Referer)": FROM + "%2520",
                    "cs(User-Agent)": AGENT.replace(" ", "%20"), "cs-uri-query": "q=caf%25C3%25A9%252525",
                    "x-host-header": "www.example.com"}),
        WHOLE._replace(target="/a%20b?q=caf%C3%A9%2525", referrer=FROM + "%20"),
    ),
    "other names": (
        "json",
        json.dumps({"@timestamp": "2025-06-01T12:00:00+00:00", "client_ip": "192.0.2.7", "method": "GET",
                    "uri": "/a?q=x", "response_code": "200", "agent": AGENT, "referer": FROM,
                    "host": "www.example.com"}),
        WHOLE,
    ),
}  # fmt: skip
def logstash(**fields: str) -> str:
    return json.dumps(json.loads(KNOWN["Logstash's COMBINEDAPACHELOG"][1]) | fields)


TIMES = [
    1748779200, "1748779200.000", 1748779200000, "1748779200000", 1748779200000000, "01/Jun/2025:14:00:00 +0200",
    "[01/Jun/2025:12:00:00 +0000]", "2025-06-01T12:00:00", "2025-06-01 12:00:00", "2025-06-01T14:00:00+02:00",
    "2025-06-01t12:00:00z", "2025-06-01T14:00:00+02:00[Europe/Berlin]", "Jun 1, 2025 @ 12:00:00.000",
    "Sun Jun  1 12:00:00 2025", "Sun Jun 01 2025 14:00:00 GMT+0200 (Central European Summer Time)",
    "6/1/2025, 12:00:00.000 PM", "6/1/2025 2:00:00 PM +02:00", "06/01/2025 12:00:00 pm", "6/1/2025, 12:00:00\u202fPM",
    "/Date(1748779200000+0200)/", 20250601120000, "20250601120000", "20250601120000000", 638843760000000000,
    "1 June 2025 12:00:00 UTC", "June 1, 2025 12:00:00", "2025-06-01 14:00:00.000000001 +0200 CEST m=+0.01",
]  # fmt: skip


def read(lines: str, shape: str) -> Request | NotUnderstood:
    *comments, line = lines.split("\n")
    for comment in comments:
        shape = formats.directive(comment, shape)
    return formats.parser(shape)(line)


@pytest.mark.parametrize("name", KNOWN)
def test_a_line_of_each_format_is_found_and_read(name: str) -> None:
    shape, lines, request = KNOWN[name]
    assert formats.detect([line.encode() for line in lines.split("\n")]) == shape
    assert read(lines, shape) == request


@pytest.mark.parametrize("field", ["timestamp", "time", "ts", "@timestamp", "time_local"])
@pytest.mark.parametrize("time", TIMES)
def test_a_time_of_json_may_be_written_in_any_notation(field: str, time: str | int) -> None:
    assert formats.json(json.dumps(NGINX | {field: time})) == WHOLE


@pytest.mark.parametrize("shape", ["haproxy", "alb", "elb"])
@pytest.mark.parametrize(
    ("written", "client"),
    [
        ("2001:db8::77:54711", "2001:db8::77"),
        ("2001:db8::77:4711", "2001:db8::77"),
        ("2001:db8:1:2:3:4:5:6:80", "2001:db8:1:2:3:4:5:6"),
        ("::1:443", "::1"),
        ("::ffff:192.0.2.7:443", "192.0.2.7"),
        ("[2001:db8::77]:4711", "2001:db8::77"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"),
        ("192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_last_part_of_a_balancers_client_is_its_port(shape: str, written: str, client: str) -> None:
    line = re.sub(r"192\.0\.2\.7:[0-9]+", written, KNOWN[shape][1])
    assert formats.parser(shape)(line) == KNOWN[shape][2]._replace(ip=client)


@pytest.mark.parametrize(
    ("captures", "agent", "host"),
    [
        ("{example.com} {Apache/2.4.1 (Unix)}", "", "example.com"),
        ("{example.com|curl/8.5.0} {nginx/1.18|b.example}", "curl/8.5.0", "example.com"),
        ("{} {Apache/2.4.1}", "", ""),
    ],
)
def test_what_haproxy_captured_of_an_answer_says_nothing_of_the_visitor(captures: str, agent: str, host: str) -> None:
    line = re.sub(r"\{.*\}", captures, KNOWN["haproxy"][1])
    assert formats.parser("haproxy")(line) == WHOLE._replace(agent=agent or None, host=host, referrer="")
    without = re.sub(r"\{.*\} ", "", KNOWN["haproxy"][1]).replace("/a?q=x", "/{curl/1|example.com}")
    assert formats.parser("haproxy")(without) == Request(
        "192.0.2.7", NOON, "GET", "/{curl/1|example.com}", 200, "", None
    )


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ("/two words", ("GET", "/two words")),
        ("POST /a HTTP/1.1", ("POST", "/a")),
        ("https://www.example.com/a", ("GET", "/a")),
        ("/HTTP/1.1", ("GET", "/HTTP/1.1")),
    ],
)
def test_a_request_beside_a_method_may_be_the_target_alone(request_: str, found: tuple[str, str]) -> None:
    read_ = formats.json(logstash(request=request_, agent='"-"'))
    assert isinstance(read_, Request)
    assert (read_.method, read_.target, read_.agent) == (*found, "")


def test_only_cloudfront_encodes_addresses_once_more() -> None:
    shape, lines, _ = KNOWN["cloudfront"]
    encoded = read(lines.replace("\t/a\t", "\t/caf%25C3%25A9\t").replace("q=x", "q=hello%2520w%25"), shape)
    assert isinstance(encoded, Request)
    assert encoded.target == "/caf%C3%A9?q=hello%20w%25"
    iis = read(KNOWN["iis"][1].replace(" /a q=x ", " /caf%25C3 q=a%2520b "), "w3c")
    assert isinstance(iis, Request)
    assert iis.target == "/caf%25C3?q=a%2520b"


def test_nginx_without_escape_json() -> None:
    line = json.dumps(NGINX | {"msec": 1748779200}).replace("/a?q=x", r"/a?q=\x22caf\xC3\xA9\x22\x5C")
    found = formats.json(line)
    assert isinstance(found, Request)
    assert found.target == '/a?q="café"\\'


@pytest.mark.parametrize(
    ("direct", "chain", "client"),
    [
        ("10.0.0.5", "192.0.2.7", "192.0.2.7"),
        ("203.0.113.9", "192.0.2.7, 198.51.100.1", "192.0.2.7"),
        ("10.0.0.5", "10.1.2.3, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.5", "10.1.2.3", "10.1.2.3"),
        ("203.0.113.9", "10.1.2.3", "203.0.113.9"),
        ("203.0.113.9", "-", "203.0.113.9"),
        ("10.0.0.5", "unknown", "10.0.0.5"),
        ("unix:", "192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_visitor_behind_a_balancer_is_the_first_public_address_of_the_chain(
    direct: str, chain: str, client: str
) -> None:
    found = formats.json(json.dumps(NGINX | {"ts": 1748779200, "remote_addr": direct, "http_x_forwarded_for": chain}))
    assert isinstance(found, Request)
    assert found.ip == client


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (KNOWN["alb"][1].replace(" 200 200 ", " - - "), "nearest is alb: no field holds a status"),
        (KNOWN["s3"][1].replace("01/Jun", "99/Jun"), "nearest is s3: no field holds a time: timelocal is '99/Jun"),
        (json.dumps(CADDY | {"ts": "never"}), "nearest is json: no field holds a time: ts is 'never'"),
        (json.dumps({"level": "info"}), "nearest is json: no field has a name that is known for the time"),
        (f'{HEAD} "GET / HTTP/1.1" - -', 'nearest is combined: no "request" with status'),
        ("#Fields: date time c-ip\n2025-06-01 12:00:00 192.0.2.7", "nearest is w3c: #Fields names no field for"),
        (f"{IIS}2025-06-01 12:00:00", "nearest is w3c: it has 2 fields, and #Fields names 15"),
    ],
)
def test_what_is_not_understood_says_which_field_of_which_format(line: str, said: str) -> None:
    lines = [part.encode() for part in line.split("\n")]
    assert formats.detect(lines) is None
    assert said in formats.nearest(lines)
