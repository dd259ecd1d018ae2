"""Tables of figures, as Markdown, for the pages of the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.figures import TIMES, Figure, Results

#: Stands where there is nothing to tell.
NONE = "–"  # noqa: RUF001 - a dash


def where(environment: Mapping[str, Any]) -> str:
    """One sentence about where figures were measured."""
    versions = ", ".join(
        f"{name} {version}" for name, version in environment["versions"].items() if version != "not installed"
    )
    return (
        f"Measured on {environment['cpus']} cores, {environment['system']}, {environment['disk']}, "
        f"Python {environment['python']}, with {versions}. Both the clients and the store ran on the same machine."
    )


def summary(results: Mapping[str, Results]) -> str:
    """Every figure that has a bar."""
    rows = [figure for result in results.values() for figure in result.figures if figure.bar is not None]
    head = "| what | bar | figure | spread | n | held |\n|-|-|-|-|-|-|\n"
    return head + "".join(map(_summary_row, rows))


def _summary_row(figure: Figure) -> str:
    held = "yes" if figure.is_held else "**no**"
    cells = (figure.what, bar(figure), value(figure), spread(figure), str(figure.n or NONE), held)
    return f"| {' | '.join(cells)} |\n"


def table(result: Results) -> str:
    """All figures of one benchmark, with what they were made of."""
    head = "| what | figure | spread | n | made of |\n|-|-|-|-|-|\n"
    rows = (
        f"| {figure.what} | {value(figure)} | {spread(figure)} | {figure.n or NONE} | {made_of(figure)} |\n"
        for figure in result.figures
    )
    return f"{where(result.environment)}\n\n{head}{''.join(rows)}"


def text(results: Mapping[str, Results]) -> str:
    """What a terminal shows of some results."""
    return "".join(f"{name} ({one.seconds:.0f} s)\n{_lines(one.figures)}" for name, one in results.items())


def _lines(figures: Sequence[Figure]) -> str:
    def lines() -> Iterator[str]:
        for figure in figures:
            mark = {None: " ", True: "+", False: "!"}[figure.is_held]
            yield f"{mark} {value(figure)} ({spread(figure)}; bar {bar(figure)}; n {figure.n}) {figure.what}\n"
            if figure.beside:
                yield f"    {made_of(figure)}\n"

    return "".join(lines())


def value(figure: Figure) -> str:
    """The figure with its unit."""
    return f"not measured: {figure.note}" if figure.value is None else _with_unit(figure.value, figure.unit)


def bar(figure: Figure) -> str:
    """What the design allows."""
    if figure.bar is None:
        return NONE
    return f"{'≥' if figure.is_floor else '≤'} {_with_unit(figure.bar, figure.unit)}"


def spread(figure: Figure) -> str:
    """The interval of the figure."""
    if figure.low is None or figure.high is None:
        return NONE
    digits = 2 if figure.unit == TIMES else 1
    return f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"


def made_of(figure: Figure) -> str:
    """What the figure was made of: each name ends with its unit, if it has one."""
    units = ("ms", "MB", "per s")
    parts = []
    for name, number in figure.beside.items():
        unit = next((unit for unit in units if name.endswith(f" {unit}")), "")
        if name.endswith((" low ms", " high ms")):
            continue  # the plots show them
        label = name.removesuffix(f" {unit}") if unit else name
        shown = f"{number:,.0f}" if number == int(number) and not unit else f"{number:,.{2 if not unit else 1}f}"
        parts.append(f"{label} {shown}{_unit_text(unit)}")
    return ", ".join(parts) or NONE


def _unit_text(unit: str) -> str:
    return {"": "", "per s": "/s"}.get(unit, f" {unit}")


def _with_unit(number: float, unit: str) -> str:
    if unit == TIMES:
        return f"{number:.2f}{TIMES}"
    if unit == "requests":
        return f"{number:.2f}"
    return f"{number:+.1f} {unit}"
