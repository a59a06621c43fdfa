"""Balancers and stores whose lines have one order: Amazon's ALB, ELB and S3, and HAProxy."""

from __future__ import annotations

import re

from ingest.logs.formats.layout import Layout, builtin
from ingest.logs.formats.request import NotUnderstood, Request

_ELB = (
    "$time_iso8601 $elb $remote_addr_and_port $target $before $during $after $status $target_status $received $sent "
    '"$request" "$http_user_agent"'
)
_HAPROXY = (
    "$remote_addr_and_port [$time_local] $frontend $backend $timers $status $bytes $request_cookie $response_cookie "
    '$state $connections $queues_and_captures "$request"'
)
_S3 = (
    "$owner $bucket [$time_local] $remote_addr $requester $request_id $operation $key "
    '"$request" $status $error $sent $size $total $turn "$http_referer" "$http_user_agent"'
)
_LONGEST_PREFIX = 200  # characters that syslog puts before a line

_AGENT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*/[0-9][^ ]*(?: .*)?")
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_HOST = re.compile(r"(?=[a-z0-9.-]*[a-z])[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]{1,5})?", re.IGNORECASE)


def elb() -> Layout:
    """Return the format of Amazon's classic balancer."""
    return builtin(_ELB, whole=True)


def alb() -> Layout:
    """Return the format of Amazon's application balancer."""
    return builtin("$type " + _ELB, whole=True)


def s3() -> Layout:
    """Return the format of Amazon S3's server access log."""
    return builtin(_S3)


class HaProxy:
    """The format of `option httplog`, with what syslog puts before it.

    Captured headers have no names: an agent, a referrer and a host are known by their form."""

    def __init__(self) -> None:
        self._layout = builtin(_HAPROXY)

    def read(self, line: str) -> Request | NotUnderstood:
        """Parse a line."""
        after = line.find("]: ", 0, _LONGEST_PREFIX)
        body = line[after + 3 :] if after >= 0 else line
        found = self._layout.read(body)
        # Of the request first, then of its answer. HAProxy encodes quotes and braces that are in them.
        captures = body.partition('"')[0].partition("{")[2]
        if isinstance(found, NotUnderstood) or not captures:
            return found
        captured = captures.partition("}")[0].split("|")
        agent = next(filter(_AGENT.fullmatch, captured), None)
        referrer = next(filter(_ADDRESS.match, captured), "")
        host = next(filter(_HOST.fullmatch, captured), "")
        return found._replace(agent=agent, referrer=referrer, host=host.partition(":")[0].lower())
