"""manage.py seed_miners: what it prints, and how it refuses."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from miners.models import Miner
from miners.seeding.population import population
from tests.miners.builders import register

pytestmark = pytest.mark.django_db(transaction=True)


def run(*args: str, **options: Any) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("seed_miners", *args, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def ids() -> list[str]:
    return list(Miner.objects.values_list("miner_id", flat=True))


def test_it_says_what_it_made_and_who_will_see_it() -> None:
    out, err = run("--count", "5", "--seed", "3", "--regions", "eu")
    assert out.splitlines()[0] == "5 miners created, 0 updated."
    assert "A hub that starts within 120 s has them online" in out
    assert "--live" in out
    assert err == ""
    assert ids() == [f"seed-0000{number}" for number in range(1, 6)]
    assert {region.split("-")[0] for region in Miner.objects.values_list("region", flat=True)} == {"eu"}
    assert run("--count", "5", "--seed", "3")[0].startswith("0 miners created, 5 updated.")


def test_left_out_the_count_is_a_thousand_and_the_seed_1() -> None:
    run()
    assert Miner.objects.count() == 1000
    assert Miner.objects.get(miner_id="seed-01000").addr == list(population(1000, seed=1))[-1].addr


def test_python_callers_pass_values() -> None:
    run(count=3, seed=0, regions=["us", "eu-west"])
    assert len(ids()) == 3


def test_it_removes_seed_miners_alone_and_says_what_a_running_hub_does() -> None:
    run("--count", "5")
    register("m1")
    out, _ = run("--remove")
    assert out.startswith("5 seed miners removed.\n")
    assert "until its next start" in out
    assert ids() == ["m1"]
    assert run("--remove")[0].startswith("0 seed miners removed.\n")


def test_quiet_it_prints_nothing() -> None:
    assert run("--count", "5", "--verbosity", "0") == run("--remove", "--verbosity", "0") == ("", "")


def test_in_production_it_warns_that_keys_follow_from_the_seed(settings) -> None:
    settings.POOLHUB_ENV = "production"
    _, err = run("--count", "1")
    assert err.count("\n") == 1
    assert "warning" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--count", "0"], "--count must be a whole number from 1 to 1,000,000, not '0'"),
        (["--count", "1000001"], "--count must be a whole number from 1 to 1,000,000, not '1000001'"),
        (["--seed", "x"], "--seed must be a whole number from 0 to"),
        (["--regions", "mars"], "there is no region mars; known are us-east,"),
        (["--regions"], "--regions names no region"),
        (["--duration", "5"], "--duration needs --live"),
        (["--logout"], "--logout needs --live"),
        (["--base", "http://x"], "--base needs --live"),
        (["--live", "--duration", "0"], "--duration must be a number of seconds above 0, not '0'"),
        (["--live", "--base", "x"], "--base must be like http://127.0.0.1:8203, not 'x'"),
        (["--live", "--count", "25001"], "one process holds at most 25,000 live miners, not 25,001"),
        (["--remove", "--count", "5"], "--count does not go with --remove, which takes every seed miner"),
        (["--remove", "--live"], "--live does not go with --remove, which takes every seed miner"),
    ],
)
def test_bad_arguments_are_refused_in_one_line_and_change_nothing(args, said) -> None:
    run("--count", "2", "--verbosity", "0")
    before = list(Miner.objects.values())
    with pytest.raises(CommandError) as refused:
        run(*args)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
    assert list(Miner.objects.values()) == before


def test_a_database_that_refuses_is_one_line() -> None:
    """As one that was never migrated does."""
    with connection.schema_editor() as editor:
        editor.alter_db_table(Miner, "miners_miner", "miners_elsewhere")
    try:
        with pytest.raises(CommandError, match=r"the database refuses: .*is it migrated") as refused:
            run("--count", "1")
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(Miner, "miners_elsewhere", "miners_miner")
    assert "\n" not in str(refused.value)
