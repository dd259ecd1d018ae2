"""A versioned bucket of S3, or of a server that speaks S3, through aiobotocore.

The SDK costs a second and 40 MB to import, so nothing of it is imported before the first call, and then in a worker
thread. Its own retries are off: one method, one request, and the caller decides what is worth another.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import functools
import hashlib
import heapq
import logging
import re
import sys
import weakref
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, unquote_plus, urlencode

from bookstore._version import __version__
from bookstore.errors import (
    AccessDenied,
    IntegrityError,
    StorageError,
    StoreFault,
    StoreTimeout,
)
from bookstore.storage.apart import ApartFailed, probe_apart
from bookstore.storage.base import (
    ObjectBody,
    ObjectInfo,
    ObjectPage,
    ObjectRow,
    ObjectStore,
    ObjectVersion,
    Probe,
    Receipt,
    Versioning,
    VersionPage,
)
from bookstore.storage.s3_errors import Call, status_of, translate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping

if sys.version_info >= (3, 11):
    from asyncio import timeout as _deadline
else:
    from async_timeout import timeout as _deadline  # type: ignore[import-not-found,unused-ignore]

_LOG: Final = logging.getLogger(__name__)

#: Region where neither the options nor the SDK's chain name one; servers other than AWS mostly take any.
_DEFAULT_REGION: Final = "us-east-1"
#: Bytes handed to the HTTP client at a time; between two pieces other tasks of the loop get their turn.
_PIECE: Final = 256 * 1024
#: A connection slower than this many bytes per second needs a ``timeout`` of the caller's.
_SLOWEST_UPLOAD: Final = 64 * 1024
#: Seconds for a question that moves no content.
_QUESTION_LIMIT: Final = 15.0

#: Hashing more than this many bytes is left to a worker thread.
_HASH_INLINE: Final = 64 * 1024

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_ROW: Final = re.compile(rb"<(Version|DeleteMarker)[\s>/]")
_ROW_ORDER: Final = "BookstoreRowOrder"

#: Rows on a page at most (S3 API reference, ListObjectVersions).
_LARGEST_PAGE: Final = 1000
#: Begin the ``Server`` header of those whose pages follow one another by key: AWS, and moto, which sends two headers.
_ORDERLY_SERVERS: Final = ("AmazonS3", "Werkzeug", "amazon.com")
#: What SeaweedFS adds to a key to name the directory with its versions.
_SEAWEED_DIRECTORY: Final = ".versions"
#: Begins what the store wants back to go on, where a key might stand; no key that bookstore writes begins so.
_CONTINUE: Final = "\0"


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where a bucket is and how to talk to it.

    Attributes
    ----------
    bucket : str
    endpoint_url : str or None
        None means AWS, at the region's own endpoint (or the one that ``AWS_ENDPOINT_URL_S3`` names, as for every
        program that uses the SDK).
    region_name : str or None
        None asks the SDK's chain (``AWS_REGION``, the profile), then falls back to us-east-1.
    access_key_id, secret_access_key, session_token : str or None
        None asks the SDK's chain of credentials, which renews them by itself. Never shown by ``repr``.
    addressing_style : str or None
        ``"path"`` or ``"virtual"``; None lets the SDK choose: by path for an ``endpoint_url`` of one's own.
    ca_bundle : str or None
        File with the certificate authorities to trust; None asks the SDK's chain (``AWS_CA_BUNDLE``).
    server_side_encryption : str or None
        ``"AES256"``, ``"aws:kms"`` or ``"aws:kms:dsse"``; None leaves it to the bucket.
    kms_key_id : str or None
    max_connections : int
        Size of the connection pool; further calls wait for a place, which counts towards their time.
    connect_timeout : float
        Seconds to reach the store.
    read_timeout : float
        Seconds without a byte from the store until a call is given up.
    """

    bucket: str
    endpoint_url: str | None = None
    region_name: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    addressing_style: str | None = None
    ca_bundle: str | None = None
    server_side_encryption: str | None = None
    kms_key_id: str | None = None
    max_connections: int = 16
    connect_timeout: float = 10
    read_timeout: float = 30


class S3Store(ObjectStore):
    """One bucket of S3.

    The session, the client and its connection pool are made at the first call, once however many calls come at the
    same time, and live until `refresh` or `aclose`. Every call is bounded in time: by the ``timeout`` that it is
    given, else by the sum of both timeouts of the options, to which `put` adds a second for each 64 kB. A GET may
    last longer, as long as bytes keep coming.

    Parameters
    ----------
    options : S3Options
    """

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self.bucket = options.bucket
        self.endpoint_url = options.endpoint_url
        self._session: Any = None
        self._client: _Client | None = None
        self._retired: weakref.WeakSet[_Client] = weakref.WeakSet()
        self._connecting = asyncio.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.options!r})"

    @property
    def session(self) -> Any:
        """The aiobotocore session, which may make other clients. The first use imports the SDK, which takes 1 s."""
        if self._session is None:
            self._session = _new_session()
        return self._session

    async def put(  # noqa: D102  (the contract is that of the base class)
        self,
        key: str,
        body: bytes | memoryview,
        *,
        sha256: str,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
        tags: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
        timeout: float | None = None,
    ) -> Receipt:
        content = memoryview(body).cast("B")
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode("ascii")
        params: dict[str, Any] = {
            "Bucket": self.bucket,
            "Key": key,
            # A small body goes out together with the headers; of a large one the SDK gets to see only the pieces.
            "Body": bytes(content) if content.nbytes <= _PIECE else _Pieces(content),
            # As a header, and given by us, so that the SDK neither computes another one nor sends the body as
            # aws-chunked with a trailer, which not every server undoes.
            "ChecksumSHA256": checksum,
            "Metadata": dict(metadata or {}),
            "ContentType": content_type,
            **self._encryption(),
        }
        if tags:
            params["Tagging"] = urlencode(tags)
        if if_match is not None:
            params["IfMatch"] = f'"{if_match}"'
        if if_none_match:
            params["IfNoneMatch"] = "*"
        call = Call("PutObject", self.bucket, key, if_match=if_match is not None)
        limit = self._limit + content.nbytes / _SLOWEST_UPLOAD if timeout is None else timeout
        async with self._calling(call, limit) as client:
            answer = await client.put_object(**params)
        etag = _etag(answer, call)
        return Receipt(
            key=key,
            version_id=answer.get("VersionId") or None,
            etag=etag,
            size=content.nbytes,
            verified=await _proves(answer.get("ChecksumSHA256"), checksum, etag, content, call),
        )

    def get(self, key: str, version_id: str | None = None) -> AbstractAsyncContextManager[ObjectBody]:  # noqa: D102
        return self._open(key, version_id)

    @contextlib.asynccontextmanager
    async def _open(self, key: str, version_id: str | None) -> AsyncGenerator[ObjectBody]:
        call = Call("GetObject", self.bucket, key, version_id)
        async with self._leased(call, self._limit) as held:
            async with _bounded(call, self._limit, held.secrets()):
                answer = await held.client.get_object(**self._version(key, version_id), ChecksumMode="ENABLED")
            stream = answer["Body"]
            try:
                info = _info(answer, call)
                async with contextlib.aclosing(_read(stream, info.size, call, held, self._limit)) as chunks:
                    yield ObjectBody(info, chunks)
            finally:
                # What was not read to its end takes its connection along; the rest is back in the pool already.
                stream.close()

    async def head(self, key: str, version_id: str | None = None) -> ObjectInfo:
        """Tell what is known of a version, the newest without ``version_id``.

        A HEAD that is refused says 400 or 403 and no more, be it the clock, the token or the permission: then one
        GET asks for the reason.

        Raises
        ------
        ObjectMissing
            No such key or version, or a delete marker; or no such bucket, which a HEAD cannot tell apart.
        """
        call = Call("HeadObject", self.bucket, key, version_id)
        async with self._calling(call, self._short_limit) as client:
            answer = await _head(client, {**self._version(key, version_id), "ChecksumMode": "ENABLED"})
        return _info(answer, call)

    async def list_versions(  # noqa: D102
        self,
        prefix: str,
        *,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        delimiter: str | None = None,
        limit: int = _LARGEST_PAGE,
    ) -> VersionPage:
        params = self._listing(prefix, limit)
        if delimiter is not None:
            params["Delimiter"] = delimiter
        if key_marker is not None:
            params["KeyMarker"] = key_marker
            if version_id_marker is not None:
                params["VersionIdMarker"] = version_id_marker
        page = await self._version_page(params)
        # SeaweedFS finds the key "a" for the prefix "a.", too.
        page = replace(page, versions=tuple(row for row in page.versions if row.key.startswith(prefix)))
        if delimiter is not None or key_marker not in (None, prefix) or not _may_lack_rows_of(prefix, page):
            return page
        return await self._led_by(prefix, version_id_marker if key_marker else None, limit, page)

    async def _version_page(self, params: dict[str, Any]) -> VersionPage:
        prefix = params["Prefix"]
        call = Call("ListObjectVersions", self.bucket, prefix or None)
        async with self._calling(call, self._short_limit) as client:
            answer = await client.list_object_versions(**params)
        return _page(answer, prefix, call)

    async def _led_by(self, key: str, version_id_marker: str | None, limit: int, page: VersionPage) -> VersionPage:
        """Put the rows of ``key`` itself first, where the store may have left them out for those of longer keys.

        SeaweedFS keeps the versions of ``a`` in a directory ``a.versions`` and goes through names in that order, so
        that those of ``a.bak`` and ``a-2`` fill the page before ``a`` has its turn. Asked for the directory's name, it
        tells the versions of ``a`` alone; any other store tells nothing of ``a`` then, and the page stays as it is.
        """
        whole = await self._version_page(self._listing(f"{key}{_SEAWEED_DIRECTORY}", _LARGEST_PAGE))
        rows = [row for row in whole.versions if row.key == key]
        names = [row.version_id for row in rows]
        if version_id_marker is None:
            rest = rows
        else:
            rest = rows[names.index(version_id_marker) + 1 :] if version_id_marker in names else []
        if rest:
            shown = tuple(rest[:limit])
            return VersionPage(shown, key, shown[-1].version_id, in_key_order=False)
        if len(rows) >= _LARGEST_PAGE and all(row.key != key for row in page.versions):
            raise StoreFault(
                f"ListObjectVersions s3://{self.bucket}/{key}: the store keeps more than {len(rows)} versions, and "
                "does not show those that follow as long as there are longer keys that begin with this one"
            )
        return page

    async def list_objects(  # noqa: D102
        self, prefix: str, *, after: str | None = None, limit: int = _LARGEST_PAGE
    ) -> ObjectPage:
        params = self._listing(prefix, limit)
        if after is not None and after.startswith(_CONTINUE):
            params["ContinuationToken"] = after[len(_CONTINUE) :]
        elif after is not None:
            params["StartAfter"] = after
        call = Call("ListObjectsV2", self.bucket, prefix or None)
        async with self._calling(call, self._short_limit) as client:
            answer = await client.list_objects_v2(**params)
        return _object_page(answer, prefix, call)

    async def hide(self, key: str) -> str | None:  # noqa: D102
        async with self._calling(Call("DeleteObject", self.bucket, key), self._short_limit) as client:
            answer = await client.delete_object(Bucket=self.bucket, Key=key)
        return answer.get("VersionId") or None

    async def copy(self, source_key: str, key: str, *, source_version_id: str | None = None) -> Receipt:
        """Store a version's bytes and metadata as a new version of another key, inside the store.

        Two requests: a HEAD of the source, whose size and checksum the receipt needs, and the copy of exactly the
        version that the HEAD saw.

        Raises
        ------
        PreconditionFailed
            The source was replaced in between, in a bucket without versions.
        """
        source = await self.head(source_key, source_version_id)
        wanted: dict[str, str] = {"Bucket": self.bucket, "Key": source_key}
        params: dict[str, Any] = {"Bucket": self.bucket, "Key": key, "CopySource": wanted, **self._encryption()}
        seen = source_version_id or source.version_id
        if seen is not None:
            wanted["VersionId"] = seen
        if seen in (None, "null"):
            params["CopySourceIfMatch"] = f'"{source.etag}"'
        call = Call("CopyObject", self.bucket, key, seen)
        async with self._calling(call, self._limit) as client:
            answer = await client.copy_object(**params)
        result = answer.get("CopyObjectResult") or {}
        etag = _etag(result, call)
        told = _hex(result.get("ChecksumSHA256"))
        if told and source.sha256 and told != source.sha256:
            raise IntegrityError(f"{call}: the store made a copy of {source_key} with another SHA-256")
        same_md5 = etag == source.etag and _MD5.fullmatch(etag) is not None
        return Receipt(
            key=key,
            version_id=answer.get("VersionId") or None,
            etag=etag,
            size=source.size,
            verified=same_md5 or (told is not None and told == source.sha256),
        )

    async def set_tags(self, key: str, tags: Mapping[str, str], version_id: str | None = None) -> None:  # noqa: D102
        tag_set = [{"Key": name, "Value": value} for name, value in tags.items()]
        async with self._calling(Call("PutObjectTagging", self.bucket, key, version_id), self._short_limit) as client:
            await client.put_object_tagging(**self._version(key, version_id), Tagging={"TagSet": tag_set})

    async def get_tags(self, key: str, version_id: str | None = None) -> dict[str, str]:  # noqa: D102
        async with self._calling(Call("GetObjectTagging", self.bucket, key, version_id), self._short_limit) as client:
            answer = await client.get_object_tagging(**self._version(key, version_id))
        return {tag["Key"]: tag["Value"] for tag in answer.get("TagSet", [])}

    async def probe(self) -> Probe:  # noqa: D102
        # The question about versioning comes first because its refusal has a body, which says what a HEAD's cannot:
        # a wrong secret, a wrong region.
        versioning = Versioning.UNKNOWN
        try:
            async with self._calling(Call("GetBucketVersioning", self.bucket), self._short_limit) as client:
                answer = await client.get_bucket_versioning(Bucket=self.bucket)
        except AccessDenied:
            pass  # forbidden in many places; the bucket may be usable all the same
        except StorageError as error:
            if type(error) is not StorageError:
                raise
            # Not implemented (501, 405).
        else:
            states = {"Enabled": Versioning.ENABLED, "Suspended": Versioning.SUSPENDED}
            versioning = states.get(answer.get("Status", ""), Versioning.OFF)
        try:
            async with self._calling(Call("HeadBucket", self.bucket), self._short_limit) as client:
                answer = await client.head_bucket(Bucket=self.bucket)
        except AccessDenied:
            # Policies that let a person list only one prefix forbid this; that the bucket exists was answered above.
            if versioning is Versioning.UNKNOWN:
                raise
        return Probe(versioning, _date(answer["ResponseMetadata"]["HTTPHeaders"].get("date")))

    async def glance(self) -> Probe:
        """Probe, before there is a client, from a process of its own: this one loads the SDK at the first save."""
        if self._client is not None:
            return await self.probe()
        try:
            return await probe_apart(self.options)
        except ApartFailed as e:
            _LOG.debug("bookstore: the bucket cannot be looked at from another process: %s", e)
            return await self.probe()

    async def refresh(self) -> None:  # noqa: D102
        async with self._connecting:
            client, self._client, self._session = self._client, None, None
        if client is not None:
            self._retired.add(client)
            await client.retire()

    async def aclose(self) -> None:
        """Close the connections. May be called twice; a later call of another method connects anew.

        Calls under way fail with `StoreUnreachable`.
        """
        await self.refresh()
        for client in list(self._retired):
            await client.close()

    @property
    def _limit(self) -> float:
        return self.options.connect_timeout + self.options.read_timeout

    @property
    def _short_limit(self) -> float:
        """For questions that move no content: a store that hangs is to be known soon."""
        return min(self._limit, _QUESTION_LIMIT)

    def _listing(self, prefix: str, limit: int) -> dict[str, Any]:
        if limit < 1:
            raise ValueError(f"a page holds at least one row, not {limit}")
        # Asking for the encoding by ourselves keeps the SDK from decoding the answer: see _key_decoder.
        return {"Bucket": self.bucket, "Prefix": prefix, "MaxKeys": limit, "EncodingType": "url"}

    def _version(self, key: str, version_id: str | None) -> dict[str, str]:
        params = {"Bucket": self.bucket, "Key": key}
        if version_id is not None:
            params["VersionId"] = version_id
        return params

    def _encryption(self) -> dict[str, str]:
        wanted = {"ServerSideEncryption": self.options.server_side_encryption, "SSEKMSKeyId": self.options.kms_key_id}
        return {name: value for name, value in wanted.items() if value}

    @contextlib.asynccontextmanager
    async def _calling(self, call: Call, limit: float) -> AsyncGenerator[Any]:
        """Lend the SDK's client for one call that takes at most ``limit`` seconds, connecting included."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limit
        async with (
            self._leased(call, limit) as held,
            _bounded(call, until - loop.time(), held.secrets(), told=limit),
        ):
            yield held.client

    @contextlib.asynccontextmanager
    async def _leased(self, call: Call, limit: float) -> AsyncGenerator[_Client]:
        """Keep the current client open while it is used, whatever `refresh` does meanwhile."""
        async with _bounded(call, limit, _given_secrets(self.options)):
            held = self._client or await self._connected()
        # Nothing was awaited since the client was handed over, so it cannot have been retired yet.
        held.users += 1
        try:
            yield held
        finally:
            held.users -= 1
            await held.close_if_unused()

    async def _connected(self) -> _Client:
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> _Client:
        """Make the client: what takes long in a worker thread, which leaves a few milliseconds for the event loop."""
        session = self._session or await asyncio.to_thread(_new_session)
        await asyncio.to_thread(warm_up, session)
        self._session = session
        import aiobotocore  # type: ignore[import-untyped,unused-ignore]
        import botocore  # type: ignore[import-untyped,unused-ignore]
        from aiobotocore.config import AioConfig  # type: ignore[import-untyped,unused-ignore]
        from botocore.exceptions import NoCredentialsError  # type: ignore[import-untyped,unused-ignore]

        options = self.options
        credentials = None
        if not (options.access_key_id or options.secret_access_key):
            credentials = await session.get_credentials()
            if credentials is None:
                raise NoCredentialsError
        s3 = {
            # SigV4 would hash the whole body on the event loop; the signed x-amz-checksum-sha256 says the same.
            "payload_signing_enabled": False,
            **({"addressing_style": options.addressing_style} if options.addressing_style else {}),
        }
        config = AioConfig(
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=options.max_connections,
            connect_timeout=options.connect_timeout,
            read_timeout=options.read_timeout,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # Given as a whole, since the SDK puts its own together anew, twice for each request.
            user_agent=f"bookstore/{__version__} aiobotocore/{aiobotocore.__version__} botocore/{botocore.__version__}",
            http_session_cls=_one_try_session(),
            s3=s3,
        )
        stack = contextlib.AsyncExitStack()
        client = await stack.enter_async_context(
            session.create_client(
                "s3",
                region_name=options.region_name or session.get_config_variable("region") or _DEFAULT_REGION,
                endpoint_url=options.endpoint_url,
                verify=options.ca_bundle,
                aws_access_key_id=options.access_key_id or None,
                aws_secret_access_key=options.secret_access_key or None,
                aws_session_token=options.session_token or None,
                config=config,
            )
        )
        client.meta.events.register_last("before-call.s3", _one_plain_request)
        client.meta.events.register("before-parse.s3.ListObjectVersions", _note_row_order)
        return _Client(client, stack, options, credentials)


class _Client:
    """A client of the SDK and the calls that use it: closed once it is retired and the last of them has ended."""

    def __init__(
        self, client: Any, stack: contextlib.AsyncExitStack, options: S3Options, credentials: object | None
    ) -> None:
        self.client = client
        self.users = 0
        self._stack = stack
        self._options = options
        self._credentials = credentials
        self._retired = False
        self._closed = False

    def secrets(self) -> list[str]:
        """List what no message may show; anew each time, since the credentials of the SDK's chain renew themselves."""
        secrets = _given_secrets(self._options)
        if self._credentials is not None:
            # Their properties renew them, or refuse to be read; looking must do neither.
            held = vars(self._credentials)
            names = ("access_key", "secret_key", "token")
            secrets += [str(held[name]) for bare in names for name in (bare, f"_{bare}") if held.get(name)]
        return secrets

    async def retire(self) -> None:
        """Take no further calls, and close after the last."""
        self._retired = True
        await self.close_if_unused()

    async def close_if_unused(self) -> None:
        """Close if retired and no longer used."""
        if self._retired and not self.users:
            await self.close()

    async def close(self) -> None:
        """Close the connections, those in use too."""
        if not self._closed:
            self._closed = True
            await self._stack.aclose()


class _Pieces:
    """A large body as the HTTP client likes it: an asynchronous iterable of pieces, none of them copied.

    Handing aiohttp the bytes as a whole would warn and hold up the loop; a file object would cost a trip to a worker
    thread for each 64 kB. ``read`` and ``__len__`` are what the SDK asks of a body: that it is one, and its length.
    """

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._position = 0

    def __len__(self) -> int:
        return self._content.nbytes

    def read(self, size: int = -1) -> bytes:
        """Read like a file, for whoever does not iterate."""
        end = self._content.nbytes if size < 0 else self._position + size
        piece = bytes(self._content[self._position : end])
        self._position += len(piece)
        return piece

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for start in range(0, self._content.nbytes, _PIECE):
            yield self._content[start : start + _PIECE]
            # A socket that takes everything at once never makes the writer wait; the loop's other tasks want a turn.
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _bounded(
    call: Call, seconds: float, secrets: Iterable[str], *, told: float | None = None
) -> AsyncGenerator[None]:
    """Give what happens inside ``seconds``, and let nothing but a `StorageError` out of it.

    ``told`` is the limit that the message names: that of the whole call, of which this may be the rest.
    """
    try:
        async with _deadline(seconds):
            yield
        return
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001  (what nobody foresaw stays as the cause)
        if type(error) in (TimeoutError, asyncio.TimeoutError):
            limit = seconds if told is None else told
            failure: StorageError = StoreTimeout(f"{call}: no complete answer within {limit:.3g} s")
        else:
            failure = translate(error, call, secrets)
    # Outside of the except clause, and from None where the SDK's exception says no more: it holds the whole answer.
    raise failure from failure.__cause__


class _NoRedirects:
    """What the SDK uses of aiohttp's session; an answer of 3xx is an answer, of which the SDK makes an error."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def request(self, method: str, **kwargs: Any) -> Any:
        """Send one request."""
        return await self._session.request(method, **{**kwargs, "allow_redirects": False})


def _new_session() -> Any:
    from aiobotocore.session import get_session  # type: ignore[import-untyped,unused-ignore]

    return get_session()


@functools.cache
def _one_try_session() -> Any:
    """Make of the SDK's HTTP session one that sends each request once, and to nobody else than the endpoint.

    Where a connection is reset, aiohttp sends a PUT or a DELETE again, unseen, although the server may have done what
    the first one asked for. And where an answer names another address, it goes there: with the bytes, the session token
    and this machine's place in the network, wherever whoever answers at the endpoint sends it.
    """
    from aiobotocore.httpsession import AIOHTTPSession  # type: ignore[import-untyped,unused-ignore]

    class OneTrySession(AIOHTTPSession):  # type: ignore[misc,unused-ignore]
        async def _get_session(self, proxy_url: str | None) -> Any:
            session = await super()._get_session(proxy_url)
            # There is no public switch; a release without this one would only try twice again.
            session._retry_connection = False  # noqa: SLF001
            return _NoRedirects(session)

    return OneTrySession


@functools.cache
def _loader(data_path: str | None) -> Any:
    """Share the SDK's service models between sessions: after each `refresh` they would be parsed anew."""
    from botocore.loaders import create_loader  # type: ignore[import-untyped,unused-ignore]

    return create_loader(data_path)


def warm_up(session: Any) -> None:
    """Have the SDK read what making a client needs: 80 ms of JSON, and the user's files under ``~/.aws``."""
    import aiobotocore.config  # type: ignore[import-untyped,unused-ignore]  # noqa: F401  (imports aiohttp)
    import botocore.parsers  # type: ignore[import-untyped,unused-ignore]  # noqa: F401

    loader = _loader(session.get_config_variable("data_path"))
    session.register_component("data_loader", loader)
    for kind in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("s3", kind)
    for name in ("endpoints", "partitions", "sdk-default-configuration"):
        loader.load_data(name)


def _one_plain_request(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Keep the SDK from adding to a call what costs another round trip, or another request."""
    # Some servers never answer "Expect: 100-continue", and the HTTP client would wait for that.
    params["headers"].pop("Expect", None)
    # A bucket in another region: the SDK asks around and sends the request again. Our error names the region.
    if "s3_redirect" in context:
        context["s3_redirect"]["redirected"] = True


def _note_row_order(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Note in which order versions and delete markers stand in the answer, which the SDK parts into two lists."""
    customized_response_dict[_ROW_ORDER] = _ROW.findall(response_dict["body"])


async def _head(client: Any, params: dict[str, Any]) -> Any:
    from botocore.exceptions import ClientError  # type: ignore[import-untyped,unused-ignore]

    try:
        return await client.head_object(**params)
    except ClientError as error:
        if status_of(error.response) not in (400, 403):
            raise
        refusal = error
    answer = await client.get_object(**params)
    answer["Body"].close()
    raise refusal


async def _read(stream: Any, size: int, call: Call, held: _Client, limit: float) -> AsyncGenerator[bytes]:
    received = 0
    while True:
        async with _bounded(call, limit, held.secrets()):
            piece = await stream.read(_PIECE)
        if not piece:
            break
        received += len(piece)
        yield piece
    if received != size:
        raise IntegrityError(f"{call}: {received} bytes arrived of {size}")


async def _proves(told: str | None, sent: str, etag: str, content: memoryview, call: Call) -> bool:
    """Whether the answer to a PUT proves that the store holds our bytes."""
    if told == sent:
        return True
    if told and "-" not in told:
        raise IntegrityError(f"{call}: the store holds SHA-256 {told}, but {sent} was sent")
    if _MD5.fullmatch(etag) is None:
        return False
    if content.nbytes <= _HASH_INLINE:
        return _md5(content) == etag
    return await asyncio.to_thread(_md5, content) == etag


def _md5(content: memoryview) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _given_secrets(options: S3Options) -> list[str]:
    return [text for text in (options.access_key_id, options.secret_access_key, options.session_token) if text]


def _etag(answer: Mapping[str, Any], call: Call) -> str:
    etag = str(answer.get("ETag") or "").strip('"')
    if not etag:
        raise StoreFault(f"{call}: the store answered without an ETag, so nothing says that it holds the object")
    return etag


def _hex(checksum: str | None) -> str | None:
    """SHA-256 in hex out of a header; None for one over the parts of a multipart upload (``…-2``), and for nonsense."""
    try:
        digest = base64.b64decode(checksum or "", validate=True)
    except ValueError:  # binascii.Error, and what is not ASCII
        return None
    return digest.hex() if len(digest) == hashlib.sha256().digest_size else None


def _date(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        date = email.utils.parsedate_to_datetime(header)
    except (TypeError, ValueError):  # Python 3.10 raises the former for nonsense
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


def _info(answer: Mapping[str, Any], call: Call) -> ObjectInfo:
    lacking = [name for name in ("ContentLength", "ETag", "LastModified") if answer.get(name) is None]
    if lacking:
        raise StoreFault(f"{call}: the answer lacks {', '.join(lacking)}")
    return ObjectInfo(
        key=call.key or "",
        version_id=answer.get("VersionId") or None,
        size=answer["ContentLength"],
        etag=_etag(answer, call),
        last_modified=answer["LastModified"].astimezone(timezone.utc),
        metadata={name.lower(): value for name, value in answer.get("Metadata", {}).items()},
        content_type=answer.get("ContentType") or "application/octet-stream",
        sha256=None if answer.get("ChecksumType") == "COMPOSITE" else _hex(answer.get("ChecksumSHA256")),
    )


def _page(answer: Mapping[str, Any], prefix: str, call: Call) -> VersionPage:
    _check_listing(answer, call)
    raw_versions, raw_markers = answer.get("Versions", []), answer.get("DeleteMarkers", [])
    _check_rows((*raw_versions, *raw_markers), call)
    raw_folders = [folder["Prefix"] for folder in answer.get("CommonPrefixes", []) if folder.get("Prefix")]
    key_of = _key_decoder(answer, prefix, [*(row["Key"] for row in (*raw_versions, *raw_markers)), *raw_folders])
    versions = [_row(row, key_of(row["Key"]), is_delete_marker=False) for row in raw_versions]
    markers = [_row(row, key_of(row["Key"]), is_delete_marker=True) for row in raw_markers]
    rows = _in_order(_as_in_document(versions, markers, answer.get(_ROW_ORDER, [])))
    folders = tuple(sorted({key_of(folder) for folder in raw_folders}, key=_bytes))
    ordered = _in_key_order(answer)
    if not answer.get("IsTruncated"):
        return VersionPage(rows, None, None, folders, ordered)
    if answer.get("NextKeyMarker"):
        version_id = answer.get("NextVersionIdMarker") or None
        return VersionPage(rows, key_of(answer["NextKeyMarker"]), version_id, folders, ordered)
    if not rows or folders:
        raise StoreFault(f"{call}: the store says that there are further rows, but not where")
    return VersionPage(rows, rows[-1].key, rows[-1].version_id, folders, ordered)


def _object_page(answer: Mapping[str, Any], prefix: str, call: Call) -> ObjectPage:
    _check_listing(answer, call)
    raw = answer.get("Contents", [])
    _check_rows(raw, call)
    # Here even servers that write "%20" for some blanks write "+" for others, and "%2B" for a plus.
    key_of = _key_decoder(answer, prefix, [])
    objects = tuple(
        ObjectRow(
            key=key_of(row["Key"]),
            size=row.get("Size", 0),
            etag=str(row.get("ETag") or "").strip('"'),
            last_modified=row["LastModified"].astimezone(timezone.utc),
        )
        for row in raw
    )
    if not answer.get("IsTruncated"):
        return ObjectPage(objects)
    token = answer.get("NextContinuationToken")
    if token and not _in_key_order(answer):
        # SeaweedFS goes on behind a key at some other place than where the page ended.
        return ObjectPage(objects, _CONTINUE + token)
    if not objects:
        raise StoreFault(f"{call}: the store says that there are further objects, but not where")
    return ObjectPage(objects, objects[-1].key)


def _in_key_order(answer: Mapping[str, Any]) -> bool:
    """Whether the one who answers is known to order all pages of a listing by key; many imitate the rest of S3."""
    server = answer["ResponseMetadata"]["HTTPHeaders"].get("server", "")
    return str(server).startswith(_ORDERLY_SERVERS)


def _may_lack_rows_of(key: str, page: VersionPage) -> bool:
    """Whether a page of the keys that begin with ``key`` may have left out rows of ``key`` itself for the others'."""
    if page.in_key_order or page.next_key_marker is None or key == "" or key.endswith("/"):
        return False
    return not page.versions or any(row.key != key for row in page.versions)


def _check_listing(answer: Mapping[str, Any], call: Call) -> None:
    """Refuse what is no listing: of an empty body, or of some other document, the SDK makes one without rows."""
    if not any(name in answer for name in ("Name", "IsTruncated", "MaxKeys")):
        raise StoreFault(f"{call}: the answer is no listing, so nothing says what the bucket holds")


def _check_rows(rows: Iterable[Mapping[str, Any]], call: Call) -> None:
    if any(row.get(name) is None for row in rows for name in ("Key", "LastModified")):
        raise StoreFault(f"{call}: the answer lists something without its key or its time")


def _key_decoder(answer: Mapping[str, Any], prefix: str, told: Iterable[str]) -> Callable[[str], str]:
    """Choose how to read the keys of a listing, of which ``told`` are all that it tells."""
    if answer.get("EncodingType") != "url":
        return str
    # S3 writes a space as "+" and a plus as "%2B"; a server that writes "%20" leaves the plus as it is.
    percent = any("%20" in text for text in told)

    def decoded(text: str) -> str:
        key = unquote(text) if percent else unquote_plus(text)
        return key if key.startswith(prefix) else unquote(text)

    return decoded


def _bytes(key: str) -> bytes:
    """Make of a key what S3 sorts by."""
    return key.encode("utf-8", "surrogatepass")


def _row(row: Mapping[str, Any], key: str, *, is_delete_marker: bool) -> ObjectVersion:
    return ObjectVersion(
        key=key,
        version_id=row.get("VersionId") or "null",
        size=row.get("Size", 0),
        etag=str(row.get("ETag") or "").strip('"'),
        last_modified=row["LastModified"].astimezone(timezone.utc),
        is_latest=bool(row.get("IsLatest")),
        is_delete_marker=is_delete_marker,
    )


def _as_in_document(
    versions: list[ObjectVersion], markers: list[ObjectVersion], kinds: list[bytes]
) -> list[ObjectVersion]:
    """Put the two lists of the SDK together again, as the rows stood in the answer."""
    if (kinds.count(b"Version"), kinds.count(b"DeleteMarker")) != (len(versions), len(markers)):
        return versions + markers
    next_version, next_marker = iter(versions), iter(markers)
    return [next(next_version if kind == b"Version" else next_marker) for kind in kinds]


def _in_order(document: list[ObjectVersion]) -> tuple[ObjectVersion, ...]:
    """Order rows by key and each key's newest first, trusting the store where it shows an order.

    Times decide only between versions and delete markers of a server that lists one kind after the other: S3's have
    the resolution of a second, and nobody's clock is above being set.
    """
    rows: list[ObjectVersion] = []
    by_key = sorted(document, key=lambda row: _bytes(row.key))
    for _, group in groupby(by_key, key=lambda row: row.key):
        history = list(group)
        kinds = [list(run) for _, run in groupby(history, key=lambda row: row.is_delete_marker)]
        if len(kinds) == 2:
            history = list(heapq.merge(*kinds, key=lambda row: (not row.is_latest, -row.last_modified.timestamp())))
        rows += history
    return tuple(rows)
