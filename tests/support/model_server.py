"""A small OpenAI-compatible model server for the demo and the tests. Standard library only, Python >= 3.10.

It stands where a provider would: LiteLLM calls it, and its answers, token counts and errors are always the same for the
same request. The package fakellm was tried first; its streams carry no usage and ignore a configured error, and it
neither lists models nor checks keys.

Endpoints (shapes from https://platform.openai.com/docs/api-reference/chat):
  GET  /health                {"status": "ok"}, no key needed
  GET  /v1/models             lists demo-model
  POST /v1/chat/completions   streaming and not, with usage and tool calls

A model name decides what happens, so that a test can provoke a failure; parts are joined by "-":
  ...status-401...   answers that HTTP status (any of 400-599) in OpenAI's error shape
  ...slow-3...       waits that many seconds first
  ...break...        a stream that ends in the middle, without [DONE]
  ...tool...         calls the first offered tool once, then answers with what the tool returned
Anything else answers in words. Listens on MODEL_SERVER_ADDRESS:MODEL_SERVER_PORT (127.0.0.1:8081). With
MODEL_SERVER_API_KEY in the environment every /v1 request needs it as a Bearer token, else 401.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

MAX_BODY_BYTES = 32 * 1024 * 1024
ECHO_CHARACTERS = 200
ERROR_TYPES = {
    400: ("invalid_request_error", "invalid_request"),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}

PROVOKED = {
    401: "Incorrect API key provided: provoked by the model name.",
    404: "The model does not exist: provoked by the model name.",
    429: "Rate limit reached: provoked by the model name.",
}


def error_body(status: int, message: str) -> Json:
    """OpenAI's error shape; `status` picks its type and code, 5xx and unknown ones are a server_error."""
    kind, code = ERROR_TYPES.get(status, ("server_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def number_after(word: str, model: str) -> int | None:
    """The number in `<word>-<number>` within a model name, or None: ("slow", "demo-slow-3") gives 3."""
    found = re.search(rf"(?:^|[-/]){word}-(\d+)(?:-|$)", model)
    return int(found.group(1)) if found else None


def has_word(word: str, model: str) -> bool:
    """Whether `word` is one of the parts of a model name that are joined by "-" or "/"."""
    return word in re.split(r"[-/]", model)


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts of which only text parts count."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def token_count(text: str) -> int:
    """Tokens of a text: one for every started four characters, so that the same text always costs the same."""
    return -(-len(text) // 4)


def answer_to(request: Json) -> Json:
    """The assistant message for a request: {"content": str | None, "tool_calls": [...]}; tool_calls may be empty."""
    messages = [message for message in request.get("messages", []) if isinstance(message, dict)]
    last = messages[-1] if messages else {}
    tools = [tool["function"] for tool in request.get("tools") or [] if tool.get("type") == "function"]
    if last.get("role") == "tool":
        return {"content": f"The tool returned: {text_of(last.get('content'))[-ECHO_CHARACTERS:]}", "tool_calls": []}
    if has_word("tool", str(request.get("model"))) and tools:
        call = {"name": tools[0]["name"], "arguments": json.dumps(example_arguments(tools[0].get("parameters") or {}))}
        return {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
    asked = next((text_of(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
    return {"content": f"The local model server heard: {asked.strip()[-ECHO_CHARACTERS:]}", "tool_calls": []}


def example_arguments(schema: Json) -> Json:
    """Arguments that satisfy the required top-level properties of a JSON schema."""
    values = {"string": "example", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    properties = schema.get("properties", {})
    return {name: values.get(properties.get(name, {}).get("type"), "example") for name in schema.get("required", [])}


def usage_of(request: Json, message: Json) -> Json:
    """Token counts: prompt from all messages and tools, completion from the answer."""
    prompt = token_count("".join(text_of(m.get("content")) for m in request.get("messages", []) if isinstance(m, dict)))
    prompt += token_count(json.dumps(request["tools"], sort_keys=True)) if request.get("tools") else 0
    said = message["content"] or json.dumps([call["function"] for call in message["tool_calls"]], sort_keys=True)
    completion = token_count(said)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion_of(request: Json, now: int) -> Json:
    """The whole answer of a request that does not stream. `now` is in seconds since 1970."""
    message = answer_to(request)
    reply: Json = {"role": "assistant", "content": message["content"]}
    if message["tool_calls"]:
        reply["tool_calls"] = message["tool_calls"]
    finish = "tool_calls" if message["tool_calls"] else "stop"
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": now,
        "model": request["model"],
        "choices": [{"index": 0, "message": reply, "finish_reason": finish, "logprobs": None}],
        "usage": usage_of(request, message),
    }


def chunks_of(request: Json, now: int) -> Iterator[Json]:
    """The chunks of a streamed answer, without the final [DONE]; usage only where stream_options asks for it."""
    message = answer_to(request)
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": now,
        "model": request["model"],
    }
    wants_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    nothing = {"usage": None} if wants_usage else {}

    def chunk(delta: Json, finish: str | None = None) -> Json:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **nothing}

    yield chunk({"role": "assistant", "content": None if message["tool_calls"] else ""})
    for index, call in enumerate(message["tool_calls"]):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        yield chunk({"tool_calls": [{"index": index, **call, "function": {"name": name, "arguments": ""}}]})
        for start in range(0, len(arguments), 8):
            part = {"arguments": arguments[start : start + 8]}
            yield chunk({"tool_calls": [{"index": index, "function": part}]})
    for word in re.findall(r"\s*\S+|\s+$", message["content"] or ""):
        yield chunk({"content": word})
    yield chunk({}, "tool_calls" if message["tool_calls"] else "stop")
    if wants_usage:
        yield {**head, "choices": [], "usage": usage_of(request, message)}


def failure_of(request: Json) -> tuple[int, str] | None:
    """Status and message of a request that must fail: a bad one, or a model name that asks for it; None if it works."""
    if not isinstance(request.get("model"), str) or not isinstance(request.get("messages"), list):
        return 400, "model and messages are required"
    status = number_after("status", request["model"])
    if status is not None and 400 <= status <= 599:
        return status, PROVOKED.get(status, "Provoked by the model name.")
    return None


class ModelHandler(BaseHTTPRequestHandler):
    """Answers one connection; keeps it open as HTTP/1.1 clients expect."""

    protocol_version = "HTTP/1.1"
    server: ModelServer

    def do_GET(self) -> None:
        """Answer /health and /v1/models."""
        if self.path == "/health":
            self.send_json(200, {"status": "ok"})
        elif not self.key_is_right():
            self.send_json(401, error_body(401, "Incorrect API key provided."))
        elif self.path == "/v1/models":
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "local"} for name in self.server.models]
            self.send_json(200, {"object": "list", "data": listed})
        else:
            self.send_json(404, error_body(404, f"Unknown request URL: GET {self.path}"))

    def do_POST(self) -> None:
        """Answer /v1/chat/completions."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            return self.send_json(413, error_body(400, "request too large"))
        body = self.rfile.read(length)
        if not self.key_is_right():
            return self.send_json(401, error_body(401, "Incorrect API key provided."))
        if self.path != "/v1/chat/completions":
            return self.send_json(404, error_body(404, f"Unknown request URL: POST {self.path}"))
        try:
            request = json.loads(body)
        except ValueError:
            return self.send_json(400, error_body(400, "the body is not JSON"))
        if not isinstance(request, dict):
            return self.send_json(400, error_body(400, "the body is not a JSON object"))
        time.sleep(number_after("slow", str(request.get("model"))) or 0)
        failure = failure_of(request)
        if failure:
            return self.send_json(failure[0], error_body(*failure))
        if request.get("stream"):
            return self.send_stream(request)
        return self.send_json(200, completion_of(request, int(time.time())))

    def key_is_right(self) -> bool:
        """Whether no key is wanted, or the request carries the one that is."""
        given = self.headers.get("Authorization") or ""
        return not self.server.api_key or hmac.compare_digest(
            given.encode("utf-8", "replace"), f"Bearer {self.server.api_key}".encode()
        )

    def send_json(self, status: int, body: Json) -> None:
        """Send a whole JSON answer."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_stream(self, request: Json) -> None:
        """Send server-sent events in HTTP chunks."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for count, chunk in enumerate(chunks_of(request, int(time.time()))):
            if count == 3 and has_word("break", request["model"]):
                self.close_connection = True
                return
            self.send_part(f"data: {json.dumps(chunk)}\n\n".encode())
        self.send_part(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def send_part(self, data: bytes) -> None:
        """Send one HTTP chunk."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a request line may hold what a person wrote."""


class ModelServer(ThreadingHTTPServer):
    """The server with what its handlers need: the accepted key ("" accepts all) and the names it lists."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], api_key: str = "", models: tuple[str, ...] = ("demo-model",)) -> None:
        """Bind `address` (host, port; port 0 takes a free one)."""
        self.api_key = api_key
        self.models = models
        super().__init__(address, ModelHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that hang up, as one with a short timeout does."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until stopped."""
    address = os.environ.get("MODEL_SERVER_ADDRESS", "127.0.0.1"), int(os.environ.get("MODEL_SERVER_PORT", "8081"))
    with ModelServer(address, os.environ.get("MODEL_SERVER_API_KEY", "")) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
