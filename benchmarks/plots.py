"""Plots of what a save costs, as SVG that reads on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import TIMES, Figure, Results

#: Colours with enough contrast to white and to near black.
_GREY = "#7d8590"
_LINES = {"default": ("#c9731f", "default manager", "s--"), "bookstore": ("#2f81f7", "with bookstore", "o-")}


@dataclass(frozen=True)
class Point:
    """One place on a plot.

    Attributes
    ----------
    x : float
    label : str
    figure : Figure
    """

    x: float
    label: str
    figure: Figure


def draw(results: Mapping[str, Results], directory: Path) -> list[Path]:
    """Draw what there are figures for; the files."""
    drawn = []
    for name, title, points, is_logarithmic in _plots(results):
        if len(points) > 1:
            file = directory / f"{name}.svg"
            _draw(file, title, points, is_logarithmic=is_logarithmic)
            drawn.append(file)
    return drawn


def _plots(results: Mapping[str, Results]) -> Iterator[tuple[str, str, list[Point], bool]]:
    saves = results["save"].figures if "save" in results else ()
    sizes = [figure for figure in saves if "default low ms" in figure.beside]
    labels = [figure.what.removeprefix("save of ").partition(",")[0] for figure in sizes]
    points = [Point(float(i), label, figure) for i, (label, figure) in enumerate(zip(labels, sizes, strict=True))]
    yield "cost-of-a-save-by-size", "bytes of the notebook", points, True
    growth = results["growth"].figures if "growth" in results else ()
    for name, title in (("waiting", "saves that wait in the outbox"), ("versions", "versions of the path")):
        found = [figure for figure in growth if name in figure.beside]
        yield (
            f"cost-of-a-save-by-{name}",
            title,
            [Point(float(i), f"{figure.beside[name]:,.0f}", figure) for i, figure in enumerate(found)],
            False,
        )


def _draw(file: Path, title: str, points: Sequence[Point], *, is_logarithmic: bool) -> None:
    import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]

    mpl.use("svg")
    import matplotlib.pyplot as plt  # type: ignore[import-not-found,unused-ignore]

    # Text stays text, and two drawings of the same figures are the same file.
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bookstore", "font.family": "sans-serif"})
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for name, (colour, label, style) in _LINES.items():
        middle = [point.figure.beside[f"{name} ms"] for point in points]
        below = [m - point.figure.beside[f"{name} low ms"] for m, point in zip(middle, points, strict=True)]
        above = [point.figure.beside[f"{name} high ms"] - m for m, point in zip(middle, points, strict=True)]
        xs = [point.x for point in points]
        axes.errorbar(xs, middle, yerr=[below, above], fmt=style, color=colour, label=label, capsize=3, markersize=5)
    for point in points:
        top = max(point.figure.beside[f"{name} high ms"] for name in _LINES)
        text = f"{point.figure.value:.2f}{TIMES}"
        axes.annotate(text, (point.x, top), (0, 8), textcoords="offset points", ha="center", color=_GREY, fontsize=9)
    if is_logarithmic:
        axes.set_yscale("log")
        axes.margins(y=0.15)
    else:
        largest = max(point.figure.beside[f"{name} high ms"] for point in points for name in _LINES)
        axes.set_ylim(0, 1.3 * largest)
    axes.margins(x=0.1)
    axes.set_xticks([point.x for point in points], [point.label for point in points])
    axes.set_xlabel(title, color=_GREY)
    axes.set_ylabel("a save, median, ms", color=_GREY)
    axes.tick_params(colors=_GREY, which="both")
    for spine in axes.spines.values():
        spine.set_color(_GREY)
    axes.grid(visible=True, axis="y", color=_GREY, alpha=0.25)
    axes.legend(frameon=False, labelcolor=_GREY, loc="upper left")
    figure.savefig(file, transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # The library ends lines with blanks.
    lines = (line.rstrip() for line in file.read_text(encoding="utf-8").splitlines())
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
