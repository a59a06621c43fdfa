"""Balancers and stores whose lines have one order: Amazon's ALB, ELB and S3, and HAProxy."""

from __future__ import annotations

import re
from typing import NamedTuple

from ingest.logs.formats import dialects
from ingest.logs.formats.layout import PAIRS_BEHIND, Layout, builtin
from ingest.logs.formats.request import NotUnderstood, Request

_ELB = (
    "$time_iso8601 $elb $remote_addr_and_port $target $before $during $after $status $target_status $received $sent "
    '"$request" "$http_user_agent"'
)
_HAPROXY = (
    "$remote_addr_and_port [$time_local] $frontend $backend $timers $status $bytes $request_cookie $response_cookie "
    '$state $connections $queues_and_captures "$request"'
)
_MORE = " $more"
_S3 = (
    "$owner $bucket [$time_local] $remote_addr $requester $request_id $operation $key "
    '"$request" $status $error $sent $size $total $turn "$http_referer" "$http_user_agent"' + _MORE
)
_WORD = r'[^ ,"\\]*'
_AGENT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*/[0-9][^ ]*(?: .*)?")
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_HOST = re.compile(r"(?=[a-z0-9.-]*[a-z])[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]{1,5})?", re.IGNORECASE)


def elb() -> Layout:
    """Return the format of Amazon's classic balancer."""
    return builtin(_ELB, whole=True)


def alb() -> Layout:
    """Return the format of Amazon's application balancer."""
    return builtin("$type " + _ELB, whole=True)


class S3(Layout):
    """The format of Amazon S3's server access log, of which older lines end with the agent."""

    def __init__(self) -> None:
        super().__init__(*dialects.read(_S3))

    def read_body(self, line: str) -> tuple[str, Request | NotUnderstood]:
        """Parse a line, see `Layout`."""
        return super().read_body(f"{line} -" if line.endswith('"') else line)

    def pattern(self, sample: str) -> str | None:
        """Return a pattern of lines that end as the sample does, see `Layout`."""
        if not sample.endswith('"'):
            return super().pattern(sample)
        pattern = builtin(_S3.removesuffix(_MORE)).pattern(sample)
        return pattern and pattern.removesuffix(PAIRS_BEHIND) + "$"


class Captured(NamedTuple):
    """The headers of a request that HAProxy captured; None and "" where it did not."""

    agent: str | None
    referrer: str
    host: str


class HaProxy:
    """The format of `option httplog`, with what syslog puts before it.

    Captured headers have no names: an agent, a referrer and a host are known by their form."""

    LONGEST_PREFIX = 200  # characters that syslog puts before a line
    # Of what stands behind that, with a group for each field that is read. A line that matches, with a blank and no
    # comma before its first quote, is read so.
    PATTERN = (
        rf"^(?P<remoteaddr>{_WORD}) \[(?P<timelocal>[^\]\"\\]*)\] {_WORD} {_WORD} {_WORD} (?P<status>{_WORD}) "
        + f"{_WORD} " * 5 + r'[^"\\]*"(?P<request>[^"\\]*)"'
    )  # fmt: skip

    def __init__(self) -> None:
        self._layout = builtin(_HAPROXY, whole=True)  # of HTTP/2 they are, and the ingress controller has no scheme
        self.fields, self.sent = self._layout.fields, self._layout.sent

    def read(self, line: str) -> Request | NotUnderstood:
        """Parse a line."""
        after = line.find("]: ", 0, self.LONGEST_PREFIX)
        body = line[after + 3 :] if after >= 0 else line
        body, found = self._layout.read_body(body)
        if isinstance(found, NotUnderstood):
            return found
        # HAProxy encodes quotes and braces that are in them.
        agent, referrer, host = self.captured(body.partition('"')[0].partition("{")[2])
        return found._replace(agent=agent, referrer=referrer, host=host or found.host)

    def captured(self, captures: str) -> Captured:
        """Find what was captured of the request in the text behind the first brace; "" where there is none."""
        if not captures:
            return Captured(None, "", "")
        fields = captures.partition("}")[0].split("|")  # those of the answer follow in braces of their own
        agent = next(filter(_AGENT.fullmatch, fields), None)
        referrer = next(filter(_ADDRESS.match, fields), "")
        host = next(filter(_HOST.fullmatch, fields), "")
        return Captured(agent, referrer, host.partition(":")[0].lower())
