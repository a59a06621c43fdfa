"""Apache Pulsar as it is met in earnest: TLS, and nobody may do anything without a token or a client certificate.

The part's address is that of its TLS listeners. `admin`, by token or certificate, may do everything; a token for
another role logs in and may do nothing. Certificates and the secret behind the tokens lie in the folder.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from tests.servers import kafka_secured, pulsar
from tests.servers.kafka_secured import files
from tests.servers.process import HOST, free_port

PORT = 6651

_PROVIDERS = "org.apache.pulsar.broker.authentication.AuthenticationProvider"


def available() -> str:
    """Empty when it can be started here, else what to install."""
    return pulsar.available() or kafka_secured.available()


def server(folder: Path) -> pulsar.PulsarServer:
    return pulsar.server(folder)


def start(folder: Path, port: int = PORT) -> str:
    """Start it unless it runs; `HOST:PORT?admin=https://HOST:PORT` of its TLS listeners either way."""
    broker = server(folder)
    told = folder / "secured"
    if broker.address() and told.exists():
        return told.read_text()
    folder.mkdir(parents=True, exist_ok=True)
    port, admin = free_port(port), free_port()
    if not files(folder).ca.exists():
        kafka_secured.make_certificates(folder)
        key, begin, certificate = (folder / "broker.pem").read_text().partition("-----BEGIN CERTIFICATE")
        (folder / "broker.crt").write_text(begin + certificate)  # Pulsar wants them apart
        (folder / "broker.key").write_text(key)
        (folder / "secret").write_bytes(secrets.token_bytes(32))
    pulsar.start(
        folder,
        0,
        {
            "brokerServicePortTls": str(port),
            "webServicePortTls": str(admin),
            "tlsCertificateFilePath": str(folder / "broker.crt"),
            "tlsKeyFilePath": str(folder / "broker.key"),
            "tlsTrustCertsFilePath": str(files(folder).ca),
            "authenticationEnabled": "true",
            "authorizationEnabled": "true",
            "authenticationProviders": f"{_PROVIDERS}Token,{_PROVIDERS}Tls",
            "tokenSecretKey": f"file://{folder}/secret",
            "superUserRoles": "admin",
            "brokerClientAuthenticationPlugin": "org.apache.pulsar.client.impl.auth.AuthenticationToken",
            "brokerClientAuthenticationParameters": f"token:{token(folder, 'admin')}",
        },
    )
    told.write_text(f"{HOST}:{port}?admin=https://{HOST}:{admin}")
    return told.read_text()


def token(folder: Path, role: str, seconds: float = 86_400.0) -> str:
    """A token for `role` that expires in so many seconds, which may be negative."""
    claims = {"sub": role, "exp": int(time.time() + seconds)}
    signed = b".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    secret = (folder / "secret").read_bytes()
    return (signed + b"." + _base64(hmac.digest(secret, signed, hashlib.sha256))).decode()


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
