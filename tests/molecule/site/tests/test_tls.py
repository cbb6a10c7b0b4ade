"""With TLS the gateway speaks HTTPS and WSS on every listener, with the operator's certificate, and never HTTP."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Playbooks, address_of, http, main_pid, put_secret, state_directory
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from testinfra.host import Host

GATEWAY = "openclaw-gateway.service"
TOKEN_FILE = "/etc/openclaw-gateway/secrets/gateway_token"
# A TLS client that trusts one CA alone; prints the certificate's serial number and the status.
CLIENT = """
import http.client, json, ssl, sys
call = json.load(sys.stdin)
context = ssl.create_default_context(cadata=call["ca"]) if call["ca"] else ssl.create_default_context()
link = http.client.HTTPSConnection(call["host"], 4321, timeout=20, context=context)
link.connect()
serial = int(link.sock.getpeercert()["serialNumber"], 16)
link.request("GET", call["path"], headers=call["headers"])
print(json.dumps([serial, link.getresponse().status]))
"""


@dataclass(frozen=True)
class Authority:
    """A CA of our own, and the folder with the files that the operator names."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def sign(self, address: str, days: int) -> int:
        """Write a certificate for this address, valid for so many days, and its key; return its serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        leaf = (
            builder("gateway", key, "CA of the test", days).add_extension(names, False).sign(self.key, hashes.SHA256())
        )
        (self.folder / "gateway.crt").write_bytes(leaf.public_bytes(Encoding.PEM))
        (self.folder / "gateway.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return leaf.serial_number

    def variables(self) -> dict[str, Any]:
        return {
            "openclaw_gateway_tls": "files",
            "openclaw_gateway_tls_certificate": str(self.folder / "gateway.crt"),
            "openclaw_gateway_tls_key": str(self.folder / "gateway.key"),
            "openclaw_gateway_tls_ca": str(self.folder / "ca.crt"),
            "openclaw_gateway_health_turn": False,
        }


def builder(name: str, key: ec.EllipticCurvePrivateKey, issuer: str, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    make = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])  # noqa: E731
    return (
        x509.CertificateBuilder()
        .subject_name(make(name))
        .issuer_name(make(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def ask(host: Host, ca: str, address: str, path: str = "/healthz", token: str = "") -> Any:
    """(serial number, status) of an HTTPS request from a host, or what went wrong."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    call = json.dumps({"ca": ca, "host": address, "path": path, "headers": headers})
    done = host.run("printf %s {} | python3 -c {}".format(*map(shlex.quote, (call, CLIENT))))
    return tuple(json.loads(done.stdout)) if done.rc == 0 else done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    made = builder("CA of the test", key, "CA of the test", 365).add_extension(constraints, True)
    found = Authority(folder, key, made.sign(key, hashes.SHA256()))
    (folder / "ca.crt").write_text(found.pem)
    return found


@pytest.fixture(scope="module")
def serial(playbooks: Playbooks, gateway1: Host, authority: Authority) -> Iterator[int]:
    """The gateway with a certificate, whose serial number this is; afterwards without one again."""
    pid = main_pid(gateway1, GATEWAY)
    authority.sign(address_of(gateway1), days=-1)
    refused = playbooks.run("playbooks/gateway.yml", variables=authority.variables())
    assert refused.rc != 0
    assert "openclaw_gateway_tls_certificate ended on" in refused.output
    assert main_pid(gateway1, GATEWAY) == pid
    number = authority.sign(address_of(gateway1), days=90)
    try:
        deployed = playbooks.run("playbooks/gateway.yml", variables=authority.variables())
        assert deployed.rc == 0, deployed.output
        yield number
    finally:
        back = playbooks.run("playbooks/gateway.yml")
    assert back.rc == 0, back.output
    assert http(gateway1, "http://127.0.0.1:4321/healthz").json["ok"]


def test_a_client_that_trusts_the_ca_gets_in_with_the_token(
    serial: int, authority: Authority, proxy1: Host, gateway1: Host
) -> None:
    address, token = address_of(gateway1), gateway1.file(TOKEN_FILE).content_string.strip()
    assert ask(proxy1, authority.pem, address) == (serial, 200)
    assert ask(proxy1, authority.pem, address, "/api/channels/x", "wrong-token-0123456789abcdef") == (serial, 401)
    assert ask(proxy1, authority.pem, address, "/api/channels/x", token) == (serial, 404)


def test_others_and_plain_http_get_nothing(serial: int, proxy1: Host, gateway1: Host) -> None:
    address = address_of(gateway1)
    assert "certificate verify failed" in ask(proxy1, "", address)
    assert http(proxy1, f"http://{address}:4321/healthz").status == 0


def test_the_operators_command_and_the_service_user_alone_use_the_key(serial: int, gateway1: Host) -> None:
    assert json.loads(gateway1.run("openclaw health --json --timeout 20000").stdout)["ok"]
    folder = "/var/lib/openclaw/tls"
    modes = gateway1.run(f"stat -c '%a %U:%G' {folder} {folder}/certificate.pem {folder}/key.pem").stdout
    assert modes.split("\n")[:3] == ["750 root:openclaw", "640 root:openclaw", "640 root:openclaw"]


def test_a_renewed_certificate_is_served_without_a_restart_and_health_says_when_it_ends(
    serial: int, playbooks: Playbooks, authority: Authority, proxy1: Host, gateway1: Host, tmp_path: Path
) -> None:
    pid = main_pid(gateway1, GATEWAY)
    renewed = authority.sign(address_of(gateway1), days=10)
    run = playbooks.run("playbooks/gateway.yml", variables=authority.variables())
    assert (run.rc, run.changed) == (0, 1), run.output
    report = tmp_path / "health.json"
    health = playbooks.run("playbooks/health.yml", variables={**authority.variables(), "health_report": str(report)})
    assert health.rc == 0, health.output
    assert "with a warning" in health.output
    results = {check["name"]: check for check in json.loads(report.read_text())["hosts"]["gateway1"]}
    assert results["gateway certificate"]["status"] == "warning"
    assert re.search(r"the certificate ends in (9|10) days", results["gateway certificate"]["detail"])
    reached = f"gateway at {address_of(gateway1)} is reached from the controller"
    assert results[reached]["status"] == "ok"
    assert ask(proxy1, authority.pem, address_of(gateway1)) == (renewed, 200)
    assert main_pid(gateway1, GATEWAY) == pid


def test_files_that_are_on_the_host_are_taken_over_unseen(
    serial: int,
    playbooks: Playbooks,
    authority: Authority,
    proxy1: Host,
    gateway1: Host,
    pytestconfig: pytest.Config,
) -> None:
    """As an ACME client leaves them there."""
    other = authority.sign(address_of(gateway1), days=80)
    texts = {name: (authority.folder / name).read_text() for name in ("gateway.crt", "gateway.key")}
    for name, text in texts.items():
        put_secret(state_directory(pytestconfig), gateway1, f"/srv/{name}", text)
    there = {"openclaw_gateway_tls_certificate": "/srv/gateway.crt", "openclaw_gateway_tls_key": "/srv/gateway.key"}
    wishes = {**authority.variables(), **there, "openclaw_gateway_tls": "host"}
    run = playbooks.run("playbooks/gateway.yml", "-vvv", "--diff", variables=wishes)
    assert (run.rc, run.changed) == (0, 1), run.output
    assert ask(proxy1, authority.pem, address_of(gateway1)) == (other, 200)
    key = texts["gateway.key"].splitlines()[1]
    encoded = base64.b64encode(texts["gateway.key"].encode()).decode()
    assert [text for text in (key, encoded) if text in run.output] == []
    gateway1.run_expect([0], "rm /srv/gateway.crt /srv/gateway.key")
