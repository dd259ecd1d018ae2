"""S3Store against a server that answers what no real one can be made to answer, and over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import subprocess
import sys
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from bookstore import errors
from bookstore.storage.base import Versioning
from bookstore.storage.s3 import S3Options, S3Store, _Client, _Pieces, _read
from bookstore.storage.s3_errors import Call, clean
from ci.s3_servers import Certificate, MotoServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TOKEN = "AQoDYXdzEJr-session-token-EXAMPLE"
CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    named = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value)
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body


def refusal(status: int, code: str, more: str = "", message: str = "Because.") -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()
    return answer(status, body, content_type="application/xml")


def stored(**headers: str) -> bytes:
    return answer(200, etag=f'"{MD5}"', **headers)


def content(body: bytes = CONTENT, **headers: str) -> bytes:
    return answer(200, body, etag=f'"{MD5}"', last_modified="Fri, 20 Nov 2026 07:00:00 GMT", **headers)


#: Ends the connection with a reset.
RESET = b"reset"
Reply = bytes | None


@dataclass
class FakeServer:
    """Answers each request with the next reply, the last one for ever; None is no answer at all."""

    replies: list[Reply]
    requests: list[Request] = field(default_factory=list)
    #: An answer is given when this is set.
    open: asyncio.Event = field(default_factory=asyncio.Event)
    #: Set when a request has come in.
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                await self._answer(line, reader, writer)
        writer.close()

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = line.decode().split()
        headers: dict[str, str] = {}
        while (header := (await reader.readline()).decode().strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        reply = self.replies[min(len(self.requests), len(self.replies) - 1)]
        self.requests.append(Request(method, target, headers, body))
        self.asked.set()
        await self.open.wait()
        if reply is None:
            await reader.read()  # until the client gives up
        elif reply == RESET:
            writer.transport.abort()
        else:
            head, end, rest = reply.partition(b"\r\n\r\n")
            writer.write(head + end + (b"" if method == "HEAD" else rest))
            await writer.drain()

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def fake(*replies: Reply) -> AsyncIterator[FakeServer]:
    fake_server = FakeServer(list(replies))
    fake_server.open.set()
    server = await asyncio.start_server(fake_server.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    fake_server.url = f"http://{host}:{port}"
    try:
        yield fake_server
    finally:
        server.close()
        await fake_server.close()
        await server.wait_closed()


def options(url: str | None, **changes: object) -> S3Options:
    given: dict[str, object] = {
        "bucket": "bucket",
        "endpoint_url": url,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET,
        "session_token": TOKEN,
        "connect_timeout": 5,
        "read_timeout": 5,
    }
    return S3Options(**{**given, **changes})  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def store_at(url: str | None, **changes: object) -> AsyncIterator[S3Store]:
    store = S3Store(options(url, **changes))
    try:
        yield store
    finally:
        await store.aclose()


async def put(store: S3Store, body: bytes = CONTENT, **more: object) -> object:
    return await store.put("work/a.ipynb", body, sha256=hashlib.sha256(body).hexdigest(), **more)  # type: ignore[arg-type]


async def read(store: S3Store, version_id: str | None = None) -> bytes:
    async with store.get("work/a.ipynb", version_id) as body:
        return b"".join([chunk async for chunk in body.chunks])


CALLS: dict[str, Callable[[S3Store], Awaitable[object]]] = {
    "put": put,
    "put_if_match": lambda store: put(store, if_match="0" * 32),
    "get": read,
    "get_version": lambda store: read(store, "v1"),
    "head": lambda store: store.head("work/a.ipynb"),
    "list": lambda store: store.list_versions("work/a.ipynb"),
    "list_objects": lambda store: store.list_objects("work/"),
    "hide": lambda store: store.hide("work/a.ipynb"),
    "copy": lambda store: store.copy("work/a.ipynb", "b"),
    "set_tags": lambda store: store.set_tags("work/a.ipynb", {"a": "b"}),
    "get_tags": lambda store: store.get_tags("work/a.ipynb"),
    "probe": lambda store: store.probe(),
}


async def failure(store: S3Store, operation: str) -> errors.StorageError:
    with pytest.raises(errors.StorageError) as caught:
        await CALLS[operation](store)
    return caught.value


def everything_shown(error: BaseException) -> str:
    hint = getattr(error, "hint", "")
    return f"{error} {error!r} {hint} {''.join(traceback.format_exception(error))}"


# --- what the answers of a store mean


@pytest.mark.parametrize(
    ("operation", "status", "code", "expected"),
    [
        ("put", 503, "SlowDown", errors.StoreThrottled),
        ("put", 503, "ServiceUnavailable", errors.StoreThrottled),
        ("put", 429, "TooManyRequests", errors.StoreThrottled),
        ("put", 400, "RequestLimitExceeded", errors.StoreThrottled),
        ("put", 400, "Throttling", errors.StoreThrottled),
        ("put", 500, "InternalError", errors.StoreFault),
        ("put", 502, "BadGateway", errors.StoreFault),
        ("put", 400, "RequestTimeout", errors.StoreTimeout),
        ("put", 400, "IncompleteBody", errors.StoreFault),
        ("put", 403, "InvalidAccessKeyId", errors.CredentialsRejected),
        ("put", 403, "SignatureDoesNotMatch", errors.CredentialsRejected),
        ("put", 400, "ExpiredToken", errors.CredentialsRejected),
        ("put", 400, "InvalidToken", errors.CredentialsRejected),
        ("put", 403, "RequestTimeTooSkewed", errors.CredentialsRejected),
        ("put", 401, "AuthFailure", errors.CredentialsRejected),
        ("put", 403, "AccessDenied", errors.AccessDenied),
        ("put", 403, "SomethingElse", errors.AccessDenied),
        ("put", 404, "NoSuchBucket", errors.BucketMissing),
        ("put", 412, "PreconditionFailed", errors.PreconditionFailed),
        ("put", 409, "ConditionalRequestConflict", errors.PreconditionFailed),
        ("put_if_match", 404, "NoSuchKey", errors.PreconditionFailed),
        ("put_if_match", 404, "NoSuchBucket", errors.BucketMissing),
        ("put", 400, "EntityTooLarge", errors.ObjectRefused),
        ("put", 400, "KeyTooLongError", errors.ObjectRefused),
        ("put", 400, "MetadataTooLarge", errors.ObjectRefused),
        ("put", 400, "InvalidArgument", errors.ObjectRefused),
        ("put", 413, "Whatever", errors.ObjectRefused),
        ("put", 400, "BadDigest", errors.IntegrityError),
        ("put", 400, "InvalidDigest", errors.IntegrityError),
        ("put", 400, "XAmzContentSHA256Mismatch", errors.IntegrityError),
        ("put", 501, "NotImplemented", errors.StorageError),
        ("put", 405, "MethodNotAllowed", errors.StorageError),
        ("put", 400, "KMS.NotFoundException", errors.StorageError),
        ("put", 500, "KMS.InternalException", errors.StoreFault),
        ("get", 404, "NoSuchKey", errors.ObjectMissing),
        ("get", 404, "NoSuchBucket", errors.BucketMissing),
        ("get", 403, "AccessDenied", errors.AccessDenied),
        ("get_version", 404, "NoSuchVersion", errors.ObjectMissing),
        ("get_version", 405, "MethodNotAllowed", errors.ObjectMissing),
        ("get_version", 400, "InvalidArgument", errors.ObjectMissing),
        ("list", 404, "NoSuchBucket", errors.BucketMissing),
        ("list", 400, "InvalidArgument", errors.StorageError),
        ("list_objects", 404, "NoSuchBucket", errors.BucketMissing),
        ("list_objects", 400, "InvalidArgument", errors.StorageError),
        ("list_objects", 403, "AccessDenied", errors.AccessDenied),
        ("hide", 404, "NoSuchBucket", errors.BucketMissing),
        ("hide", 403, "AccessDenied", errors.AccessDenied),
        ("hide", 503, "SlowDown", errors.StoreThrottled),
        ("hide", 400, "KeyTooLongError", errors.ObjectRefused),
        ("set_tags", 400, "InvalidTag", errors.ObjectRefused),
        ("get_tags", 404, "NoSuchKey", errors.ObjectMissing),
        ("probe", 404, "NoSuchBucket", errors.BucketMissing),
        ("probe", 503, "SlowDown", errors.StoreThrottled),
    ],
)
async def test_a_code_becomes_the_error_that_fits(
    operation: str, status: int, code: str, expected: type[errors.StorageError]
) -> None:
    async with fake(refusal(status, code)) as server, store_at(server.url) as store:
        error = await failure(store, operation)
    assert type(error) is expected
    assert f"{status} {code}: Because." in str(error)
    assert "s3://bucket" in str(error)
    assert len(server.requests) == 1, "the SDK must not repeat a request"


@pytest.mark.parametrize(
    ("operation", "status", "expected"),
    [
        ("put", 503, errors.StoreThrottled),
        ("put", 429, errors.StoreThrottled),
        ("put", 500, errors.StoreFault),
        ("put", 403, errors.AccessDenied),
        ("put", 400, errors.StoreFault),
        ("put", 408, errors.StoreTimeout),
        ("put", 409, errors.PreconditionFailed),
        ("put", 418, errors.StorageError),
        ("head", 404, errors.ObjectMissing),
        ("head", 503, errors.StoreThrottled),
        ("head", 500, errors.StoreFault),
        ("head", 403, errors.AccessDenied),
        ("list_objects", 404, errors.BucketMissing),
        ("hide", 403, errors.AccessDenied),
        ("hide", 500, errors.StoreFault),
        ("probe", 404, errors.BucketMissing),
        ("probe", 403, errors.AccessDenied),
        ("probe", 401, errors.CredentialsRejected),
    ],
)
async def test_a_bare_status_becomes_the_error_that_fits(
    operation: str, status: int, expected: type[errors.StorageError]
) -> None:
    async with fake(answer(status)) as server, store_at(server.url) as store:
        error = await failure(store, operation)
    assert type(error) is expected
    assert str(status) in str(error)


@pytest.mark.parametrize("body", [b"<html><body>Bad Gateway</body></html>", b"\x00\xff not xml", b"{}", b"<a><b>"])
async def test_an_error_of_a_proxy_is_told_by_its_status(body: bytes) -> None:
    async with fake(answer(502, body)) as server, store_at(server.url) as store:
        for operation in ("put", "get", "list", "head"):
            assert type(await failure(store, operation)) is errors.StoreFault


@pytest.mark.parametrize("operation", ["put", "copy"])
@pytest.mark.parametrize(
    ("code", "expected"), [("InternalError", errors.StoreFault), ("SlowDown", errors.StoreThrottled)]
)
async def test_an_error_inside_an_answer_of_200_is_an_error(
    operation: str, code: str, expected: type[errors.StorageError]
) -> None:
    replies = [content()] if operation == "copy" else []
    async with fake(*replies, refusal(200, code)) as server, store_at(server.url) as store:
        error = await failure(store, operation)
    assert type(error) is expected


async def test_an_answer_to_a_put_without_etag_is_a_fault() -> None:
    async with fake(answer(200)) as server, store_at(server.url) as store:
        assert type(await failure(store, "put")) is errors.StoreFault


async def test_a_checksum_that_differs_is_found() -> None:
    other = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    async with fake(stored(x_amz_checksum_sha256=other)) as server, store_at(server.url) as store:
        assert type(await failure(store, "put")) is errors.IntegrityError


@pytest.mark.parametrize(
    ("reply", "verified"),
    [
        (stored(), True),
        (stored(x_amz_checksum_sha256="7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M="), True),
        (answer(200, etag='"0123456789abcdef0123456789abcdef"'), False),
        (answer(200, etag='"0123456789abcdef0123456789abcdef-1"'), False),
        (answer(200, etag='"opaque"', x_amz_checksum_sha256="7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M="), True),
    ],
)
async def test_a_receipt_is_verified_only_by_checksum_or_md5(reply: bytes, verified: bool) -> None:
    async with fake(reply) as server, store_at(server.url) as store:
        receipt = await store.put("a", CONTENT, sha256=SHA256)
    assert receipt.verified is verified


async def test_the_md5_of_a_large_body_counts_too() -> None:
    body = bytes(1_000_000)
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    async with fake(answer(200, etag=f'"{etag}"')) as server, store_at(server.url) as store:
        receipt = await store.put("a", body, sha256=hashlib.sha256(body).hexdigest())
    assert receipt.verified
    assert server.requests[0].body == body


# --- what cannot be understood, or does not come


@pytest.mark.parametrize("operation", ["list", "list_objects"])
@pytest.mark.parametrize(
    "body",
    [
        b"<ListVersionsResult><Version>",
        b"not xml",
        b"<R><Version><Key>work/a</Key></Version><Contents><Key>work/a</Key></Contents></R>",
    ],
)
async def test_a_listing_that_makes_no_sense_is_a_fault(operation: str, body: bytes) -> None:
    async with fake(answer(200, body)) as server, store_at(server.url) as store:
        assert type(await failure(store, operation)) is errors.StoreFault


@pytest.mark.parametrize("operation", ["list", "list_objects"])
async def test_a_listing_that_goes_on_nowhere_is_a_fault(operation: str) -> None:
    body = b"<ListVersionsResult><IsTruncated>true</IsTruncated></ListVersionsResult>"
    async with fake(answer(200, body)) as server, store_at(server.url) as store:
        assert type(await failure(store, operation)) is errors.StoreFault


async def test_something_else_than_http_is_a_fault() -> None:
    async with fake(b"SSH-2.0-OpenSSH_9.9\r\n\r\n") as server, store_at(server.url) as store:
        assert isinstance(await failure(store, "put"), errors.StoreFault | errors.StoreUnreachable)


async def test_a_read_without_the_headers_of_an_object_is_a_fault() -> None:
    async with fake(answer(200, CONTENT)) as server, store_at(server.url) as store:
        error = await failure(store, "get")
    assert type(error) is errors.StoreFault
    assert "ETag, LastModified" in str(error)


async def test_a_body_that_ends_early_is_found() -> None:
    async with fake(content(content_length="100")) as server, store_at(server.url) as store:
        received: list[bytes] = []

        async def read_until_the_connection_ends() -> None:
            async with store.get("a") as body:
                await server.close()
                async for chunk in body.chunks:
                    received.append(chunk)  # noqa: PERF401  (what came before the error counts)

        with pytest.raises(errors.IntegrityError):
            await read_until_the_connection_ends()
    assert b"".join(received) == CONTENT


async def test_an_answer_that_makes_no_sense_is_not_quoted() -> None:
    for reply in (answer(200, f"<{SECRET}".encode()), f"HTTP-{SECRET}\r\n\r\n".encode()):
        async with fake(reply) as server, store_at(server.url, secret_access_key="another") as store:
            assert SECRET not in everything_shown(await failure(store, "list"))


async def test_a_body_with_another_checksum_is_found() -> None:
    wrong = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    async with fake(content(x_amz_checksum_sha256=wrong)) as server, store_at(server.url) as store:
        assert type(await failure(store, "get")) is errors.IntegrityError


async def test_a_body_that_ends_early_is_found_though_the_sdk_says_nothing() -> None:
    class Stream:
        pieces = (b"con", b"")

        async def read(self, _: int) -> bytes:
            piece, *self.pieces = self.pieces  # type: ignore[assignment]
            return piece

    client = _Client(None, contextlib.AsyncExitStack(), options(None), None)
    with pytest.raises(errors.IntegrityError, match="3 bytes arrived of 7"):
        assert [chunk async for chunk in _read(Stream(), 7, Call("GetObject", "b", "k"), client, 5)]


async def test_a_body_that_stalls_times_out() -> None:
    async with fake(content(content_length="100")) as server, store_at(server.url, read_timeout=0.3) as store:
        assert type(await failure(store, "get")) is errors.StoreTimeout


@pytest.mark.parametrize("operation", sorted(CALLS))
async def test_no_answer_is_a_timeout(operation: str) -> None:
    async with fake(None) as server, store_at(server.url, read_timeout=0.2) as store:
        error = await failure(store, operation)
    assert type(error) is errors.StoreTimeout


async def test_an_attempt_ends_at_its_timeout() -> None:
    async with fake(None) as server, store_at(server.url, read_timeout=600) as store:
        with pytest.raises(errors.StoreTimeout, match=r"within 0\.2 s"):
            await put(store, timeout=0.2)


async def test_waiting_for_a_connection_counts_towards_the_timeout() -> None:
    async with fake(stored()) as server, store_at(server.url, max_connections=1) as store:
        server.open.clear()
        first = asyncio.create_task(put(store))
        await server.asked.wait()
        with pytest.raises(errors.StoreTimeout):
            await put(store, timeout=0.2)
        server.open.set()
        await first
    assert len(server.requests) == 1


@pytest.mark.parametrize("operation", sorted(CALLS))
async def test_a_reset_connection_is_unreachable(operation: str) -> None:
    async with fake(RESET) as server, store_at(server.url) as store:
        assert type(await failure(store, operation)) is errors.StoreUnreachable


@pytest.mark.parametrize("operation", sorted(CALLS))
async def test_a_refused_connection_is_unreachable(operation: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with store_at(f"http://127.0.0.1:{unused.getsockname()[1]}") as store:
            error = await failure(store, operation)
    assert type(error) is errors.StoreUnreachable
    assert "s3_endpoint_url" in error.hint


async def test_a_dead_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://user:hunter22@127.0.0.1:{unused.getsockname()[1]}")
        async with store_at("http://192.0.2.1") as store:
            error = await failure(store, "put")
    assert type(error) is errors.StoreUnreachable
    assert "proxy" in error.hint
    assert "hunter22" not in everything_shown(error)


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp//x"])
async def test_an_endpoint_that_is_no_url_is_unreachable(url: str) -> None:
    async with store_at(url) as store:
        error = await failure(store, "put")
    assert type(error) is errors.StoreUnreachable
    assert "s3_endpoint_url" in error.hint


async def test_a_name_that_no_bucket_can_have_is_a_missing_bucket() -> None:
    async with fake(stored()) as server, store_at(server.url, bucket="no such/bucket!") as store:
        assert type(await failure(store, "put")) is errors.BucketMissing
    assert server.requests == []


async def test_cancellation_passes_through_and_frees_the_connection() -> None:
    async with fake(None, stored()) as server, store_at(server.url, max_connections=1) as store:
        call = asyncio.create_task(put(store))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await put(store)


# --- hints that name what to do


async def test_a_wrong_clock_is_named() -> None:
    async with fake(refusal(403, "RequestTimeTooSkewed")) as server, store_at(server.url) as store:
        assert "clock" in (await failure(store, "put")).hint


@pytest.mark.parametrize(
    "reply",
    [
        refusal(301, "PermanentRedirect", "<Region>eu-west-3</Region>"),
        refusal(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
        answer(301, x_amz_bucket_region="eu-west-3"),
    ],
)
@pytest.mark.parametrize("operation", ["put", "list", "probe"])
async def test_a_bucket_in_another_region_names_it_and_asks_nobody_else(reply: bytes, operation: str) -> None:
    async with fake(reply) as server, store_at(server.url) as store:
        error = await failure(store, operation)
    assert type(error) is errors.BucketMissing
    assert "s3_region_name to 'eu-west-3'" in error.hint
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ExpiredToken", 400, errors.CredentialsRejected),
        ("SignatureDoesNotMatch", 403, errors.CredentialsRejected),
        ("AccessDenied", 403, errors.AccessDenied),
    ],
)
async def test_a_head_that_is_refused_asks_why(code: str, status: int, expected: type[errors.StorageError]) -> None:
    async with fake(answer(status), refusal(status, code)) as server, store_at(server.url) as store:
        error = await failure(store, "head")
    assert type(error) is expected
    assert code in str(error)
    assert [request.method for request in server.requests] == ["HEAD", "GET"]


async def test_a_head_of_a_missing_key_asks_once() -> None:
    async with fake(answer(404)) as server, store_at(server.url) as store:
        await failure(store, "head")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply", [refusal(403, "AccessDenied"), refusal(501, "NotImplemented"), refusal(405, "MethodNotAllowed")]
)
async def test_a_question_about_versioning_that_is_refused_leaves_it_unknown(reply: bytes) -> None:
    there = answer(200, date="Fri, 20 Nov 2026 07:00:00 GMT")
    async with fake(reply, there) as server, store_at(server.url) as store:
        probe = await store.probe()
    assert probe.versioning is Versioning.UNKNOWN
    assert probe.server_time is not None
    assert probe.server_time.isoformat() == "2026-11-20T07:00:00+00:00"


async def test_a_bucket_that_may_not_be_listed_is_fit_if_its_versioning_is_known() -> None:
    known = answer(200, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
    async with fake(known, answer(403)) as server, store_at(server.url) as store:
        assert (await store.probe()).versioning is Versioning.ENABLED


async def test_a_bucket_of_which_nothing_may_be_known_is_denied() -> None:
    async with fake(refusal(403, "AccessDenied"), answer(403)) as server, store_at(server.url) as store:
        assert type(await failure(store, "probe")) is errors.AccessDenied


# --- secrets


async def test_no_secret_is_shown_whatever_the_store_says() -> None:
    details = (
        f"<AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256 {TOKEN}</StringToSign>"
        f"<SignatureProvided>0123abcd</SignatureProvided><CanonicalRequest>{SECRET}</CanonicalRequest>"
    )
    message = f"The key {ACCESS_KEY} with {SECRET} and {TOKEN} does not match."
    reply = refusal(403, "SignatureDoesNotMatch", details, message)
    async with fake(reply) as server, store_at(server.url) as store:
        for operation in sorted(CALLS):
            shown = everything_shown(await failure(store, operation))
            assert "The key *** with *** and *** does not match." in shown
            for secret in (ACCESS_KEY, SECRET, TOKEN, "0123abcd", "StringToSign"):
                assert secret not in shown


async def test_secrets_of_the_chain_are_not_shown_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "chain-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "chain-secret-key")
    reply = refusal(403, "InvalidAccessKeyId", message="chain-access-key chain-secret-key")
    none = {"access_key_id": None, "secret_access_key": None, "session_token": None}
    async with fake(reply) as server, store_at(server.url, **none) as store:
        shown = everything_shown(await failure(store, "put"))
    assert "*** ***" in shown
    assert "chain-" not in shown


def test_options_and_store_do_not_show_secrets() -> None:
    shown = repr(options("http://x")) + repr(S3Store(options("http://x")))
    assert "http://x" in shown
    for secret in (ACCESS_KEY, SECRET, TOKEN):
        assert secret not in shown


def test_foreign_messages_are_one_short_line() -> None:
    assert clean("a\r\nb   c", ()) == "a b c"
    assert len(clean("x" * 10_000, ())) == 300
    assert clean("abc", ("a", "")) == "abc"


def test_a_call_says_what_was_done_to_what() -> None:
    assert str(Call("GetObject", "b", "k", "v1")) == "GetObject s3://b/k version v1"
    assert str(Call("HeadBucket", "b")) == "HeadBucket s3://b"


async def test_no_credentials_are_missing_until_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    none = {"access_key_id": None, "secret_access_key": None, "session_token": None}
    async with fake(stored()) as server, store_at(server.url, **none) as store:
        assert type(await failure(store, "put")) is errors.CredentialsMissing
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        await put(store)
    assert "Credential=from-environment/" in server.requests[0].headers["authorization"]


@pytest.mark.parametrize(("key", "secret"), [(ACCESS_KEY, None), (None, SECRET)])
async def test_half_of_the_credentials_are_missing_credentials(key: str | None, secret: str | None) -> None:
    changes = {"access_key_id": key, "secret_access_key": secret, "session_token": None}
    async with fake(stored()) as server, store_at(server.url, **changes) as store:
        assert type(await failure(store, "put")) is errors.CredentialsMissing


async def test_an_unknown_profile_is_missing_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    none = {"access_key_id": None, "secret_access_key": None, "session_token": None}
    async with fake(stored()) as server, store_at(server.url, **none) as store:
        error = await failure(store, "put")
    assert type(error) is errors.CredentialsMissing
    assert "nobody" in str(error)


# --- what goes over the wire


@pytest.mark.parametrize("size", [0, 7, 256 * 1024, 256 * 1024 + 1, 3_000_000])
async def test_a_put_is_one_plain_request(size: int) -> None:
    body = b"x" * size
    async with fake(stored()) as server, store_at(server.url) as store:
        await put(store, body, metadata={"n": "1"}, if_none_match=True, content_type="application/x-ipynb+json")
    (request,) = server.requests
    assert request.body == body
    headers = request.headers
    assert headers["content-length"] == str(size)
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert "x-amz-checksum-sha256" in headers["authorization"], "the checksum must be signed"
    assert headers["content-type"] == "application/x-ipynb+json"
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-meta-n"] == "1"
    assert "bookstore/" in headers["user-agent"]
    assert not {"expect", "transfer-encoding", "content-encoding", "x-amz-trailer"} & set(headers)


async def test_if_match_sends_the_etag_in_quotes() -> None:
    async with fake(stored()) as server, store_at(server.url) as store:
        await put(store, if_match=MD5)
    assert server.requests[0].headers["if-match"] == f'"{MD5}"'


async def test_encryption_is_asked_for_where_it_is_set() -> None:
    wanted = {"server_side_encryption": "aws:kms", "kms_key_id": "key-1"}
    async with fake(stored()) as server, store_at(server.url, **wanted) as store:
        await put(store)
    async with fake(stored()) as plain, store_at(plain.url) as store:
        await put(store)
    assert server.requests[0].headers["x-amz-server-side-encryption"] == "aws:kms"
    assert server.requests[0].headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
    assert not [name for name in plain.requests[0].headers if "encryption" in name]


async def test_a_copy_names_the_version_that_head_saw() -> None:
    head = content(x_amz_version_id="v 1")
    result = answer(200, f"<CopyObjectResult><ETag>&quot;{MD5}&quot;</ETag></CopyObjectResult>".encode())
    async with fake(head, result) as server, store_at(server.url) as store:
        receipt = await store.copy("dir/ü +.ipynb", "b")
    assert receipt.verified
    assert receipt.size == len(CONTENT)
    assert server.requests[1].headers["x-amz-copy-source"] == "bucket/dir/%C3%BC%20%2B.ipynb?versionId=v 1"


@pytest.mark.parametrize(
    ("region", "environment", "expected"),
    [(None, None, "us-east-1"), (None, "eu-north-1", "eu-north-1"), ("eu-west-1", "eu-north-1", "eu-west-1")],
)
async def test_the_region_is_the_option_then_the_chain_then_the_default(
    region: str | None, environment: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if environment is not None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", environment)
    async with fake(stored()) as server, store_at(server.url, region_name=region) as store:
        await put(store)
    assert f"/{expected}/s3/aws4_request" in server.requests[0].headers["authorization"]


def test_a_large_body_is_handed_over_without_a_copy() -> None:
    body = bytes(1_000_000)
    pieces = _Pieces(memoryview(body))

    async def collect() -> list[memoryview]:
        return [piece async for piece in pieces]

    collected = asyncio.run(collect())
    assert len(collected) > 1
    assert all(piece.obj is body for piece in collected)
    assert b"".join(collected) == body
    assert len(pieces) == len(body)
    assert pieces.read(3) + pieces.read() == body


# --- listings


def row(kind: str, key: str, version: str, time: str, latest: bool = False) -> str:
    size = f"<ETag>&quot;{MD5}&quot;</ETag><Size>7</Size>" if kind == "Version" else ""
    return (
        f"<{kind}><Key>{key}</Key><VersionId>{version}</VersionId><IsLatest>{str(latest).lower()}</IsLatest>"
        f"<LastModified>2026-11-20T07:00:{time}Z</LastModified>{size}</{kind}>"
    )


async def listed(*rows: str, encoding: str = "url", prefix: str = "") -> list[tuple[str, str]]:
    told = f"<EncodingType>{encoding}</EncodingType>" if encoding else ""
    body = f"<ListVersionsResult>{told}<IsTruncated>false</IsTruncated>{''.join(rows)}</ListVersionsResult>".encode()
    async with fake(answer(200, body)) as server, store_at(server.url) as store:
        page = await store.list_versions(prefix)
    assert "encoding-type=url" in server.requests[0].target
    return [(row.key, row.version_id) for row in page.versions]


async def test_rows_keep_the_stores_order_though_its_times_tie_or_go_back() -> None:
    rows = [
        row("Version", "a", "v4", "01.000", latest=True),
        row("DeleteMarker", "a", "d3", "01.000"),
        row("Version", "a", "v2", "01.000"),
        row("DeleteMarker", "a", "d1", "09.000"),
    ]
    assert await listed(*rows) == [("a", "v4"), ("a", "d3"), ("a", "v2"), ("a", "d1")]


async def test_rows_of_a_server_that_lists_markers_apart_are_merged() -> None:
    rows = [
        row("Version", "a", "v3", "03.000"),
        row("Version", "a", "v1", "01.000"),
        row("Version", "b", "v1", "01.000", latest=True),
        row("DeleteMarker", "0", "d1", "01.000", latest=True),
        row("DeleteMarker", "a", "d4", "03.000", latest=True),
        row("DeleteMarker", "a", "d2", "02.000"),
    ]
    assert await listed(*rows) == [("0", "d1"), ("a", "d4"), ("a", "v3"), ("a", "d2"), ("a", "v1"), ("b", "v1")]


@pytest.mark.parametrize(
    ("told", "encoding", "prefix", "key"),
    [
        ("w/a+b%2Bc", "url", "w/", "w/a b+c"),  # S3
        ("w/a%20b+c", "url", "w/", "w/a b+c"),  # servers that leave the plus alone
        ("w+1/a", "url", "w+1/", "w+1/a"),  # and where only the prefix shows it
        ("w/a%20b+c", "", "w/", "w/a%20b+c"),  # encoding ignored
    ],
)
async def test_keys_are_decoded_as_the_server_encodes_them(told: str, encoding: str, prefix: str, key: str) -> None:
    assert await listed(row("Version", told, "v1", "01.000"), encoding=encoding, prefix=prefix) == [(key, "v1")]


def objects(*keys: str, more: str = "") -> bytes:
    rows = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-11-20T07:00:00.000Z</LastModified>"
        f"<ETag>&quot;{MD5}&quot;</ETag><Size>7</Size></Contents>"
        for key in keys
    )
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    truncated = f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{token}"
    return f"<ListBucketResult><EncodingType>url</EncodingType>{truncated}{rows}</ListBucketResult>".encode()


def asked(server: FakeServer) -> list[dict[str, str]]:
    return [dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True)) for request in server.requests]


async def test_objects_are_asked_for_behind_the_last_key_where_keys_are_in_order() -> None:
    first = answer(200, objects("w/a+b%2Bc", more="token"), server="AmazonS3")
    async with fake(first, answer(200, objects())) as server, store_at(server.url) as store:
        page = await store.list_objects("w/", limit=1)
        assert page.next_after == "w/a b+c"
        assert (await store.list_objects("w/", after=page.next_after, limit=1)).next_after is None
    assert asked(server)[0] == {"list-type": "2", "prefix": "w/", "max-keys": "1", "encoding-type": "url"}
    assert asked(server)[1] == {**asked(server)[0], "start-after": "w/a b+c"}


async def test_objects_are_asked_for_as_the_server_wants_where_keys_may_not_be_in_order() -> None:
    first = answer(200, objects("w/a", more="w/a.versions"))
    async with fake(first, answer(200, objects())) as server, store_at(server.url) as store:
        page = await store.list_objects("w/")
        await store.list_objects("w/", after=page.next_after)
    assert asked(server)[1]["continuation-token"] == "w/a.versions"
    assert "start-after" not in asked(server)[1]


def versions(*rows: str, server: str = "") -> bytes:
    body = f"<ListVersionsResult><IsTruncated>true</IsTruncated>{''.join(rows)}</ListVersionsResult>"
    return answer(200, body.encode(), server=server)


async def test_aws_is_asked_once_for_the_history_of_a_key() -> None:
    rows = [row("Version", "w/a", "v1", "01.000"), row("Version", "w/a-2", "v1", "01.000")]
    reply = versions(*rows, server="AmazonS3")
    async with fake(reply) as server, store_at(server.url) as store:
        page = await store.list_versions("w/a", limit=2)
    assert page.in_key_order
    assert [row.key for row in page.versions] == ["w/a", "w/a-2"]
    assert len(server.requests) == 1


async def test_a_history_that_cannot_be_told_whole_is_a_fault() -> None:
    others = versions(row("Version", "w/a-2", "v1", "01.000"))
    own = versions(*(row("Version", "w/a", f"v{number}", "01.000") for number in range(1000)))
    async with fake(others, own) as server, store_at(server.url) as store:
        with pytest.raises(errors.StoreFault, match="more than 1000 versions"):
            await store.list_versions("w/a", key_marker="w/a", version_id_marker="v1000")
    assert [query["prefix"] for query in asked(server)] == ["w/a", "w/a.versions"]


@pytest.mark.parametrize(
    ("headers", "told"), [({"x_amz_version_id": "m1", "x_amz_delete_marker": "true"}, "m1"), ({}, None)]
)
async def test_hiding_is_one_request_that_names_no_version(headers: dict[str, str], told: str | None) -> None:
    async with fake(answer(204, **headers)) as server, store_at(server.url) as store:
        assert await store.hide("work/a.ipynb") == told
    assert [(request.method, asked(server)) for request in server.requests] == [("DELETE", [{}])]


# --- sessions, clients and connections


def test_importing_the_module_does_not_import_the_sdk() -> None:
    program = "import sys, bookstore.storage.s3; print([n for n in sys.modules if n.startswith(('aio', 'boto'))])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


async def test_concurrent_first_calls_make_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    connect = S3Store._connect

    async def count(self: S3Store) -> object:
        nonlocal made
        made += 1
        return await connect(self)

    monkeypatch.setattr(S3Store, "_connect", count)
    async with fake(stored()) as server, store_at(server.url) as store:
        await asyncio.gather(*(put(store) for _ in range(20)))
        assert len(server.requests) == 20
    assert made == 1


async def test_the_session_is_the_one_that_the_client_uses() -> None:
    async with fake(stored()) as server, store_at(server.url) as store:
        session = store.session
        await put(store)
        assert store.session is session
        await store.refresh()
        assert store.session is not session


async def test_a_failed_start_is_tried_again_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = S3Store._connect
    outcomes = [OSError("no threads left")]

    async def fail_once(self: S3Store) -> object:
        if outcomes:
            raise outcomes.pop()
        return await connect(self)

    monkeypatch.setattr(S3Store, "_connect", fail_once)
    async with fake(stored()) as server, store_at(server.url) as store:
        assert isinstance((await failure(store, "put")).__cause__, OSError), "what nobody foresaw keeps its traceback"
        await put(store)


async def test_refresh_leaves_a_call_in_flight_alone_and_closes_its_client_after() -> None:
    async with fake(stored()) as server, store_at(server.url) as store:
        await put(store)
        old = store._client
        assert old is not None
        server.open.clear()
        server.asked.clear()
        flying = asyncio.create_task(put(store))
        await server.asked.wait()
        await store.refresh()
        assert not old._closed
        server.open.set()
        await flying
        assert old._closed
        await put(store)
        assert store._client is not old


async def test_refresh_leaves_an_open_reader_alone() -> None:
    async with fake(content()) as server, store_at(server.url) as store, store.get("a") as body:
        await store.refresh()
        assert b"".join([chunk async for chunk in body.chunks]) == CONTENT


async def test_refresh_reads_the_credentials_file_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    none = {"access_key_id": None, "secret_access_key": None, "session_token": None}
    async with fake(stored()) as server, store_at(server.url, **none) as store:
        for name in ("first", "second"):
            file.write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = s\n")
            await store.refresh()
            await put(store)
    used = [request.headers["authorization"] for request in server.requests]
    assert "Credential=first/" in used[0]
    assert "Credential=second/" in used[1]


async def test_close_ends_calls_under_way_and_may_be_repeated() -> None:
    async with fake(None) as server, store_at(server.url) as store:
        flying = asyncio.create_task(failure(store, "put"))
        await server.asked.wait()
        await store.aclose()
        await store.aclose()
        assert type(await flying) is errors.StoreUnreachable


async def test_connections_are_used_again() -> None:
    async with fake(stored()) as server, store_at(server.url) as store:
        for _ in range(5):
            await put(store)
        assert len(server._writers) == 1


async def test_no_more_connections_than_allowed() -> None:
    async with fake(stored()) as server, store_at(server.url, max_connections=3) as store:
        await asyncio.gather(*(put(store) for _ in range(30)))
        assert len(server.requests) == 30
        assert len(server._writers) <= 3


# --- TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with MotoServer(Certificate.make(tmp_path_factory.mktemp("tls"))) as server:
        server.create_bucket("bucket")
        yield server


async def test_a_large_body_survives_tls_byte_for_byte(tls: MotoServer) -> None:
    body = hashlib.shake_256(b"seed").digest(5_000_000)
    async with store_at(tls.endpoint_url, ca_bundle=str(tls.ca_bundle)) as store:
        receipt = await store.put("large", body, sha256=hashlib.sha256(body).hexdigest())
        assert receipt.verified
        async with store.get("large", receipt.version_id) as opened:
            assert opened.info.size == len(body)
            assert b"".join([chunk async for chunk in opened.chunks]) == body


async def test_an_unknown_certificate_names_the_ca_bundle(tls: MotoServer) -> None:
    async with store_at(tls.endpoint_url) as store:
        error = await failure(store, "put")
    assert type(error) is errors.StoreUnreachable
    assert "s3_ca_bundle" in error.hint


async def test_a_missing_ca_bundle_names_it(tls: MotoServer, tmp_path: Path) -> None:
    async with store_at(tls.endpoint_url, ca_bundle=str(tmp_path / "none.pem")) as store:
        error = await failure(store, "put")
    assert type(error) is errors.StoreUnreachable
    assert "s3_ca_bundle" in error.hint
