"""Bytes of a version to HTML that people read: notebooks, texts and images, none of which is trusted.

Markdown and terminal colours are made HTML by nbconvert, code is coloured by pygments, and formulas are typeset by
`bookstore.formulas`. nbconvert's own templates are
not used, since they load scripts and are looked for in the directory in which the server was started. Whatever is HTML,
be it Markdown's or an output's, goes through `bookstore.sanitizing`; all else is escaped by the template.

The work may take seconds and is to be done in a worker thread.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import time
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Final

from bookstore.errors import NotebookInvalid
from bookstore.formulas import MAX_FORMULA, mathml, split_formulas
from bookstore.nesting import MAX_NESTING, is_too_deep
from bookstore.notebook_rules import checked_notebook
from bookstore.pages import page_template
from bookstore.sanitizing import Harmless, Inserts, Sanitized, data_image, sanitize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pygments.lexer import Lexer

_LOG: Final = logging.getLogger(__name__)

#: Bytes of what is shown, at most.
MAX_VIEWED: Final = 20 * 1024 * 1024

#: Seconds after which what is left is shown as plain text: renderers of text that means ill can be slow.
MAX_SECONDS: Final = 10.0

#: Characters of one piece that is coloured or made HTML; what is longer is shown as plain text.
MAX_PIECE: Final = 200_000
#: Characters of an HTML output, which may hold images.
MAX_HTML: Final = 4_000_000
#: Characters of a text output that are shown.
MAX_TEXT: Final = 200_000
#: Characters of a whole file of text that are shown.
MAX_FILE: Final = 2_000_000

#: How images begin.
_IMAGES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
#: Of an output's forms the richest is shown that can be, in this order.
_FORMS: Final = (
    "text/html",
    "text/markdown",
    "text/latex",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
)
_LANGUAGE: Final = re.compile(r"[\w+#.-]{1,40}")


_NOTHING: Final = Harmless()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A content as HTML.

    Attributes
    ----------
    kind : str
        ``notebook``, ``text``, ``image`` or ``binary``.
    html : Harmless
        Empty for what cannot be shown.
    rules : Harmless
        Style rules that belong to it, for the page's own style element.
    remarks : tuple of str
        What the reader has to know: what was left out, and why.
    """

    kind: str
    html: Harmless = _NOTHING
    rules: Harmless = _NOTHING
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A part of a cell.

    Attributes
    ----------
    kind : str
        ``text``, ``error``, ``stderr``, ``html``, ``image``, ``latex`` or ``note``.
    html : str
        Put into the page as it is where it is `Harmless`, else escaped.
    prompt : str
        What stands beside it: ``[3]:``.
    """

    kind: str
    html: str
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell, ready for the template."""

    kind: str
    number: int
    prompt: str
    source: str
    outputs: tuple[Shown, ...] = ()


def render(name: str, content: bytes) -> Rendered:
    """A content as HTML.

    Parameters
    ----------
    name : str
        The file's name; decides whether it is a notebook, and how a text is coloured.
    content : bytes
        At most `MAX_VIEWED`.
    """
    if name.endswith(".ipynb"):
        return _notebook(content)
    image = _image_type(name, content)
    if image:
        address = f"data:{image};base64,{base64.b64encode(content).decode()}"
        return Rendered("image", Harmless(page_template("image.html").render(address=address, name=name)))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return Rendered("binary")
    if "\0" in text:
        return Rendered("binary")
    return _text(text, _Renderer(_lexer_of_file(name)))


def _image_type(name: str, content: bytes) -> str:
    """The media type of an image that browsers show; empty for all else. Its bytes tell, not its name."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if name.lower().endswith(".svg") and b"<svg" in content[:4096]:
        return "image/svg+xml"
    return next((kind for start, kind in _IMAGES if content.startswith(start)), "")


def _text(text: str, renderer: _Renderer, *remarks: str) -> Rendered:
    shown = text[:MAX_FILE]
    if len(shown) < len(text):
        remarks += (f"These are the first {MAX_FILE:,} of {len(text):,} characters. Download it to see all of them.",)
    html = Harmless(page_template("text.html").render(text=renderer.code(shown)))
    return Rendered("text", html, remarks=remarks)


def _notebook(content: bytes) -> Rendered:
    """A notebook; one that is none is shown as the text that it is."""
    try:
        notebook = _read(content)
    except NotebookInvalid as e:
        text = content.decode("utf-8", "replace")
        return _text(text, _Renderer(None), f"{str(e).rstrip('.')}. It is shown as the text that it is.")
    renderer = _Renderer(_lexer(notebook))
    cells = [renderer.cell(number, cell) for number, cell in enumerate(notebook["cells"], 1)]
    # Half of a character, which JSON may hold and no page can.
    html = Harmless(page_template("notebook.html").render(cells=cells).encode("utf-8", "replace").decode())
    return Rendered("notebook", html, Harmless("\n".join(renderer.rules)), tuple(renderer.remarks()))


def _read(content: bytes) -> dict[str, Any]:
    """A notebook in the shape of nbformat 4.

    Raises
    ------
    NotebookInvalid
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or is_too_deep(document, MAX_NESTING):
        checked_notebook(content)
        raise NotebookInvalid("The notebook cannot be read")
    if document.get("nbformat") in (1, 2, 3):
        return _upgraded(document)
    if document.get("cells") != []:
        checked_notebook(content)
    return document


def _upgraded(document: dict[str, Any]) -> dict[str, Any]:
    import nbformat

    try:
        upgraded = nbformat.convert(nbformat.from_dict(document), 4)  # type: ignore[no-untyped-call]
    except Exception as e:  # it is given anything, and raises anything
        raise NotebookInvalid(f"The notebook breaks a rule of nbformat {document['nbformat']}") from e
    # As plain dicts, and by the rules of what it was made: what was no list before is none now.
    text = json.dumps(upgraded)
    plain: dict[str, Any] = json.loads(text)
    if plain.get("cells") != []:
        checked_notebook(text.encode())
    return plain


def _lexer(notebook: Mapping[str, Any]) -> Lexer | None:
    """What colours the code, by the language that the notebook says it has."""
    metadata = notebook["metadata"]
    told, kernel = metadata.get("language_info", {}), metadata.get("kernelspec", {})
    named = told.get("pygments_lexer") or told.get("name") or kernel.get("language")
    if not named:
        # Notebooks that were never run do not say; most are Python's.
        named = "python" if "python" in str(kernel.get("name", "python")) else ""
    if not isinstance(named, str) or not _LANGUAGE.fullmatch(named):
        return None
    return _lexer_named("ipython3" if named == "python" else named)


def _lexer_named(name: str) -> Lexer | None:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(name)
    except ClassNotFound:
        return get_lexer_by_name("python3") if name == "ipython3" else None


def _lexer_of_file(name: str) -> Lexer | None:
    from pygments.lexers import get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        return get_lexer_for_filename(name)
    except ClassNotFound:
        return None


@dataclass
class _Renderer:
    """Makes HTML of the parts of one content, for a bounded time."""

    lexer: Lexer | None
    rules: dict[str, None] = field(default_factory=dict)
    images_left_out: int = 0
    active_left_out: int = 0
    deadline: float = field(default_factory=lambda: time.monotonic() + MAX_SECONDS)
    is_late: bool = False

    def remarks(self) -> Iterator[str]:
        """What the reader has to know."""
        if self.images_left_out:
            yield (
                f"{_counted(self.images_left_out, 'image')} that would have to be loaded from elsewhere "
                f"{'is' if self.images_left_out == 1 else 'are'} left out."
            )
        if self.active_left_out:
            yield (
                f"{_counted(self.active_left_out, 'part')} that would run or draw something in the browser (scripts, "
                f"frames, widgets) {'is' if self.active_left_out == 1 else 'are'} left out."
            )
        if self.is_late:
            yield "Showing this took long; some of it is shown as plain text."

    def cell(self, number: int, cell: Mapping[str, Any]) -> Cell:
        """A cell."""
        kind, source = cell["cell_type"], _joined(cell.get("source"))
        if kind == "markdown":
            html = self.markdown(source, cell.get("attachments") or {})
            return Cell("markdown", number, "", html)
        if kind != "code":
            return Cell("raw", number, "", self._plain(source, MAX_TEXT))
        count = cell.get("execution_count")
        outputs = tuple(shown for output in _merged(cell["outputs"]) for shown in self.output(output))
        return Cell("code", number, f"[{' ' if count is None else count}]:", self.code(source), outputs)

    def output(self, output: Mapping[str, Any]) -> Iterator[Shown]:
        """What there is to see of an output."""
        kind = output["output_type"]
        if kind == "stream":
            is_error = output.get("name") == "stderr"
            yield Shown("stderr" if is_error else "text", self.terminal(_joined(output.get("text"))))
        elif kind == "error":
            lines = "\n".join(output.get("traceback") or ()) or f"{output.get('ename')}: {output.get('evalue')}"
            yield Shown("error", self.terminal(lines))
        else:
            count = output.get("execution_count")
            yield from self._bundle(output.get("data") or {}, f"[{count}]:" if count is not None else "")

    def _bundle(self, data: Mapping[str, Any], prompt: str) -> Iterator[Shown]:
        """The richest form of an output that can be shown."""
        makers: dict[str, Callable[[str], Shown | None]] = {
            "text/html": self._html,
            "text/markdown": self._marked,
            "text/latex": self._typeset,
        }
        for form in _FORMS:
            if form in data:
                text = _joined(data[form])
                shown = makers[form](text) if form in makers else _image(form, text)
                if shown is not None:
                    yield Shown(shown.kind, shown.html, prompt)
                    return
        if "application/javascript" in data or any("widget" in form for form in data):
            self.active_left_out += 1
        for form, kind in (("text/latex", "latex"), ("text/plain", "text")):
            if form in data:
                yield Shown(kind, self.terminal(_joined(data[form])), prompt)
                return
        if "application/json" in data:
            text = json.dumps(data["application/json"], indent=2, ensure_ascii=False)
            yield Shown("text", self._plain(text, MAX_TEXT), prompt)
        elif data:
            yield Shown("note", f"An output of type {', '.join(sorted(data))[:200]} is not shown.", prompt)

    def _html(self, text: str) -> Shown | None:
        if len(text) > MAX_HTML or self._has_no_time():
            return None
        sanitized = sanitize(text)
        if sanitized.is_blank:
            # Such as a script that would draw something; another form of the output may show it.
            self.images_left_out += sanitized.images_left_out
            self.active_left_out += sanitized.active_left_out
            return None
        return Shown("html", self._taken(sanitized))

    def _marked(self, text: str) -> Shown:
        return Shown("html", self.markdown(text, {}))

    def _typeset(self, text: str) -> Shown | None:
        """A text with formulas; None where there is none that can be typeset."""
        if len(text) > MAX_FORMULA or self._has_no_time():
            return None
        pieces = list(split_formulas(text))
        if all(typeset is None for _, typeset in pieces):
            return None
        return Shown("html", Harmless(page_template("formulas.html").render(pieces=pieces)))

    def markdown(self, text: str, attachments: Mapping[str, Any]) -> str:
        """Markdown as HTML, or as a text where that would take too long or fails."""
        if len(text) > MAX_PIECE or self._has_no_time():
            return self._preformatted(text)
        try:
            inserts = Inserts()
            html = self._from_markdown(text, attachments, inserts)
        except Exception as e:  # noqa: BLE001 - it is given anything, and raises anything
            _LOG.info("bookstore: a Markdown cell is shown as text: %s: %s", type(e).__name__, e)
            return self._preformatted(text)
        return self._taken(sanitize(html, inserts))

    def _from_markdown(self, text: str, attachments: Mapping[str, Any], inserts: Inserts) -> str:
        from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

        def formula(tex: str, *, is_block: bool) -> str:
            typeset = None if self._has_no_time() else mathml(tex, is_block=is_block)
            if typeset is not None:
                return inserts.mark(typeset, tex)
            element = "p" if is_block else "code"
            return f'<{element} class="bs-tex">{escape(tex.strip())}</{element}>'

        class Renderer(IPythonRenderer):
            """Typesets formulas, and looks for attachments in the cell alone."""

            def block_math(self, body: str) -> str:
                return formula(body, is_block=True)

            def latex_environment(self, name: str, body: str) -> str:
                return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", is_block=True)

            def inline_math(self, body: str) -> str:
                return formula(body, is_block=False)

            def _embed_image_or_attachment(self, src: str) -> str:
                return _attached(src, attachments)

        renderer = Renderer(escape=False, exclude_anchor_links=True)
        return str(MarkdownWithMath(renderer=renderer).render(text))

    def code(self, text: str) -> str:
        """Coloured code; plain text where its language is not known."""
        if self.lexer is None or len(text) > MAX_PIECE or self._has_no_time():
            return text
        from pygments import highlight
        from pygments.formatters import HtmlFormatter

        return self._taken(sanitize(highlight(text, self.lexer, HtmlFormatter(nowrap=True)).rstrip("\n")))

    def terminal(self, text: str) -> str:
        """A text with the colours of a terminal."""
        text = self._plain(text, MAX_TEXT)
        if "\x1b" not in text or self._has_no_time():
            return text
        from nbconvert.filters.ansi import ansi2html

        return self._taken(sanitize(ansi2html(text)))  # type: ignore[no-untyped-call]

    def _taken(self, sanitized: Sanitized) -> str:
        self.images_left_out += sanitized.images_left_out
        self.active_left_out += sanitized.active_left_out
        self.rules |= dict.fromkeys(sanitized.rules)
        return sanitized.html

    def _plain(self, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        return f"{text[:limit]}\n… and {len(text) - limit:,} characters more, in the file itself."

    def _preformatted(self, text: str) -> str:
        return Harmless(page_template("text.html").render(text=self._plain(text, MAX_TEXT)))

    def _has_no_time(self) -> bool:
        self.is_late = self.is_late or time.monotonic() > self.deadline
        return self.is_late


def _attached(address: str, attachments: Mapping[str, Any]) -> str:
    """The address of an image that may be attached to the cell."""
    bundle = attachments.get(address.removeprefix("attachment:")) if address.startswith("attachment:") else None
    if isinstance(bundle, dict):
        for form in _FORMS:
            if form.startswith("image/") and form in bundle:
                shown = _image_address(form, _joined(bundle[form]))
                return shown if shown is not None else address
    return address


def _image(form: str, text: str) -> Shown | None:
    address = _image_address(form, text)
    if address is None:
        return None
    return Shown("image", Harmless(page_template("image.html").render(address=address, name="")))


def _image_address(form: str, text: str) -> str | None:
    if form == "image/svg+xml" and "<" in text:
        text = base64.b64encode(text.encode("utf-8", "replace")).decode()
    return data_image(f"data:{form};base64,{text}")


def _merged(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Outputs, with the pieces of one stream put together."""
    last: dict[str, Any] | None = None
    for output in outputs:
        if last is not None and output["output_type"] == "stream" and output.get("name") == last.get("name"):
            last["pieces"].append(_joined(output.get("text")))
            continue
        if last is not None:
            yield {**last, "text": "".join(last["pieces"])}
            last = None
        if output["output_type"] == "stream":
            last = {**output, "pieces": [_joined(output.get("text"))]}
        else:
            yield output
    if last is not None:
        yield {**last, "text": "".join(last["pieces"])}


def _joined(text: Any) -> str:
    """A text of a notebook, which may stand as a list of lines."""
    if isinstance(text, list):
        return "".join(one for one in text if isinstance(one, str))
    return text if isinstance(text, str) else ""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
