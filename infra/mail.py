"""Sends e-mail by a server of the settings: SMTP plain, over TLS, or with STARTTLS.

Every message goes over a connection of its own; there are a few an hour. Certificates are checked against the
authorities of the system.
"""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import parseaddr
from urllib.parse import unquote, urlsplit

PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}
_SECONDS = 10.0  # for each answer of the server


class Unmailed(Exception):
    """A message was not taken; the words say why. `for_good`: the server refuses this message or its recipient."""

    def __init__(self, words: str, for_good: bool = False) -> None:
        super().__init__(words)
        self.for_good = for_good


@dataclass(frozen=True)
class Mailer:
    """A mail server: `url` as in the setting `smtp`; `sender` is who messages are from."""

    url: str
    sender: str
    password: str = field(default="", repr=False)

    def send(self, message: EmailMessage) -> None:
        """Hands a message with one recipient to the server. Raises `Unmailed` unless the server took it."""
        split = urlsplit(self.url)
        host, port = split.hostname or "", split.port or PORTS[split.scheme]
        try:
            with self._connected(split.scheme, host, port) as server:
                if split.username:
                    server.login(unquote(split.username), self.password)
                server.send_message(message, from_addr=parseaddr(self.sender)[1])
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            raise Unmailed(f"the mail server refuses {message['To']}: {code} {_text(said)}", code >= 500) from error
        except smtplib.SMTPDataError as error:
            words = f"the mail server refuses the message: {error.smtp_code} {_text(error.smtp_error)}"
            raise Unmailed(words, error.smtp_code >= 500) from error
        except smtplib.SMTPAuthenticationError as error:
            raise Unmailed(f"the mail server refuses the login: {error.smtp_code} {_text(error.smtp_error)}") from error
        except smtplib.SMTPResponseException as error:
            raise Unmailed(f"the mail server refuses: {error.smtp_code} {_text(error.smtp_error)}") from error
        except (smtplib.SMTPException, OSError) as error:  # TLS errors are OSErrors too
            raise Unmailed(f"the mail server {host}:{port} cannot be used: {error}") from error

    @staticmethod
    def _connected(scheme: str, host: str, port: int) -> smtplib.SMTP:
        if scheme == "smtps":
            return smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=ssl.create_default_context())
        server = smtplib.SMTP(host, port, timeout=_SECONDS)
        if scheme == "smtp+starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server


def _text(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())
