"""What a plain socket learns from a Kafka broker, before and without any client library.

`find_listener` tells whether a broker takes a connection and TLS succeeds, which kafka-python keeps to itself.
`api_versions` tells the broker's release as far as it reveals it: nothing in the protocol names the product or its
release, but a broker answers `ApiVersions` before anybody logs in. Apache Kafka since 3.3 adds the range of
`metadata.version` that its software knows, which is raised with each release. Others that speak the protocol leave it
out, and then only the versions of the requests that they know are returned.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from brokers.kafka.client import untrusted
from brokers.kafka.settings import KafkaSettings

_API_VERSIONS, _VERSION = 18, 3
_PRODUCE, _FETCH = 0, 1
_MOST_BYTES = 1 << 20
# The first metadata.version of each release, from the list in the broker's own `kafka-features` tool.
_RELEASES = {4: "3.3", 8: "3.4", 9: "3.5", 12: "3.6", 15: "3.7", 20: "3.8", 21: "3.9", 22: "4.0", 26: "4.1"}
_LATER = 28  # no release above has it


class Versions(NamedTuple):
    """`release` is "" if the broker does not reveal it; the others are the highest request versions, or -1."""

    release: str
    produce: int
    fetch: int


def find_listener(settings: KafkaSettings, timeout: float) -> None:
    """Return if one of the brokers takes a connection and, with TLS, completes the handshake.

    Raises OSError if none takes a connection, and `Untrusted` if one does and TLS fails."""
    servers = settings.servers.split(",")
    for server in servers:
        try:
            with _connected(settings, server, timeout / len(servers)) as connection:
                if isinstance(connection, ssl.SSLSocket):
                    _await_refusal(connection, 0.02 if settings.sasl else 0.2)
            return
        except ssl.SSLError as error:
            raise untrusted(settings, str(error)) from error
        except OSError:
            if server == servers[-1]:
                raise


def api_versions(settings: KafkaSettings, timeout: float) -> Versions:
    """Return the versions of the first broker that answers. Raises OSError if none does, or if it is no Kafka."""
    failure: OSError = ConnectionError("no server is named")
    for server in settings.servers.split(","):
        try:
            with _connected(settings, server, timeout) as connection:
                return _read(_exchange(connection))
        except OSError as error:
            failure = error
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            failure = ConnectionError(f"{server} does not speak Kafka's protocol ({error})")
    raise failure


@contextmanager
def _connected(settings: KafkaSettings, server: str, timeout: float) -> Iterator[socket.socket]:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    with socket.create_connection((host, int(port)), timeout) as plain:
        if not settings.tls:
            yield plain
            return
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.key)
        with context.wrap_socket(plain, server_hostname=host) as secure:
            yield secure


def _await_refusal(secure: ssl.SSLSocket, seconds: float) -> None:
    """TLS 1.3 refuses a client's certificate, or its lack, only after the handshake; a broker says nothing else."""
    secure.settimeout(seconds)
    try:
        secure.recv(1)
    except TimeoutError:
        return


def _exchange(connection: socket.socket) -> bytes:
    name = b"footfall"
    text = bytes([len(name) + 1]) + name
    request = struct.pack(">hhih", _API_VERSIONS, _VERSION, 1, len(name)) + name + b"\0" + text + text + b"\0"
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _receive(connection, 4))
    if not 6 <= size <= _MOST_BYTES:
        raise ConnectionError(f"an answer of {size} bytes cannot be Kafka's: is this the right port?")
    return _receive(connection, size)


def _receive(connection: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        part = connection.recv(size - len(got))
        if not part:
            raise ConnectionError("the broker closed the connection")
        got += part
    return bytes(got)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, form: str) -> int:
        (found,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(found)

    def varint(self) -> int:
        found = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
            shift += 7

    def piece(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def tags(self) -> dict[int, bytes]:
        return {self.varint(): self.piece(self.varint()) for _ in range(self.varint())}


def _read(answer: bytes) -> Versions:
    reader = _Reader(answer)
    reader.number(">i")  # which request it answers
    if reader.number(">h"):  # a broker before 2.4 does not know this version of the request
        return Versions("", -1, -1)
    highest: dict[int, int] = {}
    for _ in range(reader.varint() - 1):
        key, _lowest, highest[key], _tags = reader.number(">h"), reader.number(">h"), reader.number(">h"), reader.tags()
    reader.number(">i")
    return Versions(_release(reader.tags().get(0, b"\1")), highest.get(_PRODUCE, -1), highest.get(_FETCH, -1))


def _release(features: bytes) -> str:
    reader = _Reader(features)
    for _ in range(reader.varint() - 1):
        name = reader.piece(reader.varint() - 1)
        _lowest, highest, _tags = reader.number(">h"), reader.number(">h"), reader.tags()
        if name == b"metadata.version":
            reached = [release for level, release in _RELEASES.items() if level <= highest]
            return "after 4.1" if highest >= _LATER else reached[-1] if reached else ""
    return ""
