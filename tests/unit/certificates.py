"""Certificates for tests, made on the spot."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)


@dataclass(frozen=True)
class Pair:
    """A self-signed certificate and its key, as text."""

    certificate: str
    key: str

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both to files; returns their paths."""
        paths = folder / "test.crt", folder / "test.key"
        for path, text in zip(paths, (self.certificate, self.key), strict=True):
            path.write_text(text)
        return paths


def pair(*names: str, days: float = 90, begins_in: float = -100, password: str = "") -> Pair:
    """A certificate for these names and addresses; days until its end."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins_in))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(text) for text in names]), critical=False)
    protection: KeySerializationEncryption = NoEncryption()
    if password:
        protection = BestAvailableEncryption(password.encode())
    return Pair(
        builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode(),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection).decode(),
    )


def _general(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
