"""The import contracts of pyproject.toml name what they speak of."""

import tomllib

import pytest

from tests.hub import ROOT

pytestmark = pytest.mark.pure
CONTRACTS = {
    each["name"]: each
    for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


def modules(package: str) -> set[str]:
    """The modules and packages right below one."""
    files = [path for path in (ROOT / package.replace(".", "/")).iterdir() if not path.name.startswith("__")]
    return {f"{package}.{path.stem}" for path in files if path.suffix == ".py" or (path / "__init__.py").exists()}


def test_apps_may_import_nothing_of_the_composition_root() -> None:
    contract = CONTRACTS["No app imports the rest of poolhub"]
    assert set(contract["forbidden_modules"]) == modules("poolhub") - {"poolhub.common"}
    assert set(contract["source_modules"]) == {
        "access",
        "miners",
        "matching",
        "feedback",
        "settlement",
        "market",
        "poolhub.common",
    }


def test_every_module_of_the_scoring_core_and_every_pure_one_of_the_registry_is_held_pure() -> None:
    held = set(CONTRACTS["The registry, scoring and trust cores know no framework"]["source_modules"])
    impure = {
        f"miners.registry.{name}" for name in ("bus", "keeper", "loader", "publishing", "runtime", "sync", "writeback")
    }
    assert modules("miners.registry") - impure == {name for name in held if name.startswith("miners.registry.")}
    assert {"matching.scoring", "feedback.trust", "miners.liveness"} <= held


def test_packages_have_no_code_in_their_init() -> None:
    inits = [
        path
        for package in ("poolhub", "access", "miners", "matching", "feedback", "settlement", "market")
        for path in (ROOT / package).rglob("__init__.py")
    ]
    filled = [
        path for path in inits if path.read_text().strip() and path.parent.name != "admin"
    ]  # Django imports those
    assert filled == []
