"""The table of a run. Pure, but for the page that it may be put into."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.checker import RECOVERED_S, Window, recovered_after_s, slowest_health_s
from tests.chaos.journal import Answer, Journal

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
HEAD = ("fault", "s until matching again", "matches answered", "all else answered", "slowest health", "promises")
SHOWN = 20  # of what broke, a fault


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    again_s: float | None
    matches: str
    others: str
    health_s: float | None
    broken: Sequence[str] = field(default_factory=tuple)
    stalled_s: float = 0.0  # the client itself, at most
    why_not: str = ""  # it was not run

    @property
    def kept(self) -> bool:
        return not self.broken

    def cells(self) -> tuple[str, ...]:
        if self.why_not:
            return self.name, "–", "–", "–", "–", f"not run: {self.why_not}"
        verdict = "kept" if self.kept else f"**broken**: {len(self.broken)}, such as {self.broken[0]}"
        return (
            self.name,
            f"{self.again_s:.1f}",
            self.matches,
            self.others,
            f"{self.health_s:.2f} s" if self.health_s else "–",
            verdict,
        )

    def line(self) -> str:
        return " | ".join(self.cells())


def row(name: str, journal: Journal, window: Window, broken: Sequence[str]) -> Row:
    """Answers from the fault to the end of the time that the hub has to recover."""
    until = window.lifted + RECOVERED_S
    some = [each for each in journal.answers if window.injected <= each.asked < until]
    matches = [each for each in some if each.kind in ("match", "look")]
    others = [each for each in some if each.kind not in ("match", "look")]
    return Row(
        name, recovered_after_s(journal, window), counted(matches), counted(others), slowest_health_s(journal, window),
        tuple(broken), max((late_s for at, late_s in journal.stalls if window.injected <= at < until), default=0.0),
    )  # fmt: skip


def not_run(name: str, why: str) -> Row:
    return Row(name, None, "", "", None, why_not=why)


def counted(answers: Iterable[Answer]) -> str:
    counts = Counter(each.status for each in answers)
    return ", ".join(f"{status}: {number}" for status, number in sorted(counts.items()))


def table(rows: Sequence[Row]) -> str:
    lines = [HEAD, ("---",) * len(HEAD), *(each.cells() for each in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def text(rows: Sequence[Row], *, seed: int, took_s: float) -> str:
    told = "".join(
        f"{each.name}:\n" + "".join(f"  - {line}\n" for line in each.broken[:SHOWN]) for each in rows if each.broken
    )
    return f"{told}\n{table(rows)}\nseed {seed}, {took_s / 60:.1f} minutes{stalls(rows)}\n"


def stalls(rows: Sequence[Row]) -> str:
    """So long the client was kept from its work, on a machine that is busy with others: times are longer by that."""
    most = max((each.stalled_s for each in rows), default=0.0)
    return f"; the client itself stood still for {most:.1f} s at most" if most else ""


def put_into(page: Path, rows: Sequence[Row], *, seed: int, took_s: float) -> None:
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    command = f"`python -m tests.chaos --seed {seed}`, {took_s / 60:.0f} minutes{stalls(rows)}:"
    page.write_text(f"{before}{BEGIN}\n\n{command}\n\n{table(rows)}\n{END}{after}")
