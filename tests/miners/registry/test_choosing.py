"""Choosing miners for a list gives what looking at each of them gives."""

import random

import pytest

from miners.registry.choosing import Choice, Order, choose
from miners.registry.records import MinerView, PriceSource, PriceWindow, Report, State
from miners.registry.store import Registry
from tests.miners.registry.builders import NOW, UNITS, empty, row

pytestmark = pytest.mark.pure
INF = float("inf")
REGIONS, GPUS = ("eu-west", "eu", "us", ""), ("RTX 4090", "rtx 3080", "H100", "")


@pytest.fixture(scope="module")
def registry() -> Registry:
    dice = random.Random(7)
    made = empty()
    for number in range(400):
        name = f"{dice.choice('abz')}{number}"
        window = PriceWindow(dice.randrange(5) * UNITS, NOW, INF)
        made.upsert(
            row(
                name, pk=number + 1, region=dice.choice(REGIONS), gpu_name=dice.choice(GPUS),
                proto=dice.choice(("grpc", "http")), addr=f"10.0.{number % 4}.1:1", max_parallel=dice.randrange(1, 5),
                price=dice.randrange(5) * UNITS, overrides=(window,) if dice.random() < 0.2 else (),
                capabilities=("llama",) if dice.random() < 0.3 else (), disabled=dice.random() < 0.2,
                draining=dice.random() < 0.2, trust_s=float(dice.randrange(4)), trust_f=float(dice.randrange(4)),
            ),
            now=NOW,
            last_seen=None if dice.random() < 0.1 else NOW - dice.randrange(200),
        )  # fmt: skip
        if dice.random() < 0.5:
            temp_c = float(dice.randrange(40, 90)) if dice.random() < 0.5 else None
            made.report(name, Report(at=NOW, queue_len=dice.randrange(6), temp_c=temp_c))
    for number in range(0, 400, 7):
        made.remove(next((each for each in made.ids if each.endswith(str(number)) and each), ""))
    return made


def views(registry: Registry) -> list[MinerView]:
    found = [registry.get(name, now=NOW) for name in sorted(registry.slots)]
    return [view for view in found if view is not None]


def passes(view: MinerView, choice: Choice) -> bool:
    row, text = view.row, (choice.text or "").lower()
    return (
        (choice.state is None or view.state is choice.state)
        and (choice.region is None or row.region == choice.region)
        and (choice.gpu is None or row.gpu_name == choice.gpu)
        and (choice.proto is None or row.proto == choice.proto)
        and (choice.capability is None or choice.capability in row.capabilities)
        and choice.price_from <= view.price <= choice.price_to
        and choice.trust_from <= view.trust <= choice.trust_to
        and (not text or any(text in each.lower() for each in (row.miner_id, row.addr, row.gpu_name, row.region)))
    )


def key(view: MinerView, order: Order) -> float | None:
    live = view.live
    return {
        Order.MINER_ID: 0,
        Order.STATE: list(State).index(view.state),
        Order.LOAD: (live.own + live.foreign) / view.row.max_parallel,
        Order.PRICE: view.price,
        Order.TRUST: view.trust,
        Order.TEMPERATURE: live.temp_c,
        Order.LAST_SEEN: live.last_seen if live.last_seen > -INF else None,
    }[order]


def ordered(found: list[MinerView], choice: Choice) -> list[int]:
    """By a stable sort of what is in the order of ids; unknown ones last."""
    if choice.order is Order.MINER_ID:
        return [view.row.pk for view in (reversed(found) if choice.descending else found)]
    known = [view for view in found if key(view, choice.order) is not None]
    unknown = [view for view in found if key(view, choice.order) is None]
    sign = -1 if choice.descending else 1
    known.sort(key=lambda view: sign * (key(view, choice.order) or 0))
    return [view.row.pk for view in known + unknown]


def check(registry: Registry, choice: Choice) -> None:
    want = ordered([view for view in views(registry) if passes(view, choice)], choice)
    assert choose(registry, choice, now=NOW).tolist() == want


@pytest.mark.parametrize(
    "choice",
    [
        Choice(), Choice(region="eu"), Choice(region="nowhere"), Choice(gpu="H100"), Choice(proto="grpc"),
        Choice(capability="llama"), Choice(capability="lla"), Choice(price_from=2 * UNITS), Choice(price_to=UNITS),
        Choice(price_from=UNITS, price_to=UNITS), Choice(trust_from=0.5), Choice(trust_to=0.4), Choice(text="RTX"),
        Choice(text="z1"), Choice(text="10.0.2"), Choice(text="EU-"), Choice(text="no such"),
        Choice(region="eu", gpu="H100", proto="http", price_to=3 * UNITS, text="a"),
        *(Choice(state=state) for state in State),
    ],
)  # fmt: skip
def test_it_finds_what_each_miner_by_itself_says(registry, choice) -> None:
    check(registry, choice)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", list(Order))
def test_it_orders_as_each_miner_by_itself_says(registry, order, descending) -> None:
    check(registry, Choice(order=order, descending=descending))
    check(registry, Choice(order=order, descending=descending, region="eu"))


def test_the_population_has_something_of_everything(registry) -> None:
    """Or the tests above would prove little."""
    found = views(registry)
    assert {view.state for view in found} == set(State)
    assert {view.price_source for view in found} == {PriceSource.OWN, PriceSource.OVERRIDE}
    assert {view.live.temp_c is None for view in found} == {True, False}


def test_an_empty_registry_has_nothing() -> None:
    for order in Order:
        assert choose(empty(), Choice(text="x", order=order), now=NOW).tolist() == []


def test_a_miner_without_a_primary_key_is_in_no_list() -> None:
    made = empty()
    made.upsert(row("a"), now=NOW)
    assert choose(made, Choice(), now=NOW).tolist() == []
