"""Whatever an outbox, an S3 server or a REST client sends: errors are our own, nothing hangs, nothing wrong is kept."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hashlib
import json
import math
from dataclasses import replace

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bookstore import errors
from bookstore.delivery import Courier, Parcel
from bookstore.errors import BookstoreError, EntryCorrupt, StorageError
from bookstore.outbox_entry import FIRST_LINE_BYTES, Entry, decode, decode_header, encode_header, header_size
from bookstore.provenance import Provenance
from bookstore.storage.memory import MemoryStore
from bookstore.storage.s3 import S3Options, S3Store
from ci.bucket import Bucket
from ci.jupyter_process import JupyterProcess, notebook

#: Examples of each property: the short form and the long one.
EXAMPLES = 150
LONG_EXAMPLES = 5_000

#: Examples over HTTP, and of REST bodies.
ANSWERS = 60
LONG_ANSWERS = 3_000
BODIES = 12
LONG_BODIES = 300

#: Seconds that a call of the store may take, whatever is answered.
CALL_LIMIT = 5.0

forms = pytest.mark.parametrize("form", ["short", pytest.param("long", marks=pytest.mark.long)])


def run(form, check, *strategies, short=EXAMPLES, long=LONG_EXAMPLES):
    """Check a property with as many examples as the form asks for, the same in every run."""
    chosen = settings(
        max_examples=short if form == "short" else long,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    chosen(given(*strategies)(check))()


# -- outbox entries ------------------------------------------------------------------------------------------------

CONTENT = b"the content of a save"
ENTRY = Entry("a.ipynb", "workspace/a.ipynb", len(CONTENT), Provenance("r", hashlib.sha256(CONTENT).hexdigest(), 1.5))
WHOLE = encode_header(ENTRY) + CONTENT


@st.composite
def edited(draw, whole):
    """Bytes with a few pieces cut out, put in, repeated or overwritten."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        data[start:end] = draw(st.one_of(st.binary(max_size=40), st.just(bytes(data[start:end]) * 2)))
    return bytes(data)


def check_decoder(data):
    """Decode gives the one whole entry that was written, or says that the data are none."""
    for function in (decode, decode_header, lambda d: header_size(d[:FIRST_LINE_BYTES])):
        try:
            result = function(data)
        except EntryCorrupt:
            continue
        if function is decode:
            entry, content = result
            assert hashlib.sha256(content).hexdigest() == entry.provenance.sha256
            assert data == WHOLE, "an altered entry was taken"


@forms
def test_the_decoder_takes_nothing_but_whole_entries(form, report):
    run(form, check_decoder, st.one_of(edited(WHOLE), st.binary(max_size=400)))
    report("fuzzing: outbox decoder", examples=EXAMPLES if form == "short" else LONG_EXAMPLES)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(["", "0" * 64, "\n"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


STRANGE_NUMBERS = [math.nan, math.inf, -math.inf, 1e300, -1e11, 1e12, True, False, -1, 2**64, 10**30]


@st.composite
def headers_that_fit(draw):
    """An entry whose checksums are right and whose fields may be anything: only its author can make it."""
    fields = {"path": "a.ipynb", "key": "workspace/a.ipynb", "size": len(CONTENT)}
    provenance = ENTRY.provenance.to_dict()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([fields, provenance]))
        name = draw(st.sampled_from([*place, "unknown"]))
        if draw(st.booleans()):
            place.pop(name, None)
        else:
            place[name] = draw(st.one_of(json_values, st.sampled_from(STRANGE_NUMBERS)))
    body = json.dumps({**fields, "provenance": provenance}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(body).hexdigest().encode()
    return b"bookstore-entry 1 %d %s\n%s\n" % (len(body), digest, body) + CONTENT


def check_strange_entry(data):
    """What the decoder takes can be shipped, or is refused in a way that lets the path go on."""
    try:
        entry, content = decode(data)
    except EntryCorrupt:
        return
    assert isinstance(entry.path, str)
    assert math.isfinite(entry.provenance.saved_at)
    asyncio.run(_deliver(entry, bytes(content)))


async def _deliver(entry, content):
    store = MemoryStore()
    courier = Courier(store, probe_key="probe", origin="host:/root")
    for is_uncertain in (False, True):
        with contextlib.suppress(BookstoreError):
            await courier.deliver(Parcel(entry, uncertain=is_uncertain), entry.key or "none", content)
    for versions in store._keys.values():
        assert [version.content for version in versions] == [content]


@forms
def test_an_entry_with_strange_fields_is_shipped_or_refused(form):
    run(form, check_strange_entry, headers_that_fit())


def test_the_check_catches_a_decoder_that_takes_what_it_gets(monkeypatch):
    def lenient(data):
        size = header_size(data[:FIRST_LINE_BYTES])
        return Entry("a", "a", 0, Provenance("r", hashlib.sha256(data[size:]).hexdigest(), 1.0)), memoryview(data)[
            size:
        ]

    monkeypatch.setattr(f"{__name__}.decode", lenient)
    with pytest.raises(AssertionError, match="altered"):
        run("short", check_decoder, edited(WHOLE))


# -- answers of S3 -------------------------------------------------------------------------------------------------

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
XML = "<?xml version='1.0' encoding='UTF-8'?>\n"
ROW = (
    "<Version><Key>k</Key><VersionId>v1</VersionId><IsLatest>true</IsLatest><LastModified>2026-01-02T03:04:05.000Z"
    "</LastModified><ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;</ETag><Size>1</Size></Version>"
)
#: What a good server sends in the body, by kind.
BODIES_OF_S3 = {
    "versions": f"{XML}<ListVersionsResult {NAMESPACE}><Name>b</Name><IsTruncated>true</IsTruncated>"
    f"<NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>{ROW}<DeleteMarker><Key>k</Key>"
    "<VersionId>v0</VersionId><IsLatest>false</IsLatest><LastModified>2026-01-01T00:00:00Z</LastModified>"
    "</DeleteMarker><CommonPrefixes><Prefix>k/</Prefix></CommonPrefixes></ListVersionsResult>",
    "objects": f"{XML}<ListBucketResult {NAMESPACE}><IsTruncated>false</IsTruncated><Contents><Key>k</Key>"
    "<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>1</Size></Contents>"
    "</ListBucketResult>",
    "error": f"{XML}<Error><Code>SlowDown</Code><Message>slower</Message><RequestId>1</RequestId></Error>",
    "versioning": f"{XML}<VersioningConfiguration {NAMESPACE}><Status>Enabled</Status></VersioningConfiguration>",
    "copy": f"{XML}<CopyObjectResult {NAMESPACE}><ETag>&quot;e&quot;</ETag><LastModified>2026-01-02T03:04:05Z"
    "</LastModified></CopyObjectResult>",
    "tags": f"{XML}<Tagging {NAMESPACE}><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "content": "a",
    "nothing": "",
}
#: Which of them answers a call.
FITTING = {
    "get": "content",
    "list_versions": "versions",
    "list_objects": "objects",
    "copy": "copy",
    "get_tags": "tags",
    "probe": "versioning",
}
SHA256 = hashlib.sha256(b"a").hexdigest()
ETAG = hashlib.md5(b"a", usedforsecurity=False).hexdigest()
CHECKSUM = base64.b64encode(bytes.fromhex(SHA256)).decode()


#: What a good server sends in the headers.
HEADERS_OF_S3 = {
    "ETag": f'"{ETAG}"',
    "x-amz-version-id": "v1",
    "x-amz-checksum-sha256": CHECKSUM,
    "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
    "Date": "Fri, 02 Jan 2026 03:04:05 GMT",
    "Content-Type": "application/xml",
    "Server": "AmazonS3",
    "x-amz-meta-bookstore-record": "r",
    "Content-Length": "",
}
STRANGE_HEADERS = {
    "ETag": [f'"{"0" * 32}"', '"x-2"', '"'],
    "x-amz-checksum-sha256": ["A" * 43 + "=", "!", CHECKSUM[:-2]],
    "Content-Length": ["0", "1", "3", "999", "-5", "x"],
    "x-amz-delete-marker": ["true"],
    "Content-Range": ["bytes 0-0/1", "bytes 5-9/10"],
    "Content-Encoding": ["gzip", "aws-chunked"],
    "Transfer-Encoding": ["chunked"],
    "x-amz-tagging-count": ["x"],
    "x-amz-expiration": ["\xff"],
    "Location": ["http://127.0.0.1:9/"],
}
HAPPENINGS = ["status", "header", "header", "header", "body", "body", "other body", "no proof", "cut", "held"]
STATUSES = [201, 204, 206, 301, 304, 307, 400, 403, 404, 405, 409, 412, 416, 429, 500, 501, 503, 999]
ANY_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)


@st.composite
def answers(draw, call):
    """A good answer over HTTP, as bytes, to which up to three things happened, and whether the connection is held."""
    status, headers, body = 200, dict(HEADERS_OF_S3), BODIES_OF_S3[FITTING.get(call, "nothing")].encode()
    is_held, is_cut = False, False
    for _ in range(draw(st.integers(0, 3))):
        what = draw(st.sampled_from(HAPPENINGS))
        if what == "no proof":
            headers |= {"ETag": f'"{"0" * 32}"', "x-amz-checksum-sha256": None}
        elif what == "status":
            status = draw(st.sampled_from(STATUSES))
        elif what == "header":
            name = draw(st.sampled_from([*HEADERS_OF_S3, *STRANGE_HEADERS]))
            strange = st.sampled_from(STRANGE_HEADERS.get(name, ["", "null", "-1"]))
            headers[name] = draw(st.one_of(st.none(), strange, strange, ANY_TEXT))
        elif what == "body":
            body = draw(edited(body or b"x"))
        elif what == "other body":
            body = draw(st.one_of(st.binary(max_size=60), st.sampled_from(list(BODIES_OF_S3.values())).map(str.encode)))
        elif what == "cut":
            is_cut = True
        else:
            is_held = draw(st.integers(0, 5)) == 0
    if headers.get("Content-Length") == "":
        headers["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    data = f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode("latin-1") + body
    if is_cut:
        data = draw(st.one_of(edited(data), st.integers(0, len(data)).map(lambda end: data[:end])))
    return data, is_held


class Liar:
    """An HTTP server that answers what it is told, and a store that asks it; both live in one event loop."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.answer = b""
        self.holds = False
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        port = self.server.sockets[0].getsockname()[1]
        self.store = S3Store(
            S3Options(
                bucket="b",
                endpoint_url=f"http://127.0.0.1:{port}",
                access_key_id="key",
                secret_access_key="secret",
                connect_timeout=1.0,
                read_timeout=0.2,
            )
        )
        self._writers = set()

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(v) for n, _, v in map(_header, head.split(b"\r\n")) if n == b"content-length"), 0)
            await reader.readexactly(length)
            # The answer to a HEAD has no body.
            end = self.answer.find(b"\r\n\r\n") + 4 if head.startswith(b"HEAD") else len(self.answer)
            writer.write(self.answer[: max(end, 4)])
            await writer.drain()
            if self.holds:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def ask(self, call):
        async def bounded():
            return await asyncio.wait_for(call(self.store), CALL_LIMIT)

        return self.loop.run_until_complete(bounded())

    def close(self):
        self.loop.run_until_complete(self.store.aclose())
        self.server.close()
        for writer in self._writers:
            writer.close()
        gc.collect()
        self.loop.run_until_complete(asyncio.sleep(0.05))
        self.loop.close()


def _header(line):
    name, colon, value = line.partition(b":")
    return name.strip().lower(), colon, value.strip()


@pytest.fixture
def liar():
    made = Liar()
    yield made
    made.close()


async def _read(store):
    async with store.get("k") as body:
        content = b"".join([chunk async for chunk in body.chunks])
    assert len(content) == body.info.size, "a truncated body was taken for whole"


async def _put(store):
    return await store.put("k", b"a", sha256=SHA256, if_none_match=True)


CALLS = {
    "put": _put,
    "get": _read,
    "head": lambda store: store.head("k"),
    "list_versions": lambda store: store.list_versions("k"),
    "list_objects": lambda store: store.list_objects("k"),
    "hide": lambda store: store.hide("k"),
    "copy": lambda store: store.copy("k", "l"),
    "get_tags": lambda store: store.get_tags("k"),
    "set_tags": lambda store: store.set_tags("k", {"a": "b"}),
    "probe": lambda store: store.probe(),
}


def check_answer(liar, call, answer):
    """The call gives a value that fits, or an error of the store's; within its time."""
    liar.answer, liar.holds = answer
    try:
        result = liar.ask(CALLS[call])
    except StorageError:
        return
    if call == "put" and result.verified:
        told = liar.answer.decode("latin-1")
        assert CHECKSUM in told or ETAG in told, "a receipt for other bytes"


@forms
# aiobotocore leaves the connection of an answer that it cannot read to the garbage collector, which closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("call", CALLS)
def test_whatever_s3_answers_a_call_gives_a_value_or_an_error_of_the_store(form, call, liar, report):
    short, long = ANSWERS, LONG_ANSWERS
    run(form, lambda answer: check_answer(liar, call, answer), answers(call), short=short, long=long)
    report(f"fuzzing: answers of S3 to {call}", examples=short if form == "short" else long)


@pytest.mark.parametrize("call", ["get", "head"])
@pytest.mark.parametrize("checksum", ["!", "A", CHECKSUM[:-2], base64.b64encode(b"short").decode(), "\xe9"])
def test_a_checksum_that_is_none_is_no_error_of_another_kind(liar, call, checksum):
    headers = HEADERS_OF_S3 | {"Content-Length": "1", "x-amz-checksum-sha256": checksum}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    check_answer(liar, call, (f"HTTP/1.1 200 Said\r\n{lines}\r\na".encode("latin-1"), False))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_check_catches_a_store_that_believes_any_receipt(liar, monkeypatch):
    put = S3Store.put

    async def believe(self, key, body, **options):
        return replace(await put(self, key, body, **options), verified=True)

    monkeypatch.setattr(S3Store, "put", believe)
    with pytest.raises(AssertionError, match="other bytes"):
        run("short", lambda answer: check_answer(liar, "put", answer), answers("put"), short=400)


# -- bodies of REST ------------------------------------------------------------------------------------------------

NOTEBOOK = notebook("fuzzed")
#: Requests that are good before something happens to their body.
REQUESTS = {
    "publish": ("PUT", "/api/bookstore/publish/fuzz.ipynb", {"type": "notebook", "content": NOTEBOOK}),
    "schedule": ("PUT", "/api/bookstore/schedule/fuzz.ipynb", {"version_id": "VERSION", "parameters": {"a": 1}}),
    "label": (
        "PATCH",
        "/api/bookstore/label/fuzz.ipynb",
        {"version_id": "VERSION", "name": "n", "note": "n", "pinned": True},
    ),
    "restore": ("POST", "/api/bookstore/restore/fuzz.ipynb", {"version_id": "VERSION", "force": True}),
    "archive": ("POST", "/api/bookstore/archive/fuzz.ipynb", {"timeout": 1}),
    "flush": ("POST", "/api/bookstore/flush", {"timeout": 0.1}),
    "clone": ("POST", "/api/bookstore/clone", {"s3_bucket": "fuzz", "s3_key": "workspace/fuzz.ipynb"}),
    "fs-clone": ("POST", "/api/bookstore/fs-clone", {"relpath": "file.txt"}),
}
STRANGE_BODIES = [
    b"",
    b"null",
    b"[]",
    b"0",
    b'"text"',
    b"\xff\xfe",
    b"[" * 50_000,
    b'{"a":' * 20_000,
    b'{"timeout": NaN}',
    b'{"timeout": 1e999}',
    b'{"timeout": 1' + b"0" * 5_000 + b"}",
    b'{"version_id": "\\ud800"}',
    b'{"version_id": "a\\u0000b"}',
    b'{"relpath": "\\u0000"}',
    b'{"relpath": "../../etc/passwd"}',
    b'{"s3_bucket": "fuzz", "s3_key": "workspace/\\ud800"}',
    b'{"type": "notebook", "content": {"cells": ' + b"[" * 900 + b"]" * 900 + b"}}",
]


@st.composite
def bodies(draw, good):
    """A request's body: strange from the start, a good one with fields that may be anything, or one with its bytes
    edited."""
    kind = draw(st.sampled_from(["strange", "fields", "fields", "edited", "edited"]))
    if kind == "strange":
        return draw(st.sampled_from(STRANGE_BODIES))
    model = dict(good)
    if kind == "fields":
        for _ in range(draw(st.integers(1, 2))):
            model[draw(st.sampled_from([*good, "content", "target_path", "s3_version_id", "timeout"]))] = draw(
                json_values
            )
        return json.dumps(model).encode()
    return draw(edited(json.dumps(model).encode()))


@pytest.fixture(scope="module")
def fuzzed(moto, tmp_path_factory):
    home, bucket = tmp_path_factory.mktemp("fuzz"), Bucket(moto, moto.create_bucket("fuzz"))
    (home / "file.txt").write_text("to clone")
    process = JupyterProcess(
        home / "jupyter",
        environment=bucket.environment,
        arguments=[f"--BookstoreSettings.fs_cloning_basedir={home}", "--BookstoreSettings.drain_timeout=1"],
    )
    with process:
        process.save("fuzz.ipynb", NOTEBOOK)
        process.flush()
        yield process, bucket


def check_body(process, method, path, body):
    """The answer is a success, or an error that says in JSON what was wrong; never one that nobody expected."""
    answer = process.request(method, path, data=body, timeout=30)
    if 200 <= answer.status < 300:
        return
    told = answer.json()
    assert answer.status != 500, told
    assert told["message"], told
    assert told["reason"] is None or isinstance(told["reason"], str)
    if answer.status > 500:
        # Not the client's doing, says the server: then it says what and what to do.
        assert issubclass(getattr(errors, told["code"]), BookstoreError), told


@forms
@pytest.mark.parametrize("route", REQUESTS)
def test_whatever_a_client_sends_the_answer_says_what_was_wrong(form, route, fuzzed, report):
    process, bucket = fuzzed
    method, path, good = REQUESTS[route]
    version = bucket.rows("workspace/fuzz.ipynb")[0]["VersionId"]
    real = {name: version if value == "VERSION" else value for name, value in good.items()}
    assert process.request(method, path, real).status == 200
    check = lambda body: check_body(process, method, path, body)  # noqa: E731
    run(form, check, bodies(real), short=BODIES, long=LONG_BODIES)
    for body in STRANGE_BODIES:
        check(body)
    assert process.request(method, path, real).status == 200
    assert "Traceback" not in process.log.read_text()
    for content in bucket.versions("published/fuzz.ipynb"):
        nbformat.validate(nbformat.reads(content.decode(), as_version=4))
    report(f"fuzzing: bodies of {method} {route}", examples=BODIES if form == "short" else LONG_BODIES)
