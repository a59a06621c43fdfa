"""The applications and a tracking port behind the names that docs/beacon.md gives them, by HTTPS as on the web.

`https://react.example.com` is an application, as is `https://react-hash.example.com`; `https://stats.example.com` is
the tracking port, and what it was sent is kept.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.harness import fetch

MEASURED = ("engagement", "web_vital")
BLANK = "/blank"  # a page without anything, of each application


class Front:
    """What came to the tracking port, and where a browser finds it all."""

    def __init__(self, port: int) -> None:
        self.rule = f"MAP *.example.com 127.0.0.1:{port}"  # for Chromium's --host-resolver-rules
        self.posts: list[list[dict[str, Any]]] = []  # the events of each request

    def events(self, origin: str) -> list[dict[str, Any]]:
        """What was sent of an application but for what is measured, each event once, in the order of its time."""
        sent = {event.get("id") or json.dumps(event): event for post in list(self.posts) for event in post}
        own = [e for e in sent.values() if e["url"].startswith(f"{origin}/") and e["type"] not in MEASURED]
        return sorted(own, key=lambda event: int(event["ts"]))


@contextmanager
def front(tracking: str, served: dict[str, Path], certificate: Path) -> Iterator[Front]:
    """While it is open; `served` are the folders of the applications by the first word of their hosts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            application = self.headers["Host"].partition(".")[0].partition("-")[0]
            if application == "stats":
                self._hand_on(None)
            elif self.path in (BLANK, "/favicon.ico"):
                self._answer(200, {"content-type": "text/html"}, b"<link rel=icon href=data:,>")
            else:
                file = _file(served[application], unquote(self.path.partition("?")[0]))
                if file is None:
                    self._answer(404, {}, b"")
                else:
                    self._answer(200, {"content-type": guess_type(file.name)[0] or "text/plain"}, file.read_bytes())

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.posts.append(json.loads(body)["events"])
            self._hand_on(body)

        def _hand_on(self, body: bytes | None) -> None:
            names = ("User-Agent", "Origin", "Content-Type")
            sent = {name: self.headers[name] for name in names if self.headers[name]}
            self._answer(*fetch(tracking + self.path, body, sent))

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name not in ("content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False  # browsers keep connections
    _certify(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    made = Front(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def _file(folder: Path, path: str) -> Path | None:
    """A page has its name, that and `.html`, or what is the same for all pages."""
    names = ["index.html"] if path == "/" else [path[1:], f"{path[1:]}.html"]
    if "." not in path:
        names.append("index.html")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _certify(file: Path) -> None:
    """A key and its own certificate of it, which the browser is told not to mind."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "*.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("*.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(*private) + made.public_bytes(serialization.Encoding.PEM))
