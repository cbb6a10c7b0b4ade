"""Health check of kind `reach`: can this host connect to a server on another one, as it should or should not?

The outcomes are told apart, because each has another cause: the connection is made; refused (nothing listens at that
address, or a firewall rejects); no answer (a firewall drops the packets, or nothing has the address); no way there.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import Outcome, one_line

TIMEOUT = 5.0  # seconds until the connection must be made; a dropped packet is sent again after one second
NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES)
BODY_LIMIT = 64 * 1024


def port_of(url: SplitResult) -> int:
    """Return the port of a URL."""
    return url.port or (443 if url.scheme == "https" else 80)


def connect(url: SplitResult, seconds: float) -> str:
    """Try to connect; return "" when it worked, else what happened instead."""
    place = f"{url.hostname} port {port_of(url)}"
    try:
        socket.create_connection((url.hostname, port_of(url)), seconds).close()
    except ConnectionRefusedError:
        return f"connection refused by {place}"
    except TimeoutError:
        return f"no answer from {place} in {seconds:g} s"
    except socket.gaierror as error:
        return f"cannot resolve the name in {place}: {error.strerror}"
    except OSError as error:
        word = "no route to host" if error.errno in NO_WAY else one_line(error.strerror or str(error))
        return f"{word}: {place}"
    return ""


def identify(url: SplitResult, pattern: str, seconds: float) -> str:
    """Ask who is there; return "" when the body matches. Certificates are another check's business."""
    place = f"{url.hostname} port {port_of(url)}"
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(str(url.hostname), url.port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=seconds)
    try:
        connection.request("GET", url.path or "/", headers={"Accept": "application/json", "Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(BODY_LIMIT).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{place} is open, but does not answer as expected: {type(error).__name__}"
    finally:
        connection.close()
    seen = one_line(body, 80) or "nothing"
    return "" if re.search(pattern, body) else f"{place} is open, but another server answers there: {seen}"


def check_reach(check: Mapping[str, Any]) -> Outcome:
    """Try once."""
    url, seconds = urlsplit(check["url"]), TIMEOUT if check.get("timeout") is None else check["timeout"]
    seen = connect(url, seconds)
    if not check["reachable"]:
        detail = seen or f"{url.hostname} port {port_of(url)} is open to this host, expected that it is not"
        return Outcome(bool(seen) and "cannot resolve" not in seen, detail)
    if not seen and check.get("body_matches"):
        seen = identify(url, check["body_matches"], seconds)
    return Outcome(not seen, seen or f"{url.hostname} port {port_of(url)} answers")
