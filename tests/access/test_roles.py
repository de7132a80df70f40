"""What each role may, in permissions."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command

from access.roles import Role, roles_apply

pytestmark = pytest.mark.django_db


def of(role: Role) -> set[str]:
    user = User.objects.create_user(role.value, is_staff=True)
    user.groups.add(Group.objects.get(name=role.value))
    return user.get_all_permissions()


def test_a_viewer_only_views_the_pool_and_its_jobs() -> None:
    may = of(Role.VIEWER)
    assert all(each.split(".")[1].startswith("view_") for each in may)
    assert {"miners.view_miner", "matching.view_matchrecord", "feedback.view_feedback"} <= may
    assert not {each for each in may if each.startswith(("auth.", "sessions.", "axes."))}


def test_an_operator_acts_on_the_pool_and_on_nobodys_access() -> None:
    may = of(Role.OPERATOR)
    assert {
        "miners.change_miner",
        "miners.add_minercommand",
        "miners.delete_priceoverride",
        "miners.delete_roundtrip",
    } <= may
    assert "miners.delete_miner" not in may
    assert not {each for each in may if each.startswith(("auth.", "axes."))}


def test_where_prices_come_from_is_administrators_business_and_names_are_operators() -> None:
    may, all_ = of(Role.OPERATOR), of(Role.ADMINISTRATOR)
    for model in ("pricefeed", "priceunit"):
        changing = {f"market.{verb}_{model}" for verb in ("add", "change", "delete")}
        assert f"market.view_{model}" in may
        assert not may & changing
        assert changing <= all_
    assert {f"market.{verb}_gpualias" for verb in ("add", "change", "delete")} <= may


def test_an_operator_replays_and_resumes_settlement() -> None:
    assert {"settlement.change_settlementevent", "settlement.change_settlementpause"} <= of(Role.OPERATOR)


def test_an_administrator_also_says_who_may_log_in() -> None:
    may = of(Role.ADMINISTRATOR)
    assert {"miners.delete_miner", "auth.add_user", "auth.change_group", "axes.delete_accessattempt"} <= may
    assert not {each for each in may if each.startswith(("sessions.", "contenttypes.", "admin."))}


def test_each_role_may_what_the_one_before_may() -> None:
    assert of(Role.VIEWER) < of(Role.OPERATOR) < of(Role.ADMINISTRATOR)


def test_a_migrate_sets_the_roles_anew_and_leaves_other_groups_alone() -> None:
    viewer, own = Group.objects.get(name="viewer"), Group.objects.create(name="night shift")
    wanted = set(viewer.permissions.all())
    more = Permission.objects.get(codename="delete_miner")
    viewer.permissions.set([more])
    own.permissions.set([more])
    call_command("migrate", verbosity=0)
    assert set(viewer.permissions.all()) == wanted
    assert set(own.permissions.all()) == {more}


def test_setting_them_twice_changes_nothing(django_assert_num_queries) -> None:
    with django_assert_num_queries(1 + 2 + 3 * 2):  # the permissions, the savepoint, and of each role group and rows
        roles_apply()
