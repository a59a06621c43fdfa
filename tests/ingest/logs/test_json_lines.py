"""Lines of JSON as platforms, collectors, programs and hand-written format strings make them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from activity.enrich import SiteRules
from ingest.logs import formats
from ingest.logs.batch import Batch
from ingest.logs.events import EventWriter
from ingest.logs.formats import NotUnderstood, Request
from ingest.logs.vectorized import LogLines
from tests.ingest.logs.plainly import own_values

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NOON = 1_748_779_200_000  # 2025-06-01T12:00:00Z
FROM = "https://b.example/"
ISO = "2025-06-01T12:00:00Z"

WHOLE = Request("192.0.2.7", NOON, "GET", "/a?q=x", 200, FROM, AGENT, "www.example.com")
NO_HOST = WHOLE._replace(host="")
COMBINED = f'192.0.2.7 - - [01/Jun/2025:12:00:00 +0000] "GET /a?q=x HTTP/1.1" 200 5 "{FROM}" "{AGENT}"'
NGINX = {"time_iso8601": ISO, "remote_addr": "192.0.2.7", "request": "GET /a?q=x HTTP/1.1", "status": 200,
         "http_referer": FROM, "http_user_agent": AGENT}  # fmt: skip

HEADERS = [
    "request_X-Forwarded-For", "headers.X-Real-Ip", "http_fastly_client_ip", "True-Client-IP", "cs(X-Forwarded-For)",
    "request.headers.Cf-Connecting-Ip", "http_x_original_forwarded_for", "OriginalIP", "proxy_protocol_addr",
    "proxy_add_x_forwarded_for",
]  # fmt: skip

LINES: dict[str, tuple[dict[str, Any], Request]] = {
    "nginx as Matomo has it written": (
        {"ip": "192.0.2.7", "host": "www.example.com", "path": "/a?q=x", "status": "200", "referrer": FROM,
         "user_agent": AGENT, "length": 25, "generation_time_milli": 0.0, "date": "2025-06-01T05:00:00-07:00"},
        WHOLE,
    ),
    "nginx with its time in seconds": (
        {**NGINX, "time_iso8601": "", "date": 1748779200, "request_time": 0.01}, NO_HOST
    ),
    "Kubernetes' ingress": (
        {"time": ISO, "remote_addr": "192.0.2.7", "vhost": "www.example.com", "path": "/a", "request_query": "q=x",
         "method": "GET", "status": 200, "http_referrer": FROM, "http_user_agent": AGENT, "request_time": 0.01},
        WHOLE,
    ),
    "Kubernetes' ingress by a cloud's names": (
        {"timestamp": ISO, "httpRequest": {"requestMethod": "GET", "requestUrl": "www.example.com/a?q=x", "status": 200,
                                           "userAgent": AGENT, "remoteIp": "192.0.2.7", "referer": FROM}},
        WHOLE,
    ),
    "Vercel": (
        {"id": "1", "timestamp": NOON, "source": "lambda", "host": "x.vercel.app", "statusCode": 200, "proxy": {
            "method": "GET", "host": "www.example.com", "path": "/a?q=x", "userAgent": [AGENT], "referer": FROM,
            "statusCode": 200, "clientIp": "192.0.2.7"}},
        WHOLE,
    ),
    "Cloudflare": (
        {"ClientIP": "192.0.2.7", "ClientRequestHost": "www.example.com", "ClientRequestMethod": "GET",
         "ClientRequestPath": "/a?q=x", "ClientRequestReferer": FROM, "ClientRequestUserAgent": AGENT,
         "EdgeResponseStatus": 200, "EdgeStartTimestamp": NOON * 1_000_000},
        WHOLE,
    ),
    "Amazon's API Gateway": (
        {"ip": "192.0.2.7", "requestTime": "01/Jun/2025:12:00:00 +0000", "httpMethod": "GET", "resourcePath": "/a?q=x",
         "status": "200", "userAgent": AGENT, "referer": FROM},
        NO_HOST,
    ),
    "Azure's Front Door": (
        {"time": ISO, "category": "FrontDoorAccessLog", "properties": {
            "httpMethod": "GET", "requestUri": "https://www.example.com:443/a?q=x", "userAgent": AGENT,
            "clientIp": "192.0.2.7", "httpStatusCode": "200", "hostName": "www.example.com", "referer": FROM}},
        WHOLE,
    ),
    "Azure's gateway": (
        {"timeStamp": ISO, "properties": {
            "clientIP": "192.0.2.7", "httpMethod": "GET", "originalRequestUriWithArgs": "/a?q=x", "requestUri": "/b",
            "requestQuery": "SERVER-ROUTED=1", "userAgent": AGENT, "httpStatus": 200, "referer": FROM,
            "host": "www.example.com"}},
        WHOLE,
    ),
    "Azure's apps, in a text": (
        {"time": ISO, "properties": json.dumps({
            "CsHost": "www.example.com", "CIp": "192.0.2.7", "CsUriStem": "/a", "CsUriQuery": "q=x", "CsMethod": "GET",
            "ScStatus": "200", "Referer": FROM, "UserAgent": AGENT})},
        WHOLE,
    ),
    "Datadog's names": (
        {"timestamp": ISO, "network": {"client": {"ip": "192.0.2.7"}}, "http": {
            "method": "GET", "url": "/a?q=x", "status_code": "200", "useragent": AGENT, "referer": FROM}},
        NO_HOST,
    ),
    "pino of Node": (
        {"level": 30, "time": NOON, "hostname": "web-1", "req": {
            "method": "GET", "url": "/a?q=x", "remoteAddress": "::ffff:192.0.2.7",
            "headers": {"host": "www.example.com", "user-agent": AGENT, "referer": FROM}},
         "res": {"statusCode": 200, "headers": {"x-powered-by": "Express"}}},
        WHOLE,
    ),
    "morgan of Node": (
        {"remote-addr": "192.0.2.7", "date": "Sun, 01 Jun 2025 12:00:00 GMT", "method": "GET", "url": "/a?q=x",
         "status": "200", "referrer": FROM, "user-agent": AGENT},
        NO_HOST,
    ),
    "Fluentd's nginx": (
        {"remote": "192.0.2.7", "host": "-", "user": "-", "method": "GET", "path": "/a?q=x", "code": "200",
         "referer": FROM, "agent": AGENT, "time": "2025-06-01 14:00:00 +0200 CEST"},
        NO_HOST,
    ),
    "the client called host, and the host vhost": (
        {"time": ISO, "host": "192.0.2.7", "vhost": "www.example.com", "req": "GET /a?q=x HTTP/1.1", "status": 200,
         "referer": FROM, "ua": AGENT},
        WHOLE,
    ),
    "Loki": ({"labels": {"job": "nginx"}, "line": COMBINED, "timestamp": "2025-06-01T12:00:03Z"}, NO_HOST),
    "Splunk": ({"preview": False, "result": {"_raw": COMBINED, "_time": "x"}}, NO_HOST),
    "Google's logs of a container": ({"textPayload": COMBINED, "timestamp": "2025-06-01T12:00:03Z"}, NO_HOST),
    "the host that was asked for, not the machine": (
        {**NGINX, "host": "10.0.0.9", "domain": "www.example.com", "server_name": "_"}, WHOLE
    ),
    "Splunk's names": (
        {"time_local": "01/Jun/2025:12:00:00 +0000", "src": "192.0.2.7", "http_method": "GET", "uri_path": "/a",
         "uri_query": "q=x", "status": "200 OK", "http_referrer": FROM, "http_user_agent": AGENT,
         "site": "www.example.com"},
        WHOLE,
    ),
    "an address whole, and a method in small letters": (
        {"@timestamp": ISO, "client.ip": "192.0.2.7", "http.request.method": "get", "http.request.referrer": FROM,
         "http.response.status_code": 200, "url.full": "https://www.example.com/a?q=x", "user_agent.original": AGENT},
        WHOLE,
    ),
    "a line's own time beside Elastic's": (
        {"@timestamp": "2025-06-01T12:00:09Z", "timestamp": "01/Jun/2025:12:00:00 +0000", "source": {
            "address": "192.0.2.7"}, "http": {"request": {"method": "GET", "referrer": FROM}, "response": {
                "status_code": 200}}, "url": {"original": "/a?q=x"}, "user_agent": {"original": AGENT}},
        NO_HOST,
    ),
    "GELF": (
        {"version": "1.1", "host": "web-1", "short_message": "x", "timestamp": NOON / 1000, "_remote_addr": "192.0.2.7",
         "_request_verb": "GET", "_request_path": "/a?q=x", "_status": 200, "_http_referer": FROM,
         "_http_user_agent": AGENT},
        NO_HOST,
    ),
    "a line in GELF": (
        {"version": "1.1", "host": "web-1", "short_message": COMBINED, "timestamp": NOON / 1000}, NO_HOST
    ),
    "Vector": (
        {"agent": AGENT, "client": "192.0.2.7", "referer": FROM, "request": "GET /a?q=x HTTP/1.1", "status": 200,
         "timestamp": ISO, "host": "web-1", "source_type": "file"},
        NO_HOST,
    ),
    "Splunk's collector": (
        {"time": NOON / 1000, "host": "web-1", "event": {name: NGINX[name] for name in NGINX if "time" not in name}},
        NO_HOST,
    ),
    "the journal, not in ASCII": (
        {"__REALTIME_TIMESTAMP": "1748779203000000", "MESSAGE": list(COMBINED.encode())}, NO_HOST
    ),
    "a chain in several headers": (
        {"ts": NOON / 1000, "status": 200, "request": {
            "remote_ip": "10.0.0.1", "method": "GET", "host": "www.example.com", "uri": "/a?q=x", "headers": {
                "User-Agent": [AGENT], "Referer": [FROM], "X-Forwarded-For": ["10.2.3.4", "192.0.2.7"]}}},
        WHOLE,
    ),
    "Forwarded": (
        {**NGINX, "remote_addr": "10.0.0.1", "http_forwarded": 'for="10.0.0.4:80", for=192.0.2.7;proto=https'}, NO_HOST
    ),
    "Envoy's gateway": (
        {"start_time": ISO, "method": "GET", "x-envoy-origin-path": "/a?q=x", "response_code": 200,
         "x-forwarded-for": "192.0.2.7", "user-agent": AGENT, ":authority": "www.example.com", "referer": FROM,
         "upstream_host": "10.0.0.3:80", "downstream_remote_address": "10.0.0.7:1234"},
        WHOLE,
    ),
    "Envoy's protocol": (
        {"common_properties": {"downstream_remote_address": {"socket_address": {
            "address": "192.0.2.7", "port_value": 5}}, "start_time": ISO}, "request": {
                "request_method": "GET", "authority": "www.example.com", "path": "/a?q=x", "user_agent": AGENT,
                "referer": FROM}, "response": {"response_code": 200}},
        WHOLE,
    ),
    "HAProxy": (
        {"timestamp": "01/Jun/2025:12:00:00.000", "client": {"ip": "192.0.2.7"}, "request": {
            "method": "GET", "uri": "/a?q=x", "header": {"host": "www.example.com", "useragent": AGENT,
                                                         "referer": FROM}}, "response": {"status_code": 200}},
        WHOLE,
    ),
    "OpenTelemetry": (
        {"time": ISO, "attributes": {
            "http.method": "GET", "http.target": "/a?q=x", "http.host": "www.example.com", "http.status_code": 200,
            "http.user_agent": AGENT, "http.client_ip": "192.0.2.7", "http.referer": FROM}},
        WHOLE,
    ),
    "OpenTelemetry's records": (
        {"timeUnixNano": str(NOON * 1_000_000), "body": {"stringValue": "x"}, "attributes": [
            {"key": "client.address", "value": {"stringValue": "192.0.2.7"}},
            {"key": "http.request.method", "value": {"stringValue": "GET"}},
            {"key": "http.response.status_code", "value": {"intValue": "200"}},
            {"key": "url.path", "value": {"stringValue": "/a"}}, {"key": "url.query", "value": {"stringValue": "q=x"}},
            {"key": "server.address", "value": {"stringValue": "www.example.com"}},
            {"key": "user_agent.original", "value": {"stringValue": AGENT}},
            {"key": "http.request.header.referer", "value": {"arrayValue": {"values": [{"stringValue": FROM}]}}}]},
        WHOLE,
    ),
    "OpenTelemetry's object of a line": (
        {"timeUnixNano": "1748779203000000000", "body": {"kvlistValue": {"values": [
            {"key": name, "value": {"stringValue": str(value)}} for name, value in NGINX.items()]}}},
        NO_HOST,
    ),
    "headers in pairs": (
        {"time": ISO, "client": "192.0.2.7", "method": "GET", "path": "/a?q=x", "status": 200,
         "headers": [["host", "www.example.com"], ["user-agent", AGENT], ["referer", FROM]]},
        WHOLE,
    ),
    "S3's log out of a table": (
        {"requestdatetime": "01/Jun/2025:12:00:00 +0000", "remoteip": "192.0.2.7", "request_uri": "GET /a?q=x HTTP/1.1",
         "httpstatus": "200", "referrer": FROM, "useragent": AGENT, "hostheader": "www.example.com"},
        WHOLE,
    ),
    "Suricata": (
        {"timestamp": "2025-06-01T12:00:00.000000+0000", "src_ip": "192.0.2.7", "dest_ip": "10.0.0.1", "http": {
            "hostname": "www.example.com", "url": "/a?q=x", "http_user_agent": AGENT, "http_refer": FROM,
            "http_method": "GET", "status": 200}},
        WHOLE,
    ),
    "Azure's Log Analytics": (
        {"TimeGenerated": ISO, "clientIp_s": "192.0.2.7", "httpMethod_s": "GET", "userAgent_s": AGENT,
         "requestUri_s": "https://www.example.com:443/a?q=x", "httpStatusCode_d": 200, "referer_s": FROM},
        WHOLE,
    ),
    "Cloudflare's workers": (
        {"eventTimestamp": NOON, "event": {"request": {
            "url": "https://www.example.com/a?q=x", "method": "GET", "headers": {
                "cf-connecting-ip": "192.0.2.7", "user-agent": AGENT, "referer": FROM}}, "response": {"status": 200}}},
        WHOLE,
    ),
    "Fastly": (
        {"time_start": ISO, "client_ip": "192.0.2.7", "request": "GET", "host": "www.example.com", "url": "/a?q=x",
         "status": "200", "useragent": AGENT, "referer": FROM},
        WHOLE,
    ),
    "Akamai": (
        {"reqTimeSec": "1748779200.000", "cliIP": "192.0.2.7", "statusCode": "200", "reqHost": "www.example.com",
         "reqMethod": "GET", "reqPath": "a", "queryStr": "q=x", "UA": AGENT.replace(" ", "%20"),
         "referer": "https%3A%2F%2Fb.example%2F"},
        WHOLE,
    ),
    "Tomcat": (
        {"host": "192.0.2.7", "time": "[01/Jun/2025:12:00:00 +0000]", "requestFirstLine": "GET /a?q=x HTTP/1.1",
         "statusCode": "200", "requestHeaders": {"Referer": FROM, "User-Agent": AGENT}},
        NO_HOST,
    ),
    "Serilog of .NET": (
        {"Timestamp": ISO, "Properties": {
            "RequestMethod": "GET", "RequestPath": "/a?q=x", "StatusCode": 200, "RemoteIpAddress": "192.0.2.7",
            "UserAgent": AGENT, "Referer": FROM, "Host": "www.example.com"}},
        WHOLE,
    ),
    "Kong": (
        {"started_at": NOON, "client_ip": "192.0.2.7", "request": {
            "method": "GET", "uri": "/a?q=x", "url": "https://www.example.com:443/a?q=x", "querystring": {"q": "x"},
            "headers": {"host": "www.example.com", "user-agent": AGENT, "referer": FROM}},
         "response": {"status": 200, "headers": {"server": "x"}}, "service": {"host": "10.0.0.1", "path": "/"}},
        WHOLE,
    ),
    "a filter of Traefik's, which leaves an agent nobody knows": (
        {"ClientHost": "192.0.2.7", "RequestMethod": "GET", "RequestPath": "/a?q=x", "RequestHost": "www.example.com",
         "DownstreamStatus": 200, "StartUTC": ISO, "request_User-Agent": "REDACTED", "request_Referer": "REDACTED"},
        WHOLE._replace(agent=None, referrer=""),
    ),
    "words for nothing": (
        {**NGINX, "host": "REDACTED", "server_name": "null", "http_referer": "(null)", "http_user_agent": "<nil>"},
        NO_HOST._replace(agent="", referrer=""),
    ),
    "a status in words beside its number": (
        {"date": ISO, "status": "info", "attributes": {"network": {"client": {"ip": "192.0.2.7"}}, "http": {
            "method": "GET", "url": "/a?q=x", "status_code": 200, "useragent": AGENT, "referer": FROM}}},
        NO_HOST,
    ),
    "an address beside a host that is one": (
        {"time": ISO, "method": "GET", "status": 200, "host": "10.0.0.4:80", "uri": "/a?q=x", "address": "192.0.2.7",
         "user_agent": AGENT, "referer": FROM},
        WHOLE._replace(host="10.0.0.4"),
    ),
    "a chain as the text of a list": (
        {**NGINX, "remote_addr": "10.0.0.1", "x_forwarded_for": '["192.0.2.7", "10.0.0.2"]'}, NO_HOST
    ),
    "addresses as Java writes them": ({**NGINX, "remote_addr": "/192.0.2.7:51234"}, NO_HOST),
    "an address as a net of one": ({**NGINX, "remote_addr": "192.0.2.7/32"}, NO_HOST),
    "a zone in a field of its own": (
        {"request_date": "01/Jun/2025", "request_time": "05:00:00", "request_timezone": "-0700",
         "remote_addr": "192.0.2.7", "request_method": "GET", "resource_path": "/a?q=x",
         "http_status": "HTTP/1.1 200 OK", "http_referer": FROM, "http_user_agent": AGENT},
        NO_HOST,
    ),
    "a zone beside a day and a clock": (
        {"date": "2025-06-01", "time": "14:00:00", "timezone": "+02:00", **{
            name: NGINX[name] for name in NGINX if "time" not in name}},
        NO_HOST,
    ),
    "names of several hosts": ({**NGINX, "server_name": "*.example.com", "vhost": "~^www"}, NO_HOST),
    "the host before a gateway changed it": (
        {"timeStamp": ISO, "properties": {
            "clientIP": "192.0.2.7", "httpMethod": "GET", "requestUri": "/a", "httpStatus": 200, "userAgent": AGENT,
            "requestQuery": "q=x&X-AzureApplicationGateway-CACHE-HIT=0&SERVER-ROUTED=10.4.0.4"
            "&X-AzureApplicationGateway-LOG-ID=8&SERVER-STATUS=200",
            "referer": FROM, "host": "web.internal", "originalHost": "www.example.com"}},
        WHOLE,
    ),
    "a request line without a version for the address": (
        {"time": "01 Jun 2025 12:00:00", "ip": "192.0.2.7", "url": "GET /a?q=x", "status": 200, "ua": AGENT,
         "ref": FROM},
        NO_HOST,
    ),
    "blanks as IIS writes them": (
        {"time": ISO, "CIp": "192.0.2.7", "CsUriStem": "/a", "CsUriQuery": "q=x&X-ARR-LOG-ID=0&SERVER-STATUS=200",
         "CsMethod": "GET", "ScStatus": "200", "UserAgent": AGENT.replace(" ", "+"), "Referer": FROM},
        NO_HOST,
    ),
    "a query apart by any name": (
        {"timestamp": ISO, "remote_ip": "192.0.2.7", "request_method": "GET", "request_path": "/a",
         "request_querystring": "q=x", "response_code": "200", "user_agent": AGENT, "referer": FROM},
        NO_HOST,
    ),
    "a query in pairs": (
        {"ts": ISO, "method": "GET", "path": "/a", "query": [["q", "x"]], "status": 200, "ip": "192.0.2.7",
         "ua": AGENT, "referer": FROM},
        NO_HOST,
    ),
    "a query as a browser's address has it": (
        {"ts": ISO, "method": "GET", "pathname": "/a", "search": "?q=x", "status": 200, "ip": "192.0.2.7",
         "ua": AGENT, "refererUrl": FROM},
        NO_HOST,
    ),
    "the first of a list, made flat": (
        {"ts": ISO, "request.remote_ip": "192.0.2.7", "request.method": "GET", "request.uri": "/a?q=x", "status": 200,
         "request.headers.User-Agent.0": AGENT, "request>headers>Referer>[0]": FROM},
        NO_HOST,
    ),
    "aiohttp": (
        {"remote_address": "192.0.2.7", "request_start_time": "[01/Jun/2025:12:00:00 +0000]", "response_status": 200,
         "first_request_line": "GET /a?q=x HTTP/1.1", "request_header": {"Referer": FROM, "User-Agent": AGENT}},
        NO_HOST,
    ),
    "Fastly's microseconds": (
        {"time_start_usec": str(NOON * 1_000), "client_ip": "192.0.2.7", "req_method": "GET", "req_uri": "/a?q=x",
         "req_host": "www.example.com", "resp_status": "200", "req_header_user_agent": AGENT,
         "req_header_referer": FROM},
        WHOLE,
    ),
    "JSON in a container's line": ({"log": json.dumps(NGINX) + "\n", "time": "2025-06-01T12:00:03Z"}, NO_HOST),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_read_by_its_fields(name: str) -> None:
    given, expected = LINES[name]
    line = json.dumps(given)
    assert formats.detect([line.encode()]) == "json"
    assert formats.json(line) == expected


@pytest.mark.parametrize("name", [*LINES, *HEADERS])
def test_many_lines_are_read_as_one_is(name: str) -> None:
    given, expected = LINES.get(name, ({**NGINX, "remote_addr": "10.0.0.5", name: "10.1.2.3, 192.0.2.7"}, NO_HOST))
    writer = EventWriter(SiteRules("example.com"), b"key", NOON + 1_000, None)
    reader = LogLines("json", writer)
    for first in (1, 4):
        batch = Batch()
        reader.read_all(first, [json.dumps(given).encode()] * 3, batch)
        assert (batch.not_understood, batch.refused) == ([], {})
        assert batch.accepted.visitors == [writer.visitor(expected.ip, expected.agent).name] * 3
        events = [json.loads(value) for value in own_values(batch)]
        url = f"https://{expected.host or 'example.com'}{expected.target}"
        assert [(event["url"], event["occurred_at"]) for event in events] == [(url, NOON)] * 3


def test_what_is_lacking_is_said_of_the_object_that_has_the_most() -> None:
    headers = [{"name": "Host", "value": "www.example.com"}, {"name": "User-Agent", "value": AGENT}]
    request = {"clientIp": "192.0.2.7", "headers": headers, "uri": "/a", "args": "q=x", "httpMethod": "GET"}
    found = formats.json(json.dumps({"timestamp": NOON, "action": "ALLOW", "httpRequest": request}))
    assert isinstance(found, NotUnderstood) and found.why.endswith("known for the status")


@pytest.mark.parametrize("value", [17487792000, 133932528000000000, 13393252800000000, "45809.5", "20251301120000"])
def test_a_number_that_counts_from_another_day_is_no_time(value: Any) -> None:
    found = formats.json(json.dumps({**NGINX, "time_iso8601": value}))
    assert isinstance(found, NotUnderstood) and "a time" in found.why


@pytest.mark.parametrize("value", ["NULL", "\\N", "nan", "undefined", "(not set)", "N/A"])
def test_what_an_export_writes_for_nothing_is_nothing(value: str) -> None:
    given = {**NGINX, "http_referer": value, "http_user_agent": value}
    assert formats.json(json.dumps(given)) == NO_HOST._replace(referrer="", agent="")


def test_a_server_behind_the_request_is_no_client() -> None:
    for service in ("ServiceURL", "upstream", "backend"):
        given = {"RequestMethod": "GET", "RequestPath": "/", "DownstreamStatus": 200, "StartUTC": ISO,
                 service: {"Scheme": "http", "Host": "198.51.100.3:80", "host": "198.51.100.3"}}  # fmt: skip
        assert isinstance(formats.json(json.dumps(given)), NotUnderstood)


def test_an_object_inside_a_combined_line_does_not_make_it_json() -> None:
    line = f'192.0.2.7 - - [01/Jun/2025:12:00:00 +0000] "GET /a?q={{\\"a\\":1}} HTTP/1.1" 200 5 "-" "{AGENT}"'
    assert formats.detect([line.encode()]) == "combined"


def test_a_duration_is_no_time() -> None:
    found = formats.json(json.dumps({**NGINX, "time_iso8601": "", "request_time": "0.010"}))
    assert isinstance(found, NotUnderstood) and "time" in found.why


@pytest.mark.parametrize("header", HEADERS)
def test_the_visitor_is_in_whatever_header_the_balancer_has_it(header: str) -> None:
    assert formats.json(json.dumps({**NGINX, "remote_addr": "10.0.0.5", header: "10.1.2.3, 192.0.2.7"})) == NO_HOST


def test_a_host_beside_a_chain_is_the_pages() -> None:
    given = {**NGINX, "host": "www.example.com", "x_forwarded_for": "192.0.2.7"}
    del given["remote_addr"]
    assert formats.json(json.dumps(given)) == WHOLE


def test_a_host_is_the_same_with_and_without_its_usual_port() -> None:
    for host in ("www.example.com", "www.example.com:443", "www.example.com:80"):
        assert formats.json(json.dumps({**NGINX, "host": host})) == WHOLE


def test_a_combined_line_may_name_no_zone() -> None:
    line = COMBINED.replace(" +0000", "")
    assert formats.detect([line.encode()]) == "combined"
    assert formats.combined(line) == NO_HOST
