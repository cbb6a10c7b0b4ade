"""Ask a service over HTTP whether it is ready."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

MAX_BODY = 1024 * 1024
MISSING = object()


def pick(data: Any, path: str) -> Any:
    """The value at a dotted path such as "a.b.0" in parsed JSON; MISSING when it is not there."""
    for part in path.split("."):
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            return MISSING
    return data


def body_problem(body: bytes, expected: Mapping[str, Any]) -> str:
    """Which expectation (dotted path -> value, compared with its type) a body does not meet; empty when all are met."""
    if not expected:
        return ""
    try:
        data = json.loads(body)
    except ValueError:
        return "the answer is not JSON"
    for path, value in expected.items():
        found = pick(data, path)
        if found is MISSING:
            return f"{path} is missing in the answer"
        if found != value or isinstance(found, bool) != isinstance(value, bool):
            return f"{path} is {json.dumps(found)[:200]} instead of {json.dumps(value)}"
    return ""


def not_ready(url: str, headers: Mapping[str, str], status: int, expected: Mapping[str, Any], timeout: float) -> str:
    """Why the service is not ready, as a short phrase; empty when it is.

    One GET request, no proxy, no redirect followed; timeout in seconds for each step of the connection. Unless
    there are headers, which may be secret, the certificate may be anybody's: the name in it is not that of loopback.
    """
    parts = urllib.parse.urlsplit(url)
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if not headers:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    try:
        connection.request("GET", target, headers=dict(headers))
        response = connection.getresponse()
        body = response.read(MAX_BODY)
    except TimeoutError:
        return f"no answer within {timeout:.0f} seconds"
    except (OSError, http.client.HTTPException) as error:
        return (getattr(error, "strerror", None) or type(error).__name__).lower()
    except ValueError:
        # The text of this error would show the header.
        return "the URL or a request header is not valid"
    finally:
        connection.close()
    if response.status != status:
        return f"status {response.status} instead of {status}"
    return body_problem(body, expected)
