"""TeX formulas to MathML, which browsers typeset by themselves: no script, no font, nothing that is loaded.

latex2mathml reads the TeX. It is only given commands that it reads well and that take no longer than the formula is
long: none that define others, none of which a part would be missing. What it finds is written anew here, from elements
and attributes that do nothing but typeset. A formula for which that is not enough stays the TeX that it is, which tells
more than one that is typeset wrongly.
"""

from __future__ import annotations

import logging
import re
import unicodedata
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

# -- TeX ---------------------------------------------------------------------------------------------------------------

#: Commands that are typeset as they should be.
_COMMANDS: Final = words(
    r"""
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu nu xi pi varpi rho
    varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi
    Omega hbar ell Re Im aleph partial nabla infty emptyset varnothing imath jmath wp
    pm mp times div cdot ast star circ bullet oplus ominus otimes oslash odot cup cap uplus sqcup sqcap vee wedge
    setminus wr dagger ddagger land lor lnot neg
    leq le geq ge ll gg neq ne equiv sim simeq approx cong propto prec succ preceq succeq subset supset subseteq
    supseteq subsetneq supsetneq in ni notin mid nmid parallel perp vdash models lt gt asymp doteq leqslant geqslant
    lesssim gtrsim triangleq coloneqq
    to gets rightarrow leftarrow leftrightarrow Rightarrow Leftarrow Leftrightarrow longrightarrow longleftarrow
    Longrightarrow Longleftarrow Longleftrightarrow implies impliedby iff mapsto longmapsto uparrow downarrow Uparrow
    Downarrow updownarrow nearrow searrow hookrightarrow hookleftarrow rightharpoonup rightleftharpoons
    forall exists nexists therefore because top bot angle triangle square diamond prime degree
    sum prod coprod int iint iiint oint bigcup bigcap bigoplus bigotimes bigvee bigwedge limits nolimits
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth log ln lg exp det dim ker hom gcd deg
    lim max min sup inf limsup liminf Pr bmod operatorname
    frac dfrac tfrac binom sqrt left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr
    langle rangle lfloor rfloor lceil rceil vert Vert lvert rvert lVert rVert lbrace rbrace lbrack rbrack backslash
    hat bar vec tilde dot ddot widehat widetilde overline underline overbrace underbrace overset underset stackrel
    text textrm mathrm mathbf mathit mathbb mathcal mathscr mathfrak mathsf mathtt boldsymbol bm textbf bf rm cal
    ldots cdots vdots ddots dots dotsc dotsb quad qquad thinspace displaystyle textstyle boxed begin end
    """
)
_COMMAND: Final = re.compile(r"\\(?:([a-zA-Z]+)|([^a-zA-Z]|$))")
#: Commands that are no letters: what stands for itself, space, the end of a row.
_SIGNS: Final = frozenset("\\,;:! {}|$%&#_>")

#: What only numbers or names a formula, which nothing here refers to; and what a row has below it.
_UNSEEN: Final = re.compile(
    r"\\(?:label\s*\{[^{}]*\}|nonumber\b|notag\b)|(?<=\\\\)\s*\[[\d. ]*(?:em|ex|pt|mm|cm|in)\s*\]"
)
#: Names of functions, of which latex2mathml reads those that are one word.
_NAME: Final = re.compile(r"\\operatorname\*?\s*\{([a-zA-Z]+)\}")
#: What is written in more than one way.
_SAME: Final = (
    (re.compile(r"\\not\s*="), r"\\neq "),
    (re.compile(r"\\not\s*\\in\b"), r"\\notin "),
    (re.compile(r"\\operatorname\*?\s*\{\s*arg\s*\\[,;:! ]\s*(max|min)\s*\}"), r"\\operatorname{arg\1}"),
    (re.compile(r"\\arg\s*\\(max|min)\b"), r"\\operatorname{arg\1}"),
    (re.compile(r"\\operatorname\*"), r"\\operatorname"),
    (re.compile(r"\\tag\*?\s*\{([^{}$\\]*)\}"), r"\\qquad \\text{(\1)}"),
)
#: Bars and hats do not grow with what is below them.
_WIDE: Final = re.compile(
    r"\\(?:overline|underline|widehat|widetilde)\b(?!\s*(?:\{\s*)?(?:[a-zA-Z\d]|\\[a-zA-Z]+\s*)[}\s])"
)

_ENVIRONMENT: Final = re.compile(r"\\(begin|end)\s*\{([a-zA-Z]+)(\*?)\}(\s*\{[^{}]*\})?(\s*[\[{])?")
#: Environments that are known as they are.
_KNOWN: Final = words("cases matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix split")
#: Others, and those by which they are typeset: of those that number their lines the ones that do not, since Jupyter
#: does not number them either.
_OTHERS: Final = {
    **dict.fromkeys(("align", "aligned", "alignat", "alignedat", "flalign"), "align*"),
    **dict.fromkeys(("gather", "gathered", "multline", "multlined"), "matrix"),
    "dcases": "cases",
    "equation": "equation*",
}

#: Where a text has formulas; a sign that is escaped begins none.
_FORMULA: Final = re.compile(
    r"""(?P<escaped>\\[\\$])
    | \$\$(?P<dollars>.+?)\$\$
    | \\\[(?P<brackets>.+?)\\\]
    | \\\((?P<parentheses>.+?)\\\)
    | (?P<environment>\\begin\s*\{(?P<name>[a-zA-Z]+\*?)\}.*?\\end\s*\{(?P=name)\})
    | \$(?P<dollar>(?:\\.|[^$\\])+)\$""",
    re.DOTALL | re.VERBOSE,
)
_KINDS: Final = ("dollars", "brackets", "parentheses", "environment", "dollar")

# -- MathML ------------------------------------------------------------------------------------------------------------

#: Elements that hold others and only typeset them (https://www.w3.org/TR/mathml-core/).
_ELEMENTS: Final = words(
    "math menclose mfrac mover mroot mrow msqrt mstyle msub msubsup msup mtable mtd mtr munder munderover"
)
#: Those that hold characters and nothing else: their elements would be HTML's.
_TOKENS: Final = words("mi mn mo mspace mtext")
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
#: Attributes, with the values that they may have. None has a value that would move a formula over other things.
_FLAG: Final = re.compile(r"true|false")
_LENGTH: Final = re.compile(r"\d(?:\.\d{1,4})?em|-?0\.\d{1,4}em|0")
_ATTRIBUTES: Final = {
    "accent": _FLAG,
    "display": re.compile(r"block|inline"),
    "displaystyle": _FLAG,
    "fence": _FLAG,
    "form": re.compile(r"prefix|infix|postfix"),
    "linethickness": _LENGTH,
    "mathvariant": re.compile(r"normal"),
    "maxsize": _LENGTH,
    "minsize": _LENGTH,
    "movablelimits": _FLAG,
    "scriptlevel": re.compile(r"[0-3]"),
    "stretchy": _FLAG,
    "width": _LENGTH,
}
#: Widths that have names only in older MathML.
_SPACES: Final = {
    "thinmathspace": "0.167em",
    "thickmathspace": "0.278em",
    "negativethinmathspace": "-0.167em",
}
#: What browsers take from a style only: how cells of a table stand, a frame, bold letters.
_STYLED: Final = {
    ("columnalign", "center"): "",
    ("columnalign", "left"): "bs-left",
    ("columnalign", "right"): "bs-right",
    ("mathvariant", "bold"): "bs-bold bs-upright",
    ("mathvariant", "bold-italic"): "bs-bold",
    ("mathvariant", "italic"): "",
    ("notation", "box"): "bs-boxed",
}
#: Alphabets that Unicode has, and what its names of their letters begin with.
_ALPHABETS: Final = {"double-struck": "DOUBLE-STRUCK", "script": "SCRIPT"}
#: Letters and signs of which the category does not tell that they are no operators.
_NO_OPERATORS: Final = frozenset("∂∇∞∅∀∃")
#: Operators, as more fonts have them.
_SIGNS_OF_FONTS: Final = {"~": "\u223c", "\u29f5": "\u2216"}
#: Operators that have limits, above and below them where there is room.
_LIMITS: Final = frozenset("∑∏∐\u22c3⋂⨁⨂\u22c1⋀") | words("lim max min sup inf limsup liminf argmax argmin Pr det gcd")
_ABOVE: Final = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}


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
        root = convert_to_element(_checked(tex), display="block" if is_block else "inline")
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
        kind = next((kind for kind in _KINDS if found[kind]), "")
        typeset = mathml(found[kind], is_block=kind not in ("parentheses", "dollar")) if kind else None
        if typeset is not None:
            yield text[at : found.start()], None
            yield found[0], typeset
            at = found.end()
    yield text[at:], None


def _checked(tex: str) -> str:
    """TeX that is read as it is meant.

    Raises
    ------
    ValueError
        It may not be.
    """
    plain = _UNSEEN.sub("", tex)
    for pattern, same in _SAME:
        plain = pattern.sub(same, plain)
    for found in _COMMAND.finditer(plain):
        if (found[1] not in _COMMANDS) if found[1] else (found[2] not in _SIGNS):
            raise ValueError(f"the command {found[0]} is not known")
    if len(_NAME.findall(plain)) != plain.count(r"\operatorname"):
        raise ValueError("an operator's name is no word")
    if _WIDE.search(f"{plain} "):
        raise ValueError("a bar or hat over more than a letter")
    return _ENVIRONMENT.sub(_environment, plain).strip()


def _environment(found: re.Match[str]) -> str:
    """What begins or ends an environment, of one that can be typeset.

    Raises
    ------
    ValueError
        There is none of this name, or it begins with what would be taken for how its columns stand.
    """
    edge, name, star, columns, more = found.groups("")
    begins = edge == "begin"
    if name == "array":
        if begins and (more or not re.fullmatch(r"\s*\{[lcr\s]+\}", columns)):
            raise ValueError(f"an array of the columns {columns}")
        return found[0]
    if begins and (more or (columns and not name.endswith("at"))):
        raise ValueError(f"{name} begins with an argument")
    after = "" if begins else f"{columns}{more}"
    if name == "eqnarray":
        return r"\begin{array}{rcl}" if begins else rf"\end{{array}}{after}"
    if name in _KNOWN and not star:
        return rf"\{edge}{{{name}}}{after}"
    if name not in _OTHERS:
        raise ValueError(f"the environment {name}{star} is not known")
    return rf"\{edge}{{{_OTHERS[name]}}}{after}"


def _written(element: Element, depth: int) -> Iterator[str]:
    """An element and all within it.

    Raises
    ------
    ValueError
        There is something in it that is not known to be harmless, or to be right.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"a depth of {depth}")
    if element.tag in _TOKENS:
        yield from _token(element)
        return
    if element.tag not in _ELEMENTS or (element.text or "").strip():
        raise ValueError(f"the element {element.tag}")
    more = len(element) - _PARTS.get(element.tag, len(element))
    if more and not _is_bracketed(element, more):
        raise ValueError(f"{element.tag} of {len(element)} parts")
    has_limits = element.tag in _ABOVE and _text(element[0]) in _LIMITS
    tag = _ABOVE[element.tag] if has_limits else element.tag
    yield f"<{tag}{_attributes(element)}>"
    if more:
        yield "<mrow>"
    for place, child in enumerate(element):
        if (child.tail or "").strip():
            raise ValueError("a text among elements")
        if has_limits and not place:
            yield f'<mo movablelimits="true">{escape(_text(child))}</mo>'
        else:
            yield from _written(child, depth + 1)
        if more and place == more:
            yield "</mrow>"
        if element.tag not in _PARTS and place + 1 < len(element) and _is_apart(child, element[place + 1]):
            yield '<mspace width="0.167em"></mspace>'
    yield f"</{tag}>"


def _is_bracketed(element: Element, more: int) -> bool:
    """Whether what is more than there should be is a matrix in its brackets, which has the exponent."""
    base = [child.tag for child in element[: more + 1]]
    return element.tag in _ABOVE and base == ["mo", "mtable", "mo"]


def _is_apart(element: Element, following: Element) -> bool:
    """Whether there is a space between two elements, as there is before and after the name of a function."""

    def is_name(one: Element) -> bool:
        inner = one[0] if one.tag in _ABOVE and len(one) else one
        return inner.tag == "mi" and len(_text(inner)) > 1 and _text(inner).isalpha()

    letters = {"mi", "mn", "mfrac", "msqrt", *_ABOVE}
    return (is_name(element) and following.tag in letters) or (is_name(following) and element.tag in letters)


def _token(element: Element) -> Iterator[str]:
    text, tag = _text(element), element.tag
    if len(element) or (tag == "mtext" and not set(text).isdisjoint("\\${}")):
        raise ValueError(f"{text[:40]!r} as {tag}")
    kept = _attributes(element)
    if tag == "mi" and len(text) == 1 and unicodedata.category(text) in ("Sm", "Pd", "Ps", "Pe", "Po", "Sk"):
        if text not in _NO_OPERATORS:
            # A bracket that TeX does not let grow stays as it is.
            tag, text, kept = "mo", _SIGNS_OF_FONTS.get(text, text), f'{kept} stretchy="false"'
    elif tag == "mi" and re.fullmatch(r"[\d.]+", text):
        tag = "mn"
    alphabet = _ALPHABETS.get(element.get("mathvariant", ""))
    if alphabet:
        text = "".join(_letter(alphabet, letter) for letter in text)
    yield f"<{tag}{kept}>{escape(text)}</{tag}>"


def _letter(alphabet: str, letter: str) -> str:
    """A letter or digit of one of Unicode's alphabets.

    Raises
    ------
    KeyError
        It has none.
    """
    name = unicodedata.name(letter).removeprefix("LATIN ").replace("LETTER ", "")
    try:
        return unicodedata.lookup(f"MATHEMATICAL {alphabet} {name}")
    except KeyError:
        # Some are older than the alphabets.
        return unicodedata.lookup(f"{alphabet} {name}")


def _text(element: Element) -> str:
    return unescape(element.text or "")


def _attributes(element: Element) -> str:
    kept, classes = "", ""
    for name, told in element.attrib.items():
        rule, value = _ATTRIBUTES.get(name), _SPACES.get(told, told)
        if rule is not None and rule.fullmatch(value):
            kept += f' {name}="{value}"'
        elif (name, value) in _STYLED:
            classes = _STYLED[name, value]
        elif name in ("notation", "width") or (name == "mathvariant" and value not in _ALPHABETS):
            raise ValueError(f"{name}={value[:40]}")
    return f'{kept} class="{classes}"' if classes else kept
