"""Builds the interface into the package and ships the files for Jupyter; all else stands in pyproject.toml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Distribution, setup
from setuptools.command.build import build
from setuptools.command.sdist import sdist
from setuptools.errors import SetupError

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))
try:
    from ci.interface import (
        NODE_FROM_PYPI,
        InterfaceError,
        data_files,
        files_of,
        find_node,
        is_current,
        mode_from_environment,
        one_at_a_time,
        provide,
    )
finally:
    sys.path.remove(str(ROOT))


def provide_interface() -> Path | None:
    """The built interface, or None where the package goes without; an error in the way setuptools shows it."""
    try:
        return provide(ROOT, mode_from_environment())
    except InterfaceError as e:
        raise SetupError(str(e)) from e


def needs_for_build() -> list[str]:
    """What to install for the build, asked with the command `egg_info`: Node, if it is required and not there."""
    if "egg_info" not in sys.argv or mode_from_environment() != "require":
        return []
    is_built = is_current(ROOT / "ui", ROOT / "bookstore" / "labextension")
    return [] if is_built or find_node() else [NODE_FROM_PYPI]


class BuildInterface(Command):
    """A step of `build`: for wheels and for editable installs."""

    description = "build the interface for JupyterLab and Notebook"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []
    editable_mode = False

    def initialize_options(self) -> None:
        """Nothing to set."""

    def finalize_options(self) -> None:
        """Nothing to derive."""

    def run(self) -> None:
        """Build it, and have it installed as data files."""
        built = provide_interface()
        if built is not None:
            self.distribution.data_files.extend(data_files(ROOT, built))

    def get_source_files(self) -> list[str]:
        """Said by MANIFEST.in."""
        return []

    def get_outputs(self) -> list[str]:
        """Nothing in build/: data files are taken from where they are."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """Nothing in build/."""
        return {}


class Build(build):
    """Builds the interface too."""

    sub_commands = [*build.sub_commands, ("build_interface", None)]  # noqa: RUF012 - as setuptools has it


class Sdist(sdist):
    """Holds the built interface, so that installing from it needs no Node."""

    def run(self) -> None:
        """Build first."""
        self.interface = provide_interface()
        super().run()

    def make_distribution(self) -> None:
        """Take what was built just now, and nothing that an older list of files remembers."""
        kept = [name for name in self.filelist.files if not Path(name).is_relative_to("bookstore/labextension")]
        built = [str(file.relative_to(ROOT)) for file in files_of(self.interface)] if self.interface else []
        self.filelist.files = kept + built
        super().make_distribution()


class Package(Distribution):
    """Lets editable installs have data files too: setuptools asks for this method before it installs them there."""

    def has_data(self) -> bool:
        """Whether there are data files."""
        return self.has_data_files()


with one_at_a_time(ROOT):
    setup(
        distclass=Package,
        setup_requires=needs_for_build(),
        cmdclass={"build": Build, "build_interface": BuildInterface, "sdist": Sdist},
        data_files=[
            ("etc/jupyter/jupyter_server_config.d", ["jupyter-config/jupyter_server_config.d/bookstore.json"]),
        ],
    )
