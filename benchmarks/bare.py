"""The SDK without bookstore: clients to compare with."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from ci.s3_servers import S3Server


def plain_client(server: S3Server, connections: int) -> AbstractAsyncContextManager[Any]:
    """A client with the SDK's own settings, but the size of its pool and without hidden retries.

    Over plain HTTP it signs the SHA-256 of each body, and adds a CRC.
    """
    return _client(server, max_pool_connections=connections, retries={"total_max_attempts": 1})


def tuned_client(server: S3Server, connections: int) -> AbstractAsyncContextManager[Any]:
    """A client with bookstore's settings: the SDK adds no checksum, and the signature does not cover the body."""
    return _client(
        server,
        max_pool_connections=connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False},
    )


def _client(server: S3Server, **config: Any) -> AbstractAsyncContextManager[Any]:
    import aiobotocore.config
    import aiobotocore.session

    client: AbstractAsyncContextManager[Any] = aiobotocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        config=aiobotocore.config.AioConfig(**config),
    )
    return client
