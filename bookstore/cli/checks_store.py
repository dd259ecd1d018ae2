"""The doctor's way to the bucket: reachable, known, there, and who else writes. What writes is in `checks_writing`."""

from __future__ import annotations

import asyncio
import email.utils
import http.client
import re
import shlex
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bookstore.bookstore_config import AWS_ENDPOINT, DEFAULT_REGION
from bookstore.cli.checks import Finding
from bookstore.cli.checks_writing import WRITING, WriteChecks, failed, guarded, text_of
from bookstore.cli.output import duration
from bookstore.errors import (
    AccessDenied,
    BucketMissing,
    CredentialsMissing,
    CredentialsRejected,
    StorageError,
    StoreTimeout,
    StoreUnreachable,
)
from bookstore.provenance import from_metadata
from bookstore.s3_paths import reserved_key
from bookstore.storage.base import Probe, Versioning

if TYPE_CHECKING:
    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.storage.base import ObjectStore

#: Steps in their order; what a broken step makes impossible is skipped by these names.
BEFORE_WRITING = ("credentials", "reachable", "credentials accepted", "bucket", "clock")
ALL = (*BEFORE_WRITING, *WRITING, "other writers")

#: Seconds of difference between two clocks. S3 refuses requests that are signed 15 minutes off.
CLOCK_WARNING = 300.0

#: Keys of the prefix that are looked at for other writers.
SAMPLE = 20

#: Where the SDK found credentials, by its own names ("method" of its credentials).
_METHODS = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a role for a web identity (AWS_WEB_IDENTITY_TOKEN_FILE)",
    "sso": "AWS single sign-on",
    "container-role": "the container's role",
    "iam-role": "the machine's role",
    "custom-process": "a credential process",
}

#: Those that are files, with the name by which the SDK knows where each is.
_FILES = {
    "shared-credentials-file": ("the shared credentials file", "credentials_file"),
    "config-file": ("the SDK's configuration file", "config_file"),
}

#: Bytes of an answer that are looked at.
LOOKED_AT = 65536


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes an answer of 3xx as the answer: what this machine reaches is not the endpoint's to choose."""

    def redirect_request(self, *_: Any) -> None:
        """Make no further request."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the endpoint answers to somebody who shows no credentials.

    Attributes
    ----------
    date : datetime or None
        What it takes the time to be.
    stranger : str
        What it is, for people, where it is surely no S3 service; otherwise empty.
    """

    date: datetime | None
    stranger: str


class StoreDoctor:
    """Walks the way to the bucket.

    Parameters
    ----------
    settings : BookstoreSettings
    store : ObjectStore
    prefix : str
    origin : str
        As in `bookstore.provenance.Provenance.origin`.
    may_write : bool
    """

    def __init__(
        self, settings: BookstoreSettings, store: ObjectStore, *, prefix: str, origin: str, may_write: bool = True
    ) -> None:
        self._settings = settings
        self._store = store
        self._prefix = prefix
        self._origin = origin
        self._may_write = may_write
        self.key = reserved_key(prefix, "doctor")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._store.aclose()

    async def findings(self) -> AsyncIterator[Finding]:
        """Every step's finding, as it is made."""
        credentials = await guarded("credentials", self._credentials())
        yield credentials
        if credentials.state == "failed":
            for step in ALL[1:]:
                yield Finding(step, "skipped", "there are no credentials")
            return
        probe, looked = await self._look()
        for finding in looked:
            yield finding
        if probe is None:
            for step in (*WRITING, "other writers"):
                yield Finding(step, "skipped", "the bucket cannot be used")
            return
        writing = WriteChecks(self._settings, self._store, self.key)
        if self._may_write:
            async for finding in writing.findings(probe):
                yield finding
        else:
            yield writing.versioned_by_word(probe)
            for step in WRITING:
                if step != "versioned":
                    yield Finding(step, "skipped", "--no-write was given")
        yield await self._others()

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _credentials(self) -> Finding:
        step = "credentials"
        settings = self._settings
        if settings.s3_access_key_id and settings.s3_secret_access_key:
            return Finding(step, "ok", "from bookstore's settings or JPYNB_S3_ACCESS_KEY_ID")
        from bookstore.storage.s3 import S3Store

        if not isinstance(self._store, S3Store):
            return Finding(step, "skipped", "this store asks for none that the settings could name")
        store = self._store
        # Importing the SDK takes a second.
        session = await asyncio.to_thread(lambda: store.session)
        try:
            found = await session.get_credentials()
        except Exception as e:
            # Only the kind: the text may repeat what stands in a file.
            raise CredentialsMissing(f"The SDK's search for credentials failed: {type(e).__name__}.") from e
        if found is None:
            raise CredentialsMissing("Neither bookstore's settings nor the SDK's chain gives any.")
        return Finding(step, "ok", f"found by the SDK: {_place(session, str(found.method))}")

    async def _look(self) -> tuple[Probe | None, list[Finding]]:
        """Reachable, accepted, there: one probe tells, by the kind of what goes wrong."""
        where = self._settings.endpoint or "AWS"
        reachable = Finding("reachable", "ok", f"{where} answers")
        accepted = Finding("credentials accepted", "ok", "the store knows them")
        skipped = [Finding(step, "skipped", "an earlier step failed") for step in BEFORE_WRITING]
        try:
            probe = await self._store.probe()
        except (StoreUnreachable, StoreTimeout) as e:
            return None, [failed("reachable", e), *skipped[2:]]
        except StorageError as e:
            answer = await asyncio.to_thread(self._ask)
            if answer is not None and answer.stranger:
                stranger = Finding(
                    "reachable",
                    "failed",
                    f"what answers at {where} is no S3 service: {answer.stranger}.",
                    "Correct scheme, host and port in s3_endpoint_url; a store's web console has another address than "
                    "its S3 service.",
                )
                return None, [stranger, *skipped[2:]]
            return self._judge(e, [reachable, accepted], skipped, _clock(answer.date if answer else None))
        bucket = Finding("bucket", "ok", f"{self._store.bucket} is there")
        return probe, [reachable, accepted, bucket, _clock(probe.server_time)]

    def _judge(
        self, error: StorageError, fine: list[Finding], skipped: list[Finding], clock: Finding
    ) -> tuple[Probe | None, list[Finding]]:
        """What an S3 service's refusal says of the steps; with a probe where writing may work all the same."""
        reachable, accepted = fine
        if isinstance(error, (CredentialsRejected, CredentialsMissing)):
            return None, [reachable, failed("credentials accepted", error), skipped[3], clock]
        if isinstance(error, AccessDenied) and self._may_write:
            # Looking at the bucket may be forbidden where writing is not.
            bucket = Finding("bucket", "warning", f"{text_of(error)}", error.hint)
            return Probe(Versioning.UNKNOWN), [reachable, accepted, bucket, clock]
        if isinstance(error, BucketMissing):
            missing = Finding("bucket", "failed", text_of(error), f"Correct s3_bucket, or create it: {self._create()}")
            return None, [reachable, accepted, missing, clock]
        if isinstance(error, AccessDenied):
            return None, [reachable, accepted, failed("bucket", error), clock]
        return None, [failed("reachable", error), *skipped[2:]]

    def _create(self) -> str:
        """The command that makes the bucket."""
        endpoint, region, bucket = self._settings.endpoint, self._settings.region, shlex.quote(self._store.bucket)
        aws = f"aws --endpoint-url {shlex.quote(endpoint)} s3api" if endpoint else "aws s3api"
        # AWS itself wants to be told every region but its first.
        place = f" --create-bucket-configuration LocationConstraint={shlex.quote(region)}" if region else ""
        place = "" if endpoint or region == DEFAULT_REGION else place
        return (
            f"{aws} create-bucket --bucket {bucket}{place} && {aws} put-bucket-versioning --bucket {bucket} "
            "--versioning-configuration Status=Enabled"
        )

    def _ask(self) -> _Answer | None:
        """What the endpoint answers without credentials, for when every signed request is refused."""
        endpoint = self._settings.endpoint
        url = f"{(endpoint or AWS_ENDPOINT).rstrip('/')}/{quote(self._store.bucket)}?versioning"
        context = ssl.create_default_context(cafile=self._settings.s3_ca_bundle or None)
        try:
            opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context))
            with opener.open(url, timeout=10) as answer:
                status, headers, body = answer.status, answer.headers, answer.read(LOOKED_AT)
        except urllib.error.HTTPError as e:
            with e:
                status, headers, body = e.code, e.headers, e.read(LOOKED_AT)
        except (OSError, http.client.HTTPException):
            return None
        stranger = "" if endpoint is None else _stranger(status, headers, body)
        return _Answer(_date_of(headers), stranger)

    async def _others(self) -> Finding:
        """Look at some keys of the prefix: does another server write there too."""
        step = "other writers"
        try:
            page = await self._store.list_versions(f"{self._prefix}/", limit=200)
            keys = [row.key for row in page.versions if row.is_latest and not row.is_delete_marker]
            keys = [key for key in keys if not key.startswith(reserved_key(self._prefix, ""))][:SAMPLE]
            infos = [await self._store.head(key) for key in keys]
        except StorageError as e:
            return Finding(step, "warning", f"{text_of(e)}", e.hint)
        origins: dict[str, int] = {}
        for info in infos:
            theirs = from_metadata(info.metadata)
            origin = theirs.origin if theirs is not None else "a program other than bookstore"
            origins[origin] = origins.get(origin, 0) + 1
        foreign = {origin: number for origin, number in origins.items() if origin != self._origin}
        if foreign:
            told = ", ".join(f"{origin} ({number})" for origin, number in sorted(foreign.items())[:5])
            return Finding(
                step,
                "warning",
                f"of {len(infos)} keys looked at, {sum(foreign.values())} were last written from elsewhere: {told}.",
                "If those are other people's, give each server a prefix of its own, such as workspace/{username}. "
                "If this is another root directory of yours, run doctor with --root.",
            )
        return Finding(
            step, "ok", f"none among {len(infos)} keys looked at" if infos else "nothing is archived there yet"
        )


def _place(session: Any, method: str) -> str:
    """Where the SDK found credentials."""
    if method not in _FILES:
        return _METHODS.get(method, method)
    what, name = _FILES[method]
    return f"{what} ({Path(session.get_config_variable(name)).expanduser()})"


def _date_of(headers: Message) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


def _stranger(status: int, headers: Message, body: bytes) -> str:
    """What has answered, if it is surely no S3 service.

    S3 names each request in a header, and answers with XML documents whose root is ``Error`` or in its namespace
    ("Error responses" in the S3 API reference); other S3 services do at least the second.
    """
    is_s3 = (
        any(name.lower().startswith("x-amz-") for name in headers)
        or re.search(rb"<Error[ >].*<Code>|s3\.amazonaws\.com/doc/", body, re.DOTALL) is not None
    )
    # What stands before a service answers in its own words while the service is away.
    if is_s3 or status >= 500:
        return ""
    told = (f"status {status}", headers.get_content_type() if body else "", headers.get("Server", ""))
    return ", ".join(filter(None, told))


def _clock(server_time: datetime | None) -> Finding:
    if server_time is None:
        return Finding("clock", "skipped", "the store does not tell its time")
    skew = abs((datetime.now(timezone.utc) - server_time).total_seconds())
    if skew > CLOCK_WARNING:
        return Finding(
            "clock",
            "warning",
            f"this machine's clock and the store's are {duration(skew)} apart.",
            "Set this machine's clock (NTP): S3 refuses requests that are signed 15 minutes off.",
        )
    return Finding("clock", "ok", f"{skew:.0f} s apart from the store's")
