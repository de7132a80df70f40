"""Bodies that are too large or of unknown length, on the real server and on WSGI."""

import asyncio
import io
import json
import threading
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import httpx
import pytest

from poolhub.bodylimit import LimitedASGI, LimitedWSGI, refusal
from poolhub.common.errors import HubError
from tests.hub import LiveHub
from tests.raw import CHUNK, connected, head, is_closed, read_answer

pytestmark = pytest.mark.once

LIMIT = 262_144
PROBLEM = "application/problem+json"
MB = 1_000_000


def told(code: str, error: HubError | None) -> bool:
    return error is not None and error.code == code


@pytest.mark.pure
@pytest.mark.parametrize("length", ["", "0", "5", str(LIMIT), "x", "-1", "²", "1.5"])
def test_a_body_within_the_limit_may_be_read(settings, length) -> None:
    settings.MAX_BODY_BYTES = LIMIT
    assert refusal(length, "") is None


@pytest.mark.pure
@pytest.mark.parametrize("length", [str(LIMIT + 1), "9" * 18, "9" * 5000])
def test_a_larger_one_is_413(settings, length) -> None:
    settings.MAX_BODY_BYTES = LIMIT
    assert told("body_too_large", refusal(length, ""))


@pytest.mark.pure
@pytest.mark.parametrize("encoding", ["chunked", "gzip, chunked", "identity"])
def test_one_whose_length_nobody_names_is_411(encoding) -> None:
    assert told("length_required", refusal("", encoding))
    assert told("length_required", refusal("5", encoding))


def assert_refused(answer: Any, status: int, code: str) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["connection"] == "close"
    assert answer.json()["code"] == code
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/v1/match", "/v1/miners/register", "/admin/login/", "/nowhere"])
def test_the_server_refuses_by_the_headers_alone(live_hub: LiveHub, path) -> None:
    with connected(live_hub) as raw:
        raw.sendall(head(f"POST {path}", content_length=LIMIT + 1, x_request_id="mine"))
        answer = read_answer(raw)
    assert_refused(answer, 413, "body_too_large")
    assert answer.headers["x-request-id"] == "mine"
    with connected(live_hub) as raw:
        raw.sendall(head(f"POST {path}", transfer_encoding="chunked"))
        assert_refused(read_answer(raw), 411, "length_required")


def test_a_client_that_waits_to_be_told_to_go_on_is_refused_at_once(live_hub: LiveHub) -> None:
    with connected(live_hub) as raw:
        raw.sendall(head("POST /v1/match", content_length=LIMIT + 1, expect="100-continue"))
        assert_refused(read_answer(raw), 413, "body_too_large")


def test_a_body_at_the_limit_is_read(live_hub: LiveHub) -> None:
    body = json.dumps({"job_id": "large", "padding": ""}).encode()
    body = body.replace(b'""', b'"' + b"x" * (LIMIT - len(body)) + b'"')
    assert len(body) == LIMIT
    headers = {**live_hub.coordinator, "Content-Type": "application/json"}
    assert httpx.post(f"{live_hub.base}/v1/match", content=body, headers=headers).status_code == 200
    assert httpx.post(f"{live_hub.base}/v1/match", content=body + b" ", headers=headers).status_code == 413


def test_a_client_that_sends_its_whole_body_first_still_reads_the_answer(live_hub: LiveHub) -> None:
    reply = httpx.post(f"{live_hub.base}/v1/match", content=b"x" * 20 * MB)
    assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
    reply = httpx.post(f"{live_hub.base}/v1/match", content=iter([b"x" * MB] * 20))
    assert (reply.status_code, reply.json()["code"]) == (411, "length_required")


def test_after_a_refusal_the_connection_is_closed(live_hub: LiveHub) -> None:
    with connected(live_hub) as raw:
        raw.sendall(head("POST /v1/match", content_length=LIMIT + 1))
        read_answer(raw)
        raw.sendall(b"x" * (LIMIT + 1))
        assert is_closed(raw)


def test_a_refused_client_that_says_no_more_is_let_go(live_hub: LiveHub) -> None:
    with connected(live_hub) as raw:
        raw.sendall(head("POST /v1/match", content_length=10**15))
        read_answer(raw)
        assert is_closed(raw)


def test_a_refused_request_runs_no_second_one_hidden_in_its_body(live_hub: LiveHub) -> None:
    with connected(live_hub) as raw:
        raw.sendall(head("POST /v1/match", content_length=LIMIT + 1))
        read_answer(raw)
        raw.sendall(head("GET /v1/health") + b"x" * (LIMIT + 1))
        assert is_closed(raw)


def used_by(hub: LiveHub) -> dict[str, int]:
    """Bytes of memory now (VmRSS) and written so far, to files and sockets (wchar)."""
    of = Path(f"/proc/{hub.process.pid}")
    told = dict(line.split(":", 1) for line in (of / "status").read_text().splitlines() if ":" in line)
    wrote = dict(line.split(": ") for line in (of / "io").read_text().splitlines())
    return {"VmRSS": int(told["VmRSS"].split()[0]) * 1024, "wchar": int(wrote["wchar"])}


def test_300_mb_in_chunks_reach_neither_disk_nor_memory(live_hub: LiveHub) -> None:
    before = used_by(live_hub)
    chunk = f"{CHUNK:x}\r\n".encode() + b"x" * CHUNK + b"\r\n"
    with connected(live_hub) as raw:
        raw.sendall(head("POST /v1/match", transfer_encoding="chunked"))

        def send() -> None:
            try:
                for _ in range(300 * MB // CHUNK):
                    raw.sendall(chunk)
            except OSError:  # it was let go, as the contract allows
                pass

        sender = threading.Thread(target=send)
        sender.start()
        assert_refused(read_answer(raw), 411, "length_required")
        sender.join()
    after = used_by(live_hub)
    assert after["VmRSS"] - before["VmRSS"] < 20 * MB
    assert after["wchar"] - before["wchar"] < 20 * MB


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
     b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n",
     b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
     b"GET / HTTP/1.1\r\nx: a\x0bb\r\n\r\n"],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_http_is_a_400_problem(live_hub: LiveHub, sent) -> None:
    with connected(live_hub) as raw:
        raw.sendall(sent)
        answer = read_answer(raw)
        assert answer.status == 400
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.pure
def test_the_application_is_not_asked_by_asgi_either() -> None:
    async def application(*_: Any) -> None:
        raise AssertionError("asked")

    async def receive() -> dict[str, Any]:
        raise AssertionError("read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"transfer-encoding", b"chunked"), (b"x-request-id", b"mine")]}
    asyncio.run(LimitedASGI(application)(scope, receive, send))
    assert sent[0]["status"] == 411
    assert dict(sent[0]["headers"])[b"X-Request-ID"] == b"mine"
    assert json.loads(sent[1]["body"])["request_id"] == "mine"


def wsgi(environ: dict[str, Any]) -> tuple[str, dict[str, str], bytes]:
    """The answer of the WSGI application's limit around one that counts the body's bytes."""

    def count(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        read = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(len(read)).encode()]

    setup_testing_defaults(environ)
    started: list[Any] = []

    def start_response(*told: Any) -> Any:
        started.extend(told)
        return lambda _: None

    body = validator(LimitedWSGI(count))(environ, start_response)
    text = b"".join(body)
    body.close()
    return started[0], dict(started[1]), text


@pytest.mark.pure
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"CONTENT_LENGTH": "5"}, "200 OK"),
        ({"CONTENT_LENGTH": str(LIMIT + 1)}, "413 Request Entity Too Large"),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, "411 Length Required"),
    ],
)
def test_wsgi_is_limited_alike(settings, headers, status) -> None:
    settings.MAX_BODY_BYTES = LIMIT
    environ = {
        "REQUEST_METHOD": "POST",
        "QUERY_STRING": "",
        "wsgi.input": io.BytesIO(b"12345"),
        "HTTP_X_REQUEST_ID": "mine",
        **headers,
    }
    line, answered, text = wsgi(environ)
    assert line == status
    if status == "200 OK":
        assert text == b"5"
    else:
        assert answered["Content-Type"] == PROBLEM
        assert answered["X-Request-ID"] == json.loads(text)["request_id"] == "mine"


@pytest.mark.pure
def test_the_project_s_wsgi_application_is_limited() -> None:
    from poolhub.wsgi import application

    assert isinstance(application, LimitedWSGI)
