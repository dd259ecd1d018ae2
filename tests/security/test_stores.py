"""What a store that means ill makes of the server: where it may send it, and what it may give it to swallow."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from bookstore.bookstore_config import BookstoreSettings, shown_value
from bookstore.client import BookstoreClient
from bookstore.cloning import checked_bucket, fetch
from bookstore.errors import BookstoreError, ContentTooLarge, StorageError
from bookstore.jupyter_servers import JupyterServerError
from bookstore.storage.s3 import S3Options, S3Store
from ci.command_line import CommandLine

from .conftest import ACCESS_KEY, SECRET, SECRETS, TOKEN

CONTENT = b"the bytes of a notebook"

#: One call of each method that asks the store anything.
CALLS = {
    "put": lambda store: store.put("key", CONTENT, sha256=hashlib.sha256(CONTENT).hexdigest()),
    "get": lambda store: _read(store),
    "head": lambda store: store.head("key"),
    "list_versions": lambda store: store.list_versions("key"),
    "list_objects": lambda store: store.list_objects("key"),
    "probe": lambda store: store.probe(),
    "copy": lambda store: store.copy("key", "other"),
    "get_tags": lambda store: store.get_tags("key"),
    "set_tags": lambda store: store.set_tags("key", {"a": "b"}),
    "hide": lambda store: store.hide("key"),
}


async def _read(store):
    async with store.get("key") as body:
        return [piece async for piece in body.chunks]


@asynccontextmanager
async def store_at(url, **options):
    given = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET, "session_token": TOKEN, **options}
    store = S3Store(S3Options("security", url, "us-east-1", connect_timeout=5, read_timeout=5, **given))
    try:
        yield store
    finally:
        await store.aclose()


async def outcome(store, call):
    """What a call gives, or the error that it raises; any other kind of error fails the test."""
    try:
        return await CALLS[call](store)
    except StorageError as e:
        return e


# -- whom it is sent to ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_server_goes_nowhere_that_the_store_sends_it(hostile, elsewhere, status):
    body = (
        "<Error><Code>TemporaryRedirect</Code><Message>go there</Message>"
        f"<Endpoint>{elsewhere.url.removeprefix('http://')}</Endpoint><Bucket>security</Bucket></Error>"
    ).encode()
    hostile.reply = lambda _: (status, {"Location": f"{elsewhere.url}/security/key"}, body)
    async with store_at(hostile.url) as store:
        for call in CALLS:
            result = await outcome(store, call)
            assert isinstance(result, StorageError), f"{call}: {result!r}"
    assert len(hostile.seen) >= len(CALLS)
    assert elsewhere.seen == []


async def test_a_store_that_names_another_region_is_not_looked_for_there(hostile, elsewhere):
    headers = {"x-amz-bucket-region": urlsplit(elsewhere.url).netloc}
    body = b"<Error><Code>PermanentRedirect</Code><Region>evil-1</Region></Error>"
    hostile.reply = lambda _: (400, headers, body)
    async with store_at(hostile.url) as store:
        for call in CALLS:
            await outcome(store, call)
        assert len(hostile.seen) <= 2 * len(CALLS)  # a refused HEAD asks once more, why
    assert elsewhere.seen == []


def test_the_client_takes_its_token_to_no_other_address(hostile, elsewhere):
    client = BookstoreClient(url=hostile.url, token=TOKEN)
    for status in (301, 302, 303, 307, 308):
        hostile.reply = lambda _, status=status: (status, {"Location": f"{elsewhere.url}/api/bookstore/status"}, b"")
        with pytest.raises(JupyterServerError):
            client.status()
    assert TOKEN in str(hostile.seen)
    assert elsewhere.seen == []


def test_the_doctor_goes_nowhere_that_the_store_sends_it(hostile, elsewhere, tmp_path):
    hostile.reply = lambda _: (307, {"Location": f"{elsewhere.url}/security"}, b"")
    environment = {
        "JPYNB_S3_BUCKET": "security",
        "JPYNB_S3_ENDPOINT_URL": hostile.url,
        "JPYNB_S3_ACCESS_KEY_ID": ACCESS_KEY,
        "JPYNB_S3_SECRET_ACCESS_KEY": SECRET,
    }
    assert CommandLine(tmp_path).run("doctor", **environment).code == 1
    assert hostile.seen
    assert elsewhere.seen == []


#: All that `cloning.checked_bucket` lets through, with an administrator's list of all buckets.
STRANGE_BUCKETS = [
    "evil.example",
    "169.254.169.254",
    "127.0.0.1",
    "localhost",
    "a..b",
    "a-.b",
    "xn--bucket",
    "bucket-s3alias",
    "bucket--op-s3",
    "bucket--x-s3",
    "bucket--use1-az4--x-s3",
    "name.mrap",
    "s3.amazonaws.com",
    "UPPER.Case_1",
    "1" * 255,
]


@pytest.mark.parametrize("bucket", STRANGE_BUCKETS, ids=lambda bucket: bucket[:24])
@pytest.mark.parametrize("style", [None, "path", "virtual"])
async def test_a_buckets_name_never_makes_another_host(hostile, bucket, style):
    checked_bucket(bucket, ["*"])
    hosts = []

    def note(request, **_):
        hosts.append(urlsplit(request.url).hostname)
        raise RuntimeError("seen")

    for endpoint, own in [(None, "amazonaws.com"), ("https://store.example:9000", "store.example")]:
        options = S3Options(bucket, endpoint, "us-east-1", ACCESS_KEY, SECRET, addressing_style=style)
        store = S3Store(options)
        try:
            client = (await store._connected()).client
            client.meta.events.register_first("before-send.s3", note)
            with pytest.raises(BookstoreError):
                await store.head("key")
        finally:
            await store.aclose()
        for host in hosts:
            assert host == own or host.endswith(f".{own}"), f"{bucket} at {endpoint}: {host}"
        hosts.clear()


@pytest.mark.parametrize(
    "endpoint",
    [
        "file:///etc/passwd",
        "ftp://store.example",
        "gopher://store.example",
        "unix:///var/run/docker.sock",
        "//store.example",
        "store.example",
        "http://",
        "http://:80",
        "http://user:planted-password@store.example",
        "https://planted-password@store.example",
        "http://store.example/?token=planted-password",
        "http://store.example/#planted-password",
        "http://[::1",
        "javascript:alert(1)",
    ],
)
def test_an_endpoint_is_a_web_address_without_credentials(endpoint):
    settings = BookstoreSettings(s3_bucket="security", s3_endpoint_url=endpoint)
    (problem,) = [problem for problem in settings.check() if problem.trait == "s3_endpoint_url"]
    assert problem.blocks_archiving
    assert "planted-password" not in str(problem) or "@" not in endpoint
    assert "planted-password" not in shown_value("s3_endpoint_url", endpoint) or "@" not in endpoint


# -- what it is made to swallow ----------------------------------------------------------------------------------------


def laughs(root: str) -> bytes:
    """A document of some hundred bytes that stands for gigabytes."""
    entities = ['<!ENTITY e0 "ha">'] + [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 11)]
    return f'<?xml version="1.0"?><!DOCTYPE x [{"".join(entities)}]><{root}><Name>&e10;</Name></{root}>'.encode()


def outsiders(root: str, url: str) -> bytes:
    """A document that asks for a file of this machine, and for an address."""
    entities = f'<!ENTITY f SYSTEM "file:///etc/passwd"><!ENTITY u SYSTEM "{url}/asked">'
    rest = "<Message>&f;&u;</Message><Code>&f;</Code><Name>&u;</Name><ETag>&f;</ETag>"
    return f'<?xml version="1.0"?><!DOCTYPE x [{entities}]><{root}>{rest}</{root}>'.encode()


@pytest.mark.parametrize(
    ("status", "root", "call"), [(200, "ListVersionsResult", "list_versions"), (403, "Error", "put")]
)
async def test_entities_are_not_expanded_and_nothing_is_fetched_for_them(hostile, elsewhere, status, root, call):
    began = time.monotonic()
    for document in (laughs(root), outsiders(root, elsewhere.url)):
        hostile.reply = lambda _, document=document: (status, {"Content-Type": "application/xml"}, document)
        async with store_at(hostile.url) as store:
            result = await outcome(store, call)
        assert isinstance(result, StorageError)
        assert "root:" not in shown(result)
        assert len(str(result)) < 500
    assert elsewhere.seen == []
    assert time.monotonic() - began < 30


async def test_an_answer_that_nests_for_ever_is_a_fault(hostile):
    document = b"<ListVersionsResult>" + b"<a>" * 20_000 + b"</a>" * 20_000 + b"</ListVersionsResult>"
    hostile.reply = lambda _: (200, {"Content-Type": "application/xml"}, document)
    async with store_at(hostile.url) as store:
        assert isinstance(await outcome(store, "list_versions"), StorageError)


async def test_no_more_of_a_content_is_read_than_is_allowed(hostile):
    hostile.reply = lambda _: (200, {"ETag": '"x"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, b"x" * 4_000_000)
    async with store_at(hostile.url) as store:
        with pytest.raises(ContentTooLarge):
            await asyncio.wait_for(fetch(store, "key", limit=1_000_000), 10)


# -- what it is made to say --------------------------------------------------------------------------------------------


def echoing(request):
    """Answer with everything that was sent, and with what was not, wherever an answer has room for text."""
    said = f"{request.headers} {' '.join(SECRETS)}"
    text = said.replace("&", "&amp;").replace("<", "&lt;")
    names = ("Code", "Message", "AWSAccessKeyId", "StringToSign", "Resource", "HostId", "Endpoint", "BucketName")
    body = "<Error>" + "".join(f"<{name}>{text}</{name}>" for name in names) + "</Error>"
    line = " ".join(said.split())
    return 403, {"x-amz-request-id": line, "x-amz-id-2": line, "Server": line}, body.encode()


def shown(error: BaseException) -> str:
    """Everything that an error may show, with all that it hangs on."""
    parts, seen = [], error
    while seen is not None:
        parts += [str(seen), repr(seen), str(getattr(seen, "hint", "")), str(seen.args), str(vars(seen))]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return " ".join(parts)


async def test_a_store_that_repeats_the_credentials_does_not_get_them_shown(hostile):
    hostile.reply = echoing
    async with store_at(hostile.url) as store:
        for call in CALLS:
            error = await outcome(store, call)
            assert isinstance(error, StorageError)
            for secret in SECRETS:
                assert secret not in shown(error), call


@pytest.mark.parametrize("where", ["header", "document"])
async def test_a_store_that_calls_the_credentials_a_region_does_not_get_them_shown(hostile, where):
    for secret in (ACCESS_KEY, SECRET):
        for told in (secret, f"eu {secret}\x1b[2J", "r" * 5000):
            headers = {"x-amz-bucket-region": told.replace("\x1b", " ")} if where == "header" else {}
            region = "" if where == "header" else f"<Region>{told}</Region>".replace("\x1b", "\r\n")
            body = f"<Error><Code>AuthorizationHeaderMalformed</Code>{region}</Error>".encode()
            hostile.reply = lambda _, headers=headers, body=body: (400, headers, body)
            async with store_at(hostile.url) as store:
                error = await outcome(store, "put")
                assert secret not in shown(error)
                assert len(error.hint) < 500
