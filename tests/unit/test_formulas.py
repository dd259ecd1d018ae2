"""`bookstore.formulas`: what of TeX browsers typeset, and what stays TeX."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookstore import formulas
from bookstore.formulas import MAX_FORMULA, mathml, split_formulas
from bookstore.sanitizing import words


@pytest.mark.parametrize(
    ("tex", "part"),
    [
        (r"\frac{x^{2}}{2}", "<mfrac><mrow><msup><mi>x</mi>"),
        (r"\sum_{i=1}^n a_i", "<mo>∑</mo>"),
        (r"\left(x\right)", '<mo stretchy="true" fence="true" form="prefix">(</mo>'),
        (r"\begin{pmatrix}1 & 2\\3 & 4\end{pmatrix}", "<mtr><mtd><mn>3</mn></mtd><mtd><mn>4</mn></mtd></mtr>"),
        (r"\begin{pmatrix}1\end{pmatrix}^{-1}", ">)</mo></mrow><mrow><mo>\u2212</mo><mn>1</mn></mrow></msup>"),
        (r"\begin{cases}1 & x>0\\0\end{cases}", '<mtd class="bs-left"><mn>1</mn></mtd>'),
        (r"\text{if } x", "<mtext>if"),
        (r"x \in \mathbb{N}", "<mi>\u2115</mi>"),
        (r"\text{a<b & c}", "a&lt;b"),
        (r"\begin{eqnarray}a &=& b\end{eqnarray}", '<mtd class="bs-right"><mi>a</mi></mtd><mtd><mo>=</mo></mtd>'),
        (r"\begin{alignat}{2}a &= b\end{alignat}", '<mtr><mtd class="bs-right"><mi>a</mi></mtd><mtd class="bs-left">'),
        (r"\left\{\begin{aligned}a&=b\end{aligned}\right.", '<mtr><mtd class="bs-right"><mi>a</mi></mtd>'),
        (r"\begin{gather*}a\\b\end{gather*}", "<mtr><mtd><mi>b</mi></mtd></mtr>"),
        (r"\$5", "<mi>$</mi><mn>5</mn>"),
        (r"a\!b", '<mspace width="-0.167em">'),
    ],
)
def test_what_people_write_is_typeset(tex, part):
    typeset = mathml(tex, is_block=False)
    assert typeset is not None
    assert part in typeset
    assert typeset.startswith('<math display="inline">')


def test_a_formula_of_its_own_line_is_larger():
    assert str(mathml("x", is_block=True)).startswith('<math display="block">')


@pytest.mark.parametrize("name", ["align", "equation", "gather"])
def test_lines_are_not_numbered_as_jupyter_does_not_number_them_either(name):
    tex = f"\\begin{{{name}}}x=1 \\label{{eq:x}}\\\\y=2 \\nonumber\\end{{{name}}}"
    typeset = mathml(tex, is_block=True)
    assert typeset is not None
    assert "(1)" not in typeset
    assert "label" not in typeset


@pytest.mark.parametrize(
    "tex",
    [
        "",
        r"\mine",
        r"a + \mine{x}",
        r"\frac{1}",
        "{" * 4000,
        r"\sqrt{" * 200 + "}" * 200,
        "x" * (MAX_FORMULA + 1),
        "\0",
        r"\text{\mine}",
        r"\begin{mine}x\end{mine}",
    ],
)
def test_what_is_not_understood_stays_tex(tex):
    assert mathml(tex, is_block=True) is None


def test_what_would_lead_somewhere_or_change_the_page_is_left_out():
    tex = r"\href{javascript:x()}{a} \style{position:fixed}{b} \class{bs-head}{c} \hspace{-90em} \hspace{900em} d"
    typeset = mathml(tex, is_block=False)
    assert typeset is not None
    for word in ("href", "javascript", "style=", "class", "90"):
        assert word not in typeset
    assert "<mspace></mspace>" in typeset


def test_markup_in_a_formula_is_text():
    typeset = mathml(r"\text{<script>x()</script>&lt;img/src=x&gt;}", is_block=False)
    assert typeset is not None
    assert "&lt;script&gt;x()&lt;/script&gt;&lt;img/src=x&gt;" in typeset


def test_formulas_are_found_in_a_text():
    text = r"a $x$ b \(y\) c $$z$$ d \[w\] e \begin{align}v\end{align} f $\mine$ g \$5 and \$6"
    pieces = list(split_formulas(text))
    assert "".join(piece for piece, _ in pieces) == text
    typeset = [(piece, str(one)[:22]) for piece, one in pieces if one is not None]
    assert typeset == [
        ("$x$", '<math display="inline"'),
        (r"\(y\)", '<math display="inline"'),
        ("$$z$$", '<math display="block">'),
        (r"\[w\]", '<math display="block">'),
        (r"\begin{align}v\end{align}", '<math display="block">'),
    ]
    assert pieces[-1] == (r" f $\mine$ g \$5 and \$6", None)


_PIECES = words(
    r"\frac \sqrt \text \mathrm \left( \right) \sum \limits \over \not \color \href \style \class \hspace \hline "
    r"\begin{matrix} \end{matrix} \begin{align} \end{align} \begin{array}{c|c} \end{array} \\ \textcolor \boxed "
    r"\mathbb \bigl \binom \overbrace \xrightarrow \substack \cancel \rule \raise { } [ ] ^ _ & ' < > | a 12 , em -5em "
    r'99em red javascript:x() <script> <img/src=x/onerror=y> " </math> &lt;b&gt; &#60; \ % é 😀'
)


@given(st.lists(st.sampled_from([*sorted(_PIECES), " ", "\n"]), max_size=25).map("".join), st.booleans())
def test_whatever_is_typeset_is_known_and_closed(tex, is_block):
    typeset = mathml(tex, is_block=is_block)
    if typeset is None:
        return
    root = ElementTree.fromstring(typeset)  # noqa: S314 - ours; it raises for what is not closed
    assert root.tag == "math"
    for element in root.iter():
        assert element.tag in formulas._ELEMENTS
        for name, value in element.attrib.items():
            if name == "class":
                assert value in ("bs-left", "bs-right")
            else:
                assert formulas._ATTRIBUTES[name].fullmatch(value)
