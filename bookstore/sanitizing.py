"""HTML that nobody trusts, rebuilt from what is known to be harmless: no script, nothing that is loaded.

Nothing of the text is kept as it was. It is read as a browser would, roughly, and written anew: allowed elements with
allowed attributes, each closed, all else left out. What comes out says the same to every parser, so it does not matter
where the way in was read otherwise than a browser reads it: there are no elements in it that change how what follows is
read (``svg``, ``math``, ``style``, ``template``, ``noscript`` and their like), and no comments. Only the program itself
puts formulas in, whole and after the rest was read (`Inserts`).

What attributes say of an element's looks becomes rules of a style sheet, so that a page needs to allow no style but its
own.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from functools import cache, cached_property
from html import escape, unescape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


#: Elements that are kept.
TAGS: Final = words(
    "a abbr article aside b bdi bdo blockquote br caption center cite code col colgroup dd del details dfn div dl dt "
    "em figcaption figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark meter ol p pre progress q s samp section small "
    "span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr"
)
#: Elements of which nothing is kept, their content neither.
DROPPED: Final = words(
    "applet audio canvas frameset iframe math noembed noframes noscript object plaintext script select style svg "
    "template textarea title video xmp"
)
#: What would have done or drawn something, and is told that it was left out.
ACTIVE: Final = words("applet audio canvas embed iframe math object script svg video")

_VOID: Final = frozenset(("br", "col", "hr", "img", "wbr"))

#: Attributes that any element may have, and those of some; all others are left out.
_ATTRIBUTES: Final = frozenset(("align", "class", "dir", "id", "lang", "style", "title", "valign"))
_ATTRIBUTES_OF: Final[dict[str, frozenset[str]]] = {
    "a": frozenset(("href",)),
    "col": frozenset(("span",)),
    "details": frozenset(("open",)),
    "img": frozenset(("alt", "height", "width")),
    "li": frozenset(("value",)),
    "meter": frozenset(("max", "min", "value")),
    "ol": frozenset(("reversed", "start", "type")),
    "progress": frozenset(("max", "value")),
    "td": frozenset(("colspan", "rowspan")),
    "th": frozenset(("colspan", "rowspan", "scope")),
    "time": frozenset(("datetime",)),
}

#: Elements within one another; browsers themselves flatten what goes much further.
MAX_DEPTH: Final = 100

#: What stands before the ids of the notebook's own elements, so that they are never one of the page's.
ID_PREFIX: Final = "nb-"

#: Images that stand in the address itself; a browser runs no script of an image and loads nothing for it.
_DATA_IMAGE: Final = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,([A-Za-z0-9+/\s]*={0,2})\s*")
_LINK: Final = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x20\x7f]+", re.IGNORECASE)
_ID: Final = re.compile(r"[\w.:-]{1,200}")

#: Classes that the page's own style knows, and those of pandas; the page's are not for notebooks.
_CLASS: Final = re.compile(
    r"ansi-[a-z-]{1,40}|dataframe|highlight|(?:row|col|level)\d{0,6}|data|blank|true|false|row_heading|col_heading"
    r"|index_name|bs-tex"
)

_PROPERTIES: Final = words(
    "background background-color border border-bottom border-bottom-color border-collapse border-color border-left "
    "border-radius border-right border-spacing border-style border-top border-width caption-side color display "
    "font font-family font-size font-style font-variant font-weight height line-height list-style-type margin "
    "margin-bottom margin-left margin-right margin-top max-height max-width min-height min-width overflow overflow-x "
    "overflow-y padding padding-bottom padding-left padding-right padding-top text-align text-decoration "
    "text-transform vertical-align white-space width"
)
#: No quotes, no backslash, no colon: neither an address nor a way out of the declaration can be written.
_VALUE: Final = re.compile(r"[\w\s#.,%+()/-]{1,300}")
_FUNCTION: Final = re.compile(r"([\w-]*)\s*\(")
_FUNCTIONS: Final = frozenset(("rgb", "rgba", "hsl", "hsla", "linear-gradient"))
_NEGATIVE: Final = re.compile(r"(?:^|[\s,(])-")

#: A selector as pandas writes those of a styled table: it begins with the id of the table or of a cell.
_SELECTOR: Final = re.compile(r"#(T_[\w-]{1,100})((?: (?:[a-z]{1,10})?(?:\.[\w-]{1,40}){0,4}){0,4})")
#: Characters of all rules of one piece of HTML.
_MAX_RULES: Final = 500_000


class Harmless(str):
    """HTML that a template puts into a page as it is: rebuilt by `sanitize`, or made by a template that escapes.

    What is made of it by adding, cutting or formatting is a text like any other, and escaped.
    """

    __slots__ = ()

    def __html__(self) -> str:
        """What markupsafe takes instead of escaping."""
        return str(self)


class Inserts:
    """Harmless pieces that belong into HTML which is yet to be sanitized: what makes it writes a mark for each.

    Where a text is, the piece takes its mark's place; where only characters can be, as in an attribute, its text does.
    """

    def __init__(self) -> None:
        # Nobody's notebook has these marks.
        self._token = secrets.token_hex(8)
        self._pieces: list[tuple[Harmless, str]] = []

    def mark(self, html: Harmless, text: str) -> str:
        """What stands for a piece until then."""
        self._pieces.append((html, text))
        return f"\ue000{self._token}{len(self._pieces) - 1}\ue001"

    def split(self, text: str) -> Iterator[str | Harmless]:
        """A text's own pieces and those that are put into it, in turns."""
        if not self._pieces:  # as for most HTML
            yield text
            return
        for place, piece in enumerate(self._mark.split(text)):
            yield self._pieces[int(piece)][0] if place % 2 else piece

    def as_text(self, text: str) -> str:
        """A text with those of the pieces in it."""
        if not self._pieces:
            return text
        return self._mark.sub(lambda found: self._pieces[int(found[1])][1], text)

    @cached_property
    def _mark(self) -> re.Pattern[str]:
        return re.compile(rf"\ue000{self._token}(\d{{1,9}})\ue001")


@dataclass(frozen=True, slots=True)
class Sanitized:
    """What is left of a piece of HTML.

    Attributes
    ----------
    html : Harmless
        With each element closed.
    rules : tuple of str
        Style rules of its elements, which reach no others.
    images_left_out : int
        Images that would have been loaded from elsewhere.
    active_left_out : int
        Scripts, frames and the like.
    is_blank : bool
        Whether there is nothing to see in it.
    """

    html: Harmless
    rules: tuple[str, ...] = ()
    images_left_out: int = 0
    active_left_out: int = 0
    is_blank: bool = True


def sanitize(html: str, inserts: Inserts | None = None) -> Sanitized:
    """What is harmless of a piece of HTML.

    Links lead to web sites and mail addresses, and within the page. Of what an element looks like only colours, fonts,
    sizes and the like are kept.

    Parameters
    ----------
    html : str
    inserts : Inserts, optional
        What the marks in it stand for.
    """
    rebuilder = _Rebuilder(inserts or Inserts())
    rebuilder.read(html)
    return rebuilder.result()


def data_image(address: str) -> str | None:
    """An image's address if the image stands in it and browsers show it; else None."""
    found = _DATA_IMAGE.fullmatch(address.strip())
    return re.sub(r"\s", "", address) if found and found[1] else None


def safe_declarations(style: str) -> str:
    """Of CSS declarations those that only say what the element itself looks like."""
    return "; ".join(_declarations(style))


def _declarations(style: str) -> Iterator[str]:
    for declaration in style[:4000].split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip().removesuffix("!important").strip()
        if name not in _PROPERTIES or not _VALUE.fullmatch(value) or _NEGATIVE.search(value):
            continue
        if all(function.lower() in _FUNCTIONS for function in _FUNCTION.findall(value)):
            yield f"{name}: {' '.join(value.split())}"


def _rules(sheet: str) -> Iterator[str]:
    """Of a style sheet those rules that a table of pandas has for its own cells."""
    for piece in sheet[:_MAX_RULES].split("}"):
        selectors, _, style = piece.rpartition("{")
        found = [_SELECTOR.fullmatch(" ".join(one.split())) for one in selectors.split(",")]
        declarations = safe_declarations(style)
        if declarations and all(found):
            scoped = ", ".join(f".bs-html #{ID_PREFIX}{one[1]}{one[2]}" for one in found if one)
            yield f"{scoped} {{ {declarations} }}"


@cache
def _code_classes() -> frozenset[str]:
    """The classes of coloured code."""
    from pygments.token import STANDARD_TYPES

    return frozenset(STANDARD_TYPES.values()) - {""}


#: What begins a tag, an attribute of it with its value, and what ends it. Each is looked for where the one before
#: ended, so that no text takes longer than its length: the parser of Python's library takes hours for some.
_TAG: Final = re.compile(r"</?([a-zA-Z][^\s/>]*)")
_ATTRIBUTE: Final = re.compile(r"[\s/]*([^\s/>][^\s/>=]*)(?:\s*=\s*(\"[^\"]*\"?|'[^']*'?|[^\s>]*))?")
_TAG_END: Final = re.compile(r"[\s/]*>")
#: Elements whose content is no markup; where each ends.
_RAW: Final = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in words("iframe noembed noframes script style textarea title xmp")
}


@dataclass
class _Rebuilder:
    """Reads markup and writes what is allowed of it."""

    inserts: Inserts
    written: list[str] = field(default_factory=list)
    #: In their order, each once.
    rules: dict[str, None] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    images_left_out: int = 0
    active_left_out: int = 0
    is_blank: bool = True
    #: The element of which nothing is kept, and how many of its name are within one another.
    _dropped: str = ""
    _dropped_depth: int = 0

    def read(self, text: str) -> None:
        """Read a whole piece of markup."""
        at = 0
        while at < len(text):
            found = text.find("<", at)
            if found != at:
                self._text(unescape(text[at:] if found < 0 else text[at:found]))
            at = len(text) if found < 0 else self._read_markup(text, found)

    def _read_markup(self, text: str, at: int) -> int:
        """Read what begins with ``<``; where it ends. What has no end reaches to that of the text."""
        tag = _TAG.match(text, at)
        if tag is not None:
            return self._read_tag(text, tag)
        if text.startswith("<!--", at):
            return _after(text, "-->", at + 4)
        if text.startswith(("<!", "<?", "</"), at):
            return _after(text, ">", at)
        self._text("<")
        return at + 1

    def _read_tag(self, text: str, tag: re.Match[str]) -> int:
        name, at = tag[1].lower(), tag.end()
        attributes: dict[str, str] = {}
        while (end := _TAG_END.match(text, at)) is None:
            found = _ATTRIBUTE.match(text, at)
            if found is None:
                return len(text)
            # Of two of the same name browsers take the first.
            attributes.setdefault(found[1].lower(), self.inserts.as_text(_unquoted(found[2] or "")))
            at = found.end()
        if tag[0].startswith("</"):
            self._end(name)
            return end.end()
        self._start(name, attributes)
        if end[0].endswith("/>") and name == self._dropped and name in ("svg", "math"):
            self._end(name)
        elif name in _RAW:
            return self._read_raw(text, end.end(), name)
        return end.end()

    def _read_raw(self, text: str, at: int, name: str) -> int:
        """Pass over the content of an element that holds no markup."""
        closed = _RAW[name].search(text, at)
        if closed is None:
            return len(text)
        if self._dropped == "style":
            self.rules |= dict.fromkeys(_rules(text[at : closed.start()]))
        return closed.start()

    def result(self) -> Sanitized:
        """What was written, all of it closed."""
        self._close_down_to(0)
        return Sanitized(
            Harmless("".join(self.written)),
            tuple(self.rules),
            self.images_left_out,
            self.active_left_out,
            self.is_blank,
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        """Open an element, or begin to drop one."""
        if self._dropped:
            self._dropped_depth += tag == self._dropped
        elif tag in DROPPED:
            self.active_left_out += tag in ACTIVE
            self._dropped, self._dropped_depth = tag, 1
        elif tag == "input":
            self._write_box(attributes)
        elif tag in TAGS:
            self._open(tag, attributes)
        else:
            self.active_left_out += tag in ACTIVE

    def _end(self, tag: str) -> None:
        """Close an element and what is still open within it."""
        if self._dropped:
            self._dropped_depth -= tag == self._dropped
            if not self._dropped_depth:
                self._dropped = ""
        elif tag in self.open:
            self._close_down_to(len(self.open) - 1 - self.open[::-1].index(tag))

    def _text(self, data: str) -> None:
        """Write a text."""
        if not self._dropped:
            self.is_blank = self.is_blank and not data.strip()
            for piece in self.inserts.split(data):
                harmless = isinstance(piece, Harmless)
                self.written.append(piece if harmless else escape(piece.replace("\0", ""), quote=False))

    def _open(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.open) >= MAX_DEPTH or (tag == "a" and "a" in self.open):
            return
        kept = dict(self._kept(tag, attributes))
        self._move_style(kept)
        if tag == "img":
            source = data_image(attributes.get("src", ""))
            if source is None:
                self._leave_image_out(attributes.get("alt", ""))
                return
            kept["src"] = source
            self.is_blank = False
        if "href" in kept and not kept["href"].startswith("#"):
            # A window of its own, which knows nothing of this one.
            kept |= {"target": "_blank", "rel": "noopener noreferrer nofollow"}
        text = "".join(f' {name}="{escape(value)}"' for name, value in kept.items())
        self.written.append(f"<{tag}{text}>")
        if tag not in _VOID:
            self.open.append(tag)

    def _kept(self, tag: str, attributes: dict[str, str]) -> Iterator[tuple[str, str]]:
        for name in sorted(attributes.keys() & (_ATTRIBUTES | _ATTRIBUTES_OF.get(tag, frozenset()))):
            value = _value(name, attributes[name])
            if value is not None:
                yield name, value

    def _move_style(self, kept: dict[str, str]) -> None:
        """Make a rule of what an attribute says of the looks."""
        style = kept.pop("style", "")
        if style:
            name = f"bs-s{hashlib.sha256(style.encode()).hexdigest()[:12]}"
            kept["class"] = f"{kept['class']} {name}" if "class" in kept else name
            self.rules[f".bs-html .{name} {{ {style} }}"] = None

    def _leave_image_out(self, alternative: str) -> None:
        self.images_left_out += 1
        name = f": {alternative[:200]}" if alternative else ""
        self.written.append(f'<span class="bs-left-out">image left out{escape(name)}</span>')

    def _write_box(self, attributes: dict[str, str]) -> None:
        """A list of tasks has boxes that nobody can tick."""
        if attributes.get("type", "").lower() == "checkbox":
            self.written.append("☑ " if "checked" in attributes else "☐ ")

    def _close_down_to(self, depth: int) -> None:
        while len(self.open) > depth:
            self.written.append(f"</{self.open.pop()}>")


def _after(text: str, end: str, at: int) -> int:
    """Where a mark ends; the end of the text if there is none."""
    found = text.find(end, at)
    return len(text) if found < 0 else found + len(end)


def _unquoted(value: str) -> str:
    """An attribute's value, without quotes and with its characters in place of their names."""
    if value[:1] in ("'", '"'):
        value = value[1:].removesuffix(value[0])
    return unescape(value)


def _value(name: str, value: str) -> str | None:
    """An attribute's value as it is kept; None if it is not."""
    value = value.replace("\0", "")
    if name == "style":
        return safe_declarations(value) or None
    if name == "class":
        kept = [one for one in value.split()[:40] if _CLASS.fullmatch(one) or one in _code_classes()]
        return " ".join(kept) or None
    if name == "id":
        return f"{ID_PREFIX}{value}" if _ID.fullmatch(value) else None
    if name == "href":
        if value.startswith("#"):
            return f"#{ID_PREFIX}{value[1:]}" if _ID.fullmatch(value[1:]) else None
        return value.strip() if _LINK.fullmatch(value.strip()) else None
    return value[:2000]
