"""One process owns the embedded warehouse; the other commands have it do their work.

The owner writes `DATA/owner.json` (only its user may read it): its address and a token made for this run. A
command that finds a live owner sends `POST /control/<verb>` with a JSON object of arguments and reads JSON
lines until the last, which is `{"end": true}` or `{"error": "…"}`: so a command looks the same, progress
included, whether it works alone or beside a running `up`.
"""

from __future__ import annotations

import http.client
import logging
import os
import secrets
import socket
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
    pid: int
    url: str
    token: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(24))

    def publish(self, data: Path) -> None:
        """Say where the owner is, whole or not at all."""
        draft = data / f"{FILE}.{self.pid}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self))
        draft.replace(data / FILE)

    def withdraw(self, data: Path) -> None:
        if (found := find(data)) is not None and found.token == self.token:
            (data / FILE).unlink(missing_ok=True)

    def is_me(self, authorization: bytes) -> bool:
        """Whether an `Authorization` header is that of a command of ours."""
        return secrets.compare_digest(authorization, f"Bearer {self.token}".encode())

    def answers(self) -> bool:
        """Whether this owner is there: the file outlives one that was killed."""
        try:
            return next(self.call("ping", {}), None) is None
        except Failed:
            return False

    def prepare(self) -> None:
        """Nothing: it loads what comes as it comes."""

    def call(self, verb: str, arguments: Line) -> Iterator[Line]:
        """The owner's answer, line by line as it works. Raises `Failed` with what it says is wrong."""
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=_CONNECT_SECONDS)
        try:
            connection.connect()
            assert isinstance(connection.sock, socket.socket)
            connection.sock.settimeout(None)  # a replay may think for long; a dead owner closes the connection
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            connection.request("POST", f"/control/{verb}", msgspec.json.encode(arguments), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise Failed(f"the running `footfall up` refuses {verb}: {response.read(500).decode(errors='replace')}")
            yield from self._lines(response)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(
                f"the process that owns the warehouse (process {self.pid}, {self.url}) went away: {error}. "
                "Run the command again: what was done is not done twice."
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
    try:
        return msgspec.json.decode((data / FILE).read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None


def blueprint(owner: Owner, verbs: dict[str, Verb]) -> Any:
    """`POST /control/<verb>` for whoever shows the token."""
    from flask import Blueprint, Response, request

    routes = Blueprint("control", __name__, url_prefix="/control")

    @routes.post("/<verb>")
    def control(verb: str) -> Response:
        if not owner.is_me(request.headers.get("Authorization", "").encode()):
            return Response("only commands run on the same data folder may do this\n", 401)
        if verb not in verbs:
            return Response(f"no such verb here: {verb}; is this command of another version?\n", 404)
        request.max_content_length = None  # keys of events come by the ten thousand, from our own user
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
        log.exception("A command that came by the control port failed")
        yield msgspec.json.encode({"error": f"{type(error).__name__} in the owner, see its output: {error}"}) + b"\n"
