"""Pulsar's admin service over HTTP, for what its binary protocol cannot say about topics, ledgers and subscriptions.

Connections are kept, and each is used by one thread at a time. A broker that does not own a topic redirects to the one
that does, and the request is sent again there.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from brokers.base import BadCredentials, BrokerError, NotAllowed, Refused, Unreachable, Untrusted
from brokers.pulsar.settings import PulsarSettings

_REDIRECTS = (301, 302, 307, 308)
_BUSY = (429, 500, 502, 503, 504)


class Answer(NamedTuple):
    """An HTTP response, read whole."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return the decoded body, None if it is empty."""
        return json.loads(self.body) if self.body else None

    def reason(self) -> str:
        """Return the broker's explanation of a failure, in one line."""
        try:
            fields = json.loads(self.body)
            found = str(fields.get("reason") or fields["message"])
        except (ValueError, KeyError, TypeError, AttributeError):
            found = self.body.decode(errors="replace")
        return " ".join(found.split())[:300] or f"status {self.status}"


class Admin:
    """A client for several threads. Every method raises `Unreachable` within the timeout, or a kind of `Refused`."""

    def __init__(self, settings: PulsarSettings) -> None:
        self._settings = settings
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}
        self._tls: ssl.SSLContext | None = None
        self._headers = {"Accept": "application/json"}
        if settings.token:
            self._headers["Authorization"] = f"Bearer {settings.token}"

    def get(self, path: str) -> Answer:
        """As `request`, without a body."""
        return self.request("GET", path)

    def expect(self, method: str, path: str, body: object = None, *, or_conflict: bool = False) -> None:
        """As `request`, and raises `BrokerError` for 404 and, unless `or_conflict`, for 409."""
        answer = self.request(method, path, body)
        if answer.status >= 300 and not (or_conflict and answer.status == 409):
            raise BrokerError(f"{self._settings.shown}: {method} {path}: {answer.reason()}")

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: str = "application/json",
        timeout: float | None = None,
    ) -> Answer:
        """Send a request to the first address that answers; `path` follows `/admin/v2`.

        404 and 409 are returned, other failures are raised with the broker's explanation."""
        failure: Exception | None = None
        for address in self._settings.admin:
            try:
                answer = self._follow(method, f"{address}/admin/v2{path}", body, content, timeout)
            except ssl.SSLError as error:
                raise Untrusted(
                    f"{self._settings.shown}: no TLS with {address} ({error}): give the authority's certificate by the"
                    " option ca"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                failure = error
                continue
            if answer.status in (401, 403):
                raise self._refused(method, path, answer)
            if answer.status in _BUSY:
                raise Unreachable(f"{self._settings.shown}: {method} {path}: {answer.reason()}: retry")
            if answer.status >= 400 and answer.status not in (404, 409):
                raise BrokerError(f"{self._settings.shown}: {method} {path}: {answer.reason()}")
            return answer
        raise Unreachable(
            f"{self._settings.shown}: the admin service at {', '.join(self._settings.admin)} does not answer"
            f" ({failure}): retry, or look at the URL and its option admin"
        ) from failure

    def _refused(self, method: str, path: str, answer: Answer) -> Refused:
        """Return the error for 401 or 403: Pulsar answers 401 for missing permissions too, with another message."""
        reason = answer.reason()
        if answer.status == 403 or reason.startswith(("Unauthorized", "Don't have permission")):
            return NotAllowed(f"{self._settings.shown}: {method} {path}: {reason}: the credentials do not allow it")
        return BadCredentials(
            f"{self._settings.shown}: {reason}: the token or certificate is missing, wrong or has expired"
        )

    def close(self) -> None:
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def _follow(self, method: str, url: str, body: object, content: str, timeout: float | None) -> Answer:
        for _ in range(5):
            answer = self._send(method, url, body, content, timeout or self._settings.timeout)
            if answer.status not in _REDIRECTS:
                return answer
            url = urljoin(url, answer.headers.get("Location", ""))
        raise Unreachable(f"{self._settings.shown}: the admin service sends {method} {url} in circles: retry")

    def _send(self, method: str, url: str, body: object, content: str, timeout: float) -> Answer:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({"Content-Type": content} if data is not None else {})
        idle = self._idle.setdefault(origin, [])
        while True:
            kept = idle.pop() if idle else None
            connection = kept or self._connect(origin, timeout)
            try:
                if connection.sock is not None:
                    connection.sock.settimeout(timeout)
                connection.request(method, target, data, headers)
                response = connection.getresponse()
                answer = Answer(response.status, response.headers, response.read())
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if kept is not None and not isinstance(error, TimeoutError):
                    continue  # the server had closed it while it was idle
                raise
            idle.append(connection)
            return answer

    def _connect(self, origin: str, timeout: float) -> http.client.HTTPConnection:
        parts = urlsplit(origin)
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=self._context())
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
        connection.connect()
        if connection.sock is not None:  # a request is two writes: headers and body
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._settings.ca or None)
            if self._settings.certificate:
                self._tls.load_cert_chain(self._settings.certificate, self._settings.key)
        return self._tls
