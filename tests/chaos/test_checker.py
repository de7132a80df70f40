"""Each check passes a run in which everything held, and fails the one in which its promise broke."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.chaos import checker
from tests.chaos.checker import FeedbackRow, Found, MinerFound, Window
from tests.chaos.journal import (
    DISABLED,
    DRAINED,
    LOGGED_OUT,
    AskedAgain,
    CameBack,
    Commanded,
    Health,
    Journal,
    Left,
    Matched,
    Offered,
    Overridden,
    Registered,
    Taken,
    Told,
)

pytestmark = pytest.mark.pure

DAY_S = 86_400.0
WINDOW = Window(injected=100.0, lifted=130.0)


def miner(**changes: object) -> MinerFound:
    same = MinerFound(
        "m-1", disabled=False, logged_out=False, drained=False, price_cap=None, s=0.0, f=0.0, trust_at=0.0
    )
    return replace(same, **changes)  # type: ignore[arg-type]


def row(outcome: str = "completed", *, at: float = 0.0, fail_code: str = "", job_id: str = "j") -> FeedbackRow:
    return FeedbackRow(job_id, "m", outcome, fail_code, Decimal("1.5"), at)


def found(**changes: object) -> Found:
    same = Found(
        miners={"m": miner(s=1.0, price_cap=Decimal("0.5"))},
        feedback=[row()],
        overrides={"o-1": ("m", Decimal("0.4"))},
        commands={"c-1": ("m", "set_price_cap", "acked")},
        events=[("j", "m", Decimal("1.5"))],
    )
    return replace(same, **changes)  # type: ignore[arg-type]


def journal() -> Journal:
    """Of a run in which everything held."""
    kept = Journal(
        registered=[Registered("m", "m-1", 1.0, 1.1)],
        came_back=[CameBack("m", 0.9)],
        told=[Told("j", "m", "completed", "1.5", 3.0)],
        overridden=[Overridden("m", "o-1", "0.40", 2.0)],
        commanded=[Commanded("c-1", "m", "set_price_cap", 0.5, 2.0, 2.1)],
        slots={"m": 1},
    )
    kept.took(Taken("r-1", "j", "m", 2.0, 2.1, until=22.0, ended=2.9))
    return kept


FOUND_CHECKS = (
    checker.lost_registrations, checker.lost_feedback, checker.lost_overrides, checker.lost_commands,
    checker.lost_settlements,
)  # fmt: skip


@pytest.mark.parametrize("check", FOUND_CHECKS)
def test_what_is_all_there_passes(check) -> None:
    assert list(check(journal(), found())) == []


@pytest.mark.parametrize(
    ("check", "changes", "said"),
    [
        (checker.lost_registrations, {"miners": {}}, "m registered, and is not there"),
        (checker.lost_registrations, {"miners": {"m": miner(mark="m-0")}}, "m registered as m-1, and is there as m-0"),
        (checker.lost_feedback, {"feedback": []}, "feedback completed of j on m is lost"),
        (checker.lost_feedback, {"feedback": [row("failed")]}, "feedback completed of j on m is lost"),
        (checker.lost_overrides, {"overrides": {}}, "override o-1 of m is lost"),
        (checker.lost_overrides, {"overrides": {"o-1": ("m", Decimal(4))}}, "override o-1 of m is ('m', Decimal('4'))"),
        (checker.lost_commands, {"commands": {}}, "command set_price_cap to m is lost"),
        (checker.lost_commands, {"miners": {"m": miner()}}, "m has the price cap None instead of 0.5"),
        (checker.lost_settlements, {"events": []}, "the settlement of j on m is lost"),
        (checker.lost_settlements, {"events": [("j", "m", Decimal(2))]}, "the settlement of j on m is 2"),
    ],
)
def test_what_is_lost_is_named(check, changes, said) -> None:
    assert list(check(journal(), found(**changes))) == [said]


def test_a_later_registration_that_nobody_acknowledged_may_have_replaced_the_profile() -> None:
    kept = journal()
    kept.came_back.append(CameBack("m", 5.0))
    assert list(checker.lost_registrations(kept, found(miners={"m": miner(mark="m-2")}))) == []


def test_a_command_that_a_connected_miner_never_answered_is_undelivered() -> None:
    sent = found(commands={"c-1": ("m", "set_price_cap", "sent")})
    assert list(checker.undelivered_commands(journal(), found(), ["m"])) == []
    assert list(checker.undelivered_commands(journal(), sent, [])) == []
    assert list(checker.undelivered_commands(journal(), sent, ["m"])) == ["command set_price_cap to m is sent"]


@pytest.mark.parametrize(
    ("received", "said"),
    [
        ([("j", "m"), ("k", "m")], []),
        ([("j", "m"), ("k", "m"), ("j", "m")], []),  # at least once
        ([("j", "m")], ["the settlement of k on m has not come"]),
        ([("k", "m"), ("j", "m")], ["the settlement of k on m came before an older one"]),
    ],
)
def test_settlements_come_at_least_once_and_in_order(received, said) -> None:
    events = [("j", "m", Decimal(1)), ("k", "m", Decimal(1))]
    assert list(checker.undelivered_settlements(found(events=events), received)) == said


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        (2.9, 5.0, []),  # begins where the other was being ended
        (2.5, 5.0, ["m was reserved 2 times at once, with 1 slots"]),
    ],
)
def test_a_slot_that_is_held_twice_is_counted(begin, end, said) -> None:
    kept = journal()
    kept.took(Taken("r-2", "k", "m", begin - 0.1, begin, until=end))
    assert list(checker.doubled_reservations(kept)) == said


def test_a_reservation_that_runs_out_holds_its_slot_until_then() -> None:
    kept = Journal(slots={"m": 1})
    kept.took(Taken("r-1", "j", "m", 0.0, 0.1, until=20.0))
    kept.took(Taken("r-2", "k", "m", 20.0, 20.1, until=40.0))
    assert list(checker.doubled_reservations(kept)) == []
    kept.took(Taken("r-3", "l", "m", 39.0, 39.5, until=60.0))
    assert len(list(checker.doubled_reservations(kept))) == 1


@pytest.mark.parametrize(("got", "count"), [("r-1", 0), ("r-2", 1), (None, 1)])
def test_a_job_that_asks_again_must_get_what_it_has(got, count) -> None:
    kept = Journal(asked_again=[AskedAgain("j", "r-1", got, 1.0, 1.1)])
    assert len(list(checker.lost_reservations(kept))) == count


LOG = [
    row(at=0.0),
    row("failed", at=15 * DAY_S, fail_code="timeout", job_id="k"),
    row("failed", at=15 * DAY_S, job_id="l"),
    row("rejected", at=30 * DAY_S, job_id="n"),
    row("accepted", at=30 * DAY_S, job_id="o"),
]


def test_trust_is_the_fold_of_the_log() -> None:
    s = 0.5  # 1 x 2^-1
    f = 2.5 * 2**-0.5 + 0.25  # (0.5 + 2) x 2^-0.5 + 0.25
    assert checker.folded(LOG) == pytest.approx((s, f))
    assert checker.summed(LOG, 30 * DAY_S) == pytest.approx((s, f))
    kept = miner(s=s, f=f, trust_at=30 * DAY_S)
    assert list(checker.wrong_trust(found(miners={"m": kept}, feedback=LOG))) == []
    lost = list(checker.wrong_trust(found(miners={"m": kept}, feedback=LOG[:-2])))
    assert lost  # the log has less than was counted
    assert (
        len(list(checker.wrong_trust(found(miners={"m": replace(kept, s=1.0)}, feedback=LOG)))) == 2
    )  # by either rule


def test_a_clock_that_went_back_forgets_nothing() -> None:
    log = [row(at=30 * DAY_S), row(at=0.0, job_id="k")]
    assert checker.folded(log) == (2.0, 0.0)
    assert checker.summed(log, 30 * DAY_S) == (2.0, 0.0)


@pytest.mark.parametrize(
    ("kept", "shown", "count"),
    [
        (miner(), {"m": ("online", 0.5)}, 0),
        (miner(), {"m": ("online", 0.6)}, 1),
        (miner(), {}, 1),
        (miner(), {"m": ("online", 0.5), "n": ("online", 0.5)}, 1),
        (miner(disabled=True), {"m": ("disabled", 0.5)}, 0),
        (miner(disabled=True), {"m": ("online", 0.5)}, 1),
        (miner(), {"m": ("disabled", 0.5)}, 1),
        (miner(logged_out=True), {"m": ("offline", 0.5)}, 0),
        (miner(logged_out=True), {"m": ("online", 0.5)}, 1),
    ],
)
def test_a_process_must_know_what_the_database_has(kept, shown, count) -> None:
    broken = list(checker.wrong_registry(found(miners={"m": kept}), "one", shown, now=0.0))
    assert (len(broken) > 0) == (count > 0), broken


@pytest.mark.parametrize("how", [LOGGED_OUT, DISABLED, DRAINED])
@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (10.5, 0),  # within the second in which others may not know yet
        (11.5, 1),
        (300.0, 1),  # ever
    ],
)
def test_a_miner_that_is_gone_must_not_be_offered(how, asked, count) -> None:
    kept = Journal(left=[Left("m", how, 9.9, 10.0)], offered=[Offered(("n", "m"), asked, asked + 0.1)])
    assert len(list(checker.offered_though_gone(kept))) == count


@pytest.mark.parametrize(("how", "count"), [(LOGGED_OUT, 0), (DISABLED, 1), (DRAINED, 1)])
def test_only_a_miner_that_logged_out_may_come_back_by_itself(how, count) -> None:
    kept = Journal(
        left=[Left("m", how, 9.9, 10.0)], came_back=[CameBack("m", 12.0)], offered=[Offered(("m",), 13.0, 13.1)]
    )
    assert len(list(checker.offered_though_gone(kept))) == count


def test_an_answer_that_was_under_way_when_the_miner_came_back_may_name_it() -> None:
    kept = Journal(
        left=[Left("m", LOGGED_OUT, 9.9, 10.0)], came_back=[CameBack("m", 12.0)], offered=[Offered(("m",), 11.9, 12.1)]
    )
    assert list(checker.offered_though_gone(kept)) == []


def health(said: str, asked: float, *, db: str = "ok", redis: str = "ok", took_s: float = 0.01) -> Journal:
    return Journal(health=[Health("rest", said, db, redis, asked, asked + took_s)])


@pytest.mark.parametrize(
    ("said", "asked", "window", "count"),
    [
        ("ok", 98.0, {}, 0),
        ("degraded", 90.0, {}, 0),  # of an earlier fault
        ("degraded", 98.0, {}, 1),  # right before this one
        ("ok", 110.0, {}, 0),
        ("degraded", 110.0, {}, 1),  # nothing is cut
        ("degraded", 110.0, {"unsure": True}, 0),
        ("degraded", 110.0, {"deaf": frozenset({"rest"})}, 0),
        ("ok", 100.5, {"cut": "redis"}, 0),  # it may not know yet
        ("ok", 110.0, {"cut": "redis"}, 1),  # a lie
        ("ok", 110.0, {"cut": "db"}, 1),
        ("degraded", 135.0, {"cut": "db"}, 0),  # it may still recover
        ("degraded", 141.0, {"cut": "db"}, 1),
        ("no answer", 141.0, {}, 1),
        ("no answer", 141.0, {"deaf": frozenset({"rest"})}, 0),  # it is being started again, and tells no lie
        ("degraded", 141.0, {"deaf": frozenset({"rest"})}, 1),
    ],
)
def test_health_that_lies_is_caught(said, asked, window, count) -> None:
    kept = health(said, asked)
    assert len(list(checker.untrue_health(kept, replace(WINDOW, **window)))) == count


@pytest.mark.parametrize(("redis", "count"), [("down", 0), ("ok", 1)])
def test_health_must_name_the_part_that_is_cut(redis, count) -> None:
    kept = health("degraded", 110.0, redis=redis)
    assert len(list(checker.untrue_health(kept, replace(WINDOW, cut="redis")))) == count


@pytest.mark.parametrize(("said", "took_s", "count"), [("ok", 0.9, 0), ("ok", 1.6, 1), ("no answer", 0.1, 1)])
def test_health_that_comes_late_or_never_is_caught(said, took_s, count) -> None:
    kept = health(said, 110.0, took_s=took_s)
    assert len(list(checker.slow_health(kept, WINDOW, 1.5))) == count
    assert list(checker.slow_health(kept, replace(WINDOW, deaf=frozenset({"rest"})), 1.5)) == []


def matches(*answered: tuple[float, bool]) -> Journal:
    return Journal(matched=[Matched(at - 0.1, at, good, "200" if good else "503") for at, good in answered])


@pytest.mark.parametrize(
    ("answered", "took_s"),
    [
        ([(120.0, False), (131.0, True)], 0.0),
        ([(131.0, True), (134.0, False), (135.0, True)], 4.0),
        ([(141.0, False), (142.0, True)], 11.0),
        ([(131.0, False)], float("inf")),
        ([], float("inf")),
    ],
)
def test_recovery_ends_with_the_last_failure(answered, took_s) -> None:
    kept = matches(*answered)
    assert checker.recovered_after_s(kept, WINDOW) == pytest.approx(took_s)
    assert bool(list(checker.slow_recovery(kept, WINDOW))) == (took_s > 10)


def test_every_check_of_a_run_has_been_seen_to_fail_here() -> None:
    """By name, so that a new one is not forgotten."""
    checks: set[Callable[..., object]] = {
        each for name, each in vars(checker).items() if callable(each) and getattr(each, "__module__", "") == checker.__name__
    }  # fmt: skip
    helpers = {FeedbackRow, Found, MinerFound, Window, checker.slowest_health_s, checker.folded, checker.summed}
    here = Path(__file__).read_text()
    assert all(f"checker.{each.__name__}(" in here or f"checker.{each.__name__}," in here for each in checks - helpers)
