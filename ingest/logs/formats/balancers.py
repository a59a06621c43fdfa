"""Balancers and stores whose lines have one order: Amazon's ALB, ELB and S3, and HAProxy."""

from __future__ import annotations

from ingest.logs.formats import dialects
from ingest.logs.formats.captured import Captured, captured, with_captures
from ingest.logs.formats.layout import PAIRS_BEHIND, Layout, builtin
from ingest.logs.formats.request import NotUnderstood, Request

_WITH_AGENT = ' "$http_user_agent"'
_ELB = (
    "$time_iso8601 $elb $remote_addr_and_port $target $before $during $after $status $target_status $received $sent "
    '"$request"' + _WITH_AGENT
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


class Elb(Layout):
    """The format of Amazon's classic balancer, of which older lines end with the request."""

    def __init__(self) -> None:
        super().__init__(*dialects.read(_ELB), whole=True)
        self._of_old = builtin(_ELB.removesuffix(_WITH_AGENT), whole=True)

    def read_body(self, line: str) -> tuple[str, Request | NotUnderstood]:
        """Parse a line, see `Layout`."""
        return self._of_old.read_body(line) if _is_of_old(line) else super().read_body(line)

    def pattern(self, sample: str) -> str | None:
        """Return a pattern of lines that end as the sample does, see `Layout`."""
        return None if _is_of_old(sample) else super().pattern(sample)


def _is_of_old(line: str) -> bool:
    return line.endswith('"') and line.count('"') == 2


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


class HaProxy:
    """The format of `option httplog`, with what syslog puts before it.

    Captured headers are known by their form, see `captured`."""

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
        return with_captures(found, body.partition('"')[0].partition("{")[2])  # quotes and braces in them are encoded

    def captured(self, captures: str) -> Captured:
        """Find what was captured of the request in the text behind the first brace; "" where there is none."""
        return captured(captures)
