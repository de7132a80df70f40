"""The documentation speaks of all that the code has, and of nothing that it has not."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from matching.scoring.filters import CONSTRAINTS
from miners import connections
from poolhub import settings
from poolhub.common import codec, errors, metrics, sockets
from tests.docs.pages import (
    DOCS,
    ROOT,
    all_docs,
    anchors,
    error_codes,
    headings,
    items,
    links,
    markdown_files,
    section,
    text_of,
)

pytestmark = pytest.mark.pure

README, API, SETTINGS = Path("README.md"), Path("docs/api.md"), Path("docs/settings.md")
OPERATING, DEPENDENCIES = Path("docs/operating.md"), Path("docs/dependencies.md")
INDEX = Path("docs/index.md")

NAMES = sorted(settings.read.names)
SECRETS = ("SECRET_KEY", "API_KEY_PEPPER", "COORDINATOR_SHARED_SECRET", "ADMIN_SHARED_SECRET")


def reads() -> dict[str, ast.Call]:
    """How settings.py reads each setting."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(settings))) if isinstance(node, ast.Call)]
    return {
        call.args[0].value: call
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "read"
        and call.func.attr != "stop"
        and isinstance(call.args[0], ast.Constant)
    }


def value(node: ast.expr) -> Any:
    """Of a literal, or of a product of literals such as 16 * 1024."""
    return eval(compile(ast.Expression(node), "settings.py", "eval"), {"__builtins__": {}})  # noqa: S307 - our own source


def told(name: str) -> dict[str, str]:
    return items(section(SETTINGS, name, 3))


# ---- settings


def test_every_setting_has_its_heading_and_every_heading_is_a_setting() -> None:
    assert sorted(headings(SETTINGS, 3)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_s_page_has_its_default_and_an_example(name: str) -> None:
    assert "Default" in told(name)
    assert told(name)["Example"].startswith(f"`{name}=")


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SECRETS)))
def test_the_default_that_is_told_is_the_one_that_holds(name: str) -> None:
    call = reads()[name]
    named = [each.value for each in call.keywords if each.arg == "default"]
    given = named or call.args[1:2]
    default = value(given[0]) if given else ""
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    assert told(name)["Default"] == (f"`{shown}`" if shown else "empty")


@pytest.mark.parametrize("name", NAMES)
def test_the_bounds_that_are_told_are_those_that_are_checked(name: str) -> None:
    call, bounds = reads()[name], told(name).get("Bounds", "")
    limits = {each.arg: value(each.value) for each in call.keywords if each.arg in ("low", "high", "min_length")}
    shown = [float(number) for number in re.findall(r"`([0-9.]+)`", bounds)]
    assert shown == [float(limit) for limit in limits.values()]


@pytest.mark.parametrize("name", [name for name, call in reads().items() if call.func.attr == "choice"])  # type: ignore[attr-defined]
def test_all_values_of_a_choice_are_told(name: str) -> None:
    options = value(reads()[name].args[2])
    assert told(name)["Values"] == ", ".join(f"`{option}`" for option in options)


def test_the_examples_of_all_settings_start_the_settings_together() -> None:
    examples = [told(name)["Example"].strip("`").partition("=") for name in NAMES if name not in (*SECRETS, "DEBUG")]
    changes = {name: example for name, _, example in examples}
    env = {**os.environ, **changes, "POOLHUB_ENV_FILE": str(ROOT / "tests/embedded.env")}
    for name in SECRETS:
        env.pop(name, None)
    code = "from poolhub import settings; print(settings.POOLHUB_ENV)"
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("production", "")


@pytest.mark.parametrize("name", re.findall(r"`([A-Z_]{4,})`", section(README, "Settings", 2)))
def test_settings_of_the_readme_are_there(name: str) -> None:
    assert name in NAMES


# ---- the API


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_every_constraint_has_its_row(name: str) -> None:
    assert f"| `{name}` |" in section(API, "Constraints", 3)


def test_the_constraints_are_told_in_their_order() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \|", section(API, "Constraints", 3), re.MULTILINE)) == CONSTRAINTS


def test_every_close_code_has_its_row() -> None:
    codes = {number for number in vars(connections).values() if isinstance(number, int)} | {sockets.UNKNOWN_PATH}
    rows = re.findall(r"^\| (\d+) \|", section(API, "Close codes", 3), re.MULTILINE)
    assert {int(row) for row in rows} == codes


def classes(root: type) -> list[type]:
    return [root, *(found for each in root.__subclasses__() for found in classes(each))]


def test_every_error_class_has_the_heading_of_its_code_with_its_status() -> None:
    for each in classes(errors.HubError):
        if each.__module__ == errors.__name__:
            assert str(each.status) in section(API, each.code, 3), each  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", sorted(error_codes() | {code for _, code in codec._MESSAGES}))
def test_every_error_code_that_the_code_raises_has_its_heading(code: str) -> None:
    assert code in headings(API, 3)


def test_every_route_has_its_place() -> None:
    from drf_spectacular.generators import SchemaGenerator

    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    shown = re.sub(r"\{\w+\}", "{}", text_of(API))
    missing = [path for path in paths if re.sub(r"\{\w+\}", "{}", path) not in shown]
    assert paths
    assert missing == []


# ---- operating


def test_every_metric_has_its_row() -> None:
    ours = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    names = {f"{each._name}{'_total' if each._type == 'counter' else ''}" for each in ours}
    names |= set(re.findall(r'"(poolhub_\w+)"', (ROOT / "poolhub" / "gauges.py").read_text()))
    rows = re.findall(r"^\| `(poolhub_\w+)", section(OPERATING, "Metrics", 2), re.MULTILINE)
    assert set(rows) == names


def test_every_field_of_health_has_its_row() -> None:
    from poolhub.health import Health

    shown = section(OPERATING, "Health", 2)
    assert [name for name in Health.__struct_fields__ if f"`{name}" not in shown] == []


# ---- the repository


@pytest.mark.parametrize("path", markdown_files(), ids=str)
def test_relative_links_resolve(path: Path) -> None:
    for link in links(path):
        target, _, anchor = link.partition("#")
        file = (ROOT / path.parent / target).resolve() if target else ROOT / path
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file.relative_to(ROOT)), link


@pytest.mark.parametrize("path", markdown_files(), ids=str)
def test_make_targets_are_there(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)(?:[A-Z]\w*=\S+ )?make ([a-z-]+)", text_of(path), re.MULTILINE))
    assert named <= targets


def test_every_make_target_is_told() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [target for target in targets if target != "help" and f"`make {target}`" not in all_docs()] == []


def test_the_index_names_every_page() -> None:
    named = {(DOCS / link).resolve() for link in links(INDEX)}
    pages = {path.resolve() for path in DOCS.rglob("*.md")}
    assert pages - named == {(ROOT / INDEX).resolve()}


@pytest.mark.parametrize(
    "file", ["requirements.in", "requirements-evm.in", "requirements-otel.in", "requirements-dev.in"]
)
def test_every_direct_dependency_has_its_reason(file: str) -> None:
    names = re.findall(r"^([a-z][\w-]*)", (ROOT / file).read_text(), re.MULTILINE)
    cells = " ".join(re.findall(r"^\| ([^|]+) \|", text_of(DEPENDENCIES), re.MULTILINE))
    told_of = set(re.findall(r"[a-z][\w-]*", re.sub(r"\[[^]]*\]", "", cells)))
    assert [name for name in names if name not in told_of] == []


def test_pictures_are_small() -> None:
    pictures = list((DOCS / "images").iterdir())
    assert pictures
    assert [each.name for each in pictures if each.stat().st_size > 200_000] == []
