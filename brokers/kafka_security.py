"""When a Kafka broker is there and turns us away: which of three reasons, and what to do about it.

librdkafka and kafka-python say it in their own ways, and neither says it where it is asked: a failed login ends as a
time-out. The clients find the cause; the words are made here, so that they are the same for both.
"""

from __future__ import annotations

import socket
import ssl

from brokers.base import BadCredentials, NotAllowed, Unreachable, Untrusted
from brokers.kafka_settings import KafkaSettings

# A refusal is learnt apart from the call that fails for it, and again at each reconnection: at most 10 s apart.
REFUSAL_SECONDS = 12.0

_CERTIFICATE_WANTED = ("certificate required", "bad certificate", "unknown ca", "certificate unknown")


def no_answer(settings: KafkaSettings, words: str) -> Unreachable:
    todo = "retry, or look at the URL" if settings.tls else "retry, or look at the URL (a TLS port needs tls=true)"
    return Unreachable(f"{settings.shown} does not answer ({words}): {todo}")


def untrusted(settings: KafkaSettings, words: str) -> Untrusted:
    if any(alert in words.lower() for alert in _CERTIFICATE_WANTED):
        given = f"not the certificate in {settings.certificate}" if settings.certificate else "a client certificate"
        todo = f"the broker wants {given}: give certificate=FILE&key=FILE of an authority that it knows"
    elif "wrong version number" in words.lower() or "record layer failure" in words.lower():
        todo = "the broker does not speak TLS on this port: take its TLS port, or tls=false"
    else:
        believed = f"the authority in {settings.ca}" if settings.ca else "an authority of this system"
        todo = (
            f"the broker's certificate is not for this host name or not of {believed}: give ca=FILE, the certificate"
            " of the authority that signed it"
        )
    return Untrusted(f"{settings.shown}: {todo} ({words})")


def bad_credentials(settings: KafkaSettings, words: str) -> BadCredentials:
    if settings.sasl in ("OAUTHBEARER", "MSK-IAM"):
        who, todo = "the token", "check that it is of the right audience and has not expired, and who may log in"
    else:
        who = f"user {settings.username!r}" if settings.username else "a client without a user"
        todo = "check the user name and the password among the secrets, and that the broker offers this sasl="
    return BadCredentials(f"{settings.shown}: the broker refuses {who} ({words}): {todo}")


def not_allowed(settings: KafkaSettings, words: str) -> NotAllowed:
    who = f"user {settings.username!r}" if settings.username and settings.sasl else "this client"
    return NotAllowed(
        f"{settings.shown}: {who} may not do this ({words}): ask who runs the broker for an ACL that allows it"
        " (Describe, Read, Write, Create, Delete, Alter, DescribeConfigs and AlterConfigs on topics footfall.*, Read on"
        " groups footfall*)"
    )


def find_listener(settings: KafkaSettings, timeout: float) -> None:
    """Connect to one of the brokers and shake hands, for a library that keeps the reason of a failure to itself.

    Raises OSError when none takes a connection, `Untrusted` when one does and TLS fails."""
    servers = settings.servers.split(",")
    for server in servers:
        host, _, port = server.rpartition(":")
        host = host.strip("[]")
        try:
            with socket.create_connection((host, int(port)), timeout=timeout / len(servers)) as plain:
                if settings.tls:
                    _shake_hands(settings, plain, host)
            return
        except ssl.SSLError as error:
            raise untrusted(settings, str(error)) from error
        except OSError:
            if server == servers[-1]:
                raise


def _shake_hands(settings: KafkaSettings, plain: socket.socket, host: str) -> None:
    context = ssl.create_default_context(cafile=settings.ca or None)
    if settings.certificate:
        context.load_cert_chain(settings.certificate, settings.key)
    with context.wrap_socket(plain, server_hostname=host) as secure:
        # TLS 1.3 refuses a client's certificate, or its lack, only after the handshake; a broker says nothing else.
        secure.settimeout(0.02 if settings.sasl else 0.2)
        try:
            secure.recv(1)
        except TimeoutError:
            return
