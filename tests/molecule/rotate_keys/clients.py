"""Clients of LiteLLM and of a gateway, on the gateway's host, until the file STOP is there: what each one met, as JSON.

Arguments: LiteLLM's URL, then the clients: calls, turns, live, old_token, socket.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openclaw_door

STOP = Path("/run/clients.stop")
READY = Path("/run/clients.ready")
GATEWAY = "http://127.0.0.1:4321"
SECRETS = Path("/etc/openclaw-gateway/secrets")
SECRETS_OF_OPENCLAW = Path("/var/lib/openclaw/.openclaw/secrets.json")
ASK = {"model": "claude-sonnet-4-5-20250929", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}

CLOSE, PING, PONG = 0x8, 0x9, 0xA

Met = dict[str, Any]


def get(url: str, key: str = "", body: dict[str, Any] | None = None) -> int:
    """The status; 0 without an answer."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.status)
    except OSError:
        return 0


def repeat(ask: Callable[[], str], pause: float) -> Callable[[Met], None]:
    """A client that asks again and again, and counts; `ask` returns what went wrong."""

    def client(met: Met) -> None:
        met |= {"asked": 0, "failed": []}
        while not STOP.exists():
            wrong = ask()
            met["asked"] += 1
            if wrong:
                met["failed"].append(f"{time.strftime('%H:%M:%S')} {wrong}")
            time.sleep(pause)

    return client


def call(litellm: str) -> str:
    """A call with the key that OpenClaw has at this moment."""
    key = json.loads(SECRETS_OF_OPENCLAW.read_text())["litellm"]["apiKey"]
    status = get(f"{litellm}/v1/messages", key, ASK)
    return "" if status == 200 else f"HTTP {status}"


def turn() -> str:
    """A prompt through the gateway, by OpenClaw's own command."""
    command = ["/usr/local/bin/openclaw", "infer", "model", "run", "--gateway", "--json", "--prompt", "hello"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr or done.stdout)[-500:]


def live() -> str:
    status = get(f"{GATEWAY}/healthz")
    return "" if status == 200 else f"HTTP {status}"


def old_token(met: Met) -> None:
    """Somebody with the token of now, until it is refused; then, at once, the one that is in the file."""
    token = (SECRETS / "gateway_token").read_text().strip()
    met |= {"let_in": 0, "refused": "", "then": 0}
    while not STOP.exists():
        status = get(f"{GATEWAY}/api/channels/x", token)
        if status != 404:
            met["refused"] = status
            met["then"] = get(f"{GATEWAY}/api/channels/x", (SECRETS / "gateway_token").read_text().strip())
            met["at"] = time.time()
            return
        met["let_in"] += 1
        time.sleep(0.1)


def connected(met: Met) -> None:
    """A WebSocket client that connected with the token of now and stays, until the gateway cuts it."""
    token = (SECRETS / "gateway_token").read_text().strip()
    with socket.create_connection(("127.0.0.1", 4321)) as connection:
        stream = connection.makefile("rb")
        openclaw_door._upgrade(connection, stream, "127.0.0.1:4321")
        openclaw_door._wait_for(stream, "event", "connect.challenge")
        connection.sendall(openclaw_door.text_frame(json.dumps(openclaw_door.connect_request(token)).encode()))
        met["connected"] = openclaw_door.judge(openclaw_door._wait_for(stream, "res", "1")).words
        try:
            opcode, payload = 0, b""
            while opcode != CLOSE:
                opcode, payload = openclaw_door.read_frame(stream)
                if opcode == PING:
                    connection.sendall(bytes([0x80 | PONG, 0x80, 0, 0, 0, 0]))
            met["closed"] = f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}"
        except (OSError, ValueError) as error:
            met["closed"] = f"without a word: {error}"
        met["at"] = time.time()


def main() -> int:
    litellm, *names = sys.argv[1:]
    clients: dict[str, Callable[[Met], None]] = {
        "calls": repeat(lambda: call(litellm), 0.02),
        "turns": repeat(turn, 0.5),
        "live": repeat(live, 0.02),
        "old_token": old_token,
        "socket": connected,
    }
    met: dict[str, Met] = {name: {} for name in names}
    threads = [threading.Thread(target=clients[name], args=(met[name],), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    while not STOP.exists():
        READY.write_text(json.dumps(met))
        time.sleep(0.5)
    for thread in threads:
        thread.join(90)
    print(json.dumps(met))
    return 0


if __name__ == "__main__":
    sys.exit(main())
