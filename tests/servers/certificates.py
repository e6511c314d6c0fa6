"""Certificates for servers on the loopback interface."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from servers.ports import HOST

#: Validity before and after now. Clocks may differ, and a test run takes less than a
#: day.
VALID_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """The files of a server's certificate.

    Attributes:
        authority: The certificate of the authority, which clients trust.
        server: The certificate of the server.
        key: The private key of the server.
    """

    authority: Path
    server: Path
    key: Path


def issue_certificate(folder: Path) -> Certificate:
    """Create an authority and a server certificate signed by it, in a folder."""
    certificate = Certificate(
        folder / "authority.pem", folder / "server.pem", folder / "server.key"
    )
    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    # Python requires each of these extensions since 3.13.
    authority = (
        _unsigned("workertoolbox's authority", authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_only_signs_certificates(), critical=True)
        .add_extension(identifier, critical=False)
    )
    names = [x509.IPAddress(ip_address(HOST)), x509.DNSName("localhost")]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    server = (
        _unsigned("workertoolbox's server", server_key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer, critical=False)
    )
    for path, unsigned in (
        (certificate.authority, authority),
        (certificate.server, server),
    ):
        signed = unsigned.sign(authority_key, SHA256())
        path.write_bytes(signed.public_bytes(Encoding.PEM))
    certificate.key.write_bytes(
        server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return certificate


def _unsigned(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        subject_name=_named(name),
        issuer_name=_named("workertoolbox's authority"),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - VALID_FOR,
        not_valid_after=now + VALID_FOR,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _only_signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=False,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
