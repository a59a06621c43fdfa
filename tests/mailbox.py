"""A real mail server on loopback that keeps what it is sent, for as long as a test wants it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.patience import patient

NAME, PASSWORD = "footfall", "correct horse battery staple"


class Mailbox:
    """The messages in order of arrival, each with who it was for. `refused`: address to the answer that it gets."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.messages: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.refused: dict[str, str] = {}
        self.encrypted: list[bool] = []

    async def handle_RCPT(  # noqa: N802 - the name that the server calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        found: Any = message_from_bytes(envelope.content or b"", policy=policy.default)
        self.messages.append(found)
        self.recipients += envelope.rcpt_tos
        self.encrypted.append(session.ssl is not None)
        return "250 taken"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(box: Mailbox, certificate: Path | None = None, *, login: bool = False, tls: bool = False) -> Iterator[None]:
    """Has a server fill the box; with a `certificate` it offers STARTTLS, or is over TLS from the start (`tls`)."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    def authenticator(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        right = isinstance(given, LoginPassword) and given == LoginPassword(NAME.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    how: dict[str, Any] = {"ssl_context": context} if tls else {"tls_context": context}
    if login:
        how |= {"authenticator": authenticator, "auth_required": True, "auth_require_tls": not tls}
    controller = Controller(box, "127.0.0.1", box.port, ready_timeout=patient(10), **how)
    controller.start()
    try:
        yield
    finally:
        controller.stop()
