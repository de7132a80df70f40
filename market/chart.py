"""The history of a market price as a picture: an SVG without scripts, styles and files. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 70, 12, 12, 28


@dataclass(frozen=True, slots=True)
class Point:
    day: int  # date.toordinal
    q1: float  # tokens per 1,000 s
    median: float
    q3: float


def svg(points: Sequence[Point]) -> str:
    """The median as a line, the middle half of the prices as a band around it; made of numbers alone."""
    if not points:
        return ""
    first, last = points[0].day, points[-1].day
    low, high = min(each.q1 for each in points), max(each.q3 for each in points)
    margin = (high - low) * 0.05 or high * 0.05 or 1.0
    low, high = max(0.0, low - margin), high + margin

    def x(day: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (0.5 if first == last else (day - first) / (last - first))

    def y(price: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - price) / (high - low)

    band = [f"{x(each.day):.1f},{y(each.q3):.1f}" for each in points]
    band += [f"{x(each.day):.1f},{y(each.q1):.1f}" for each in reversed(points)]
    line = [f"{x(each.day):.1f},{y(each.median):.1f}" for each in points]
    dots = "".join(
        f'<circle cx="{x(each.day):.1f}" cy="{y(each.median):.1f}" r="2.5" fill="#2563eb">'
        f"<title>{date.fromordinal(each.day)}: {each.median:.8g} ({each.q1:.8g} to {each.q3:.8g})</title></circle>"
        for each in points
    )
    prices = [low + (high - low) * quarter / 4 for quarter in range(5)]
    ends = [(first, "start"), (last, "end")] if first != last else [(first, "middle")]
    lines = "".join(_line(y(price)) + _text(LEFT - 6, y(price) + 4, "end", f"{price:.4g}") for price in prices)
    days = "".join(_text(x(day), HEIGHT - 8, anchor, str(date.fromordinal(day))) for day, anchor in ends)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"'
        f' aria-label="median price by day, with its quartiles">{lines}'
        f'<polygon points="{" ".join(band)}" fill="#2563eb" fill-opacity="0.15"/>'
        f'<polyline points="{" ".join(line)}" fill="none" stroke="#2563eb" stroke-width="2"/>{dots}{days}</svg>'
    )


def _line(y: float) -> str:
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#9ca3af" stroke-width="0.5"/>'


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11" fill="#6b7280">{text}</text>'
