"""The table of round-trip times: operators' values, refined by what miners measure, and as matches use it.

Promises. What an operator sets counts in the next match of this process and soon in every other; with Redis away, after
LOAD_S. What miners measure counts after the next `round_trips_measure`, which one process runs for all.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q, QuerySet

from access.audit import change_record
from miners import limits
from miners.models import Miner, RegionProbe, RoundTrip
from miners.profile import refuse, unsafe_texts
from miners.regions.robust import estimate
from miners.registry import runtime
from miners.registry.roundtrips import Pair, pair_of
from miners.registry.store import Registry
from poolhub.common import clock
from poolhub.common.errors import FieldError

JOB, EVENT = "regions", "regions"
LOAD_S, MEASURE_S = 30.0, 300.0
KEPT_S = 86_400.0  # a probe counts for so long
MAX_PAIRS = 10_000  # that miners alone have measured
MAX_VOICES = 1000  # of a pair

_loading = threading.Lock()


def attach(registry: Registry) -> None:
    """Give the registry its table, and keep it in step."""
    round_trips_load(registry)
    runtime.every(LOAD_S, lambda: round_trips_load(runtime.get_registry()), JOB)
    bus = runtime.bus()
    if bus is None:
        runtime.every(MEASURE_S, round_trips_measure, "regions-measure")
    else:
        bus.on(EVENT, lambda payload: runtime.soon(JOB))


def round_trips_load(registry: Registry) -> None:
    with _loading:  # or who has read before a change would take its place after it
        ms = _stored()
        with registry.lock:
            registry.roundtrips.replace(ms)


def _stored() -> dict[Pair, float]:
    found = RoundTrip.objects.values_list("region", "other", "rtt_ms")
    return {(region, other): rtt_ms for region, other, rtt_ms in found if rtt_ms is not None}


def round_trips_tell() -> None:
    """Once committed: have this process and all others take the table as it is."""
    round_trips_load(runtime.get_registry())
    bus = runtime.bus()
    if bus is not None:
        bus.publish(EVENT, b"")


def round_trip_set(*, region: str, other: str, operator_ms: float | None) -> RoundTrip:
    """An operator's value for a pair, in either order; None leaves it to the miners. Raises ValidationFailed."""
    require_round_trip(region, other, operator_ms)
    runtime.get_registry()
    with transaction.atomic():
        row, _ = _set(pair_of(region, other), operator_ms)
        transaction.on_commit(round_trips_tell)
    return row


@dataclass(frozen=True, slots=True)
class Imported:
    pair: Pair
    before: float | None  # ms
    after: float | None


def round_trips_import(values: Mapping[Pair, float | None], *, dry_run: bool) -> list[Imported]:
    """As round_trip_set for many, all of them or none; what it changes, or in a dry run would. Pairs are pair_of's."""
    runtime.get_registry()
    found = []
    with transaction.atomic():
        for pair in sorted(values):  # in one order for everybody, so that two imports never wait for each other
            row, before = _set(pair, values[pair])
            if before != row.operator_ms:
                found.append(Imported(pair, before, row.operator_ms))
        if dry_run:
            transaction.set_rollback(True)
        else:
            transaction.on_commit(round_trips_tell)
    return found


def _set(pair: Pair, operator_ms: float | None) -> tuple[RoundTrip, float | None]:
    """The row, and what the operators' value was."""
    RoundTrip.objects.get_or_create(region=pair[0], other=pair[1])
    row = RoundTrip.objects.select_for_update().get(region=pair[0], other=pair[1])
    before, row.operator_ms = row.operator_ms, operator_ms
    if before != operator_ms:
        _settle(row, _measured(RegionProbe.objects.filter(_of(pair))).get(pair, []))
        row.save()
        change_record(action="set", obj=row, before={"operator_ms": before}, after={"operator_ms": operator_ms})
    return row, before


def round_trip_remove(*, row: RoundTrip) -> None:
    """It comes back where miners go on measuring it."""
    with transaction.atomic():
        change_record(action="removed", obj=row, before={"operator_ms": row.operator_ms}, after={})
        row.delete()
        transaction.on_commit(round_trips_tell)


def round_trips_measure() -> int:
    """Work the table out anew from the probes of the last day; how many pairs changed. Safe to run twice."""
    runtime.get_registry()
    since = clock.to_datetime(clock.now() - KEPT_S)
    with transaction.atomic():
        RegionProbe.objects.filter(at__lt=since).delete()
        measured = _measured(RegionProbe.objects.all())
        rows = {(row.region, row.other): row for row in RoundTrip.objects.select_for_update()}
        new = sorted(measured.keys() - rows.keys(), key=lambda pair: -len(measured[pair]))[:MAX_PAIRS]
        changed = [row for pair, row in rows.items() if _settle(row, measured.get(pair, []))]
        made = [row for pair in new if _settle(row := RoundTrip(region=pair[0], other=pair[1]), measured[pair])]
        made = [row for row in made if row.rtt_ms is not None]
        gone = [row.pk for row in rows.values() if row.rtt_ms is None]
        RoundTrip.objects.filter(pk__in=gone).delete()
        kept = [row for row in changed if row.rtt_ms is not None]
        RoundTrip.objects.bulk_update(kept, ["rtt_ms", "miners"], batch_size=500)
        RoundTrip.objects.bulk_create(made, ignore_conflicts=True, batch_size=500)
        if changed or made:
            transaction.on_commit(round_trips_tell)
    return len(changed) + len(made)


def require_round_trip(region: str, other: str, operator_ms: float | None) -> None:
    """ValidationFailed where that is no pair, or no time."""
    errors = unsafe_texts({"region": region, "other": other})
    for name, value in (("region", region), ("other", other)):
        if not 0 < len(value) <= limits.MAX_REGION:
            errors.append(
                FieldError(
                    name, "too_long" if value else "required", f"a region has 1 to {limits.MAX_REGION} characters"
                )
            )
    if region == other:
        errors.append(FieldError("other", "invalid_value", "a pair has two different regions"))
    if operator_ms is not None and not 0 <= operator_ms <= limits.MAX_RTT_MS:
        errors.append(FieldError("operator_ms", "out_of_range", f"a time is 0 to {limits.MAX_RTT_MS} ms"))
    refuse(errors)


def _of(pair: Pair) -> Q:
    return Q(region=pair[0], other=pair[1]) | Q(region=pair[1], other=pair[0])


def _measured(probes: QuerySet[RegionProbe]) -> dict[Pair, list[float]]:
    """The newest value of each miner that is not disabled, by pair."""
    disabled = Miner.objects.filter(disabled=True).values("miner_id")
    found: defaultdict[Pair, dict[str, float]] = defaultdict(dict)
    newest = probes.exclude(miner_id__in=disabled).order_by("-at")
    for miner_id, *pair, ms in newest.values_list("miner_id", "region", "other", "rtt_ms").iterator(chunk_size=2000):
        voices = found[pair_of(*pair)]
        if len(voices) < MAX_VOICES:
            voices.setdefault(miner_id, ms)
    return {pair: list(by_miner.values()) for pair, by_miner in found.items()}


def _settle(row: RoundTrip, measured: Sequence[float]) -> bool:
    """Whether that changes the row, which is not saved."""
    before = (row.rtt_ms, row.miners)
    row.rtt_ms, row.miners = estimate(measured, row.operator_ms), len(measured)
    return before != (row.rtt_ms, row.miners)
