"""One process owns the embedded warehouse, and the other commands send it their work.

The owner writes its address and a token for this run to `DATA/owner.json`, which only its user can read. A command
that finds a live owner sends `POST /control/<verb>` with a JSON object of arguments. It reads JSON lines up to the last
one, which is `{"end": true}` or `{"error": "…"}`. So a command looks the same, progress included, whether it works
alone or next to a running `up`.
"""

from __future__ import annotations

import http.client
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from infra.errors import Failed

Line = dict[str, Any]
Verb = Callable[..., Iterator[Line]]

log = logging.getLogger(__name__)

FILE = "owner.json"
_CONNECT_SECONDS = 5.0


class Owner(msgspec.Struct):
    """The process that owns the warehouse: where it serves, and the token that its commands show."""

    pid: int
    url: str
    token: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(24))

    def publish(self, data: Path) -> None:
        """Writes this owner to the data folder, atomically."""
        draft = data / f"{FILE}.{self.pid}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self))
        draft.replace(data / FILE)

    def withdraw(self, data: Path) -> None:
        """Removes the file that `publish` wrote, unless another owner has replaced it."""
        if (found := find(data)) is not None and found.token == self.token:
            (data / FILE).unlink(missing_ok=True)

    def is_me(self, authorization: bytes) -> bool:
        """Whether an `Authorization` header carries this owner's token."""
        return secrets.compare_digest(authorization, f"Bearer {self.token}".encode())

    def answers(self) -> bool:
        """Whether this owner is alive and serves. The file of an owner that was killed stays."""
        try:
            return next(self.call("ping", {}), None) is None
        except Failed:
            return False

    def prepare(self) -> None:
        """Does nothing: a running owner loads events as they arrive."""

    def call(self, verb: str, arguments: Line) -> Iterator[Line]:
        """Yields the owner's lines as it works. Raises `Failed` with the owner's own error, or if it goes away."""
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=_CONNECT_SECONDS)
        try:
            connection.connect()
            assert isinstance(connection.sock, socket.socket)
            connection.sock.settimeout(None)  # a replay may take long to answer; a dead owner closes the connection
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            connection.request("POST", f"/control/{verb}", msgspec.json.encode(arguments), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise Failed(f"the running `footfall up` refuses {verb}: {response.read(500).decode(errors='replace')}")
            yield from self._lines(response)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(
                f"the process that owns the warehouse (process {self.pid}, {self.url}) went away: {error}. "
                "Run the command again: nothing is done twice."
            ) from error
        finally:
            connection.close()

    @staticmethod
    def _lines(response: http.client.HTTPResponse) -> Iterator[Line]:
        while raw := response.readline():
            line: Line = msgspec.json.decode(raw)
            if "error" in line:
                raise Failed(line["error"])
            if line.get("end"):
                return
            yield line
        raise http.client.IncompleteRead(b"")


def find(data: Path) -> Owner | None:
    """The owner that the data folder names, alive or not; None if there is none."""
    try:
        return msgspec.json.decode((data / FILE).read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None


def blueprint(owner: Owner, verbs: dict[str, Verb]) -> Any:
    """The Flask blueprint of `POST /control/<verb>`, for requests that carry the owner's token."""
    from flask import Blueprint, Response, request

    routes = Blueprint("control", __name__, url_prefix="/control")

    @routes.post("/<verb>")
    def control(verb: str) -> Response:
        if not owner.is_me(request.headers.get("Authorization", "").encode()):
            return Response("only commands on the same data folder may do this\n", 401)
        if verb not in verbs:
            return Response(f"no such verb here: {verb}; is the command of another version?\n", 404)
        request.max_content_length = sys.maxsize  # our own user's commands send keys of events by the ten thousand
        arguments: Line = msgspec.json.decode(request.get_data())
        return Response(_answer(verbs[verb], arguments), mimetype="application/x-ndjson")

    return routes


def _answer(verb: Verb, arguments: Line) -> Iterator[bytes]:
    from infra.errors import in_words

    try:
        with in_words():
            for line in verb(**arguments):
                yield msgspec.json.encode(line) + b"\n"
        yield b'{"end":true}\n'
    except Failed as error:
        yield msgspec.json.encode({"error": error.message}) + b"\n"
    except GeneratorExit:
        raise
    except BaseException as error:
        log.exception("A command on the control port failed")
        yield msgspec.json.encode({"error": f"{type(error).__name__} in the owner, see its output: {error}"}) + b"\n"
