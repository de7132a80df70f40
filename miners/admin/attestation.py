"""The panel of a miner that shows what it claims, what an issuer attests and what the hub has seen, side by side."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from miners.admin.live import live
from miners.admin.panels import Panel, panel_add
from miners.models import Manifest, Miner
from miners.registry.records import NOTHING_ATTESTED, MinerView
from poolhub.common import clock
from poolhub.common.admin import NO_VALUE, shown_text

LABELS = {
    "gpu_name": "GPU", "gpu_vram": "memory of one GPU", "gpu_count": "GPUs", "cpu_cores": "CPU cores", "ram_gb": "RAM",
    "region": "region", "accel": "accelerators", "capabilities": "capabilities",
}  # fmt: skip
UNITS = {"gpu_vram": " GB", "ram_gb": " GB"}
MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Line:
    label: str
    claimed: str
    attested: str = NO_VALUE
    observed: str = NO_VALUE
    differs: bool = False  # what is attested is not what is claimed


def side_by_side(request: HttpRequest, miner: Miner) -> dict[str, Any]:
    manifest = Manifest.objects.filter(miner=miner, ended_at=None).first()
    found: dict[str, Any] = {"lines": lines_of(miner, live(miner)), "manifest": manifest}
    if manifest is not None:
        over = manifest.expires_at <= clock.to_datetime(clock.now())
        told = "Was attested until" if over else "Attested until"
        found["standing"] = f"{told} {manifest.expires_at:%Y-%m-%d %H:%M:%S} UTC."
        found["manifest_url"] = reverse("admin:miners_manifest_change", args=[manifest.pk])
        found["all_url"] = f"{reverse('admin:miners_manifest_changelist')}?{urlencode({'miner__id__exact': miner.pk})}"
    return found


def lines_of(miner: Miner, view: MinerView | None) -> list[Line]:
    attested = (NOTHING_ATTESTED if view is None else view.row.attested).values()
    lines = []
    for name, label in LABELS.items():
        claimed, vouched = getattr(miner, name), attested.get(name)
        same = vouched is None or vouched == (tuple(claimed) if isinstance(claimed, list) else claimed)
        lines.append(
            Line(
                label=label,
                claimed=_text(name, claimed),
                attested=NO_VALUE if vouched is None else _text(name, vouched),
                observed=_memory(view) if name == "gpu_vram" else NO_VALUE,
                differs=not same,
            )
        )
    return [*lines, _latency(miner, view), _slots(miner, view)]


def _memory(view: MinerView | None) -> str:
    free = None if view is None else view.live.mem_free_gb
    return NO_VALUE if free is None else f"{free:g} GB free, by its own report"


def _latency(miner: Miner, view: MinerView | None) -> Line:
    told = None if view is None else view.live.latency_ms
    seen = (
        f"{miner.latency_mean:g} ms, the mean of {miner.latency_count} jobs" if miner.latency_mean is not None else ""
    )
    return Line("latency", NO_VALUE if told is None else f"{told:g} ms", observed=seen or NO_VALUE)


def _slots(miner: Miner, view: MinerView | None) -> Line:
    taken = NO_VALUE if view is None else f"{view.live.own + view.live.foreign} taken"
    return Line("slots", str(miner.max_parallel), observed=taken)


def _text(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        more = f" and {len(value) - MAX_SHOWN} more" if len(value) > MAX_SHOWN else ""
        return shown_text(", ".join(value[:MAX_SHOWN]) + more)
    if isinstance(value, str):
        return shown_text(value)
    return f"{value:g}{UNITS.get(name, '')}"


panel_add(
    Panel(
        "Claimed, attested, observed", "miners/admin/panel_attestation.html", "miners.view_manifest", 45, side_by_side,
        wide=True,
    )
)  # fmt: skip
