"""Rules for a certificate and its key, judged on the controller before they are deployed. Uses cryptography, which
ansible-core brings."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

CERTIFICATE, KEY = "openclaw_gateway_tls_certificate", "openclaw_gateway_tls_key"


def tls_errors(certificate: Any, key: Any, name: str, now: datetime.datetime | None = None) -> list[str]:
    """Return one sentence for each reason why a server must not be started with this certificate and this key.

    certificate, key: text in PEM form; the server's certificate comes first, those of its CAs may follow. name: host
    name or IP address by which clients come. No sentence holds anything of the key.
    """
    try:
        leaf = x509.load_pem_x509_certificate(str(certificate).encode())
    except ValueError:
        return [f"{CERTIFICATE} is no certificate: it has to begin with -----BEGIN CERTIFICATE-----, in PEM form."]
    errors = []
    try:
        private = load_pem_private_key(str(key).encode(), None)
    except TypeError:
        return [f"{KEY} is protected by a password, which nobody could type at start: remove it (openssl pkey)."]
    except ValueError:
        return [f"{KEY} is no private key in PEM form: it has to begin with -----BEGIN PRIVATE KEY----- or the like."]
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        errors.append(f"{KEY} does not belong to {CERTIFICATE}: give the two files of the same certificate.")
    moment = now or datetime.datetime.now(datetime.timezone.utc)
    if leaf.not_valid_after_utc <= moment:
        errors.append(f"{CERTIFICATE} ended on {leaf.not_valid_after_utc:%Y-%m-%d}: renew it.")
    if leaf.not_valid_before_utc > moment:
        errors.append(f"{CERTIFICATE} begins only on {leaf.not_valid_before_utc:%Y-%m-%d}: wait, or set the clock.")
    names = _names(leaf)
    if not any(_covers(pattern, name) for pattern in names):
        listed = ", ".join(names) or "no name at all"
        errors.append(
            f"{CERTIFICATE} is for {listed}, not for {name}: set openclaw_gateway_address to the name in it, or get "
            "one for this name. Browsers read the subject alternative names only."
        )
    return errors


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def _covers(pattern: str, name: str) -> bool:
    """Tell whether a name in a certificate covers the one of the clients; * stands for one label (RFC 6125)."""
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(pattern)
    except ValueError:
        pass
    wanted, given = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if wanted.startswith("*."):
        return "." in given and given.split(".", 1)[1] == wanted[2:]
    return wanted == given
