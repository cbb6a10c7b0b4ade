"""Hosts for the tests of every scenario, over SSH with the host keys that testbed read from the containers.

The state folder of the hosts is the one of --ssh-config, which .config/molecule/config.yml sets.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
import pytest
import testinfra
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("postgresql@*", "litellm", "openclaw-gateway*", "tailscaled", "headscale")
JOURNAL_LINES = 40


def state_directory(config: pytest.Config) -> Path:
    """Return the folder with hosts.json, ssh_config and known_hosts."""
    chosen = config.getoption("--ssh-config")
    if not chosen:
        pytest.exit("run these tests by: tests/run molecule", returncode=2)
    return Path(chosen).parent


@pytest.fixture(scope="session", autouse=True)
def check_host_keys(pytestconfig: pytest.Config) -> Generator[None, None, None]:
    """Make testinfra's SSH refuse a host key that testbed did not write; by itself it only warns."""
    known_hosts = str(state_directory(pytestconfig) / "known_hosts")
    original = paramiko.SSHClient.set_missing_host_key_policy

    def refuse(client: paramiko.SSHClient, _policy: Any) -> None:
        client.load_host_keys(known_hosts)
        original(client, paramiko.RejectPolicy())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paramiko.SSHClient, "set_missing_host_key_policy", refuse)
        yield


@pytest.fixture(scope="session")
def hosts(pytestconfig: pytest.Config, check_host_keys: None) -> dict[str, Host]:
    """Return every host of the scenario by its inventory name; commands run as root."""
    state = state_directory(pytestconfig)
    names = json.loads((state / "hosts.json").read_text(encoding="utf-8"))
    config = str(state / "ssh_config")
    return {name: testinfra.get_host(f"paramiko://{name}", ssh_config=config, sudo=True) for name in names}


@pytest.fixture(scope="session")
def proxy1(hosts: dict[str, Host]) -> Host:
    """Return the host of LiteLLM and its database."""
    return hosts["proxy1"]


@pytest.fixture(scope="session")
def proxy2(hosts: dict[str, Host]) -> Host:
    """Return the host of a second LiteLLM."""
    return hosts["proxy2"]


@pytest.fixture(scope="session")
def db1(hosts: dict[str, Host]) -> Host:
    """Return the host of the database that several proxies share."""
    return hosts["db1"]


@pytest.fixture(scope="session")
def gateway1(hosts: dict[str, Host]) -> Host:
    """Return the host of the OpenClaw gateway."""
    return hosts["gateway1"]


@pytest.fixture(scope="session")
def control(hosts: dict[str, Host]) -> Host:
    """Return the host of the tailnet's control server."""
    return hosts["control"]


@pytest.fixture(scope="session")
def peer(hosts: dict[str, Host]) -> Host:
    """Return a host that is in the gateway's tailnet, and no more."""
    return hosts["peer"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the journal of the services to the report of a failed test."""
    report = yield
    hosts = getattr(item, "funcargs", {}).get("hosts")
    if report.failed and hosts:
        units = " ".join(f"-u '{service}'" for service in SERVICES)
        for name, host in hosts.items():
            journal = host.run(f"journalctl --no-pager --output=short-iso --lines={JOURNAL_LINES} {units}").stdout
            report.sections.append((f"journal of {name}", journal))
    return report


MASTER_KEY_FILE = "/etc/litellm/secrets/master_key"
HTTP_CLIENT = """
import json, sys, urllib.error, urllib.request
call = json.load(sys.stdin)
if call["key_file"]:
    call["headers"]["Authorization"] = "Bearer " + open(call["key_file"]).read().strip()
data = None if call["body"] is None else json.dumps(call["body"]).encode()
request = urllib.request.Request(call["url"], data, {"Content-Type": "application/json", **call["headers"]})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    answer = opener.open(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    answer = None
    print(json.dumps({"status": 0, "text": str(error)}))
if answer is not None:
    print(json.dumps({"status": answer.status, "text": answer.read().decode()}))
"""


@dataclass(frozen=True)
class Answer:
    """Status (0: no connection) and body of an HTTP answer."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)


def http(
    host: Host,
    url: str,
    *,
    key_file: str = "",
    headers: dict[str, str] | None = None,
    body: dict[str, Any] | None = None,
) -> Answer:
    """Ask `url` from `host`; the key is read from a file there and is in no argument."""
    call = {"url": url, "key_file": key_file, "headers": headers or {}, "body": body}
    done = host.run("printf %s {} | python3 -c {}".format(*map(shlex.quote, (json.dumps(call), HTTP_CLIENT))))
    assert done.rc == 0, done.stderr
    return Answer(**json.loads(done.stdout))


def address_of(host: Host) -> str:
    """The address at which other hosts reach this one."""
    return str(host.run("hostname -I").stdout.split()[0])


def listeners(host: Host, port: int) -> set[str]:
    """The addresses on which TCP `port` is open."""
    table = host.run(f"ss -Hltn 'sport = :{port}'").stdout
    return {line.split()[3].rsplit(":", 1)[0].strip("[]") for line in table.splitlines()}


def secret(host: Host, path: str) -> str:
    """A secret's value, from its root-only file."""
    return str(host.file(path).content_string.strip())


def put_secret(state: Path, host: Host, path: str, text: str) -> None:
    """Write a root-only file. Over standard input: sudo logs the commands that it runs."""
    command = ["ssh", "-F", str(state / "ssh_config"), host.backend.get_pytest_id().removeprefix("paramiko://")]
    write = f"sudo sh -c {shlex.quote(f'umask 077; cat > {path}')}"
    subprocess.run([*command, write], input=f"{text}\n", text=True, check=True)


def environment(host: Host, unit: str) -> dict[str, str]:
    """What a service runs with."""
    lines = host.run(f"tr '\\0' '\\n' < /proc/{show(host, unit)['MainPID']}/environ").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def show(host: Host, unit: str) -> dict[str, str]:
    """What systemd says of a unit."""
    shown = host.run(f"systemctl show --all {unit}").stdout
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def psql(host: Host, query: str) -> str:
    """The answer of LiteLLM's database to a query."""
    done = host.run(f"sudo -u postgres psql -XAt litellm -c {shlex.quote(query)}")
    assert done.rc == 0, done.stderr
    return str(done.stdout.strip())


def database_clients(host: Host, database: str, *proxies: Host) -> set[str]:
    """The addresses from which a database is in use, once every proxy has had to ask it."""
    clients = f"select distinct host(client_addr) from pg_stat_activity where datname = '{database}'"
    found: set[str] = set()
    for _ in range(30):
        for proxy in proxies:
            http(proxy, "http://127.0.0.1:4000/key/list", key_file=MASTER_KEY_FILE)
        found = set(psql(host, f"{clients} and client_addr is not null").split())
        if len(found) >= len(proxies):
            break
        time.sleep(1)
    return found


@dataclass(frozen=True)
class Run:
    """A finished ansible-playbook: exit status, everything it printed, and its recap."""

    rc: int
    output: str

    @property
    def changed(self) -> int:
        """The number of changed tasks on all hosts."""
        return sum(map(int, re.findall(r"changed=(\d+)", self.output)))


class Playbooks:
    """The project's playbooks against the hosts of the scenario, as an operator calls them."""

    def __init__(self, state: Path) -> None:
        self.log = state / "playbooks.log"
        self.inventory = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"

    def command(
        self, playbook: str, *arguments: str, variables: dict[str, Any] | None = None, inventory: str = ""
    ) -> list[str]:
        """The command line; `variables` win over the inventory, which is the scenario's unless another is named."""
        extra = ["-e", json.dumps(variables)] if variables else []
        return ["ansible-playbook", "-i", inventory or self.inventory, *extra, *arguments, str(ROOT / playbook)]

    def run(self, playbook: str, *arguments: str, variables: dict[str, Any] | None = None, inventory: str = "") -> Run:
        """Run a playbook to its end. Everything it prints is kept for the search for secrets."""
        command = self.command(playbook, *arguments, variables=variables, inventory=inventory)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(done.stdout + done.stderr)
        return Run(done.returncode, done.stdout + done.stderr)

    def run_until(
        self,
        playbook: str,
        task: str,
        act: Callable[[list[int]], object],
        *arguments: str,
        variables: dict[str, Any] | None = None,
    ) -> Run:
        """Run a playbook; when the task whose name holds `task` begins, halt it and call `act` with its processes."""
        command = self.command(playbook, *arguments, variables=variables)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        lines: list[str] = []
        met = False
        for line in process.stdout:
            lines.append(line)
            if not met and line.startswith(("TASK [", "RUNNING HANDLER [")) and task in line:
                met = True
                family = halt(process.pid)
                act(family)
                resume(family)
        status = process.wait()
        output = "".join(lines)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(output)
        assert met, f"no task {task!r} in:\n{output}"
        return Run(status, output)

    def run_killed(self, playbook: str, task: str, *arguments: str, variables: dict[str, Any] | None = None) -> None:
        """Run a playbook and kill -9 all of it when the task whose name holds `task` begins."""
        killed = self.run_until(playbook, task, kill, *arguments, variables=variables)
        assert killed.rc == -signal.SIGKILL, killed.output


def halt(pid: int) -> list[int]:
    """Stop a process and all it has started, its parents first, so that they start nothing more; return all of them."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, signal.SIGSTOP)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return [pid, *(other for child in children for other in halt(int(child)))]
    return []


def kill(pids: list[int]) -> None:
    """Kill processes, the last one first."""
    for pid in reversed(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def resume(pids: list[int]) -> None:
    """Let processes go on, those that are still there."""
    for pid in reversed(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def playbooks(pytestconfig: pytest.Config) -> Playbooks:
    """Return what runs the project's playbooks."""
    return Playbooks(state_directory(pytestconfig))


def main_pid(host: Host, unit: str) -> str:
    """The process of a unit; it changes with every restart."""
    return show(host, unit)["MainPID"]
