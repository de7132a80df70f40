"""Every test that docs/guarantees.md names is there to be run."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, headings, section, text_of

pytestmark = pytest.mark.pure

PAGE = Path("docs/guarantees.md")
NAMED = re.compile(r"`(tests/[\w/]*\btest_\w+\.py)(?:::(\w+))?`")
ROW = re.compile(r"^\| *(?!-)([^|]+?) *\|(.+)\|$", re.MULTILINE)


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(each.name for each in functions if each.name.startswith("test_"))


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(text_of(PAGE)))))
def test_a_test_that_it_names_is_there(file: str, name: str) -> None:
    assert (ROOT / file).is_file()
    assert (name in functions_of(file)) if name else functions_of(file)


def test_every_attack_names_what_shows_that_it_fails() -> None:
    rows = [row for row in ROW.findall(section(PAGE, "Attack", 2)) if row[0] != "attack"]
    assert len(rows) > 40
    assert [attack for attack, rest in rows if not NAMED.search(rest)] == []


def test_a_test_is_named_with_its_file() -> None:
    spans = re.findall(r"`([^`\n]*\btest_[^`\n]*)`", text_of(PAGE))
    assert [span for span in spans if not NAMED.fullmatch(f"`{span}`")] == []


def test_the_parts_of_the_page_are_there() -> None:
    assert {"Faults", "Load", "Attack"} <= set(headings(PAGE, 2))
