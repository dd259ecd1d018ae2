"""TeX formulas to MathML, which browsers typeset by themselves: no script, no font, nothing that is loaded.

latex2mathml reads the TeX. What it finds is written anew here, from elements and attributes that are known to do
nothing but typeset; a formula that needs anything else, or has a command that is not known, stays the TeX that it is.
"""

from __future__ import annotations

import logging
import re
from html import escape, unescape
from typing import TYPE_CHECKING, Final

from bookstore.sanitizing import Harmless, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

_LOG: Final = logging.getLogger(__name__)

#: Characters of a formula that is typeset.
MAX_FORMULA: Final = 10_000

#: Elements within one another.
MAX_DEPTH: Final = 60

#: Elements of MathML that only typeset what is within them (https://www.w3.org/TR/mathml-core/). Not among them are
#: those in which HTML may stand again (``annotation-xml``, ``semantics``) and that act (``maction``).
_ELEMENTS: Final = words(
    "math menclose mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow mspace msqrt mstyle msub "
    "msubsup msup mtable mtd mtext mtr munder munderover"
)
#: How many elements must be within them; with any other number browsers show an error, or nothing.
_PARTS: Final = {
    "mfrac": 2,
    "mover": 2,
    "mroot": 2,
    "msub": 2,
    "msubsup": 3,
    "msup": 2,
    "munder": 2,
    "munderover": 3,
}
#: Attributes, with the values that they may have.
_FLAG: Final = re.compile(r"true|false")
#: What is large would reach over the page, and so would what is negative, but for TeX's small corrections.
_LENGTH: Final = re.compile(r"\d{1,2}(?:\.\d{1,4})?(?:em|ex|pt|px)?|0?\.\d{1,4}(?:em|ex)?|-0?\.\d{1,4}em")
_ATTRIBUTES: Final = {
    "accent": _FLAG,
    "accentunder": _FLAG,
    "display": re.compile(r"block|inline"),
    "displaystyle": _FLAG,
    "fence": _FLAG,
    "form": re.compile(r"prefix|infix|postfix"),
    "largeop": _FLAG,
    "linethickness": _LENGTH,
    "lspace": _LENGTH,
    "mathvariant": re.compile(r"normal"),
    "maxsize": _LENGTH,
    "minsize": _LENGTH,
    "movablelimits": _FLAG,
    "notation": re.compile(r"[a-z ]{1,60}"),
    "rspace": _LENGTH,
    "scriptlevel": re.compile(r"[0-3]"),
    "separator": _FLAG,
    "stretchy": _FLAG,
    "symmetric": _FLAG,
    "voffset": _LENGTH,
    "width": _LENGTH,
}
#: Widths that have names only in older MathML.
_SPACES: Final = {
    "thinmathspace": "0.167em",
    "mediummathspace": "0.222em",
    "thickmathspace": "0.278em",
    "negativethinmathspace": "-0.167em",
    "negativemediummathspace": "-0.222em",
    "negativethickmathspace": "-0.278em",
}
#: How cells of a table stand, which browsers take from a style only.
_ALIGNED: Final = {"left": "bs-left", "right": "bs-right"}

#: What only numbers or names a formula, which nothing here refers to.
_UNSEEN: Final = re.compile(r"\\(?:label\s*\{[^{}]*\}|nonumber\b|notag\b)")
_ENVIRONMENT: Final = re.compile(r"\\(begin|end)\s*\{([a-zA-Z]+)(\*?)\}(\s*\{\d+\})?")
#: Environments that are known as they are.
_KNOWN: Final = words(
    "array cases matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix matrix* pmatrix* bmatrix* Bmatrix* vmatrix* Vmatrix* "
    "smallmatrix split"
)
#: Others, and those by which they are typeset: of those that number their lines the ones that do not, since Jupyter
#: does not number them either.
_OTHERS: Final = {
    **dict.fromkeys(("align", "aligned", "alignat", "alignedat", "flalign"), "align*"),
    **dict.fromkeys(("gather", "gathered", "multline", "multlined"), "matrix"),
    "dcases": "cases",
    "equation": "equation*",
}

#: Where a text has formulas.
_FORMULA: Final = re.compile(
    r"""\$\$(?P<dollars>.+?)\$\$
    | \\\[(?P<brackets>.+?)\\\]
    | \\\((?P<parentheses>.+?)\\\)
    | (?P<environment>\\begin\s*\{(?P<name>[a-zA-Z]+\*?)\}.*?\\end\s*\{(?P=name)\})
    | (?<![\\$])\$(?P<dollar>(?:\\.|[^$\\])+)\$""",
    re.DOTALL | re.VERBOSE,
)


def mathml(tex: str, *, is_block: bool) -> Harmless | None:
    """A formula as browsers typeset it.

    Parameters
    ----------
    tex : str
        Without delimiters.
    is_block : bool
        Whether it stands in a line of its own.

    Returns
    -------
    Harmless or None
        None where it is to stay TeX.
    """
    from latex2mathml.converter import convert_to_element

    if len(tex) > MAX_FORMULA or "\0" in tex:
        return None
    try:
        plain = _ENVIRONMENT.sub(_known_environment, _UNSEEN.sub("", tex)).strip()
        root = convert_to_element(plain, display="block" if is_block else "inline")
        return Harmless("".join(_written(root, 0)))
    except Exception as e:  # noqa: BLE001 - it is given anything, and raises anything
        _LOG.debug("bookstore: a formula stays TeX: %s: %s", type(e).__name__, e)
        return None


def split_formulas(text: str) -> Iterator[tuple[str, Harmless | None]]:
    r"""The pieces of a text: of what is typeset the TeX and the MathML, of all else the text and None.

    Formulas stand between ``$``, ``$$``, ``\(`` and ``\)``, ``\[`` and ``\]``, or are an environment.
    """
    at = 0
    for found in _FORMULA.finditer(text):
        kind = next(kind for kind in ("dollars", "brackets", "parentheses", "environment", "dollar") if found[kind])
        typeset = mathml(found[kind], is_block=kind not in ("parentheses", "dollar"))
        if typeset is not None:
            yield text[at : found.start()], None
            yield found[0], typeset
            at = found.end()
    yield text[at:], None


def _known_environment(found: re.Match[str]) -> str:
    """What begins or ends an environment, of one that can be typeset.

    Raises
    ------
    KeyError
        There is none of this name.
    """
    edge, name, star, number = found.groups("")
    if f"{name}{star}" in _KNOWN:
        return found[0]
    if name == "eqnarray":
        return r"\begin{array}{rcl}" if edge == "begin" else r"\end{array}"
    # How many columns an environment has it says itself.
    return f"\\{edge}{{{_OTHERS[name]}}}{'' if name.endswith('at') else number}"


def _written(element: Element, depth: int) -> Iterator[str]:
    """An element and all within it, as HTML's parser reads it.

    Raises
    ------
    ValueError
        There is something in it that is not known to be harmless, or to be right.
    """
    if element.tag not in _ELEMENTS or depth > MAX_DEPTH:
        raise ValueError(f"{element.tag} at a depth of {depth}")
    text = element.text or ""
    if text.startswith("\\") and len(text) > 1:
        raise ValueError(f"the command {text[:40]} is not known")
    # A matrix in its brackets, with an exponent: what is more than it should be is what has the exponent.
    more = len(element) - _PARTS.get(element.tag, len(element))
    if more < 0 or (more and not element.tag.startswith(("msub", "msup"))):
        raise ValueError(f"{element.tag} of {len(element)} parts")
    yield f"<{element.tag}{''.join(_attributes(element))}>"
    yield escape(unescape(text))
    if more:
        yield "<mrow>"
    for place, child in enumerate(element):
        yield from _written(child, depth + 1)
        if child.tail:
            yield escape(unescape(child.tail))
        if more and place == more:
            yield "</mrow>"
    yield f"</{element.tag}>"


def _attributes(element: Element) -> Iterator[str]:
    for name, told in element.attrib.items():
        rule, value = _ATTRIBUTES.get(name), _SPACES.get(told, told)
        if rule is not None and rule.fullmatch(value):
            yield f' {name}="{value}"'
        elif name == "columnalign" and value in _ALIGNED:
            yield f' class="{_ALIGNED[value]}"'
