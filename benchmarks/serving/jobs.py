"""What the clients ask: bodies of POST /v1/match for the mock miners, each for a job of its own."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

Body = Mapping[str, Any]

SETS: Sequence[Body] = (
    {  # the contract's example
        "requirements": {
            "task": "image_embedding", "min_vram_gb": 8, "min_ram_gb": 8, "accel": ["cuda"],
            "tags_any": ["eu-west", "low-latency"],
            "capabilities_any": ["sentence-transformers/all-MiniLM-L6-v2"],
        },
        "hints": {"region": "eu", "max_price": 0.8, "deadline_ms": 5000},
        "top_k": 3,
    },
    {"requirements": {"min_vram_gb": 16, "accel": ["cuda"]}, "hints": {"max_price": 3}, "top_k": 3},
    {"requirements": {"min_vram_gb": 8, "capabilities_any": ["openai/whisper-large-v3"]}, "top_k": 3},
    {"requirements": {"min_vram_gb": 8}, "hints": {"region": "us", "deadline_ms": 5000}, "top_k": 3},
    {
        "requirements": {"capabilities_any": ["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct"]},
        "hints": {"max_price": 1.5},
        "top_k": 3,
    },
    {"requirements": {"min_cpu_cores": 8}, "hints": {"max_price": 2, "deadline_ms": 2000}, "top_k": 10},
)  # fmt: skip


def different(number: int) -> list[Body]:
    """So many sets of which no two are the same."""
    made = []
    for i in range(number):
        asked = SETS[i % len(SETS)]
        price = {"max_price": round(0.8 + i / 100, 2)}
        made.append({**asked, "hints": {**asked.get("hints", {}), **price}})
    return made


class Jobs:
    """Every body names a job that nobody has asked for before."""

    def __init__(self) -> None:
        self._ids: Iterator[int] = count(1)

    def match(self, asked: Body) -> bytes:
        return json.dumps(self._named(asked)).encode()

    def batch(self, asked: Sequence[Body]) -> bytes:
        return json.dumps({"requests": [self._named(each) for each in asked]}).encode()

    def _named(self, asked: Body) -> dict[str, Any]:
        return {"job_id": f"job-{next(self._ids):010d}", **asked}
