"""Stores to test: one in memory, and S3Store on every server that is installed here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from bookstore.storage.base import ObjectStore, Receipt, Versioning
from bookstore.storage.memory import MemoryStore
from bookstore.storage.s3 import S3Options, S3Store
from ci.s3_servers import MinistackServer, MotoServer, S3Server, SeaweedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping


@pytest.fixture(scope="session", autouse=True)
def sdk_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the settings of whoever runs the tests out of them."""
    nowhere = tmp_path_factory.mktemp("aws") / "missing"
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", str(nowhere))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


class Backend:
    """Makes buckets and stores over them, and does to them what the contract of stores does not offer."""

    refuses_wrong_checksum = True
    keeps_sha256 = True
    checks_secrets = False
    refuses_long_keys = True
    takes_empty_tags = True
    lists_markers_apart = False
    marks_missing_keys = True

    def create_bucket(self, *, versioned: bool = True) -> str:
        raise NotImplementedError

    def suspend(self, bucket: str) -> None:
        raise NotImplementedError

    def delete(self, bucket: str, key: str) -> None:
        raise NotImplementedError

    def store(self, bucket: str, *, secret: str | None = None) -> ObjectStore:
        raise NotImplementedError


class MemoryBackend(Backend):
    def __init__(self) -> None:
        self.stores: dict[str, MemoryStore] = {}

    def create_bucket(self, *, versioned: bool = True) -> str:
        name = f"b-{uuid.uuid4().hex}"
        self.stores[name] = MemoryStore(name, versioning=Versioning.ENABLED if versioned else Versioning.OFF)
        return name

    def suspend(self, bucket: str) -> None:
        self.stores[bucket].versioning = Versioning.SUSPENDED

    def delete(self, bucket: str, key: str) -> None:
        self.stores[bucket].delete(key)

    def store(self, bucket: str, *, secret: str | None = None) -> ObjectStore:
        return self.stores.get(bucket) or MemoryStore(bucket, exists=False)


class ServerBackend(Backend):
    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.checks_secrets = server.checks_secrets
        self.refuses_wrong_checksum = not isinstance(server, MotoServer)
        self.refuses_long_keys = not isinstance(server, MotoServer)
        self.takes_empty_tags = not isinstance(server, MotoServer)
        self.lists_markers_apart = isinstance(server, MotoServer)
        self.marks_missing_keys = not isinstance(server, MotoServer)
        # moto keeps a checksum only together with x-amz-sdk-checksum-algorithm.
        self.keeps_sha256 = not isinstance(server, MotoServer)

    def create_bucket(self, *, versioned: bool = True) -> str:
        return self.server.create_bucket(f"b-{uuid.uuid4().hex}", versioned)

    def suspend(self, bucket: str) -> None:
        self.server.set_versioning(bucket, "Suspended")

    def delete(self, bucket: str, key: str) -> None:
        with self.server.client() as client:
            client.delete_object(Bucket=bucket, Key=key)

    def store(self, bucket: str, *, secret: str | None = None) -> ObjectStore:
        return S3Store(
            S3Options(
                bucket=bucket,
                endpoint_url=self.server.endpoint_url,
                access_key_id=self.server.access_key_id,
                secret_access_key=secret or self.server.secret_access_key,
            )
        )


@pytest.fixture(
    scope="session",
    params=[
        "memory",
        "moto",
        "seaweedfs",
        # Reported by nobody where it is not configured: it is a third opinion.
        *(["ministack"] if MinistackServer.configured() else []),
    ],
)
def backend(
    request: pytest.FixtureRequest, sdk_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    if request.param == "memory":
        yield MemoryBackend()
        return
    directory = tmp_path_factory.mktemp(request.param)
    servers = {
        "moto": MotoServer,
        "seaweedfs": lambda: SeaweedServer(directory),
        "ministack": lambda: MinistackServer(directory),
    }
    with servers[request.param]() as server:
        yield ServerBackend(server)


class Bucket:
    """A bucket of a test's own, the store over it, and short ways to write."""

    def __init__(self, backend: Backend, name: str, store: ObjectStore) -> None:
        self.backend = backend
        self.name = name
        self.store = store

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Receipt:
        sha256 = hashlib.sha256(body).hexdigest()
        return await self.store.put(
            key, body, sha256=sha256, metadata=metadata, if_match=if_match, if_none_match=if_none_match
        )

    async def read(self, key: str, version_id: str | None = None) -> bytes:
        async with self.store.get(key, version_id) as body:
            return b"".join([chunk async for chunk in body.chunks])

    def delete(self, key: str) -> None:
        self.backend.delete(self.name, key)

    def suspend(self) -> None:
        self.backend.suspend(self.name)

    async def tick(self) -> None:
        """Wait for the next second, where the order of versions and markers is told by nothing but their times."""
        now = int(time.time())
        while self.backend.lists_markers_apart and int(time.time()) == now:  # noqa: ASYNC110  (a clock gives no event)
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def _bucket(backend: Backend, *, versioned: bool) -> AsyncIterator[Bucket]:
    name = backend.create_bucket(versioned=versioned)
    store = backend.store(name)
    try:
        yield Bucket(backend, name, store)
    finally:
        await store.aclose()


@pytest.fixture
async def bucket(backend: Backend) -> AsyncIterator[Bucket]:
    async with _bucket(backend, versioned=True) as made:
        yield made


@pytest.fixture
async def unversioned(backend: Backend) -> AsyncIterator[Bucket]:
    async with _bucket(backend, versioned=False) as made:
        yield made
