"""kafka-python 3.0 leaves the socket of a connection that does not come about to the garbage collector.

It tries again for as long as a broker is away, and each attempt costs a descriptor until the next collection. Here the
socket is closed where the attempt fails: a refused connection, a failed handshake, a client that is closed meanwhile.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from kafka.net.inet import KafkaNetSocket
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport

_connect = KafkaNetSocket.sock_connect
_handshake = KafkaSSLTransport.handshake
_close = NetworkSelector.close

_under_way: WeakKeyDictionary[Any, set[Any]] = WeakKeyDictionary()  # by selector, what is being connected


async def _connect_or_close(self: Any, net: Any, sock: Any, address: Any, timeout_at: float | None = None) -> Any:
    under_way = _under_way.setdefault(net, set())
    under_way.add(sock)
    try:
        return await _connect(self, net, sock, address, timeout_at=timeout_at)
    except BaseException:
        sock.close()
        raise
    finally:
        under_way.discard(sock)


async def _handshake_or_close(self: Any) -> None:
    under_way = _under_way.setdefault(self._net, set())
    under_way.add(self)
    try:
        await _handshake(self)
    except BaseException as error:
        self.abort(error)
        raise
    finally:
        under_way.discard(self)


def _close_with_what_is_under_way(self: Any) -> None:
    """The selector drops a task that waits for its socket without ending it."""
    _close(self)
    for left in _under_way.pop(self, ()):
        left.abort() if isinstance(left, KafkaSSLTransport) else left.close()


def close_what_fails() -> None:
    """For every client of the library in this process."""
    KafkaNetSocket.sock_connect = _connect_or_close
    KafkaSSLTransport.handshake = _handshake_or_close
    NetworkSelector.close = _close_with_what_is_under_way
