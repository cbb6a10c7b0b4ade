"""Refuse to start LiteLLM on a port that is taken. Usage: litellm_port.py ADDRESS PORT

LiteLLM (1.106.2, proxy_cli.py) takes a random port without a word when something answers on localhost:4000, so that its
clients would talk to a stranger. Exits 0 when the port is free, else 1 with one sentence on stderr.
"""

from __future__ import annotations

import errno
import socket
import sys


def trouble_with(address: str, port: int) -> str | None:
    """Why LiteLLM cannot listen on an IP address and TCP port, as a sentence; None when it can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # As LiteLLM's own server does: connections that are closing do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return (
                    f"Port {port} on {address} is already in use by another program. Find it with "
                    f"\"ss -ltnp 'sport = :{port}'\", stop it, or set litellm_port to another number."
                )
            if error.errno == errno.EADDRNOTAVAIL:
                return f"This host has no address {address}. Set litellm_bind_address to one that it has."
            return f"Cannot listen on {address} port {port}: {error.strerror}."
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        if client.connect_ex(("127.0.0.1", port)) == 0:
            return (
                f"Another program listens on port {port} of localhost, and LiteLLM would take a random port. Stop it "
                "or set litellm_port to another number."
            )
    return None


def main(arguments: list[str]) -> int:
    """Check, print, and return the exit code."""
    sentence = trouble_with(arguments[0], int(arguments[1]))
    if sentence:
        sys.stderr.write(f"{sentence}\n")
    return 1 if sentence else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
