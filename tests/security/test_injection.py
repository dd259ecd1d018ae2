"""What people and stores write reaches headers, metadata, pages and terminals as text, and as nothing else."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from rich.text import Text

from bookstore.cli.output import Output, harmless
from bookstore.provenance import from_metadata
from ci.jupyter_process import contents_url, notebook

MODEL = {"type": "notebook", "format": "json", "content": notebook("x")}

#: Names that want to be more than a name.
USERS = [
    "eve\r\nx-amz-acl: public-read",
    "eve\nx-amz-meta-bookstore-sha256: 0",
    "eve\0",
    "eve\x1b[2J",
    "ève - イヴ 😈",
    "eve,mallory; path=/",
    '"eve"',
    "=?utf-8?b?ZXZl?=",
    "b64.ZXZl",
    " eve ",
    "</dd><script>alert(1)</script>",
    "{{ 7*7 }}{% raw %}",
    "x" * 5000,
]


@pytest.mark.parametrize("user", USERS, ids=lambda user: repr(user[:20]))
def test_a_users_name_is_a_value_of_one_header_whatever_it_holds(jupyter, bucket, name, user):
    headers = {"X-As": quote(user)}
    assert jupyter.request("PUT", contents_url(name), MODEL, headers=headers).status == 201
    published = jupyter.request("PUT", f"/api/bookstore/publish/{name}", None, headers=headers)
    assert published.status == 200, published.body
    jupyter.flush()
    for key in (f"workspace/{name}", f"published/{name}"):
        with bucket.server.client() as client:
            head = client.head_object(Bucket=bucket.name, Key=key)
        assert all(known.startswith("bookstore-") for known in head["Metadata"])
        assert all(text.isascii() and text.isprintable() for text in head["Metadata"].values())
        assert sum(len(k) + len(v) for k, v in head["Metadata"].items()) <= 2048
        provenance = from_metadata(head["Metadata"])
        assert provenance.user == (user if len(user) < 1000 else "")
        with bucket.server.client() as client:
            grants = client.get_object_acl(Bucket=bucket.name, Key=key)["Grants"]
        assert all("URI" not in grant["Grantee"] for grant in grants)
    page = jupyter.request("GET", f"/bookstore/clone?s3_bucket={bucket.name}&s3_key=published/{name}")
    assert page.status == 200
    assert b"<script>alert" not in page.body
    assert b"49" not in page.body.split(b"<dt>Author</dt>")[1].split(b"</dd>")[0]


@pytest.mark.parametrize(
    "path",
    [
        'a"; filename="evil.html.ipynb',
        "a%0d%0aX-Evil: 1.ipynb",
        "a;b,c=d.ipynb",
        "a\u202egnp.ipynb",
        "naïve - 名.ipynb",
        "'\"<b>.ipynb",
    ],
)
def test_a_files_name_adds_no_header_to_a_download(jupyter, make_versions, path):
    make_versions(path, "x")
    for method in ("GET", "HEAD"):
        answer = jupyter.request(method, f"/api/bookstore/content/{quote(path)}")
        assert answer.status == 200
        told = answer.headers["content-disposition"]
        assert told == f"attachment; filename*=UTF-8''{quote(path, safe='')}"
        assert "x-evil" not in answer.headers


def test_a_name_with_a_line_break_adds_no_header_either(jupyter, operations):
    # Few servers take such a key. Whatever becomes of it, it stays in its place.
    for one in operations:
        for address in (one.address("a%0D%0AX-Evil:%201.ipynb"), one.address(query="version_id=1%0D%0AX-Evil:%201")):
            answer = jupyter.request(one.method, address, one.body())
            assert "x-evil" not in answer.headers, one
            assert answer.status != 500, f"{one}: {answer.body!r}"


def test_labels_and_parameters_are_text_in_the_bucket_and_in_answers(jupyter, bucket, make_versions, name):
    evil = "</script><script>alert(1)</script>\r\nX-Evil: 1\x1b[2J\u202e ${jndi:ldap://x} {{7*7}} %s"
    (version_id,) = make_versions(name, "x")
    label = {"version_id": version_id, "name": evil[:200], "note": evil}
    assert jupyter.ok("PATCH", f"/api/bookstore/label/{name}", label)["label"]["note"] == evil
    document = json.loads(bucket.read(f"workspace/.bookstore/labels/{name}.json"))
    assert document["labels"][version_id]["note"] == evil
    asked = {"version_id": version_id, "parameters": {"alpha": evil, "beta": {"$ref": "file:///etc/passwd"}}}
    scheduled = jupyter.ok("PUT", f"/api/bookstore/schedule/{name}", asked)
    assert scheduled["parameters"] == asked["parameters"]
    answer = jupyter.request("GET", f"/api/bookstore/versions/{name}")
    assert answer.headers["content-type"].startswith("application/json")
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    "key",
    [
        "theirs/<script>alert(1)</script>.ipynb",
        "theirs/\"'><img src=x onerror=alert(1)>.ipynb",
        "theirs/{{7*7}}{%25 include 'x' %25}.ipynb",
        "theirs/</script><script>alert(1)</script>",
    ],
)
def test_a_key_is_text_on_the_page_and_in_its_script(jupyter, bucket, key):
    with bucket.server.client() as client:
        client.put_object(Bucket=bucket.name, Key=key, Body=b"{}", Metadata={"bookstore-user": "<b>"})
    for method, address in [
        ("GET", f"/bookstore/clone?s3_bucket={bucket.name}&s3_key={quote(key)}"),
        ("GET", f"/bookstore/clone?s3_bucket={bucket.name}&s3_key=missing/{quote(key)}"),
        ("GET", f"/bookstore/clone?s3_bucket={quote(key)}&s3_key=x"),
        ("GET", f"/bookstore/fs-clone?relpath={quote(key)}"),
    ]:
        page = jupyter.request(method, address)
        assert page.headers["content-type"] == "text/html; charset=UTF-8"
        for markup in (b"<script>alert", b"<img", b"49}"):
            assert markup not in page.body
        scripts = page.body.count(b"<script")
        nonces = page.body.count(b'nonce="')
        assert scripts <= nonces


# -- the terminal ------------------------------------------------------------------------------------------------------

#: Colours, a title, the clipboard, a cleared screen, an overwritten line, C1 forms of the same, and turned text.
ORDERS = "\x1b[31m \x1b]0;owned\x07 \x1b]52;c;aWQ=\x07 \x1b[2J\x1b[H \r \x08\x7f \x9b2J \x9d0;x\x9c \u202e\u2066 \u2028"


def test_nothing_that_is_printed_gives_the_terminal_an_order(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    output = Output(is_json=False)
    output.table(("name", "who"), [(f"a{ORDERS}", Text(f"b{ORDERS}"))], title=f"[red]t[/b]{ORDERS}")
    output.pairs([("name", f"c{ORDERS}\nd{ORDERS}"), ("who", Text(f"e{ORDERS}"))])
    output.line(f"f{ORDERS}")
    output.text(Text(f"g{ORDERS}"))
    output.note(f"h{ORDERS}")
    output.error("Code", f"i{ORDERS}", f"j{ORDERS}")
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert not [c for c in shown if c != "\n" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0)]
    assert not set(shown) & set("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    for name in "abcdefghij":
        assert name in shown
    assert "[red]t[/b]" in shown  # no markup of rich's either


def test_what_is_no_order_is_printed_as_it_is():
    for text in ("", "naïve - 名 😈", "a\tb\nc", "[red]x[/red]", "\N{NO-BREAK SPACE}é", "עברית"):
        assert harmless(text) == text


def test_styles_stay_where_they_were(capsys):
    output = Output(is_json=False)
    text = Text.assemble(("bold\x1b", "bold"), "plain")
    output.text(text)
    assert "bold\u241bplain" in capsys.readouterr().out
    assert text.plain == "bold\x1bplain"  # the caller's is not changed


def test_json_escapes_every_order(capsys):
    output = Output(is_json=True)
    output.document({"name": ORDERS})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert "\x1b" not in printed
    assert json.loads(printed)["name"] == ORDERS
