"""Health check of kind `openclaw`: a gateway lets the holder of a token in, or not, and answers one request.

What OpenClaw's own command would ask, without the two seconds of a processor that each of its starts takes.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.gateway.toolkit.plugins.module_utils.health_common import (
    EVIDENCE_LIMIT,
    Censor,
    CheckError,
    Outcome,
    one_line,
    read_secret,
)
from ansible_collections.gateway.toolkit.plugins.module_utils.health_expect import unmet
from ansible_collections.gateway.toolkit.plugins.module_utils.openclaw_door import Answer, Trust, converse

TIMEOUT = 10.0  # seconds for each step of the exchange


def check_openclaw(check: Mapping[str, Any], censor: Censor) -> Outcome:
    """Connect once with the token in the file, or with one that is wrong, and judge the answer."""
    url, seconds = urlsplit(check["url"]), TIMEOUT if check.get("timeout") is None else check["timeout"]
    place = f"{url.hostname}:{url.port or (443 if url.scheme == 'https' else 80)}"
    token = read_secret(check["token_file"]) if check.get("token_file") else "this-gateway-token-is-wrong"
    censor.add(token)
    trust = Trust(check.get("ca_file") or "", check.get("server_name") or "")
    try:
        answer, response = converse(check["url"], token, check.get("method") or "", seconds, trust)
    except ConnectionRefusedError:
        raise CheckError(f"connection refused: nothing accepts connections at {place}") from None
    except TimeoutError:
        raise CheckError(f"timed out after {seconds:g} s: no answer from {place}") from None
    except ssl.SSLCertVerificationError as error:
        raise CheckError(f"TLS: certificate of {place} refused: {error.verify_message}") from None
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CheckError(f"cannot talk to {place}: {one_line(words)}") from None
    return judge_login(answer, response, check)


def judge_login(answer: Answer, response: Mapping[str, Any], check: Mapping[str, Any]) -> Outcome:
    """Compare what the gateway said to the token, and its answer to the request, with what the check expects."""
    if not check.get("token_file"):
        fate = {True: "was let in", False: "was refused", None: "got no clear answer"}[answer.let_in]
        return Outcome(answer.let_in is False, f"a wrong token {fate}: {answer.words}")
    if not answer.let_in:
        return Outcome(False, f"the gateway did not let the token in: {answer.words}")
    method = check.get("method") or ""
    if not method:
        return Outcome(True, answer.words)
    text = json.dumps(response.get("payload"), sort_keys=True)
    if response.get("ok") is not True:
        message = (response.get("error") or {}).get("message") or "no message"
        return Outcome(False, f"{method} was refused: {one_line(str(message))}")
    sentences = unmet(response.get("payload"), check)
    pattern = check.get("body_matches")
    if pattern and not re.search(pattern, text):
        sentences.append(f"does not match {pattern!r}")
    if sentences:
        return Outcome(False, f"{method} was answered, but {'; '.join(sentences)}", text[:EVIDENCE_LIMIT])
    return Outcome(True, f"{method} was answered")
