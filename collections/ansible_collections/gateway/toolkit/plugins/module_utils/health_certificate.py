"""Health check of kind `certificate`: a TLS server shows a trusted certificate that does not end soon."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import CheckError, Outcome
from ansible_collections.gateway.toolkit.plugins.module_utils.health_http import tls_context

TIMEOUT = 10.0  # seconds
WARN_DAYS = 21


def judge_certificate(shown: Mapping[str, Any], now: float, warn_days: float) -> Outcome:
    """Judge a trusted certificate by the time that is left; `shown` is what ssl.SSLSocket.getpeercert() returns."""
    end = str(shown["notAfter"])
    days = (ssl.cert_time_to_seconds(end) - now) / 86400
    detail = f"the certificate ends in {days:.0f} days, on {end}"
    return Outcome(True, detail, warning=days < warn_days)


def check_certificate(check: Mapping[str, Any]) -> Outcome:
    """Connect once."""
    url, seconds = urlsplit(check["url"]), TIMEOUT if check.get("timeout") is None else check["timeout"]
    place = f"{url.hostname}:{url.port or 443}"
    context = tls_context(check.get("ca_file"))
    try:
        with (
            socket.create_connection((url.hostname, url.port or 443), seconds) as plain,
            context.wrap_socket(plain, server_hostname=check.get("server_name") or url.hostname) as secure,
        ):
            shown = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise CheckError(f"TLS: certificate of {place} refused: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise CheckError(f"TLS: {place} does not speak TLS as expected: {error.reason}") from None
    except TimeoutError:
        raise CheckError(f"timed out after {seconds:g} s: no answer from {place}") from None
    except OSError as error:
        raise CheckError(f"cannot talk to {place}: {(error.strerror or str(error)).lower()}") from None
    days = WARN_DAYS if check.get("warn_days") is None else check["warn_days"]
    return judge_certificate(shown, time.time(), days)
