"""Tell what went wrong between this machine and an S3 store: the SDK's exceptions become those of `bookstore.errors`.

Pure functions. An error document of S3 may hold the access key and the string that was signed (that of
``SignatureDoesNotMatch`` does), so only its code, its region and its short message are used, and known secrets are
blotted out of what is said.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bookstore.errors import (
    AccessDenied,
    BucketMissing,
    CredentialsMissing,
    CredentialsRejected,
    IntegrityError,
    ObjectMissing,
    ObjectRefused,
    PreconditionFailed,
    StorageError,
    StoreFault,
    StoreThrottled,
    StoreTimeout,
    StoreUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the store, as far as the translation of its errors needs to know it.

    Attributes
    ----------
    operation : str
        Name in the S3 reference, such as ``PutObject``.
    bucket : str
    key : str or None
        None for operations on the bucket.
    version_id : str or None
        The version that was asked for.
    if_match : bool
        True for a write that was conditional on what is there.
    """

    operation: str
    bucket: str
    key: str | None = None
    version_id: str | None = None
    if_match: bool = False

    def __str__(self) -> str:
        target = f"s3://{self.bucket}" if self.key is None else f"s3://{self.bucket}/{self.key}"
        version = f" version {self.version_id}" if self.version_id else ""
        return f"{self.operation} {target}{version}"


#: What each code of an error document means, whatever its HTTP status ("Error responses" in the S3 API reference, and
#: what other servers answer). A code that is missing here is judged by the status.
_KIND_OF_CODE: Final[Mapping[str, type[StorageError]]] = {
    code: kind
    for kind, codes in {
        StoreThrottled: (
            "SlowDown SlowDownRead SlowDownWrite ServiceUnavailable Throttling ThrottlingException ThrottledException "
            "RequestThrottled RequestThrottledException RequestLimitExceeded TooManyRequests TooManyRequestsException "
            "BandwidthLimitExceeded ProvisionedThroughputExceededException"
        ),
        StoreTimeout: "RequestTimeout RequestTimeoutException",
        StoreFault: "InternalError InternalFailure IncompleteBody OperationAborted TemporaryRedirect",
        PreconditionFailed: "PreconditionFailed ConditionalRequestConflict",
        CredentialsRejected: (
            "InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken ExpiredTokenException InvalidToken "
            "TokenRefreshRequired RequestTimeTooSkewed RequestExpired AuthFailure InvalidClientTokenId "
            "UnrecognizedClientException InvalidSignatureException IncompleteSignature MissingAuthenticationToken "
            "MissingSecurityHeader InvalidSecurity AuthorizationHeaderMalformed"
        ),
        AccessDenied: "AccessDenied AccessDeniedException AllAccessDisabled AccountProblem NotSignedUp AccessForbidden",
        BucketMissing: "NoSuchBucket InvalidBucketName",
        ObjectMissing: "NoSuchKey NoSuchVersion",
        ObjectRefused: "EntityTooLarge EntityTooSmall KeyTooLongError KeyTooLong MetadataTooLarge InvalidTag BadTag",
        IntegrityError: "BadDigest InvalidDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch",
        # Wrong for every object of this bucket alike, so no reason to set one aside.
        StorageError: (
            "NotImplemented MethodNotAllowed InvalidRequest MalformedXML InvalidEncryptionAlgorithmError "
            "InvalidStorageClass KMS.NotFoundException KMS.DisabledException KMS.InvalidStateException "
            "KMS.KMSInvalidStateException KMS.InvalidKeyUsageException"
        ),
    }.items()
    for code in codes.split()
}

_CLOCK: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_OTHER_REGION: Final = frozenset(
    {"PermanentRedirect", "IllegalLocationConstraint", "IllegalLocationConstraintException"}
)
_ON_BUCKET: Final = frozenset({"HeadBucket", "GetBucketVersioning", "ListObjectVersions", "ListObjectsV2"})
_WRITES: Final = frozenset({"PutObject", "CopyObject", "PutObjectTagging", "DeleteObject"})
_READS: Final = frozenset({"GetObject", "HeadObject", "GetObjectTagging"})

_HINT_CLOCK: Final = "Set this machine's clock: the store refuses requests that are signed with a wrong time."
_HINT_ENDPOINT: Final = "Check s3_endpoint_url: what answers there does not do what S3 does."
_HINT_SETTINGS: Final = "Check s3_bucket, s3_region_name, s3_endpoint_url and s3_addressing_style."
_HINT_CERTIFICATE: Final = (
    "Let s3_ca_bundle name a file with the certificate of the authority that signed the store's certificate, and check "
    "that s3_endpoint_url names the host as the certificate does."
)
_HINT_PROXY: Final = "Check the proxy that HTTP_PROXY and HTTPS_PROXY name, or list the store in NO_PROXY."
_HINT_LIST: Final = (
    f"{AccessDenied.default_hint} Without s3:ListBucket S3 answers 403 for a key that does not exist, too."
)
_HINT_ENCRYPTION: Final = "Check s3_kms_key_id and s3_server_side_encryption, and what the key allows."
_HINT_NOT_IMPLEMENTED: Final = "This store lacks a function that bookstore needs; update it, or use another."

#: What may be a region's name; all else that a store calls one is not repeated.
_REGION: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Longest message of a store that is repeated, in characters.
_LONGEST_MESSAGE: Final = 300
#: A shorter "secret" is a test's; blotting it out would only garble the message.
_SHORTEST_SECRET: Final = 4


def translate(error: Exception, call: Call, secrets: Iterable[str] = ()) -> StorageError:
    """Make of what the SDK raised during ``call`` the `StorageError` that fits.

    Parameters
    ----------
    error : Exception
        Anything that the SDK, or the HTTP client under it, raised.
    call : Call
    secrets : iterable of str
        What must not be shown: access key, secret, token.

    Returns
    -------
    StorageError
        To be raised outside of the ``except`` clause, so that it does not drag along the SDK's exception, which
        holds the whole answer. An exception that nobody foresaw stays as ``__cause__``.
    """
    from botocore.exceptions import ClientError  # type: ignore[import-untyped,unused-ignore]

    if isinstance(error, StorageError):
        return error
    if isinstance(error, ClientError):
        return _from_answer(error.response, error.operation_name, call, secrets)
    kind, hint, foreseen = _from_sdk(error)
    failure = kind(f"{call}: {type(error).__name__}: {clean(_words_of(error), secrets)}", hint)
    if not foreseen:
        failure.__cause__ = error
    return failure


def clean(message: str, secrets: Iterable[str]) -> str:
    """Put a foreign message on one line of bounded length, without the secrets."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            message = message.replace(secret, "***")
    message = " ".join(message.split())
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"


def _words_of(error: Exception) -> str:
    """Tell an exception's message without what it quotes of an answer that could not be understood."""
    from botocore.exceptions import HTTPClientError  # type: ignore[import-untyped,unused-ignore]
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped,unused-ignore]

    if isinstance(error, ResponseParserError):
        return "the answer is not the document that was expected"
    if type(error) is HTTPClientError:
        cause = vars(error).get("kwargs", {}).get("error")
        if not isinstance(cause, OSError):
            return f"the answer could not be understood ({type(cause).__name__})"
    return str(error)


def status_of(response: Mapping[str, Any]) -> int:
    """HTTP status of an answer as the SDK hands it out; 0 where there is none."""
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _from_answer(response: Mapping[str, Any], operation: str, call: Call, secrets: Iterable[str]) -> StorageError:
    """Translate an answer that the store, or the token service that gives the credentials, gave."""
    details = response.get("Error", {})
    status = status_of(response)
    code = str(details.get("Code") or status)
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = clean(str(details.get("Region") or headers.get("x-amz-bucket-region") or ""), secrets)
    region = region if _REGION.fullmatch(region) else ""

    kind, hint = _judge(call, status, code, region)
    if operation not in _ON_BUCKET | _WRITES | _READS:
        # A role is assumed by asking another service, whose refusal concerns the credentials.
        if not kind.transient:
            kind = CredentialsRejected
        hint = None
    # An error inside an answer of 200 reaches us as 500; some servers give no code but the status.
    answer = code if code == str(status) else f"{status} {code}"
    asked = "" if operation == call.operation else f" ({operation})"
    message = clean(f"{answer}: {details.get('Message') or 'no message'}", secrets)
    return kind(f"{call}{asked}: {message}", hint)


def _judge(call: Call, status: int, code: str, region: str) -> tuple[type[StorageError], str | None]:
    """Choose the kind of error and, where the kind's own hint is not the best one, a hint."""
    # A HEAD that is signed for another region is answered 400 without a body; the header tells the region.
    told_elsewhere = region and (code == "AuthorizationHeaderMalformed" or (status == 400 and code == "400"))
    if code in _OTHER_REGION or status in (301, 308) or told_elsewhere:
        return BucketMissing, _region_hint(region)
    if code in _CLOCK:
        return CredentialsRejected, _HINT_CLOCK
    if code.startswith("KMS.") and status < 500:
        return _KIND_OF_CODE.get(code, StorageError), _HINT_ENCRYPTION
    if status == 405 and call.operation in _READS:
        # S3 answers so when the version asked for is a delete marker.
        return ObjectMissing, None
    if status == 404 and code != "NoSuchBucket":
        return _missing(call), None
    if code in _KIND_OF_CODE:
        kind = _KIND_OF_CODE[code]
        if kind is StorageError:
            return kind, _HINT_NOT_IMPLEMENTED if status == 501 else _HINT_ENDPOINT
        return kind, _HINT_LIST if kind is AccessDenied and call.operation in _READS else None
    return _judge_status(call, status, has_code=code != str(status))


def _judge_status(call: Call, status: int, *, has_code: bool) -> tuple[type[StorageError], str | None]:
    """Choose by the HTTP status; ``has_code`` tells whether the answer said anything more, though nothing known."""
    by_status: dict[int, tuple[type[StorageError], str | None]] = {
        307: (StoreFault, None),
        401: (CredentialsRejected, None),
        403: (AccessDenied, _HINT_LIST if call.operation in _READS else None),
        407: (StoreUnreachable, _HINT_PROXY),
        408: (StoreTimeout, None),
        412: (PreconditionFailed, None),
        413: (ObjectRefused, None),
        429: (StoreThrottled, None),
        501: (StorageError, _HINT_NOT_IMPLEMENTED),
        503: (StoreThrottled, None),
    }
    if status in by_status:
        return by_status[status]
    if status >= 500 or status < 300:
        return StoreFault, None
    if status == 409:
        return (PreconditionFailed if call.operation == "PutObject" else StoreFault), None
    if status == 400 and call.operation in _WRITES:
        # An S3 server says what is wrong with an object. Without a word, it was something in between that answered.
        return (ObjectRefused if has_code else StoreFault), None
    if status == 400 and call.operation in _READS and call.version_id is not None:
        # "Invalid version id specified": no version has such a name.
        return ObjectMissing, None
    return StorageError, _HINT_ENDPOINT


def _missing(call: Call) -> type[StorageError]:
    if call.operation in _ON_BUCKET:
        return BucketMissing
    if call.operation == "PutObject":
        return PreconditionFailed if call.if_match else BucketMissing
    return ObjectMissing


def _region_hint(region: str) -> str:
    if region:
        return f"The bucket is in another region: set s3_region_name to {region!r}."
    return "The bucket is in another region: set s3_region_name to the bucket's own, and check s3_endpoint_url."


def _from_sdk(error: Exception) -> tuple[type[StorageError], str | None, bool]:
    """Choose kind and hint for an exception that is no answer; the third says whether its traceback adds nothing."""
    import aiohttp
    from botocore import exceptions as sdk  # type: ignore[import-untyped,unused-ignore]
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped,unused-ignore]

    if isinstance(error, sdk.SSLError):
        return StoreUnreachable, _HINT_CERTIFICATE if "certificate" in str(error).lower() else None, True
    if isinstance(error, (sdk.ProxyConnectionError, sdk.InvalidProxiesConfigError)):
        return StoreUnreachable, _HINT_PROXY, True
    if isinstance(error, (sdk.ConnectTimeoutError, sdk.ReadTimeoutError, asyncio.TimeoutError)):
        return StoreTimeout, None, True
    if isinstance(error, (sdk.FlexibleChecksumError, sdk.ChecksumError, sdk.IncompleteReadError)):
        return IntegrityError, None, True
    if isinstance(error, aiohttp.ClientPayloadError):
        # Only reading a body lets it through: the connection ended before the content did.
        return IntegrityError, None, True
    if isinstance(error, (sdk.ConnectionClosedError, sdk.ResponseStreamingError, sdk.ConnectionError)):
        return StoreUnreachable, None, True
    if isinstance(error, aiohttp.ClientConnectionError):
        return StoreUnreachable, None, True
    if isinstance(error, sdk.HTTPClientError):
        return *_from_http(error.kwargs.get("error")), True
    if isinstance(error, ResponseParserError):
        return StoreFault, _HINT_ENDPOINT, True
    if isinstance(error, sdk.ParamValidationError):
        # The SDK refuses before it sends: a name that no bucket can have, or metadata that no header can carry.
        return (BucketMissing if "bucket name" in str(error).lower() else ObjectRefused), None, True
    if _concerns_credentials(error):
        return CredentialsMissing, None, True
    if isinstance(error, ValueError) and str(error).startswith("Invalid endpoint"):
        return StoreUnreachable, None, True
    if isinstance(error, sdk.BotoCoreError):
        return StorageError, _HINT_SETTINGS, True
    return StoreFault, None, False


def _from_http(cause: object) -> tuple[type[StorageError], str | None]:
    """Judge what the SDK wraps as "an HTTP client raised an unhandled exception"."""
    if isinstance(cause, (ssl.SSLError, FileNotFoundError, PermissionError, IsADirectoryError)):
        # The only file that is read while connecting is that of the certificate authorities.
        return StoreUnreachable, _HINT_CERTIFICATE
    if isinstance(cause, OSError):
        return StoreUnreachable, None
    return StoreFault, _HINT_ENDPOINT


#: By name, since some are younger than the oldest SDK that bookstore runs with.
_OF_CREDENTIALS: Final = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "NoAuthTokenError",
    "UnknownTokenProviderError",
    "UnknownCredentialError",
    "MetadataRetrievalError",
    "SSOError",
    "LoginError",
    "ProfileNotFound",
    "ConfigParseError",
    "ConfigNotFound",
    "InvalidConfigError",
    "RefreshWithMFAUnsupportedError",
)


def _concerns_credentials(error: Exception) -> bool:
    """Whether the SDK found no credentials, or could not read what would give them."""
    from botocore import exceptions as sdk  # type: ignore[import-untyped,unused-ignore]

    return isinstance(error, tuple(getattr(sdk, name) for name in _OF_CREDENTIALS if hasattr(sdk, name)))
