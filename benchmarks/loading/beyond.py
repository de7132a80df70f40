"""Beyond what a hub can do: more and more matches are offered to it, then all its miners come back at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import harness
from benchmarks.loading.hub import Hub
from benchmarks.processes import Child

CLOSED_CONNECTIONS = 12  # ask one after another each: enough to keep every worker busy, too few to be refused
CONNECTIONS = 1_000
TIMES = (2, 5, 20)
SECONDS, QUICK_SECONDS = 20.0, 0.5
NORMAL_SECONDS = 10.0
HEALTH_S = 1.0
SETTLE_S = 2.0  # reservations of the last step have run out


def beyond(hub: Hub, crowd: Child, asker: Child, *, miners: int, rate: float, quick: bool) -> dict[str, Any]:
    seconds = QUICK_SECONDS if quick else SECONDS
    times = TIMES[:1] if quick else TIMES
    crowd.ask("tell")
    refused_before = refused(hub)
    found = flooded(hub, crowd, asker, 0, seconds, CLOSED_CONNECTIONS)
    capacity, floods = found["matched_s"], []
    for each in times:
        time.sleep(SETTLE_S)
        done = flooded(hub, crowd, asker, each * capacity, seconds, CONNECTIONS)
        floods.append({**done, "times": each})
        print(
            f"{each} × capacity: {done['matched_s']} matches/s, p99 {done['matched']['p99_ms']} ms;"
            f" refused p99 {done['refused']['p99_ms']} ms; {done['counts']}",
            flush=True,
        )
    best = max(capacity, *(each["matched_s"] for each in floods))
    for done in floods:
        done["goodput"] = round(done["matched_s"] / best, 3)
    back = asker.ask("flood", rate, 1.0 if quick else NORMAL_SECONDS, CONNECTIONS)  # right after the last
    return {
        "capacity": found,
        "floods": floods,
        "back": back,
        "back_after_s": back["back_after_s"],
        "refused_counted": refused(hub) - refused_before,
        "miners_lost": max(0, miners - min(each["least_online"] for each in floods)),
        "herd": again(hub, crowd, "herd", miners),
        "rush": again(hub, crowd, "rush", miners),
    }


def flooded(hub: Hub, crowd: Child, asker: Child, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """What the asker was told, what health said meanwhile, and how the miners' sockets fared."""
    spent, begun = hub.processor_s(), time.monotonic()
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(asker.ask, "flood", rate, seconds, connections)
        seen = [hub.health()]
        while not asking.done():
            time.sleep(min(HEALTH_S, seconds / 4))
            seen.append(hub.health())
        done = asking.result()
    took = time.monotonic() - begun
    assert not done["without_retry_after"], f"{done['without_retry_after']} refusals without Retry-After"
    told = crowd.ask("tell")
    online = [each["online_miners"] for each in seen if each["code"]]
    return {
        **done,
        "health_max_ms": max(each["ms"] for each in seen),
        "health_not_ok": sum(each["code"] != 200 for each in seen),
        "least_online": min(online, default=0),
        "beats": told["beats"],
        "ack": told["ack"],
        "socket_errors": told["errors"],
        "processor_share": {
            part: round((used - spent.get(part, 0.0)) / took, 2) for part, used in hub.processor_s().items()
        },
    }


def again(hub: Hub, crowd: Child, how: str, miners: int) -> dict[str, Any]:
    """Every socket breaks; all miners come back at once, by their sockets alone (herd) or registering first (rush)."""
    crowd.ask("tell")
    done = crowd.ask(how)
    told = crowd.ask("tell")
    assert done["open"] == miners, (done, told["errors"])
    return {
        "seconds": round(done["seconds"], 2),
        "open": done["open"],
        **{name: told[name] for name in ("register", "refused", "opening", "counts", "errors")},
        "online": hub.health()["online_miners"],
    }


def refused(hub: Hub) -> int:
    return int(sum(value for name, value in hub.counters().items() if name.startswith("poolhub_refused_total")))


def beyond_tables(found: dict[str, Any]) -> str:
    header = (
        "offered", "a second", "matches/s", "of the best", "p50 ms", "p99 ms", "refused", "p50 ms", "p99 ms",
        "other answers", "health max ms", "not ok", "least online", "ack p99 ms",
    )  # fmt: skip
    rows = [_row("as fast as answered", found["capacity"], None)]
    rows += [_row(f"{each['times']} ×", each, each["goodput"]) for each in found["floods"]]
    back = "not within the time" if found["back_after_s"] is None else f"after {found['back_after_s']:.2f} s"
    return (
        f"{harness.table(header, rows)}\n\n"
        f"Right after it, matches at the usual rate were quick again {back} (p99"
        f" {found['back']['matched']['p99_ms']} ms). {found['refused_counted']:,} refusals counted by the hub.\n\n"
        f"{harness.table(AGAIN, [_again(what, found[how]) for what, how in COMEBACKS.items()])}"
    )


AGAIN = (
    "all miners at once", "sockets", "all open after s", "opening p99 ms", "registrations", "p99 ms",
    "refused, came again", "p99 ms", "token had ended", "other errors",
)  # fmt: skip
COMEBACKS = {"open their sockets again": "herd", "register again, and open their sockets": "rush"}


def _again(what: str, each: dict[str, Any]) -> list[object]:
    errors = dict(each["errors"])
    ended = errors.pop("socket closed with 4401", 0)
    return [
        what, each["open"], each["seconds"], each["opening"]["p99_ms"], each["register"]["samples"],
        each["register"]["p99_ms"], each["refused"]["samples"], each["refused"]["p99_ms"], ended, sum(errors.values()),
    ]  # fmt: skip


def _row(what: str, each: dict[str, Any], share: float | None) -> list[object]:
    counts = each["counts"]
    other = sum(counts.values()) - counts.get("matched", 0) - counts.get("no candidate", 0) - each["refused"]["samples"]
    return [
        what, each["offered_s"], each["matched_s"], share, each["matched"]["p50_ms"], each["matched"]["p99_ms"],
        each["refused"]["samples"], each["refused"]["p50_ms"], each["refused"]["p99_ms"], other, each["health_max_ms"],
        each["health_not_ok"], each["least_online"], each["ack"]["p99_ms"],
    ]  # fmt: skip
