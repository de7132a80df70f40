"""What goes over the wire, made beforehand, so that a client costs little beside the server: pure."""

import json
from datetime import UTC, datetime

HEARTBEATS, EMPTY = "/v1/miners/heartbeat", "/bench/empty"
NO_MASK = bytes(4)  # a client has to mask; by zeros the text stays as it is
PING, PONG = 0x89, 0x8A
EMPTY_ACK = json.dumps({"type": "ack", "ts": "2000-01-01T00:00:00.000000+00:00"}, separators=(",", ":"))


def client_frame(text: str) -> bytes:
    data = text.encode()
    assert 126 <= len(data) < 2**16
    return b"\x81\xfe" + len(data).to_bytes(2, "big") + NO_MASK + data


def server_frame(text: str) -> bytes:
    data = text.encode()
    assert len(data) < 126
    return b"\x81" + bytes([len(data)]) + data


def pong(data: bytes) -> bytes:
    return bytes([PONG, 0x80 | len(data)]) + NO_MASK + data


def heartbeat(step: int, at: float) -> tuple[bytes, bytes, int]:
    """The frame of a heartbeat that differs from the one before, the hub's answer to it, and its queue length."""
    ts = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    queue_len = step % 4
    text = json.dumps(
        {
            "ts": ts,
            "queue_len": queue_len,
            "busy": queue_len > 0,
            "avg_latency_ms": 80.0 + step % 7,
            "temp_c": 60.0 + step % 5,
            "mem_free_gb": 11.5 + step % 3,
            "ack": True,
        },
        separators=(",", ":"),
    )
    return client_frame(text), server_frame(json.dumps({"type": "ack", "ts": ts}, separators=(",", ":"))), queue_len
