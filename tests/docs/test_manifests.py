"""docs/manifests.md: every refusal has its row, and every row its test."""

import ast
import re
from pathlib import Path

import pytest

from miners.manifests.claims import FIELDS
from miners.manifests.keys import ALGORITHMS
from miners.manifests.reasons import Reason
from miners.manifests.tokens import MAX_TOKEN
from tests.docs.pages import ROOT, section, text_of

pytestmark = pytest.mark.pure

PAGE = Path("docs/manifests.md")
ROWS = re.findall(r"^\| (`[a-z_`, ]+`) \| .+ \| `(\w+)` \|$", section(PAGE, "Every refusal", 2), re.MULTILINE)


def bodies_of(path: Path) -> dict[str, str]:
    source = path.read_text()
    return {
        node.name: ast.get_source_segment(source, node) or ""
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


TESTS = {
    name: body
    for path in sorted((ROOT / "tests" / "miners" / "manifests").glob("test_*.py"))
    for name, body in bodies_of(path).items()
}


def test_every_reason_has_a_row_and_every_row_is_one_of_a_reason() -> None:
    told = {code for codes, _ in ROWS for code in re.findall(r"\w+", codes)}
    assert told == {reason.value for reason in Reason}
    rows = [line for line in section(PAGE, "Every refusal", 2).splitlines() if line.startswith("| `")]
    assert len(rows) == len(ROWS)


@pytest.mark.parametrize(("codes", "test"), ROWS)
def test_the_test_of_each_row_is_there_and_expects_its_reason(codes: str, test: str) -> None:
    for code in re.findall(r"\w+", codes):
        assert f"Reason.{code.upper()}" in TESTS[test] or f'"{code}"' in TESTS[test]


def test_the_page_names_every_value_algorithm_and_limit() -> None:
    text = text_of(PAGE)
    assert [name for name in (*FIELDS, *ALGORITHMS) if f"`{name}`" not in text] == []
    assert f"{MAX_TOKEN:,} characters" in text
