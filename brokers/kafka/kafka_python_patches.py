"""A patch of kafka-python 3.0, which leaves the socket of a failed connection to the garbage collector.

The library retries for as long as a broker is away, and each attempt costs a file descriptor until the next collection.
The patch closes the socket where the attempt fails: on a refused connection, on a failed handshake, and when the client
is closed while it connects.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

from kafka.net.inet import KafkaNetSocket
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport

_APPLIED = "_footfall_closes_failed_sockets"
_lock = threading.Lock()


def apply_patches() -> None:
    """Patch the library's classes for every client in this process; further calls do nothing."""
    with _lock:
        if not hasattr(NetworkSelector, _APPLIED):
            setattr(NetworkSelector, _APPLIED, True)
            _close_failed_sockets()


def _close_failed_sockets() -> None:
    connect, handshake, close = KafkaNetSocket.sock_connect, KafkaSSLTransport.handshake, NetworkSelector.close
    connecting: WeakKeyDictionary[Any, set[Any]] = WeakKeyDictionary()  # selector -> sockets and transports

    async def sock_connect(self: Any, net: Any, sock: Any, address: Any, timeout_at: float | None = None) -> Any:
        pending = connecting.setdefault(net, set())
        pending.add(sock)
        try:
            return await connect(self, net, sock, address, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise
        finally:
            pending.discard(sock)

    async def shake_hands(self: Any) -> None:
        pending = connecting.setdefault(self._net, set())
        pending.add(self)
        try:
            await handshake(self)
        except BaseException as error:
            self.abort(error)
            raise
        finally:
            pending.discard(self)

    def close_selector(self: Any) -> None:
        """Close what is still connecting: the selector drops a task that waits for its socket without ending it."""
        close(self)
        for left in connecting.pop(self, ()):
            left.abort() if isinstance(left, KafkaSSLTransport) else left.close()

    KafkaNetSocket.sock_connect = sock_connect
    KafkaSSLTransport.handshake = shake_hands
    NetworkSelector.close = close_selector
