"""A gateway's two secrets, and what the running programs answer to a value of them."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from pathlib import PurePosixPath

from conftest import address_of, http, main_pid, psql, secret
from testinfra.host import Host

ROTATE = "playbooks/rotate_keys.yml"
SECRETS = "/etc/openclaw-gateway/secrets"
VIRTUAL_KEY, TOKEN = f"{SECRETS}/virtual_key", f"{SECRETS}/gateway_token"
UNIT = "openclaw-gateway.service"
STATE = "/var/lib/openclaw/.openclaw"
LEDGERS = "/etc/openclaw-gateway/rotation"
SET_ASIDE = """
import json, pathlib, sqlite3
found = {}
for path in pathlib.Path("STATE").rglob("*"):
    if path.is_file() and path.open("rb").read(15) == b"SQLite format 3":
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            if database.execute("select 1 from sqlite_master where name = 'auth_profile_state'").fetchall():
                for (state,) in database.execute("select state_json from auth_profile_state"):
                    found.update(json.loads(state).get("usageStats") or {})
print(json.dumps(found))
""".replace("STATE", STATE)
LOG = "/var/log/gateway-toolkit/rotation.log"


@dataclass(frozen=True)
class Gateway:
    """A gateway by its inventory name, its host, and the host of LiteLLM."""

    name: str
    host: Host
    proxy: Host

    @classmethod
    def of(cls, hosts: dict[str, Host], name: str) -> Gateway:
        """The gateway of this name."""
        return cls(name, hosts[name], hosts["proxy1"])

    @property
    def alias(self) -> str:
        """Its virtual key's name in LiteLLM."""
        return f"openclaw-{self.name}"

    @property
    def pid(self) -> str:
        """Its process, which a rotation leaves alone."""
        return main_pid(self.host, UNIT)

    def value(self, path: str) -> str:
        """A secret's value."""
        return secret(self.host, path)

    def copy(self, path: str) -> str:
        """Copy a secret before it is rotated, since a value in a command would be in sudo's log; return the place."""
        place = f"/srv/old_{PurePosixPath(path).name}"
        self.host.run_expect([0], f"cp -p {path} {place}")
        return place

    def models(self, key_file: str) -> int:
        """What LiteLLM answers to a virtual key: 200 or 401."""
        return http(self.host, f"http://{address_of(self.proxy)}:4000/v1/models", key_file=key_file).status

    def door(self, token_file: str) -> int:
        """What the gateway answers to a token over HTTP: 404 within, 401 without."""
        return http(self.host, "http://127.0.0.1:4321/api/channels/x", key_file=token_file).status

    def websocket(self, token_file: str) -> str:
        """What the gateway answers to a token over WebSocket, as OpenClaw's own command sees it."""
        done = self.host.run(f'openclaw gateway call health --json --token "$(cat {shlex.quote(token_file)})"')
        return (
            "connected" if done.rc == 0 else "refused" if "token mismatch" in done.stderr + done.stdout else "no answer"
        )

    def prompt(self) -> bool:
        """Whether a prompt through the gateway is answered."""
        done = self.host.run("openclaw infer model run --gateway --json --prompt hello")
        return done.rc == 0 and bool(json.loads(done.stdout)["ok"])

    def live_keys(self) -> list[str]:
        """The aliases of its keys in LiteLLM's database; one, unless a rotation is not finished."""
        question = f"select key_alias from \"LiteLLM_VerificationToken\" where key_alias like '{self.alias}%'"
        return sorted(psql(self.proxy, question).split("\n"))

    def unfinished(self) -> list[str]:
        """What is left on the host of a rotation that is not finished."""
        files = self.host.file(SECRETS).listdir()
        return sorted({*files} - {"virtual_key", "gateway_token"})

    def receipt(self) -> dict[str, object]:
        """The last line of the host's log."""
        return dict(json.loads(self.host.run_expect([0], f"tail -n 1 {LOG}").stdout))

    def step(self, name: str) -> str:
        """The last step of an unfinished rotation, "" when there is none."""
        rotation = json.loads(self.host.file(f"{LEDGERS}/{name}.json").content_string)["rotation"]
        return str(rotation["step"]) if rotation else ""

    def set_aside(self) -> dict[str, object]:
        """Failures of provider keys that OpenClaw keeps: a refused one is set aside, and the next one with it."""
        done = self.host.run_expect([0], f"python3 -c {shlex.quote(SET_ASIDE)}")
        return dict(json.loads(done.stdout))

    def key_in_use(self) -> int:
        """What LiteLLM answers to the key that OpenClaw has."""
        command = f'python3 -c \'import json; print(json.load(open("{STATE}/secrets.json"))["litellm"]["apiKey"])\''
        self.host.run_expect([0], f"umask 077; {command} > /srv/key_in_use")
        return self.models("/srv/key_in_use")


def copies(host: Host, path: str) -> list[str]:
    """The files with a secret's values, the one in use first: a rotation that is not finished keeps two."""
    return [place for place in (path, f"{path}.old", f"{path}.next") if host.file(place).exists]


def all_run(hosts: dict[str, Host]) -> None:
    """Start what systemd did not start again, and wait until everything answers."""
    units = "postgresql.service 'postgresql@*.service' litellm.service"
    # A service that was killed often is not started any more.
    hosts["proxy1"].run_expect([0], f"systemctl reset-failed && systemctl start {units}")
    hosts["gateway1"].run_expect([0], f"systemctl reset-failed && systemctl start {UNIT}")
    litellm = f"http://{address_of(hosts['proxy1'])}:4000/health/readiness"
    end = time.monotonic() + 240
    while True:
        ready = http(hosts["gateway1"], litellm), http(hosts["gateway1"], "http://127.0.0.1:4321/readyz")
        if '"connected"' in ready[0].text and ready[1].status == 200:
            return
        assert time.monotonic() < end, ready
        time.sleep(1)
