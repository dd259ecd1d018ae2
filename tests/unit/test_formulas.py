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
        (r"\sum_{i=1}^n a_i", '<munderover><mo movablelimits="true">∑</mo>'),
        (r"\lim_{x \to 0} f", '<munder><mo movablelimits="true">lim</mo>'),
        (r"\operatorname*{arg\,min}_\theta L", '<munder><mo movablelimits="true">argmin</mo>'),
        (
            r"2\sin x",
            '<mn>2</mn><mspace width="0.167em"></mspace><mi>sin</mi><mspace width="0.167em"></mspace><mi>x</mi>',
        ),
        (r"\mathbf{\Sigma}", '<mi class="bs-bold bs-upright">\u03a3</mi>'),
        (r"\boldsymbol{\mu} \ne \mu", '<mi class="bs-bold">μ</mi>'),
        (r"\mathbb E \mathbb{1}", "<mi>\U0001d53c</mi><mrow><mn>\U0001d7d9</mn>"),
        (r"\mathcal N(0, 1) \sim {\cal L}", "<mi>\U0001d4a9</mi>"),
        (r"{\cal L}", "<mi>\u2112</mi>"),
        (r"X \sim N", '<mo stretchy="false">\u223c</mo>'),
        (r"\langle x", '<mo stretchy="false">\u27e8</mo>'),
        (r"a \not= b", "<mo>≠</mo>"),
        (r"\begin{aligned}a&=b\\[2pt]c&=d\end{aligned}", '<mtr><mtd class="bs-right"><mi>c</mi></mtd>'),
        (r"\overline{x}", "<mover>"),
        (r"x=1 \tag{2}", '<mspace width="2em"></mspace><mtext>(2)</mtext>'),
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
        (r"\boxed{x}", '<menclose class="bs-boxed">'),
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


def test_lines_are_not_numbered_as_jupyter_does_not_number_them_either():
    typeset = mathml(r"\begin{align}x=1 \label{eq:x}\\y=2 \nonumber\end{align}", is_block=True)
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
        r"\begin{matrix*}x\end{matrix*}",
        # What it would do: define, double, flatten, disappear, stand elsewhere.
        r"\def\a#1{{#1}{#1}}\a{\a{\a{x}}}",
        r"\newcommand{\a}{x}\a",
        r"\sideset{_1^2}{_3^4}{x}",
        r"\mathop{\frac{1}{2}}x",
        r"\cancel{x}",
        r"\color{red}{x}",
        r"\raise{7em}{x}",
        r"\operatorname{D_{KL}}",
        r"\overline{ABC}",
        r"\widehat{\alpha\beta}",
        r"\not\perp",
        r"\begin{array}{c|c}a&b\end{array}",
        r"\begin{array}{@{}l@{}}a\end{array}",
        r"\begin{array}{c}\hline a\end{array}",
        r"\begin{pmatrix}{r}&0\end{pmatrix}",
        r"\begin{pmatrix}[r]&0\end{pmatrix}",
        r"\text{for $x$}",
        r"\text{a {b} c}",
        r"x^\binom{n}{k}",
        r"\mathbb{\alpha}",
    ],
)
def test_what_is_not_understood_stays_tex(tex):
    assert mathml(tex, is_block=True) is None


@pytest.mark.parametrize(
    "tex",
    [
        r"\href{javascript:x()}{a}",
        r"\style{position:fixed}{b}",
        r"\class{bs-head}{c}",
        r"\cssId{x}{y}",
        r"\hspace{-90em}",
    ],
)
def test_what_would_lead_somewhere_or_change_the_page_stays_tex(tex):
    assert mathml(tex, is_block=False) is None


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("<script>x()</script>", "the element script"),
        ("<math><mi><b>x</b></mi></math>", "as mi"),
        ("<mrow>x<mi>y</mi></mrow>", "the element mrow"),
        ("<mrow><mi>x</mi>y</mrow>", "a text among elements"),
        ("<mfrac><mi>x</mi></mfrac>", "mfrac of 1 parts"),
        ("<msup><mi>x</mi><mi>y</mi><mi>z</mi></msup>", "msup of 3 parts"),
        ("<menclose notation='updiagonalstrike'><mi>x</mi></menclose>", "notation=updiagonalstrike"),
        ("<mspace width='99em'/>", "width=99em"),
        ("<mi mathvariant='fraktur'>x</mi>", "mathvariant=fraktur"),
        ("<mtext>$x$</mtext>", "as mtext"),
        (f"{'<mrow>' * 70}{'</mrow>' * 70}", "a depth of"),
    ],
)
def test_no_element_is_written_that_is_not_known(xml, why):
    with pytest.raises(ValueError, match=why):
        list(formulas._written(ElementTree.fromstring(xml), 0))  # noqa: S314 - ours


def test_markup_in_a_formula_is_text():
    typeset = mathml(r"\text{<script>x()</script>&lt;img/src=x&gt;}", is_block=False)
    assert typeset is not None
    assert "&lt;script&gt;x()&lt;/script&gt;&lt;img/src=x&gt;" in typeset


def test_formulas_are_found_in_a_text():
    text = r"a $x$ b \(y\) c $$z$$ d \[w\] e \begin{align}v\end{align} f $\mine$ g \$5 and \$6"
    pieces = list(split_formulas(text))
    assert [piece for piece, one in split_formulas(r"a \\$x$ and $y$") if one] == ["$x$", "$y$"]
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
    r"\mathop \begin{matrix} \end{matrix} "
    r"\begin{align} \end{align} \begin{array}{cc} \end{array} \\ \textcolor \boxed \def "
    r"\mathbb \bigl \binom \overbrace \xrightarrow \substack \cancel \rule \raise { } [ ] ^ _ & ' < > | a 12 , em -5em "
    r"\mathbf \mathcal \lim \sin \operatorname{ \hat \overline \sim \langle \quad \! \, \alpha \infty \prod \int \le "
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
        assert element.tag in formulas._ELEMENTS | formulas._TOKENS
        if element.tag in formulas._TOKENS:
            assert not len(element), "HTML's parser would make HTML of it"
        else:
            assert not element.text
        for name, value in element.attrib.items():
            if name == "class":
                assert value in formulas._STYLED.values()
            else:
                assert formulas._ATTRIBUTES[name].fullmatch(value)


@given(st.lists(st.sampled_from([*sorted(f"\\{name}" for name in formulas._COMMANDS), *"{}^_&ax1 "]), max_size=400))
def test_what_is_typeset_is_no_more_than_its_tex_in_proportion(pieces):
    tex = "".join(pieces)
    assert len(mathml(tex, is_block=True) or "") <= 200 * (len(tex) + 1)
