"""The function that replays: `footfall replay`, invoked by hand, over as many invocations as it takes.

It takes {"from": "YYYY-MM-DD", "to": "YYYY-MM-DD"} and, as the command does, `site`, `source` and `dry_run`. An
invocation may run for 15 minutes. When too little of them is left for another day, the function invokes itself again,
asynchronously, with the same arguments, the id of the run and the number of the invocation; then it ends.

It relies on two promises of `pipeline.replay.replay`: that it yields a day's lines once the day is in place, and that
a call with the same arguments goes on behind the days that are done. The second one also holds after a kill: Lambda
repeats an asynchronous invocation that ran out of time, and by hand it is repeated with the same arguments.

The lines go to the log and, one by one, to an object in the checkpoint store, `replays/FROM_TO-RUN`, where RUN is the
request id of the first invocation. The object shows what is done while the replay runs, and what each day was found to
be: a day that an earlier invocation put in place is equal when it is met again, and is not told twice.
"""

from __future__ import annotations

import logging
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from infra.wiring import Parts
    from pipeline.live import Loader
    from stores.base import CheckpointStore

log = logging.getLogger(__name__)

# A day is not begun with less time left than this, in ms, of the 900,000 that a function has at most.
_LEAST_MS_LEFT = 300_000
# A day and more of invocations. AWS's own guard against loops, which ends them after 16, is off for this function.
_MOST_INVOCATIONS = 100


class Context(Protocol):
    """The part of the context of an AWS invocation that we use."""

    function_name: str
    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may still run."""


class ReplayArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the function is invoked with; `run` and `invocation` it gives itself."""

    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    site: str | None = None
    source: Literal["broker", "archive"] = "broker"
    dry_run: bool = False
    run: str = ""
    invocation: int = 1


class ReplayStatus(msgspec.Struct, kw_only=True):
    """The object in the store."""

    request: ReplayArguments  # of the latest invocation
    lines: list[dict[str, Any]] = []
    done: bool = False


def run(event: dict[str, Any], context: Context, loader: Loader, parts: Parts) -> dict[str, Any]:
    """Replays what is left, or as much as there is time for; returns the status in the store, with its name.

    Raises ValueError for arguments that cannot be used, and what `replay` raises.
    """
    from pipeline import recover

    log.setLevel(logging.INFO)
    request = parse(event)
    if not request.run:
        request = msgspec.structs.replace(request, run=context.aws_request_id)
    told = ReplayLog(parts.checkpoint, request)
    if told.is_past(request):
        log.info("%s: invocation %d came twice; another one went on", told.name, request.invocation)
        return told.status()
    for line in recover.replayed(
        loader,
        parts.archive,
        request.first,
        request.last,
        site=request.site,
        source=request.source,
        dry_run=request.dry_run,
    ):
        if not told.add(line):
            continue
        log.info("%s: %s", told.name, msgspec.json.encode(line).decode())
        if context.get_remaining_time_in_millis() < _LEAST_MS_LEFT:
            _invoke_again(request, context.function_name)
            return told.status()
    if not request.dry_run:
        recover.recover(loader, parts.archive)
    told.finish()
    log.info("%s: done", told.name)
    return told.status()


def parse(event: dict[str, Any]) -> ReplayArguments:
    """The request in an event. Raises ValueError that says what is wrong with it."""
    try:
        request = msgspec.convert(event, ReplayArguments)
    except msgspec.ValidationError as error:
        example = '{"from": "2026-03-01", "to": "2026-03-31", "source": "archive"}'
        raise ValueError(f"{error}; invoke it with days and options such as {example}") from error
    if request.last < request.first:
        raise ValueError('"to" is before "from"')
    return request


class ReplayLog:
    """The status of a run, as the checkpoint store has it. Raises `Conflict` when two invocations write it at once."""

    def __init__(self, store: CheckpointStore, request: ReplayArguments) -> None:
        self.name = f"replays/{request.first}_{request.last}-{request.run}"
        self._store = store
        found = store.load(self.name)
        if found is None:
            self._status, self._version = ReplayStatus(request=request), None
        else:
            self._status, self._version = msgspec.json.decode(found[0], type=ReplayStatus), found[1]
        self._days = {(line["site"], line["day"]) for line in self._status.lines}

    def is_past(self, request: ReplayArguments) -> bool:
        """Whether this invocation has been done, since Lambda may deliver one twice. Else it is the latest one now."""
        if self._status.done or request.invocation < self._status.request.invocation:
            return True
        self._status.request = request
        return False

    def add(self, line: dict[str, object]) -> bool:
        """Writes a line, unless there is one of the same site and day; returns whether it did."""
        key = line["site"], line["day"]
        if key in self._days:
            return False
        self._days.add(key)
        self._status.lines.append(line)
        self._save()
        return True

    def finish(self) -> None:
        """Writes that all is done."""
        self._status.done = True
        self._save()

    def status(self) -> dict[str, Any]:
        """What an invocation returns: the name of the object, its lines, and whether that is all."""
        return {"replay": self.name, "lines": self._status.lines, "done": self._status.done}

    def _save(self) -> None:
        self._version = self._store.swap(self.name, msgspec.json.encode(self._status), self._version)


def _invoke_again(request: ReplayArguments, function: str) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    advice = "what is done stays done: invoke it again with the same arguments"
    if request.invocation >= _MOST_INVOCATIONS:
        raise RuntimeError(f"this replay has taken {request.invocation} invocations, which is the most; {advice}")
    following = msgspec.structs.replace(request, invocation=request.invocation + 1)
    config = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 4, "mode": "standard"})
    client = boto3.client("lambda", config=config)
    try:
        client.invoke(FunctionName=function, InvocationType="Event", Payload=msgspec.json.encode(following))
    except (BotoCoreError, ClientError) as error:
        raise RuntimeError(f"the function could not invoke itself ({error}); {advice}") from error
    finally:
        client.close()
