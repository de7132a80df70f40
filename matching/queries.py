"""A match body as the query that the scoring pipeline takes."""

from functools import cache

from django.conf import settings

from matching.scoring.types import Query, Weights
from matching.serializers import Hints, MatchRequest, Requirements, WeightsBody

NOTHING, NO_HINTS = Requirements(), Hints()


def query_of(request: MatchRequest, *, default_weights: Weights) -> Query:
    asked, hints = request.requirements or NOTHING, request.hints or NO_HINTS
    return Query(
        min_vram_gb=asked.min_vram_gb,
        min_ram_gb=asked.min_ram_gb,
        min_gpu_count=asked.min_gpu_count,
        min_cpu_cores=asked.min_cpu_cores,
        min_mem_free_gb=asked.min_mem_free_gb,
        gpu_models=tuple(asked.gpu_models or ()),
        proto_any=tuple(asked.proto_any or ()),
        accel=tuple(asked.accel or ()),
        tags_any=tuple(asked.tags_any or ()),
        capabilities_any=tuple(asked.capabilities_any or ()),
        capabilities_all=tuple(asked.capabilities_all or ()),
        exclude_miners=tuple(asked.exclude_miners or ()),
        attested=bool(asked.attested),
        min_trust=asked.min_trust,
        region=hints.region,
        max_price=hints.max_price,
        max_price_vs_market=hints.max_price_vs_market,
        deadline_ms=hints.deadline_ms,
        spillover=bool(hints.spillover),
        weights=default_weights if hints.weights is None else weights_of(hints.weights),
        top_k=request.top_k or 1,
        full=hints.explain == "full",
    )


def weights_of(body: WeightsBody) -> Weights:
    """One left out is 0."""
    return Weights(
        cap=body.cap or 0.0,
        price=body.price or 0.0,
        latency=body.latency or 0.0,
        trust=body.trust or 0.0,
        load=body.load or 0.0,
    )


def weights_by_default() -> Weights:
    """Those of DEFAULT_WEIGHTS."""
    return _weights(*settings.DEFAULT_WEIGHTS.items())


@cache
def _weights(*setting: tuple[str, float]) -> Weights:
    return Weights(**dict(setting))
