"""Plots of results. Without matplotlib there are none, and that is said."""

from collections.abc import Mapping, Sequence

from benchmarks.harness import RESULTS

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError:
    Figure = None  # type: ignore[assignment,misc]

Curves = Mapping[str, Sequence[tuple[int, float]]]


def log_log(name: str, panels: Mapping[str, Curves], *, x: str, y: str) -> None:
    """One panel a key, one curve a key within; written to results/NAME.svg."""
    if Figure is None:
        print(f"matplotlib is not installed: {name}.svg is not drawn")
        return
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure = Figure(figsize=(4.2 * len(panels), 4.0), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (title, curves) in zip(axes, panels.items(), strict=True):
            for label, points in curves.items():
                axis.loglog(*zip(*points, strict=True), marker="o", label=label)
            axis.set(title=title, xlabel=x)
            axis.grid(which="major", alpha=0.3)
        axes[0].set_ylabel(y)
        axes[0].legend()
        figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
