"""Jupyter's own configuration, read as a Jupyter server reads it."""

from __future__ import annotations

import contextlib
import sys
import traceback
from pathlib import Path
from typing import Any

from jupyter_core.application import JupyterApp
from traitlets.config import Config
from traitlets.config.loader import ConfigFileNotFound, DeferredConfigList, DeferredConfigString

from bookstore.errors import SettingsError

#: Each overrides those before it, as they do in a server: what an extension's file says gives way to the server's.
CONFIG_FILES = (
    "jupyter_notebook_config",
    "jupyter_lab_config",
    "jupyter_bookstore_config",
    "jupyter_config",
    "jupyter_server_config",
)

#: Where a configuration may name the server's root directory; the first wins.
_ROOTS = (
    ("ServerApp", "root_dir"),
    ("NotebookApp", "notebook_dir"),
    ("FileContentsManager", "root_dir"),
    ("ContentsManager", "root_dir"),
)

#: Contents managers that the command line can stand in for.
_OWN_PACKAGES = frozenset({"jupyter_server", "notebook", "bookstore"})
_FILE_MANAGERS = frozenset(
    {
        "AsyncFileContentsManager",
        "AsyncLargeFileManager",
        "BookstoreContentsArchiver",
        "FileContentsManager",
        "LargeFileManager",
    }
)


class BookstoreApp(JupyterApp):
    """An application that reads the configuration of Jupyter Server, JupyterLab, Notebook and bookstore.

    Attributes
    ----------
    broken_files : list of str
        Configuration files that could not be read, and why; the others count all the same, as in a server.
    """

    name = "bookstore"
    description = "Every save of a notebook becomes an immutable version in your own S3 bucket."

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.broken_files: list[str] = []

    @classmethod
    def configured(cls, config_file: str | None, settings: dict[str, list[str]]) -> BookstoreApp:
        """The application with everything read.

        Parameters
        ----------
        config_file : str or None
            Read in place of ``jupyter_server_config``.
        settings : dict of str to list of str
            What the command line gives for traits of `BookstoreSettings`; comes before all files.

        Raises
        ------
        SettingsError
            ``config_file`` cannot be read.
        """
        app = cls()
        if config_file is not None:
            app.config_file = str(Path(config_file).expanduser().absolute())
        app.load_config_file()
        section = Config()
        for name, values in settings.items():
            section[name] = DeferredConfigString(values[0]) if len(values) == 1 else DeferredConfigList(values)
        if settings:
            app.update_config(Config({"BookstoreSettings": section}))
        return app

    def load_config_file(self, suppress_errors: bool = True) -> None:  # type: ignore[override]
        """Read every file there is; none of them can end the program."""
        found = Config()
        for name in CONFIG_FILES:
            if name == "jupyter_server_config" and self.config_file:
                found.merge(self._chosen_file())
                continue
            for directory in reversed(self.config_file_paths):
                for kind in (".py", ".json"):
                    found.merge(self._read(name + kind, directory))
        self.update_config(found)

    def _chosen_file(self) -> Config:
        path = Path(self.config_file)
        if not path.is_file():
            raise SettingsError(f"The configuration file {path} is not there.", "Check --config.")
        known = len(self.broken_files)
        config = self._read(path.name, str(path.parent))
        if len(self.broken_files) > known:
            raise SettingsError(self.broken_files[-1], "Correct the file, or leave out --config.")
        return config

    def _read(self, name: str, directory: str) -> Config:
        loader_class = self.json_config_loader_class if name.endswith(".json") else self.python_config_loader_class
        loader = loader_class(name, path=directory, log=self.log)
        try:
            # A file that prints must not do so into our JSON.
            with contextlib.redirect_stdout(sys.stderr):
                return loader.load_config()
        except ConfigFileNotFound:
            return Config()
        except Exception as e:  # noqa: BLE001 - a configuration file is a program and may raise anything
            self.broken_files.append(_what_is_broken(Path(directory, name), e))
            return Config()

    def configured_root(self) -> str | None:
        """The server's root directory, where the configuration names one."""
        for section, trait in _ROOTS:
            if section in self.config and trait in self.config[section]:
                return str(self.config[section][trait])
        return None

    def is_extension_enabled(self) -> bool:
        """Whether the configuration enables bookstore's server extension.

        The files in ``jupyter_server_config.d`` are read too: a server reads them for this and for nothing else.
        """
        from jupyter_server.extension.config import ExtensionConfigManager

        manager = ExtensionConfigManager(read_config_path=self.config_file_paths, log=self.log)
        enabled: dict[str, bool] = dict(manager.get_jpserver_extensions())
        enabled.update(self.config.get("ServerApp", {}).get("jpserver_extensions", {}))
        return bool(enabled.get("bookstore", False))

    def other_manager(self) -> str | None:
        """The configured contents manager, unless it is one that writes the files below the root as Jupyter does."""
        for section in ("ServerApp", "NotebookApp"):
            manager = self.config.get(section, {}).get("contents_manager_class")
            if not manager:
                continue
            name = manager if isinstance(manager, str) else f"{manager.__module__}.{manager.__qualname__}"
            is_own = name.partition(".")[0] in _OWN_PACKAGES and name.rpartition(".")[2] in _FILE_MANAGERS
            return None if is_own else name
        return None

    def names_archiver(self) -> bool:
        """Whether the configuration names `BookstoreContentsArchiver`, which archives without the extension."""
        return any(
            "Bookstore" in str(self.config.get(section, {}).get("contents_manager_class", ""))
            for section in ("ServerApp", "NotebookApp")
        )


def _what_is_broken(file: Path, error: Exception) -> str:
    """The file, the kind of error and the line, but not its text, which may repeat a secret that stands there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    where = f" in line {lines[-1]}" if lines and lines[-1] else ""
    return f"The configuration file {file} cannot be read: {type(error).__name__}{where}."
