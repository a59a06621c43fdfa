"""Format strings as they stand in configurations, in every way in which these quote them."""

from __future__ import annotations

import pytest

from ingest.logs import formats
from tests.ingest.logs.test_known_formats import AGENT, FROM, HEAD, NO_HOST

LINE = f'{HEAD} "GET /a?q=x HTTP/1.1" 200 12 "{FROM}" "{AGENT}"'
APACHE = '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"'
ESCAPED = APACHE.replace('"', '\\"')
XML = APACHE.replace('"', "&quot;")
GUNICORN = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
UWSGI = '%(addr) - %(user) [%(ltime)] "%(method) %(uri) %(proto)" %(status) %(size) "%(referer)" "%(uagent)"'
NGINX = """'$remote_addr - $remote_user [$time_local] "$request" '
    '$status $body_bytes_sent "$http_referer" '
    '"$http_user_agent"'"""
ONE_LINE = NGINX.replace("\n", "")
FIRST, REST = NGINX.split("\n", 1)
AWSTATS = "%host %other %logname %time1 %methodurl %code %bytesd %refererquot %uaquot"

CONFIGURED = [
    NGINX, f"{NGINX};", f"log_format main {NGINX};", f"log_format  main  escape=default\n{NGINX};",
    f"# log_format main {NGINX};".replace("\n", "\n  #"),
    'log_format main "' + NGINX.replace("'", "").replace("\n    ", "").replace('"', '\\"') + '";',
    *(
        f"{before}{string}; {after}"
        for before in ("log_format main ", "log_format main\n", "")
        for string in (NGINX, ONE_LINE)
        for after in ("# the usual", "# it's \"usual\"", "}", "\n}", "access_log /var/log/nginx/access.log main;",
                      "\naccess_log /a.log main if=$loggable;", "# a\nlog_format other '$remote_addr $status';")
    ),
    *(
        f"{before}{FIRST}{between}{REST}{end}"
        for before in ("log_format main ", "")
        for between in ("\n  # status and so on\n", " # it's\n", "# a;b\n\n # $c\n", " \\\n", "\\\n", " \\\r\n", "\r\n")
        for end in ("", ";", " # usual")
    ),
    f"# The usual one.\n# With the host's own.\n\nlog_format main {NGINX};", f"{NGINX}  # usual\n;",
    'log_format main "' + ONE_LINE.replace("'    '", "").strip("'").replace('"', '\\"') + '"; # usual',
    '"' + ONE_LINE.replace("'    '", "").strip("'").replace('"', '\\"') + '"; # usual',
    f'LogFormat "{ESCAPED}" combined # usual', 'LogFormat "' + ESCAPED.replace(" %>s", " \\\n%>s") + '" combined',
    APACHE, ESCAPED, f'"{ESCAPED}"', f'"{ESCAPED}" combined', f"'{APACHE}'", f'LogFormat "{ESCAPED}" combined',
    f'LogFormat "{ESCAPED}" "combined"', f"LogFormat '{APACHE}' combined", f'#LogFormat "{ESCAPED}" combined',
    f'CustomLog logs/access_log "{ESCAPED}" env=!dontlog', f'CustomLog logs/a "{ESCAPED}" "expr=%{{X}} -ge 400"',
    f'CustomLog "|/usr/bin/rotatelogs -l /var/log/a.%Y-%m-%d 86400" "{ESCAPED}"', f'GlobalLog "logs/all" "{ESCAPED}"',
    XML, f'<Valve className="x.AccessLogValve" prefix="access." suffix=".txt" pattern="{XML}" resolveHosts="false"/>',
    f"server.tomcat.accesslog.pattern={APACHE}", f"jetty.requestlog.formatString={APACHE}", f'format: "{ESCAPED}\\n"',
    f'"pattern": "{ESCAPED}"', f"-F '{APACHE}'", f'accesslog.format = "{ESCAPED}"', f'{APACHE}\\n',
    APACHE.replace('"%', "\u201c%").replace('"', "\u201d"), f"\u2018{APACHE}\u2019",
    GUNICORN, f"access_log_format = '{GUNICORN}'", f"--access-logformat '{GUNICORN}'", UWSGI, f"log-format = {UWSGI}",
    f"logformat = {UWSGI}", AWSTATS, f'LogFormat = "{AWSTATS}"',
    'log:$remote_addr $ignore [$datetime] "$method $path $http" $status $size "$referrer" "$user_agent"',
    'logformat own %>a - %[un [%tl] "%rm %ru HTTP/%rv" %03>Hs %<st "%{Referer}>h" "%{User-Agent}>h"',
    '%h %l %u %t "%r" %s %b "%{i,Referer}" "%{i,User-Agent}"',
    '%h %l %u [%t{dd/MMM/yyyy:HH:mm:ss Z,UTC}] "%r" %s %b "%i{Referer}" "%i{User-Agent}"',
    '%remoteIP - %user [%date] "%requestURL" %statusCode %bytesSent "%header{Referer}" "%header{User-Agent}"',
    '%{REMOTE_IP} - %{REMOTE_USER} %{DATE_TIME} "%{REQUEST_LINE}" %{RESPONSE_CODE} %b "%{i,Referer}" "%{i,User-Agent}"',
    '$remote_addr - - [$time_local] "$request_line" $status $body_bytes_sent "$header_referer" "$header_user_agent"',
    '%h - %u [%{%d/%b/%Y:%T %z}t] "%{req.request}V %{req.url}V %{req.proto}V" %{resp.status}V %b '
    '"%{req.http.referer}V" "%{json.escape(req.http.user-agent)}V"',
]  # fmt: skip


@pytest.mark.parametrize("given", CONFIGURED)
def test_a_format_string_is_read_as_it_stands_in_a_configuration(given: str) -> None:
    assert formats.parser(f"layout {given}")(LINE) == NO_HOST


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("log_format bare $remote_addr|$time_iso8601|$request|$status|$http_referer|$http_user_agent;",
         f"192.0.2.7|2025-06-01T12:00:00Z|GET /a?q=x HTTP/1.1|200|{FROM}|{AGENT}"),
        ('"$remote_addr" "$time_iso8601" "$request" "$status" "$http_referer" "$http_user_agent"',
         f'"192.0.2.7" "2025-06-01T12:00:00Z" "GET /a?q=x HTTP/1.1" "200" "{FROM}" "{AGENT}"'),
        ('log_format="$request" ip="$remote_addr" at="$time_iso8601" "$status" "$http_referer" "$http_user_agent"',
         f'log_format="GET /a?q=x HTTP/1.1" ip="192.0.2.7" at="2025-06-01T12:00:00Z" "200" "{FROM}" "{AGENT}"'),
        ("'$remote_addr';'$time_iso8601';'$request';'$status';'$http_referer';'$http_user_agent'",
         f"'192.0.2.7';'2025-06-01T12:00:00Z';'GET /a?q=x HTTP/1.1';'200';'{FROM}';'{AGENT}'"),
        ('"$remote_addr"; "$time_iso8601"; "$request"; "$status"; "$http_referer"; "$http_user_agent"',
         f'"192.0.2.7"; "2025-06-01T12:00:00Z"; "GET /a?q=x HTTP/1.1"; "200"; "{FROM}"; "{AGENT}"'),
        ("log_format bare $remote_addr#$time_iso8601#$request#$status#$http_referer#$http_user_agent ; # a",
         f"192.0.2.7#2025-06-01T12:00:00Z#GET /a?q=x HTTP/1.1#200#{FROM}#{AGENT}"),
        ("log_format x '$remote_addr;$time_iso8601;$request;' # it's ;\n '$status;$http_referer;$http_user_agent#'; }",
         f"192.0.2.7;2025-06-01T12:00:00Z;GET /a?q=x HTTP/1.1;200;{FROM};{AGENT}#"),
        (f'"{ESCAPED}"', f'"{LINE}"'),  # OpenLiteSpeed quotes the whole line
        ('log-format %ci\\ [%t]\\ %{+Q}r\\ %ST\\ "%[capture.req.hdr(0)]"\\ "%[var(txn.referer)]"',
         f'192.0.2.7 [01/Jun/2025:12:00:00.000] "GET /a?q=x HTTP/1.1" 200 "{AGENT}" "{FROM}"'),
        ("%time2 %other %method %url %query %host %ua %referer %code",
         f"2025-06-01 12:00:00 10.0.0.1 GET /a q=x 192.0.2.7 {AGENT.replace(' ', '+')} {FROM} 200"),
    ],
)  # fmt: skip
def test_what_stands_around_the_fields_is_found_in_the_lines(given: str, line: str) -> None:
    assert formats.parser(f"layout {given}")(line) == NO_HOST


@pytest.mark.parametrize(
    "word", ["formatted ", "format=x ", "format ", "pattern=x ", "pattern: ", "patterns: ", "formatlog=", "formats=",
             "my-format ", "-Format "]
)  # fmt: skip
def test_a_word_that_lines_begin_with_is_no_name_of_their_format(word: str) -> None:
    assert formats.parser(f"layout {word}{APACHE}")(word + LINE) == NO_HOST
    assert isinstance(formats.parser(f"layout {word}{APACHE}")(LINE), formats.NotUnderstood)


@pytest.mark.parametrize(
    "name", ["LogFormat ", "log-format ", "log_format=", "access_log_format = ", "--access-logformat ",
             "access.format=", "accesslog.format: ", "quarkus.http.access-log.pattern=", "-F ",
             "jetty.requestlog.formatString = "]
)  # fmt: skip
def test_the_name_that_a_server_gives_its_format_needs_no_quotes_behind_it(name: str) -> None:
    assert formats.parser(f"layout {name}{APACHE}")(LINE) == NO_HOST


@pytest.mark.parametrize("name", ["pattern=", "format: ", "'format': ", "--format ", "-F", "my.format = "])
def test_with_quotes_behind_it_any_name_is_one(name: str) -> None:
    assert formats.parser(f"layout {name}'{APACHE}'")(LINE) == NO_HOST


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("$a " * 4_000, "longer than 8,000 characters"), ("LogFormat=1", "neither"), ("log_format main", "neither"),
        ('%h %e [%d:%t] "%r" %s %b "%R" "%u"', "GoAccess"), ('%h [%x] "%r" %s %b', "GoAccess"),
        ('access.format = "%R - %u %t \\"%m %r%Q%q\\" %s"', "nothing separates %r"),
    ],
)  # fmt: skip
def test_a_string_that_says_not_what_its_fields_are_is_refused(given: str, why: str) -> None:
    with pytest.raises(formats.BadLayout, match=why):
        formats.parser(f"layout {given}")


@pytest.mark.parametrize(
    ("notation", "time"),
    [
        ("%d/%b/%Y:%H:%M:%S %z", "01/Jun/2025:12:00:00 +0000"), ("%d/%b/%Y %T", "01/Jun/2025 12:00:00"),
        ("%Y-%m-%d %H:%M:%S", "2025-06-01 12:00:00"), ("%Y/%m/%dT%H:%M:%S%z", "2025/06/01T12:00:00+0000"),
        ("%Y-%m-%d", None), ("%F %d:%T %3f", None),
    ],
)  # fmt: skip
def test_a_day_in_envoys_own_notation_of_times_is_no_field_of_goaccess(notation: str, time: str | None) -> None:
    given = (
        f'layout [%START_TIME({notation})%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
        '%RESPONSE_CODE% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% "%REQ(REFERER)%" "%REQ(USER-AGENT)%"'
    )
    if time is None:  # no whole time, which is what has to be said
        with pytest.raises(formats.BadLayout, match="time"):
            formats.parser(given)
    else:
        line = f'[{time}] "GET /a?q=x HTTP/1.1" 200 192.0.2.7 "{FROM}" "{AGENT}"'
        assert formats.parser(given)(line) == NO_HOST
