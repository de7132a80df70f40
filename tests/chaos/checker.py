"""The independent checker: the journal against what is found afterwards, one function a promise. Pure.

Each gives a line for each way in which its promise is broken; none where it holds.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from feedback.trust import Evidence
from matching.reservations.holds import Outcome
from tests.chaos.journal import LOGGED_OUT, Journal
from tests.multiprocess.overlap import Held, most_at_once

SEEN_S = 1.0  # contract, section 2: what was acknowledged is seen by the matches of every other process
HEALTH_S = 1.0  # contract, section 10: within this it answers, and so knows of a part that is away
RECOVERED_S = 10.0
STEADY_S = 3.0  # before a fault, in which all is well
NS = 1_000_000_000
SAME = 1e-9  # of two folds that add up in the same order
SHOWN = 2e-4  # of a trust that fades between two looks


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """In the order in which they were committed, per miner."""

    job_id: str
    miner_id: str
    outcome: str
    fail_code: str
    tokens: Decimal | None
    at: float  # epoch seconds


@dataclass(frozen=True, slots=True)
class MinerFound:
    mark: str
    disabled: bool
    logged_out: bool
    drained: bool
    price_cap: Decimal | None
    s: float
    f: float
    trust_at: float


@dataclass(frozen=True, slots=True)
class Found:
    """What the database holds after a fault, as of one moment."""

    miners: Mapping[str, MinerFound]
    feedback: Sequence[FeedbackRow]
    overrides: Mapping[str, tuple[str, Decimal]]  # by reason: miner, price
    commands: Mapping[str, tuple[str, str, str]]  # by id: miner, name, status
    events: Sequence[tuple[str, str, Decimal]]  # job, miner, tokens, in their order


@dataclass(frozen=True, slots=True)
class Window:
    """A fault, by the journal's clock."""

    injected: float
    lifted: float
    cut: str = ""  # db or redis, where health must say so
    deaf: frozenset[str] = field(default_factory=frozenset)  # parts that the fault itself keeps from answering
    unsure: bool = False  # whether a part is down depends on the moment: health may say either


def lost_registrations(journal: Journal, found: Found) -> Iterator[str]:
    asked_later = {each.miner_id: each.asked for each in journal.came_back}
    for each in journal.newest_registrations():
        miner = found.miners.get(each.miner_id)
        if miner is None:
            yield f"{each.miner_id} registered, and is not there"
        elif miner.mark != each.mark and asked_later.get(each.miner_id, 0) <= each.asked:
            yield f"{each.miner_id} registered as {each.mark}, and is there as {miner.mark}"


def lost_feedback(journal: Journal, found: Found) -> Iterator[str]:
    there = {(each.job_id, each.miner_id, each.outcome) for each in found.feedback}
    for each in journal.told:
        if (each.job_id, each.miner_id, each.outcome) not in there:
            yield f"feedback {each.outcome} of {each.job_id} on {each.miner_id} is lost"


def lost_overrides(journal: Journal, found: Found) -> Iterator[str]:
    for each in journal.overridden:
        if found.overrides.get(each.reason) != (each.miner_id, Decimal(each.price)):
            yield f"override {each.reason} of {each.miner_id} is {found.overrides.get(each.reason, 'lost')}"


def lost_commands(journal: Journal, found: Found) -> Iterator[str]:
    """Those that are not there; and a cap that no later command can have changed, but is not in force."""
    newest: dict[str, tuple[float, float | None]] = {}
    for each in journal.commanded:
        miner_id, name, _ = found.commands.get(each.id, ("", "", ""))
        if (miner_id, name) != (each.miner_id, each.name):
            yield f"command {each.name} to {each.miner_id} is lost"
        if each.name == "set_price_cap":
            newest[each.miner_id] = (each.asked, each.price)
    for miner_id, (asked, price) in newest.items():
        unanswered = any(
            each.asked >= asked for each in journal.answers if each.kind == f"cap {miner_id}" and each.status != "201"
        )
        cap = found.miners[miner_id].price_cap if miner_id in found.miners else None
        if not unanswered and (cap is None or abs(float(cap) - (price or 0)) > SAME):
            yield f"{miner_id} has the price cap {cap} instead of {price}"


def undelivered_commands(journal: Journal, found: Found, connected: Iterable[str]) -> Iterator[str]:
    """After the time that delivery takes: a miner with a socket has answered all."""
    here = set(connected)
    for each in journal.commanded:
        status = found.commands.get(each.id, ("", "", "lost"))[2]
        if each.miner_id in here and status != "acked":
            yield f"command {each.name} to {each.miner_id} is {status}"


def lost_settlements(journal: Journal, found: Found) -> Iterator[str]:
    there = {(job_id, miner_id): tokens for job_id, miner_id, tokens in found.events}
    for each in journal.told:
        if each.tokens is not None and there.get((each.job_id, each.miner_id)) != Decimal(each.tokens):
            yield f"the settlement of {each.job_id} on {each.miner_id} is {there.get((each.job_id, each.miner_id), 'lost')}"


def undelivered_settlements(found: Found, received: Sequence[tuple[str, str]]) -> Iterator[str]:
    """After the time that delivery takes: each event has come, and first came in its miner's order."""
    first: dict[tuple[str, str], int] = {}
    for number, each in enumerate(received):
        first.setdefault(each, number)
    last: dict[str, int] = {}
    for job_id, miner_id, _ in found.events:
        came = first.get((job_id, miner_id))
        if came is None:
            yield f"the settlement of {job_id} on {miner_id} has not come"
        elif came < last.get(miner_id, -1):
            yield f"the settlement of {job_id} on {miner_id} came before an older one"
        else:
            last[miner_id] = came


def doubled_reservations(journal: Journal) -> Iterator[str]:
    held = [
        Held(each.miner_id, round(each.at * NS), round(min(each.until, each.ended or each.until) * NS))
        for each in journal.taken.values()
    ]
    for miner_id, most in most_at_once(held).items():
        if most > journal.slots[miner_id]:
            yield f"{miner_id} was reserved {most} times at once, with {journal.slots[miner_id]} slots"


def lost_reservations(journal: Journal) -> Iterator[str]:
    for each in journal.asked_again:
        if each.got != each.had:
            yield f"{each.job_id} had reservation {each.had}, and asked again got {each.got}"


def wrong_trust(found: Found) -> Iterator[str]:
    """What the database keeps against its own log, folded by feedback's pure rule and by a sum of our own."""
    of_miner: defaultdict[str, list[FeedbackRow]] = defaultdict(list)
    for each in found.feedback:
        of_miner[each.miner_id].append(each)
    for miner_id, rows in of_miner.items():
        kept = found.miners[miner_id]
        for name, (s, f) in {"the fold": folded(rows), "the sum": summed(rows, kept.trust_at)}.items():
            if abs(s - kept.s) > SAME * (1 + s) or abs(f - kept.f) > SAME * (1 + f):
                yield f"{miner_id} has trust s={kept.s} f={kept.f}, {name} of its log is s={s} f={f}"


HALF_LIFE_S = 30 * 86_400.0


def folded(rows: Iterable[FeedbackRow]) -> tuple[float, float]:
    evidence = Evidence(0.0, 0.0, 0.0)
    for each in rows:
        evidence = evidence.faded(each.at, half_life_s=HALF_LIFE_S).told(Outcome(each.outcome), each.fail_code)
    return evidence.s, evidence.f


def summed(rows: Iterable[FeedbackRow], at: float) -> tuple[float, float]:
    """By the contract's words (section 5): each outcome's weight, halved for each half-life until then.

    A clock that went back forgets nothing: what was told by it counts as of the latest moment before.
    """
    s, f, latest = 0.0, 0.0, 0.0
    for each in rows:
        latest = max(latest, each.at)
        left = 2.0 ** -((at - latest) / HALF_LIFE_S)
        match each.outcome:
            case "completed":
                s += left
            case "failed":
                f += left * (0.5 if each.fail_code in ("timeout", "network", "preempted") else 2.0)
            case "rejected":
                f += left * 0.25
    return s, f


def wrong_registry(found: Found, process: str, shown: Mapping[str, tuple[str, float]], now: float) -> Iterator[str]:
    """What one process matches on, as its list of miners shows it (state, trust), against the database."""
    for miner_id, kept in found.miners.items():
        state, trust = shown.get(miner_id, ("missing", 0.0))
        faded = Evidence(kept.s, kept.f, kept.trust_at).faded(now, half_life_s=HALF_LIFE_S).trust()
        if abs(trust - faded) > SHOWN:
            yield f"{process} takes the trust of {miner_id} for {trust}, it is {faded:.6f}"
        if kept.disabled != (state == "disabled") or (kept.logged_out and state not in ("offline", "disabled")):
            yield f"{process} takes {miner_id} for {state}: disabled {kept.disabled}, logged out {kept.logged_out}"
    for miner_id in shown.keys() - found.miners.keys():
        yield f"{process} knows {miner_id}, which is not there"


def offered_though_gone(journal: Journal) -> Iterator[str]:
    """Matches asked for SEEN_S after the answer to a logout, a disabling or a drain. One that logged out may come back."""
    back: defaultdict[str, list[float]] = defaultdict(list)
    for each in journal.came_back:
        back[each.miner_id].append(each.asked)
    gone: defaultdict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for left in journal.left:
        asked_back = (asked for asked in back[left.miner_id] if asked > left.asked and left.how == LOGGED_OUT)
        until = min(asked_back, default=float("inf"))
        gone[left.miner_id].append((left.at + SEEN_S, until, left.how))
    for offer in journal.offered:
        for miner_id in offer.miner_ids:
            for since, until, how in gone.get(miner_id, ()):
                if offer.asked > since and offer.at < until:
                    yield f"{miner_id} was offered {offer.asked - since + SEEN_S:.1f} s after it was {how}"


def untrue_health(journal: Journal, window: Window) -> Iterator[str]:
    """It says ok while a part is cut, longer than it takes to know; or degraded while all is well; or comes late."""
    for each in journal.health:
        during = each.asked > window.injected + HEALTH_S and each.at < window.lifted
        after = each.asked > window.lifted + RECOVERED_S
        before = window.injected - STEADY_S < each.asked and each.at < window.injected
        if window.cut and during and each.said == "ok":
            yield f"{each.part} said ok {each.asked - window.injected:.1f} s after {window.cut} was cut"
        elif (
            window.cut
            and during
            and each.said == "degraded"
            and "down" not in (each.db if window.cut == "db" else each.redis)
        ):
            yield f"{each.part} was degraded, and took {window.cut} for {each.db if window.cut == 'db' else each.redis}"
        elif (
            not window.cut and not window.unsure and during and each.part not in window.deaf and each.said == "degraded"
        ):
            yield f"{each.part} was degraded {each.asked - window.injected:.1f} s into a fault that cuts nothing"
        silent = each.said == "no answer" and each.part in window.deaf  # it is being started again, and tells no lie
        if (after or before) and each.said != "ok" and not silent:
            moment = each.asked - window.lifted if after else each.asked - window.injected
            yield f"{each.part} said {each.said} {moment:+.1f} s from the {'lift' if after else 'fault'}"


def slowest_health_s(journal: Journal, window: Window) -> float:
    """Of what answered, from the fault to the end of the time that the hub has to recover."""
    return max(
        (each.at - each.asked for each in journal.health if window.injected < each.asked < window.lifted + RECOVERED_S
         and each.part not in window.deaf and each.said in ("ok", "degraded")), default=0.0,
    )  # fmt: skip


def slow_health(journal: Journal, window: Window, limit_s: float) -> Iterator[str]:
    """No answer in time from a part that the fault left alone."""
    for each in journal.health:
        if window.injected < each.asked < window.lifted and each.part not in window.deaf and (
            each.at - each.asked > limit_s or each.said not in ("ok", "degraded")
        ):  # fmt: skip
            yield f"{each.part} said {each.said} after {each.at - each.asked:.1f} s"


def recovered_after_s(journal: Journal, window: Window) -> float:
    """From the lift to the answer of the last match that failed, as far as the journal goes; 0 where none did.

    Infinite where nothing was matched after it.
    """
    after = [each for each in journal.matched if each.at > window.lifted]
    failed = [each.at for each in after if not each.good]
    if not any(each.good and each.asked > max(failed, default=window.lifted) for each in after):
        return float("inf")
    return max(0.0, max(failed, default=window.lifted) - window.lifted)


def slow_recovery(journal: Journal, window: Window) -> Iterator[str]:
    took = recovered_after_s(journal, window)
    if took > RECOVERED_S:
        yield f"matching failed until {took:.1f} s after the fault was lifted"
