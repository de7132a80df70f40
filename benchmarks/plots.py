"""Plots of results. Without matplotlib there are none, and that is said.

Readable on a light and on a dark page: a plot has paper of its own, and where the reader prefers dark, dark paper.
"""

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError:
    Figure = None  # type: ignore[assignment,misc]

Curves = Mapping[str, Sequence[tuple[float, float]]]

PAPER, INK = "#fefefe", "#1f2329"
DARK = {PAPER: "#0d1117", INK: "#e6edf3"}
COLOURS = ("#2f81f7", "#d9822b", "#2da44e", "#cf3a4a", "#a371f7", "#8c959f")  # each is clear on both papers
MARKERS = "osD^vP"
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.facecolor": PAPER,
    "legend.labelcolor": INK,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK
    ),
}


def log_log(path: Path, panels: Mapping[str, Curves], *, x: str, y: str) -> None:
    """One panel a key, one curve a key within, both axes logarithmic; written to path.svg."""

    def draw(axis: Any, curves: Curves) -> None:
        for (label, points), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
            axis.loglog(*zip(*points, strict=True), marker=marker, color=colour, label=label)
        seen = sorted({at for points in curves.values() for at, _ in points})
        axis.set_xticks(seen, labels=[f"{at:,.0f}" for at in seen])
        axis.set_xticks([], minor=True)

    _panels(path, panels, draw, x=x, y=y)


def bars(path: Path, panels: Mapping[str, Mapping[str, float]], *, y: str) -> None:
    """One panel a key, one bar a key within, with its value written on it."""

    def draw(axis: Any, values: Mapping[str, float]) -> None:
        colours = [COLOURS[i % len(COLOURS)] for i in range(len(values))]
        drawn = axis.bar(
            [name.replace(", ", ",\n") for name in values], list(values.values()), color=colours, width=0.6
        )
        axis.bar_label(drawn, fmt="{:,.0f}", color=INK, padding=2)
        axis.margins(y=0.12)

    _panels(path, panels, draw, x="", y=y)


def _panels(path: Path, panels: Mapping[str, Any], draw: Any, *, x: str, y: str) -> None:
    if Figure is None:
        print(f"matplotlib is not installed: {path.name}.svg is not drawn")
        return
    with mpl.rc_context({"svg.hashsalt": path.name, **STYLE}):
        figure = Figure(figsize=(4.2 * len(panels), 4.2), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (title, curves) in zip(axes, panels.items(), strict=True):
            draw(axis, curves)
            axis.set(title=title, xlabel=x)
            axis.grid(which="major", alpha=0.3, axis="both" if x else "y")
            axis.set_axisbelow(True)
        axes[0].set_ylabel(y)
        labelled = axes[0].get_legend_handles_labels()
        if labelled[0]:
            figure.legend(*labelled, loc="outside lower center", ncols=min(len(labelled[0]), 2 * len(panels)))
        drawn = StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".svg").write_text(_both_papers(drawn.getvalue()))


def _both_papers(svg: str) -> str:
    """Colours stand in style attributes, which only an important rule overrules."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules} text{{fill:{DARK[INK]}!important}}}}</style>"
    head, mark, rest = svg.partition(" <metadata>")
    return f"{head} {style}\n{mark}{rest}"
