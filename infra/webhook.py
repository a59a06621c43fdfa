"""Posts signed JSON to the webhooks of alerts, by the conventions of Standard Webhooks.

A target is chosen by whoever may change a site, so its name must not lead into the networks of this machine: it is
resolved here, every address has to be public or in a network that the settings allow, and the connection goes to that
very address. No redirect is followed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Timer
from urllib.parse import urlsplit

_SECONDS = 10.0  # to connect, and then for all that follows


class Unposted(Exception):
    """A message was not taken; the words say why."""


def sign(secret: str, name: str, at: int, body: bytes) -> str:
    """The header `webhook-signature` of a message with this name and time (Unix seconds)."""
    key = base64.b64decode(secret.partition("_")[2])
    made = hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(made).decode()}"


def post(
    url: str, secret: str, name: str, told: dict[str, object], allowed: Sequence[str] = (), seconds: float = _SECONDS
) -> None:
    """Posts `told` as JSON; `name` is the same in every try of a message. Raises `Unposted` unless the answer is 2xx.

    `allowed` are networks that a target may be in although they are not public. A target that answers byte by byte is
    cut off after `seconds`."""
    split, body, at = urlsplit(url), json.dumps(told).encode(), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Footfall",
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(secret, name, at, body),
    }
    host, port = split.hostname or "", split.port or (443 if split.scheme == "https" else 80)
    connection = http.client.HTTPConnection(host, port)
    connection.default_port = 443 if split.scheme == "https" else 80  # which the header Host leaves out
    try:
        made = socket.create_connection((_address(host, port, allowed), port), timeout=seconds)
        if split.scheme == "https":
            context = ssl.create_default_context()
            made = context.wrap_socket(made, server_hostname=host, do_handshake_on_connect=False)
        connection.sock = made
        target = (split.path or "/") + (f"?{split.query}" if split.query else "")
        with _cut_off(made, seconds):
            if isinstance(made, ssl.SSLSocket):
                made.do_handshake()
            connection.request("POST", target, body, headers)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise Unposted(f"the webhook at {host}:{port} cannot be reached: {error}") from error
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise Unposted(f"the webhook at {host}:{port} answers {status}; it should answer 2xx")


@contextmanager
def _cut_off(connected: socket.socket, seconds: float) -> Iterator[None]:
    """Has a connection end after so many seconds, whatever it still sends. Raises TimeoutError if it was ended."""
    late = False

    def end() -> None:
        nonlocal late
        late = True
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        if late:
            raise TimeoutError(f"no whole answer in {seconds:g} s") from error
        raise
    finally:
        timer.cancel()


def _address(host: str, port: int, allowed: Sequence[str]) -> str:
    """The address to connect to. Raises `Unposted` if one of the host's is of a network that is not allowed."""
    networks = [ipaddress.ip_network(network, strict=False) for network in allowed]
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        plain = getattr(address, "ipv4_mapped", None) or address
        public = plain.is_global and not plain.is_multicast
        if not public and not any(plain in network for network in networks):
            raise Unposted(
                f"the webhook at {host} has the address {plain}, which is not public: "
                "allow its network by --webhook-networks (FOOTFALL_WEBHOOK_NETWORKS)"
            )
    return found[0]
