"""What can go wrong, as one tree of exceptions.

.. code-block:: text

    BookstoreError
    ├── SettingsError              a setting is missing or wrong
    ├── PathError                  a path has no key that the store could hold
    ├── StorageError               the object store did not do what was asked
    │   ├── StoreUnreachable       nothing answers at the endpoint                 (transient)
    │   ├── StoreTimeout           no complete answer in time                      (transient)
    │   ├── StoreThrottled         the store asks for fewer requests               (transient)
    │   ├── StoreFault             the store failed inside, or answered nonsense   (transient)
    │   ├── PreconditionFailed     somebody else wrote first                       (transient)
    │   ├── CredentialsMissing     the SDK's chain found no credentials
    │   ├── CredentialsRejected    unknown key, wrong secret, expired token
    │   ├── AccessDenied           the credentials may not do this
    │   ├── BucketMissing          no such bucket
    │   ├── BucketNotVersioned     a write would replace what is there
    │   ├── ObjectMissing          no such key or version
    │   ├── ObjectRefused          this one object can never be stored as it is
    │   └── IntegrityError         the store holds other bytes than were sent      (transient)
    ├── OutboxError                the outbox could not do what was asked
    │   ├── OutboxFull             the disk has no room beyond the reserve         (transient)
    │   ├── OutboxUnavailable      the disk or directory fails                     (transient)
    │   ├── EntryCorrupt           an entry's bytes are not those that were written
    │   └── EntryGone              another server claimed the entry
    └── RequestError               what was asked for cannot be done as it was asked
        ├── InvalidRequest         an argument is missing or makes no sense
        ├── CloningForbidden       the settings do not allow cloning from there
        ├── FileMissing            there is no such file
        ├── FileChanged            the file is not the one that the caller saw
        ├── ContentTooLarge        more bytes than this function takes
        ├── NotANotebook           only notebooks can be had this way
        ├── NotebookInvalid        the notebook breaks a rule of its format
        ├── StillWaiting           the save is safe but not in the store yet       (transient)
        └── ServerBusy             others ask for as much as can be done at a time (transient)

Every error says what was being done and to what, knows whether it may pass by itself (``transient``), and carries a
``hint``: the next step of the person who reads it. No error carries a secret.
"""

from __future__ import annotations

from typing import ClassVar


class BookstoreError(Exception):
    """Something bookstore was asked to do could not be done.

    Parameters
    ----------
    message : str
        What was being done, to what, and what happened.
    hint : str, optional
        The next step; the class's own hint if left out.

    Attributes
    ----------
    transient : bool
        True when the same call may succeed later although nobody does anything.
    hint : str
        What the reader can do about it.
    """

    transient: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = self.default_hint if hint is None else hint

    @property
    def code(self) -> str:
        """The class's name: what programs compare, in status documents and in JSON output."""
        return type(self).__name__


class SettingsError(BookstoreError):
    """A setting is missing or has a value that cannot be used."""

    default_hint = "Correct the setting in your Jupyter configuration and restart Jupyter."


class PathError(BookstoreError):
    """A path has no key that the store could hold."""

    default_hint = "Rename the file, or shorten the prefix."


class StorageError(BookstoreError):
    """The object store did not do what was asked."""


class StoreUnreachable(StorageError):
    """Nothing answers at the endpoint."""

    transient = True
    default_hint = "Check s3_endpoint_url and the network between this machine and the store."


class StoreTimeout(StorageError):
    """The store gave no complete answer in time; what was sent may still arrive."""

    transient = True
    default_hint = "Check the network between this machine and the store."


class StoreThrottled(StorageError):
    """The store asks for fewer requests (503 SlowDown, 429)."""

    transient = True
    default_hint = "Nothing to do: saves are sent more slowly until the store recovers."


class StoreFault(StorageError):
    """The store failed inside (5xx), or its answer made no sense."""

    transient = True
    default_hint = "If this lasts, look at the store's own log or status page."


class PreconditionFailed(StorageError):
    """The key's newest version is not the one that the write was conditional on (409, 412)."""

    transient = True


class CredentialsMissing(StorageError):
    """The SDK's credential chain found no credentials."""

    default_hint = (
        "Set JPYNB_S3_ACCESS_KEY_ID and JPYNB_S3_SECRET_ACCESS_KEY, or give this machine a profile or role "
        "that the AWS SDK finds by itself."
    )


class CredentialsRejected(StorageError):
    """The store does not know the access key, or the secret is wrong, or the token has expired."""

    default_hint = "Renew the credentials; they are picked up without a restart where the SDK reads them from a file."


class AccessDenied(StorageError):
    """The credentials are known but may not do this."""

    default_hint = (
        "Give these credentials s3:PutObject, s3:GetObject and s3:GetObjectVersion on the prefix, and s3:ListBucket "
        "and s3:ListBucketVersions on the bucket. To take back a publication or a schedule they need s3:DeleteObject, "
        "and to pin a version s3:GetObjectVersionTagging and s3:PutObjectVersionTagging."
    )


class BucketMissing(StorageError):
    """The bucket does not exist."""

    default_hint = "Create the bucket with versioning enabled, or correct s3_bucket."


class BucketNotVersioned(StorageError):
    """The bucket keeps no versions, so a write would replace what is there."""

    default_hint = (
        "Enable versioning on the bucket (aws s3api put-bucket-versioning --bucket NAME "
        "--versioning-configuration Status=Enabled); saves wait in the outbox until then."
    )


class ObjectMissing(StorageError):
    """There is no such key, or no such version of it, or its newest version is a delete marker."""

    default_hint = "Check the key and the version id; bookstore versions PATH lists what there is."


class ObjectRefused(StorageError):
    """The store will never take this one object as it is (400, 413, key too long); others may go on."""

    default_hint = "The save is kept under refused/ in the outbox."


class IntegrityError(StorageError):
    """The store reports other bytes than were sent, or gives back other bytes than were stored."""

    transient = True
    default_hint = "If this lasts, something between this machine and the store changes the bytes."


class OutboxError(BookstoreError):
    """The outbox could not do what was asked.

    Attributes
    ----------
    may_remain : bool
        True where an entry that was to be made may be on the disk all the same.
    """

    may_remain = False


class OutboxFull(OutboxError):
    """Writing the entry would eat into the disk space that is reserved for the user's own files."""

    transient = True
    default_hint = "Free disk space, or move outbox_dir to a larger disk."


class OutboxUnavailable(OutboxError):
    """The outbox's disk or directory fails (EIO, read-only, permissions)."""

    transient = True
    default_hint = "Check that outbox_dir is writable and its disk healthy."


class EntryCorrupt(OutboxError):
    """An outbox entry is torn or altered."""

    default_hint = "The entry is kept under quarantine/ in the outbox; its notebook on disk is not affected."


class EntryGone(OutboxError):
    """The entry is no longer where it was: another server claimed it."""


class RequestError(BookstoreError):
    """What was asked for cannot be done as it was asked."""


class InvalidRequest(RequestError):
    """An argument is missing, or has a value that makes no sense."""


class CloningForbidden(RequestError):
    """The settings do not allow cloning from there."""

    default_hint = "The administrator chooses the buckets with c.BookstoreSettings.s3_cloning_buckets."


class FileMissing(RequestError):
    """There is no such file."""

    default_hint = "Check the path; it is relative to the server's root directory."


class FileChanged(RequestError):
    """The file is not the one that the caller saw."""

    default_hint = "Look at the file again, or ask for it with force: what it holds now is archived first."


class ContentTooLarge(RequestError):
    """The content has more bytes than this function takes."""

    default_hint = "Read the content itself and work on it elsewhere."


class NotANotebook(RequestError):
    """Only notebooks can be had this way."""

    default_hint = "Give a notebook, a path that ends in .ipynb."


class NotebookInvalid(RequestError):
    """The notebook breaks a rule of its format."""

    default_hint = "Mend what is named, save the notebook, and try again."


class StillWaiting(RequestError):
    """The save is safe but not in the store yet, and what was asked for needs it there."""

    transient = True
    default_hint = "Try again when bookstore status, or GET /api/bookstore, tells that nothing waits."


class ServerBusy(RequestError):
    """The server does as much of this kind at a time as it may without keeping others from working."""

    transient = True
    default_hint = "Try again in a few seconds."


def forget_frames(error: BaseException | None) -> None:
    """Let go of the frames that an error, and those behind it, came through, so that it may be kept.

    They hold what was being sent: a store in trouble would fill the memory with the saves that it does not take.
    """
    todo, seen = [error], set()
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            todo += [one.__cause__, one.__context__]
