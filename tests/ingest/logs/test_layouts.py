"""Lines that are read by the format string of the server that wrote them."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.logs import formats
from ingest.logs.formats import Request
from ingest.logs.formats.fields import _NOTHING
from tests.ingest.logs.plainly import SITE, together
from tests.ingest.logs.test_known_formats import AGENT, FROM, KNOWN, NO_HOST, NOON, WHOLE

NOW = "[01/Jun/2025:12:00:00 +0000]"
REST = f'"GET /a?q=x HTTP/1.1" 200 "{FROM}" "{AGENT}"'

LAYOUTS = {
    '$remote_addr - $remote_user [$time_local] "$request" $status $bytes_sent "$http_referer" "$http_user_agent"': (
        f'192.0.2.7 - a b [01/Jun/2025:12:00:00 +0000] "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"', NO_HOST),
    "log_format main '$host $remote_addr [$time_iso8601] '\n  '\"$request\" $status \"$http_referer\" '\n"
    "  '\"$http_user_agent\" $http_x_forwarded_for';": (
        f'www.example.com 10.0.0.1 [2025-06-01T12:00:00+00:00] "GET /a?q=x HTTP/1.1" 200 "{FROM}" "{AGENT}" 192.0.2.7, '
        "198.51.100.2", WHOLE),
    "$msec|$remote_addr|$request_method|$scheme://$host$request_uri|$status|$http_referer|${http_user_agent}": (
        f"1748779200.000|192.0.2.7|GET|https://www.example.com/a?q=x|200|{FROM}|{AGENT}", WHOLE),
    '$time_local $remote_addr "$request_method" $uri$is_args$args $status "$http_user_agent" "$http_referer" $host': (
        f'01/Jun/2025:12:00:00 +0000 192.0.2.7 "GET" /a?q=x 200 "{AGENT}" "{FROM}" www.example.com', WHOLE),
    '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"': (
        f'192.0.2.7 - - [01/Jun/2025:12:00:00 +0000] "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"', NO_HOST),
    r'LogFormat "%v:%p %{X-Forwarded-For}i %a %D %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" vhost_combined': (
        f'www.example.com:443 192.0.2.7, 10.0.0.8 10.0.0.1 981 [01/Jun/2025:12:00:00 +0000] "GET /a?q=x HTTP/1.1" 200 '
        f'12 "{FROM}" "{AGENT}"', WHOLE),
    '%{%Y-%m-%d %H:%M:%S}t %a "%m" "%U%q" %s "%{Referer}i" "%{User-agent}i" %{Host}i': (
        f'2025-06-01 12:00:00 192.0.2.7 "GET" "/a?q=x" 200 "{FROM}" "{AGENT}" www.example.com', WHOLE),
    '$remote_addr [$time_local] "$request" $status "$http_referer" $http_user_agent $upstream_response_time $host': (
        f'192.0.2.7 [01/Jun/2025:12:00:00 +0000] "GET /a?q=x HTTP/1.1" 200 "{FROM}" {AGENT} 0.1, 0.2 www.example.com',
        WHOLE),
    '$remote_addr $http_user_agent $msec "$request" $status "$http_referer" "$host"': (
        f'192.0.2.7 {AGENT} 1748779200.000 "GET /a?q=x HTTP/1.1" 200 "{FROM}" "www.example.com"', WHOLE),
    '%{msec}t %{User-Agent}i %h "%r" %>s "%{Referer}i" %v': (
        f'1748779200000 {AGENT} 192.0.2.7, 10.0.0.1 "GET /a?q=x HTTP/1.1" 200 "{FROM}" www.example.com', WHOLE),
    '%{msec}t %a "%r" %>s "%{Referer}i" "%{User-Agent}i"': (
        f'1748779200000 192.0.2.7 "GET /a?q=x HTTP/1.1" 200 "{FROM}" "{AGENT}"', NO_HOST),
    '%{c}a %a %t "%r" %>s "%{Referer}i" "%{User-Agent}i"': (f'10.0.0.5 192.0.2.7 {NOW} {REST}', NO_HOST),
    '%{c}a %t "%r" %>s "%{Referer}i" "%{User-Agent}i"': (f'192.0.2.7 {NOW} {REST}', NO_HOST),
    '%{REMOTE_ADDR}e %t "%r" %>s "%{Referer}i" "%{User-Agent}i"': (f'192.0.2.7 {NOW} {REST}', NO_HOST),
    '"%{Forwarded}i" %h %t "%r" %>s "%{Referer}i" "%{User-Agent}i"': (
        rf'"for=\"[192.0.2.7]:4711\";by=x, for=unknown" 10.0.0.5 {NOW} {REST}', NO_HOST),
    '$remote_addr:$remote_port [$time_local] "$request" $status "$http_referer" "$http_user_agent"': (
        f'2001:db8::7:51000 {NOW} {REST}', NO_HOST._replace(ip="2001:db8::7")),
    '%h %t "%m %U%q %H" %>s "%{Referer}i" "%{User-Agent}i"': (
        f'192.0.2.7 {NOW} {REST}'.replace("/a?", "/a b?"), NO_HOST._replace(target="/a b?q=x")),
    '[$time_local] "$request" $remote_addr $status "$http_referer" "$http_user_agent" $request_time': (
        f'{NOW} "GET http://www.example.com/a?q=x HTTP/1.1" 192.0.2.7 200 "{FROM}" "x "y" z" 0.1',
        WHOLE._replace(agent='x "y" z')),
    "%h | %{%d.%m.%Y %H:%M:%S}t | %r | %>s | %{Referer}i | %{User-Agent}i": (
        f'192.0.2.7 | 01.06.2025 12:00:00 | GET /a?q=x HTTP/1.1 | 200 | {FROM} | {AGENT}', NO_HOST),
    '%h %t &quot;%r&quot; %s &quot;%{Referer}i&quot; &quot;%{User-Agent}i&quot;': (f'192.0.2.7 {NOW} {REST}', NO_HOST),
    '$c_ip\t$timestamp\t$cs_method\t$cs_host\t$cs_uri_stem\t$sc_status\t$cs_referer\t$cs_user_agent': (
        f'192.0.2.7\t1748779200.000\tGET\twww.example.com\t/a?q=x\t200\t{FROM}\t{AGENT.replace(" ", "%20")}', WHOLE),
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %BYTES_SENT% '
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(REFERER)%" "%REQ(USER-AGENT)%" "%REQ(:AUTHORITY)%" %DOWNSTREAM_REMOTE_ADDRESS%': (
        f'[2025-06-01T12:00:00.000Z] "GET /a?q=x HTTP/1.1" 200 12 "192.0.2.7" "{FROM}" "{AGENT}" "www.example.com" '
        '10.0.0.5:51000', WHOLE),
    'accesslog.format = "%h %V %u %t \\"%r\\" %>s %b \\"%{Referer}i\\" \\"%{User-Agent}i\\""': (
        f'192.0.2.7 www.example.com - {NOW} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"', WHOLE),
    '%({x-forwarded-for}i)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(D)s': (
        f'192.0.2.7 - - {NOW} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}" 5', NO_HOST),
    '%(addr) - %(user) [%(ltime)] "%(method) %(uri) %(proto)" %(status) %(size) "%(referer)" "%(uagent)" %(host)': (
        f'192.0.2.7 - - {NOW} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}" www.example.com', WHOLE),
    ':date[iso] :remote-addr ":method :url HTTP/:http-version" :status :res[content-length] ":referrer" ":user-agent" '
    ':req[host] :response-time ms': (
        f'2025-06-01T12:00:00.000Z 192.0.2.7 "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}" www.example.com 5.1 ms',
        WHOLE),
    '%ci:%cp [%tr] %ft %b/%s %ST %B %hr %{+Q}r': (
        '192.0.2.7:51000 [01/Jun/2025:12:00:00.000] fe be/s1 200 12 {x} "GET /a?q=x HTTP/1.1"',
        NO_HOST._replace(referrer="", agent=None)),
    '%>a %ui %un [%tl] "%rm %ru HTTP/%rv" %>Hs %<st "%{Referer}>h" "%{User-Agent}>h" %Ss:%Sh': (
        f'192.0.2.7 - - {NOW} "GET http://www.example.com/a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}" TCP_MISS:X', WHOLE),
    '$context.identity.sourceIp [$context.requestTime] "$context.httpMethod $context.path $context.protocol" '
    '$context.status "$context.identity.userAgent" $context.domainName': (
        f'192.0.2.7 {NOW} "GET /a?q=x HTTP/1.1" 200 "{AGENT}" www.example.com', WHOLE._replace(referrer="")),
    '%{client}a - %u %{dd/MMM/yyyy:HH:mm:ss ZZZ|GMT}t "%r" %s %O "%{Referer}i" "%{User-Agent}i"': (
        f'192.0.2.7 - - {NOW} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"', NO_HOST),
    "%{yyyy-MM-dd'T'HH:mm:ss.SSSXXX}t %a \"%r\" %s \"%{Referer}i\" \"%{User-Agent}i\"": (
        f'2025-06-01T14:00:00.000+02:00 192.0.2.7 "GET /a?q=x HTTP/1.1" 200 "{FROM}" "{AGENT}"', NO_HOST),
    '[%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%] "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(REFERER)%" "%REQ(:AUTHORITY)%"': (
        f'[2025-06-01T12:00:00.000Z] "GET /a?q=x HTTP/2" 200 "192.0.2.7" "{AGENT}" "{FROM}" "www.example.com"', WHOLE),
    # of two statuses, that of the last answer; in `{}`, of the connection, of the server, or an attribute
    '%{c}h %h %t "%r" %s %>s "%{Referer}i" "%{User-Agent}i"': (
        f'10.0.0.5 192.0.2.7 {NOW} "GET /a?q=x HTTP/1.1" 301 200 "{FROM}" "{AGENT}"', NO_HOST),
    '%{server}a %{local}a %{client}a %t "%r" %s "%{Referer}i" "%{User-Agent}i"': (
        f'www.example.com 198.51.100.3 192.0.2.7 {NOW} {REST}', WHOLE),
    '%a %{request.id}r %{user}r %{name}s %t "%m %U%q %H" %s "%{Referer}i" "%{User-Agent}i" "%{session}r"': (
        f'192.0.2.7 721x1x1 ann bob {NOW} {REST} "1x"', NO_HOST),
    '%h %t "%r" %>s "%!200,304{Referer}i" "%400,501{User-Agent}i" %Dus': (
        f'192.0.2.7 {NOW} "GET /a?q=x HTTP/1.1" 200 "-" "-" 12us', NO_HOST._replace(referrer="", agent="")),
    **{
        f'%{{{name}}}i via %h %t "%r" %>s "%{{Referer}}i" "%{{User-Agent}}i"': (
            f'192.0.2.7 via 10.0.0.5 {NOW} {REST}', NO_HOST)
        for name in ("X-Cluster-Client-IP", "Fly-Client-IP", "Client-IP", "X-Azure-ClientIP", "DO-Connecting-IP",
                     "X-Envoy-External-Address", "X-Sucuri-ClientIP", "Incap-Client-IP", "Varnish-Client-IP")
    },
    '$http_x_cluster_client_ip $remote_addr [$time_local] $request_method $document_uri?$args $status "$http_referer" '
    '"$http_user_agent"': (
        f'192.0.2.7 10.0.0.5 {NOW} GET /a?q=x 200 "{FROM}" "{AGENT}"', NO_HOST),
    '$remote_addr [$time_local] "$request" $status "$http_referer" "$http_user_agent" $upstream_addr '
    '$upstream_response_time $host': (
        f'192.0.2.7 {NOW} {REST} 10.0.0.1:80, 10.0.0.2:80 : 10.0.0.3:80 0.1, 0.2 : 0.3 www.example.com', WHOLE),
    '$remote_addr [$time_local] $request_method $uri$is_args$args $status "$http_referer" "$http_user_agent"': (
        f'192.0.2.7 {NOW} GET /a-- 200 "{FROM}" "{AGENT}"', NO_HOST._replace(target="/a-")),
    '"$remote_addr" $msec "$request_method ${document_uri}${is_args}${query_string}" $status "$http_user_agent"': (
        f'"192.0.2.7" 1748779200.000 "GET /a-?-" 200 "{AGENT}"', NO_HOST._replace(target="/a-?-", referrer="")),
    '[%Ts.%ms] %ci:%cp %ft %{+Q}r %ST "%CC" "%hr" "%hs"': (
        '[1748779200.000] 192.0.2.7:51000 fe "GET /a?q=x HTTP/1.1" 200 "-" '
        f'"{{www.example.com|{AGENT}|{FROM}}}" "{{nginx/1.18 (Ubuntu)}}"', WHOLE),
    '%ci:%cp [%tr] %ST %hr %hs %{+Q}r': (
        f'10.0.0.5:51000 [01/Jun/2025:12:00:00.000] 200 {{www.example.com|{AGENT}|{FROM}|192.0.2.7, 10.0.0.9}} '
        '{nginx/1.18 (Ubuntu)} "GET /a?q=x HTTP/1.1"', WHOLE),
    '%{+Q}o %{-Q}ci - - [%trg] %r %ST %B "%[capture.req.hdr(0)]" "%[capture.req.hdr(1)]" %cp %ms %ft %b %s': (
        f'192.0.2.7 - - {NOW} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}" 51000 123 "fe" "be" "s1"', NO_HOST),
    '%[src] [%tr] %HM %HPO%HQ %HV %ST "%[req.hdr(User-Agent)]" "%[var(txn.referer)]" "%[capture.req.hdr(0)]"': (
        f'192.0.2.7 [01/Jun/2025:12:00:00.000] GET /a?q=x HTTP/1.1 200 "{AGENT}" "{FROM}" "www.example.com"', WHOLE),
    '%START_TIME(%s.%3f)% %REQ(:METHOD)% %REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)% %RESPONSE_CODE% '
    '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% "%REQ(USER-AGENT)%"': (
        f'1748779200.000 GET /a?q=x 200 192.0.2.7 "{AGENT}"', NO_HOST._replace(referrer="")),
}  # fmt: skip


@pytest.mark.parametrize("form", LAYOUTS)
def test_a_line_is_read_by_the_servers_own_format_string(form: str) -> None:
    line, request = LAYOUTS[form]
    assert formats.parser(f"layout {form}")(line) == request


def test_quotes_that_the_server_escaped_end_no_field() -> None:
    read = formats.parser('layout %h %t "%r" %>s "%{Referer}i" "%{User-Agent}i"')
    found = read(r'192.0.2.7 [01/Jun/2025:12:00:00 +0000] "GET /\"x\\\" HTTP/1.1" 200 "-" "a \"b\" c\\"')
    assert isinstance(found, Request)
    assert (found.target, found.agent) == ('/"x\\"', 'a "b" c\\')


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("[%{%d/%b/%Y:%H:%M:%S}t.%{msec_frac}t %{%z}t]", "[01/Jun/2025:14:00:00.250 +0200]"),
        ('"%{%d/%b/%Y %T}t.%{usec_frac}t %{%z}t"', '"01/Jun/2025 14:00:00.250000 +0200"'),
        ("%{begin:%F}t %{begin:%T}t.%{begin:msec_frac}t %{end:%T}t", "2025-06-01 12:00:00.250 12:00:09"),
        ("%{%Y%m%d%H%M%S}t.%{msec_frac}t", "20250601120000.250"),
        ("%{%m/%d/%Y %I:%M:%S %p}t.%{msec_frac}t", "06/01/2025 12:00:00 PM.250"),
        ("%{%c}t.%{msec_frac}t", "Sun Jun  1 12:00:00 2025.250"),
        ("%{%D %R}t %{msec}t", "06/01/25 12:00 1748779200250"),
        ("%{usec}t", "1748779200250000"),
        ("%{%s}t.250", "1748779200.250"),
    ],
)
def test_a_time_is_read_by_its_own_notation(form: str, written: str) -> None:
    found = formats.parser(f"layout %h {form} \"%r\" %>s")(f'192.0.2.7 {written} "GET / HTTP/1.1" 200')
    assert isinstance(found, Request)
    assert found.at in (NOON + 250, NOON + 250 * (".250" not in form))


HEADS = [
    "Jun  1 12:00:00 198.51.100.9 nginx[1]: ", "<190>1 2025-06-01T12:00:00Z 198.51.100.9 nginx 1 - - ",
    '<190>1 2025-06-01T12:00:00Z h nginx 1 - [a@1 b="198.51.100.3"] ', "web-1  | ", "\x1b[36mweb-1  |\x1b[0m ",
    "2025-06-01T12:00:01.123456789Z stdout F ", "[pod/web-0/nginx] 2025-06-01T12:00:01.5Z ", "access.log:", "a.log:12:",
]  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_what_a_collector_put_before_a_line_is_no_part_of_it(head: str) -> None:
    read = formats.parser('layout [$time_local] $remote_addr "$request" $status "$http_referer" "$http_user_agent"')
    assert read(f"{head}{NOW} 192.0.2.7 {REST}") == NO_HOST
    for name in ("haproxy", "alb", "elb"):
        shape, line, request = KNOWN[name]
        body = line.partition("]: ")[2] if name == "haproxy" else line
        assert formats.detect([(head + body).encode()]) in (shape, "alb")  # of both the values are the same
        assert formats.parser(shape)(head + body) == request


TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="-"), min_size=1, max_size=12
).filter(lambda text: text not in _NOTHING)


@example(
    "0", "\\", "0", "0", ['"$http_user_agent"', '"$http_referer"', '"$request"', '{"$remote_user"}', "<$status>"], " "
)  # fmt: skip
@given(
    path=TEXTS.filter(lambda text: " " not in text), referrer=TEXTS, agent=TEXTS, user=TEXTS,
    order=st.permutations(['"$http_referer"', '"$http_user_agent"', '"$request"', '{"$remote_user"}', "<$status>"]),
    between=st.sampled_from([" ", "\t", " | ", ";", " - "]),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_what_a_server_writes_by_a_format_string_is_read_back(
    path: str, referrer: str, agent: str, user: str, order: list[str], between: str
) -> None:
    values = {"http_referer": referrer, "http_user_agent": agent, "request": f"GET /{path} HTTP/1.1", "status": "200",
              "remote_user": user, "time_local": "01/Jun/2025:12:00:00 +0000", "remote_addr": "192.0.2.7"}  # fmt: skip
    form = between.join(["$remote_addr [$time_local]", *order])
    escaped = {name: value.replace("\\", r"\\").replace('"', r"\"") for name, value in values.items()}
    line = re.sub(r"\$(\w+)", lambda name: escaped[name[1]], form)
    found = formats.parser(f"layout {form}")(line)
    assert found == Request("192.0.2.7", NOON, "GET", f"/{path}", 200, referrer, agent)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("combined", "neither"),
        ('%h %^[%d:%t %^] "%r" %s', "written for GoAccess"),
        ("$remote_addr$time_local $request $status", "nothing separates $remote_addr from $time_local"),
        ('%h "%r" %>s', "no time"),
        ('%h %t "%r" %>s %{User-Agent}i %{Cookie}i', "where %{User-Agent}i ends cannot be told: .* in %{Cookie}i too"),
        ("$remote_addr $http_user_agent $time_local $request_uri", "where $http_user_agent ends cannot be told"),
        ('$time_local "$request" $status', "no client"),
        ('%h %t "%r"', "no status"),
        ("%h %t %>s", "no request"),
        ('%h %{%T}t "%r" %>s', "no time"),
        ('%h %{%d %H %Q}t "%r" %>s', "its time cannot be read: 'Q' is a bad directive"),
    ],
)
def test_a_format_string_that_cannot_be_used_says_why(form: str, why: str) -> None:
    with pytest.raises(formats.BadLayout, match=why.replace("$", r"\$").replace("{", r"\{")):
        formats.parser(f"layout {form}")


@pytest.mark.parametrize(
    ("escape", "written", "target"),
    [("", "/a--", "/a-"), ("escape=default ", "/a--", "/a-"), ("escape=none ", "/a-", "/a-"),
     ("escape=json ", "/a-", "/a-"), ("escape=none ", "/a?-", "/a?-"), ("escape=none\n", "/-", "/-")],
)  # fmt: skip
@pytest.mark.parametrize("mark", ["", "# "])
def test_a_page_that_ends_in_a_dash_keeps_it(mark: str, escape: str, written: str, target: str) -> None:
    form = f"{mark}log_format x {escape}'$remote_addr [$time_local] $request_method $uri$is_args$args $status';"
    found = formats.parser(f"layout {form}")(f"192.0.2.7 {NOW} GET {written} 200")
    assert isinstance(found, Request) and found.target == target


SERVERS = st.lists(
    st.sampled_from(["10.0.0.1:80", "unix:/x.sock", "-", "0.1", ":", "", "a", ":0", "[::1]:80"]), min_size=1, max_size=3
).flatmap(lambda parts: st.sampled_from([", ", " : ", " :  "]).map(lambda between: between.join(parts)))
BEHIND_SERVERS = [
    "$upstream_addr $upstream_response_time $host", "$upstream_addr $host", "$upstream_addr $status_text|$host",
    "$upstream_addr :$host", "$upstream_addr $x: $host", "$upstream_addr $time_local $host", "$upstream_status : $host",
    "$upstream_addr $http_x_forwarded_for $host",
]


@pytest.mark.parametrize("behind", BEHIND_SERVERS)
@given(st.data())
@settings(max_examples=12, deadline=None)
def test_servers_that_were_asked_in_turn_end_alike_alone_and_together(behind: str, data: st.DataObject) -> None:
    form = f'$remote_addr [$time_iso8601] "$request" $status "$http_user_agent" {behind}'
    values = st.tuples(SERVERS, SERVERS, st.sampled_from(["www.example.com", "example.org"]))
    lines = [
        f'10.0.0.5 [2025-06-01T12:00:00Z] "GET /a HTTP/1.1" 200 "{AGENT}" {servers}{between}{more}{last}{host}'
        for (servers, more, host), (between, last) in data.draw(
            st.lists(st.tuples(values, st.sampled_from([(" ", " "), (" ", "|"), (" :", ""), (" ", ": ")])), max_size=12)
        )
    ]
    usual = f'10.0.0.5 [2025-06-01T12:00:00Z] "GET /a HTTP/1.1" 200 "{AGENT}" 10.0.0.1:80 '
    retried = f"{usual}: 10.0.0.2:80 0.1, 0.2 www.example.com"
    together([line.encode() for line in (f"{usual}0.1 example.org", retried, *lines)], f"layout {form}", SITE, 20)
