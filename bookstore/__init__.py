"""Every save of a Jupyter notebook becomes an immutable version in your own S3 bucket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bookstore._version import __version__, version_info

if TYPE_CHECKING:
    from bookstore.archive import BookstoreContentsArchiver
    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.extension import load_jupyter_server_extension

#: Where this package is installed.
PACKAGE_DIR: str = str(Path(__file__).resolve().parent)

__all__ = [
    "PACKAGE_DIR",
    "BookstoreContentsArchiver",
    "BookstoreSettings",
    "__version__",
    "load_jupyter_server_extension",
    "version_info",
]

# Imported at first use: a script that reads the version, and a server that looks for extensions, need none of it.
_HOMES = {
    "BookstoreContentsArchiver": "bookstore.archive",
    "BookstoreSettings": "bookstore.bookstore_config",
    "load_jupyter_server_extension": "bookstore.extension",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell Jupyter Server what to load."""
    from bookstore.extension import BookstoreExtension

    return [{"module": "bookstore.extension", "app": BookstoreExtension}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell ``jupyter labextension develop`` what to link; a wheel installs it where JupyterLab looks."""
    return [{"src": "labextension", "dest": "jupyterlab-bookstore"}]
