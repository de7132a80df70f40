"""The documentation as tests see it: pages, headings, links, and what the code has that a page must speak of."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(#{1,6}) +(.+?)\s*$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"`[^`\n]*`")
ITEM = re.compile(r"^- (\w+): (.+)$", re.MULTILINE)


def markdown_files() -> list[Path]:
    """Every page of the repository; folders that begin with a dot hold other people's."""
    found = [path.relative_to(ROOT) for path in ROOT.rglob("*.md")]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


@cache
def text_of(path: Path) -> str:
    return (ROOT / path).read_text()


def all_docs() -> str:
    return "\n".join(text_of(path) for path in markdown_files() if path.parts[0] == "docs")


def headings(path: Path, level: int | None = None) -> list[str]:
    found = HEADING.findall(FENCE.sub("", text_of(path)))
    return [title for marks, title in found if level is None or len(marks) == level]


def anchors(path: Path) -> set[str]:
    """As GitHub makes them: lower case, without punctuation, spaces as hyphens."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings(path)}


def links(path: Path) -> list[str]:
    """Relative ones, with their anchors."""
    prose = CODE_SPAN.sub("", FENCE.sub("", text_of(path)))
    return [link for link in LINK.findall(prose) if not re.match(r"[a-z]+:", link)]


def section(path: Path, title: str, level: int) -> str:
    """The text below a heading, up to the next one of its level or above."""
    start = re.search(rf"^{'#' * level} +{re.escape(title)}$", text_of(path), re.MULTILINE)
    assert start is not None, f"{path} has no heading {title}"
    rest = text_of(path)[start.end() :]
    end = re.search(rf"^#{{1,{level}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def items(text: str) -> dict[str, str]:
    """Lines of the form `- Name: value`."""
    return dict(ITEM.findall(text))


def sources() -> Iterator[ast.Module]:
    for package in ("poolhub", "access", "miners", "matching", "feedback", "settlement", "market"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ast.parse(path.read_text())


def error_codes() -> set[str]:
    """Every code that the sources give a HubError, a FieldError or an Invalid, wherever it is raised."""
    return {code for tree in sources() for node in ast.walk(tree) for code in _codes(node)}


def _codes(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name("FieldError"), args=[_, ast.Constant(str(code)), *_]):
            yield code
        case ast.Call(keywords=keywords):
            yield from (each.value.value for each in keywords if each.arg == "code" and _is_text(each.value))
        case ast.Assign(targets=[ast.Tuple(names)], value=ast.Tuple(values)):
            pairs = zip(names, values, strict=False)
            yield from (value.value for name, value in pairs if _is_code(name) and _is_text(value))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_code(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id == "code") or (
        isinstance(node, ast.Attribute) and node.attr == "code"
    )
