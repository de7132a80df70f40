"""What is asked: a few jobs of each kind, the same for every engine."""

from collections.abc import Mapping
from decimal import Decimal

from benchmarks.population import capability
from matching.scoring.types import Query

TOP_K = 10


def _caps(*codes: int) -> tuple[str, ...]:
    return tuple(capability(code) for code in codes)


JOBS: Mapping[str, Mapping[str, Query]] = {
    "selective": {  # about 1 % pass; no constraint alone is selective
        "embed": Query(
            min_vram_gb=24, accel=("cuda",), region="eu", capabilities_any=_caps(4, 11), max_price=Decimal("0.5"),
            deadline_ms=400, top_k=TOP_K,
        ),
        "chat": Query(
            min_vram_gb=24, min_ram_gb=128, accel=("cuda",), region="us", capabilities_any=_caps(5, 8, 9), top_k=TOP_K,
        ),
        "render": Query(
            min_vram_gb=24, accel=("cuda", "vulkan"), region="us", tags_any=("low-latency", "eco"),
            max_price=Decimal("0.5"), deadline_ms=400, top_k=TOP_K,
        ),
        "train": Query(min_vram_gb=48, min_gpu_count=4, min_cpu_cores=16, max_price=Decimal("2.5"), top_k=TOP_K),
        "batch": Query(
            min_vram_gb=10, accel=("cuda",), capabilities_all=_caps(0, 1), tags_any=("batch", "spot"),
            max_price=Decimal("0.3"), top_k=TOP_K,
        ),
        "trusted": Query(
            min_vram_gb=24, accel=("cuda",), region="eu", min_trust=0.85, max_price=Decimal("0.6"), deadline_ms=250,
            top_k=TOP_K,
        ),
    },
    "unselective": {  # about 60 % pass
        "any": Query(min_vram_gb=8, accel=("cuda",), top_k=TOP_K),
        "capped": Query(min_vram_gb=8, accel=("cuda",), max_price=Decimal(2), top_k=TOP_K),
        "in time": Query(min_vram_gb=8, accel=("cuda",), max_price=Decimal(2), deadline_ms=5_000, top_k=TOP_K),
        "graphics": Query(min_vram_gb=8, accel=("vulkan",), deadline_ms=1_000, top_k=TOP_K),
        "popular": Query(capabilities_any=_caps(0, 1, 2, 3), max_price=Decimal("1.5"), top_k=TOP_K),
        "cpu": Query(min_cpu_cores=8, max_price=Decimal("1.5"), deadline_ms=2_000, top_k=TOP_K),
    },
    "rare": {  # a capability that one in some thousands has: what an index of a database is made for
        "one": Query(capabilities_all=_caps(1_200), top_k=TOP_K),
        "two": Query(min_vram_gb=8, capabilities_any=_caps(900, 1_500), top_k=TOP_K),
    },
}  # fmt: skip
SHARES = {"selective": (0.005, 0.02), "unselective": (0.5, 0.75), "rare": (0.0, 0.003)}  # of miners that may pass
