"""How Sphinx builds the documentation. Nothing here needs the network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from bookstore import __version__  # noqa: E402

project = "bookstore"
author = "The bookstore developers"
project_copyright = "The bookstore developers"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "bookstore_docstrings",
    # Our own: each generates a reference page from what the program itself says.
    "bookstore_settings",
    "bookstore_rest",
    "bookstore_cli",
]
exclude_patterns = ["_build", "explanation/_*.md"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings tell types
autodoc_class_signature = "mixed"
# A single backquote in a docstring marks a name; not each has a page of its own.
default_role = "code"
nitpicky = True
# Python's and traitlets' names have their documentation elsewhere, and nothing is fetched to find it.
nitpick_ignore_regex = [
    ("py:.*", r"(abc|asyncio|collections|datetime|enum|jupyter_server|logging|pathlib|tornado|traitlets|typing)\..*"),
    ("py:.*", r"(ABC|Any|AsyncIterator|AbstractAsyncContextManager|Enum|Exception|Mapping|NamedTuple|Path).*"),
    # Bases that are no part of the public interface.
    ("py:.*", r"bookstore\.(archive|service)\..*"),
    ("py:.*", r"ArchiveService|ContentsManager"),
    # The types of numpydoc sections are prose, of which Sphinx makes references word by word.
    ("py:class", r"[a-z_]+|.* .*"),
]

# Quotes and ellipses, but no dashes: options begin with two hyphens.
smartquotes_action = "qe"

html_theme = "furo"
html_title = f"bookstore {release}"
html_static_path = ["_static"]
html_css_files = ["bookstore.css"]
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"
