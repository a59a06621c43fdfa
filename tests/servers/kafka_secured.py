"""Apache Kafka as it is met in earnest: TLS, every SASL mechanism of ours, and nobody may do what no ACL allows.

Two listeners besides an internal one: SASL_SSL (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER), which is the part's
address, and SSL, which asks for a client certificate. Who logged in has to do so again after 20 s, or when the token
expires. `admin` may do everything, `guest` may log in and nothing more;
both have `PASSWORD`. A token of OAUTHBEARER is believed unsigned, so this is for trying only. The certificates are
made at the first start and lie in the folder.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tests.servers import kafka
from tests.servers.process import HOST, Server, cache, free_port

PORT = 9095
PASSWORD = "open-sesame"
_JAAS = "org.apache.kafka.common.security"

_PROPERTIES = """listeners=INTERNAL://{host}:{internal},CONTROLLER://{host}:{controller},SASL_SSL://{host}:{port},SSL://{host}:{mutual}
advertised.listeners=INTERNAL://{host}:{internal},SASL_SSL://{host}:{port},SSL://{host}:{mutual}
listener.security.protocol.map=INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
inter.broker.listener.name=INTERNAL
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin;User:CN=admin
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
connections.max.reauth.ms=20000
listener.name.sasl_ssl.plain.sasl.jaas.config={jaas}.plain.PlainLoginModule required user_admin="{password}" user_guest="{password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={jaas}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={jaas}.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={jaas}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="admin";
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class={jaas}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler
"""  # noqa: E501  a property is one line


class Files(NamedTuple):
    """What a client needs of the folder: PEM files. `stranger` is the certificate of an authority nobody knows."""

    ca: Path
    certificate: Path
    key: Path
    stranger: Path


def files(folder: Path) -> Files:
    return Files(folder / "ca.pem", folder / "client.pem", folder / "client.key", folder / "stranger.pem")


def available() -> str:
    """Empty when it can be started here, else what to install."""
    return kafka.available() or ("" if find_spec("cryptography") else "certificates need: pip install cryptography")


def server(folder: Path | None = None) -> Server:
    return Server("kafka-secured", folder or cache() / "kafka-secured")


def start(folder: Path | None = None, port: int = PORT) -> str:
    """Start it unless it runs; the address of its SASL_SSL listener either way. Port 0 is any free one."""
    broker = server(folder)
    kafka.fetch()
    with broker.locked():
        if running := broker.address():
            return running
        port, internal, mutual, controller = free_port(port), free_port(), free_port(), free_port()
        if not files(broker.folder).ca.exists():
            make_certificates(broker.folder)
        kafka.configure(broker, 1, internal, [controller])
        with (broker.folder / "server.properties").open("a") as properties:
            properties.write(
                _PROPERTIES.format(
                    host=HOST,
                    port=port,
                    internal=internal,
                    mutual=mutual,
                    controller=controller,
                    folder=broker.folder,
                    jaas=_JAAS,
                    password=PASSWORD,
                )
            )
        (broker.folder / "mutual").write_text(f"{HOST}:{mutual}")
        users = [
            word
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for user in ("admin", "guest")
            for word in ("--add-scram", f"{mechanism}=[name={user},password={PASSWORD}]")
        ]
        return kafka.launch(broker, port, format_options=users)


def mutual(folder: Path) -> str:
    """The address of the listener that asks for a client certificate."""
    return (folder / "mutual").read_text()


def make_certificates(folder: Path) -> None:
    """An authority, the broker's and a client's certificate of it, and an authority of somebody else."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    now = datetime.now(UTC)

    def issue(
        name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey
    ) -> x509.Certificate:
        authority = key is signer
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(_key_usage(authority), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )

    def _key_usage(authority: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=authority,
            crl_sign=authority,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )

    def secret(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    found = files(folder)
    authority, own, client, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
    root = issue("footfall trial authority", authority, "footfall trial authority", authority)
    signed = {
        folder / "broker.pem": secret(own)
        + issue("broker", own, "footfall trial authority", authority).public_bytes(Encoding.PEM),
        found.key: secret(client),
        found.certificate: issue("admin", client, "footfall trial authority", authority).public_bytes(Encoding.PEM),
        found.stranger: issue("stranger", other, "stranger", other).public_bytes(Encoding.PEM),
        found.ca: root.public_bytes(Encoding.PEM),  # last: its being there says that all are
    }
    for path, pem in signed.items():
        path.touch(mode=0o600)
        path.write_bytes(pem)
