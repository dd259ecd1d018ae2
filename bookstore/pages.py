"""The pages that people see: to confirm a clone, to look at a version, and what tells why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from bookstore.cloning import target_name

if TYPE_CHECKING:
    from jinja2 import Environment, Template

    from bookstore.results import CloneSource, Version
    from bookstore.sanitizing import Harmless


def render_clone_page(
    *,
    source: CloneSource,
    api_url: str,
    body: Mapping[str, Any],
    base_url: str,
    xsrf_token: str,
    open_url_prefix: str,
    target_path: str = "",
    nonce: str = "",
) -> str:
    """The page that shows what would be cloned, and clones it at the push of a button.

    It works below any base URL, and only with JavaScript; without, it says so.

    Parameters
    ----------
    source : CloneSource
        What would be cloned.
    api_url : str
        Where the page POSTs, the base URL included. Of a whole address only the path counts: the page asks the server
        that it came from.
    body : mapping
        What it POSTs, as JSON: ``s3_bucket``, ``s3_key`` and perhaps ``s3_version_id``, or ``relpath``. The page adds
        ``target_path``. Name the version to be sure that what is cloned is what the page shows.
    base_url : str
        The server's.
    xsrf_token : str
        Sent as ``X-XSRFToken`` where scripts cannot read the cookie ``_xsrf``.
    open_url_prefix : str
        The new file's path is put behind it, and the browser goes there: ``{base_url}lab/tree/``. Of a whole address
        only the path counts.
    target_path : str, optional
        What stands in the field at first; the source's own name if left out.
    nonce : str, optional
        For a Content-Security-Policy: all scripts and styles of the page carry it, and none stands in an attribute.

    Returns
    -------
    str
        HTML, to be sent as UTF-8.
    """
    data = {
        "api_url": api_url,
        "body": dict(body),
        "open_url_prefix": open_url_prefix,
        "xsrf_token": xsrf_token,
    }
    is_notebook = source.name.endswith(".ipynb")
    return _render(
        "clone.html",
        source=source,
        kind="notebook" if is_notebook else "file",
        is_notebook=is_notebook,
        facts=_facts(source, body),
        size=human_size(source.size),
        exact_size=f"{source.size:,} bytes" if source.size >= 1000 else "",
        modified=human_time(source.last_modified),
        target=target_path or target_name(source.name),
        base_url=base_url,
        data=data,
        nonce=nonce,
    )


def render_view_page(
    *,
    version: Version,
    name: str,
    area: str,
    kind: str,
    content: Harmless,
    rules: Harmless,
    remarks: Sequence[str] = (),
    download_url: str,
    clone_url: str = "",
    base_url: str,
    nonce: str = "",
    is_embedded: bool = False,
) -> str:
    """The page that shows one version.

    Parameters
    ----------
    version : Version
    name : str
        The file's, under which it was asked for.
    area : str
    kind : str
        As in `bookstore.rendering.Rendered`.
    content, rules : Harmless
        What is shown, and the style rules that belong to it.
    remarks : sequence of str
        What the reader has to know of it.
    download_url, clone_url : str
        Where the bytes, and the page to clone it, are; there may be none of the latter.
    base_url : str
        The server's.
    nonce : str, optional
        As for `render_clone_page`; nothing on the page runs.
    is_embedded : bool
        Whether it is for a frame of another page's: remarks and content alone, without head and without our links.

    Returns
    -------
    str
        HTML, to be sent as UTF-8.
    """
    return _render(
        "view.html",
        version=version,
        name=name,
        area=area,
        kind=kind,
        content=content,
        rules=rules,
        remarks=remarks,
        size=human_size(version.size),
        saved=human_time(version.saved_at or version.last_modified),
        saved_at=version.saved_at or version.last_modified,
        download_url=download_url,
        clone_url=clone_url,
        base_url=base_url,
        nonce=nonce,
        is_embedded=is_embedded,
    )


def content_url(base_url: str, path: str, version_id: str = "", area: str = "workspace") -> str:
    """The address of a version's bytes."""
    asked = {"version_id": version_id, "area": area if area != "workspace" else ""}
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"{base_url.rstrip('/')}/api/bookstore/content/{quote(path)}" + (f"?{query}" if query else "")


def clone_page_url(base_url: str, bucket: str, key: str, version_id: str = "") -> str:
    """The address of the page that asks whether to clone a version."""
    asked = {"s3_bucket": bucket, "s3_key": key, "s3_version_id": version_id}
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"{base_url.rstrip('/')}/bookstore/clone?{query}"


def render_error_page(
    *,
    status: int,
    message: str,
    hint: str = "",
    title: str = "This cannot be cloned",
    download_url: str = "",
    base_url: str,
    nonce: str = "",
    is_embedded: bool = False,
) -> str:
    """The page that tells what went wrong, and the next step.

    Parameters
    ----------
    status : int
        HTTP status.
    message, hint : str
        As an error of `bookstore.errors` has them.
    title : str
    download_url : str, optional
        Where the bytes can be had all the same.
    base_url : str
        The server's.
    nonce : str, optional
        As for `render_clone_page`.
    is_embedded : bool
        Whether it is for a frame of another page's: without links.

    Returns
    -------
    str
        HTML, to be sent as UTF-8.
    """
    return _render(
        "error.html",
        status=status,
        message=message,
        hint=hint,
        title=title,
        download_url=download_url,
        base_url=base_url,
        nonce=nonce,
        is_embedded=is_embedded,
    )


def human_size(count: int) -> str:
    """A number of bytes, as people read it: ``1 byte``, ``1.4 MB``."""
    if count < 1000:
        return "1 byte" if count == 1 else f"{count} bytes"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:  # what is more would be shown as 1000.0
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:,.1f} TB"


def human_time(text: str) -> str:
    """A time in ISO 8601, as people read it: ``20 November 2025, 10:36 UTC``. What is no time stays as it is."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 does not know Z
        if time.tzinfo is None:
            time = time.replace(tzinfo=timezone.utc)
        time = time.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return text
    return f"{time.day} {time:%B %Y, %H:%M} UTC"


def _facts(source: CloneSource, body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where it comes from, as names and values."""
    if "s3_bucket" not in body:
        return [("File", source.source)]
    version = source.version_id or "newest"
    if source.version_id and not body.get("s3_version_id"):
        version = f"{source.version_id} (newest)"
    return [("Bucket", str(body["s3_bucket"])), ("Key", str(body.get("s3_key", ""))), ("Version", version)]


def page_template(name: str) -> Template:
    """The template of a page, by its file's name."""
    return _environment().get_template(name)


def _render(name: str, /, **values: Any) -> str:
    return page_template(name).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("bookstore"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
