"""The settings: what an administrator or user may choose, and what is wrong with what was chosen."""

from __future__ import annotations

import difflib
import fnmatch
import getpass
import json
import math
import os
import re
import socket
import string
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyter_core.paths import jupyter_data_dir
from traitlets import Bool, CaselessStrEnum, Float, Int, List, TraitError, Unicode, default, validate
from traitlets.config import Config, LoggingConfigurable

from bookstore.errors import SettingsError
from bookstore.s3_paths import MAX_KEY_BYTES, RESERVED, s3_key

if TYPE_CHECKING:
    from collections.abc import Iterable

#: With this endpoint AWS itself is meant, at the region's own address.
AWS_ENDPOINT = "https://s3.amazonaws.com"

DEFAULT_REGION = "us-east-1"

#: Traits whose values are never shown.
SECRET_TRAITS = frozenset({"s3_access_key_id", "s3_secret_access_key", "s3_session_token"})

#: What somebody meant as a list and is one glob: it begins like a list of texts, or is one class with a comma in it.
_LIST_IN_ITEM = re.compile(r"\s*\[(?:\s*[\"'].*|[^\]]*,[^\]]*\]\s*)", re.DOTALL)

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One setting that is wrong, told so that its owner can mend it.

    Attributes
    ----------
    trait : str
        The trait's name, as in ``c.BookstoreSettings.<trait>``.
    value : str
        What was set, for reading; ``(hidden)`` for secrets.
    message : str
        What is wrong with it.
    hint : str
        What would be right.
    blocks_archiving : bool
        True where saves have to wait in the outbox until it is mended.
    """

    trait: str
    value: str
    message: str
    hint: str
    blocks_archiving: bool = True

    def __str__(self) -> str:
        """The whole problem in one line."""
        return f"c.BookstoreSettings.{self.trait} = {self.value}: {self.message} {self.hint}"


class BookstoreSettings(LoggingConfigurable):
    """The settings of bookstore.

    Configuration files and command lines come first, then the environment, then the default. Credentials that are
    not set at all come from the SDK's own chain, which also renews them.

    Use `load` where a wrong value must not raise.
    """

    workspace_prefix = Unicode(
        "workspace", help="Where saves are archived: the first part of every key. May hold fields such as {username}."
    ).tag(config=True)
    published_prefix = Unicode("published", help="Where published notebooks go.").tag(config=True)
    scheduled_prefix = Unicode("scheduled", help="Where scheduled copies go.").tag(config=True)

    s3_bucket = Unicode(
        help="The bucket, with versioning enabled. Empty: nothing is archived. Environment: JPYNB_S3_BUCKET."
    ).tag(config=True, env="JPYNB_S3_BUCKET")
    s3_endpoint_url = Unicode(
        help=(
            "Where the S3 service answers. The default means AWS, at the region's own endpoint. "
            "Environment: JPYNB_S3_ENDPOINT_URL."
        )
    ).tag(config=True, env="JPYNB_S3_ENDPOINT_URL")
    s3_region_name = Unicode(
        help=(
            "The bucket's region. Set neither here nor in JPYNB_S3_REGION_NAME: what the SDK finds (AWS_REGION, "
            "profiles), and us-east-1 after that."
        )
    ).tag(config=True, env="JPYNB_S3_REGION_NAME")
    s3_access_key_id = Unicode(
        allow_none=True,
        help="Access key. Unset: the SDK's credential chain. Environment: JPYNB_S3_ACCESS_KEY_ID.",
    ).tag(config=True, env="JPYNB_S3_ACCESS_KEY_ID")
    s3_secret_access_key = Unicode(
        allow_none=True,
        help="Secret key. Unset: the SDK's credential chain. Environment: JPYNB_S3_SECRET_ACCESS_KEY.",
    ).tag(config=True, env="JPYNB_S3_SECRET_ACCESS_KEY")
    s3_session_token = Unicode(
        allow_none=True,
        help="Token that belongs to temporary credentials. Environment: JPYNB_S3_SESSION_TOKEN.",
    ).tag(config=True, env="JPYNB_S3_SESSION_TOKEN")
    s3_server_side_encryption = CaselessStrEnum(
        ["AES256", "aws:kms", "aws:kms:dsse"],
        default_value=None,
        allow_none=True,
        help="Server-side encryption to ask for; unset: the bucket's default.",
    ).tag(config=True)
    s3_kms_key_id = Unicode(None, allow_none=True, help="The KMS key for aws:kms; unset: the account's default.").tag(
        config=True
    )
    s3_addressing_style = CaselessStrEnum(
        ["path", "virtual", "auto"],
        default_value=None,
        allow_none=True,
        help="Bucket in the path or in the host name; unset: the SDK decides.",
    ).tag(config=True)
    s3_ca_bundle = Unicode(
        None, allow_none=True, help="File of certificates to trust for the endpoint; unset: the system's."
    ).tag(config=True)

    max_threads = Int(
        16, min=1, help="Bound on concurrent requests to the store, on its connection pool and on worker threads."
    ).tag(config=True)

    enable_s3_cloning = Bool(True, help="Allow cloning from S3.").tag(config=True)
    s3_cloning_buckets = List(Unicode(), ["*"], help="Buckets that may be cloned from; globs.").tag(config=True)
    fs_cloning_basedir = Unicode(
        "", help="Absolute directory below which files may be cloned; empty: file-system cloning is off."
    ).tag(config=True)

    max_content_size = Int(
        256 * _MIB,
        min=1,
        help="Bytes of the largest content that a request may publish, schedule, clone or restore.",
    ).tag(config=True)

    archive_globs = List(
        Unicode(),
        ["*.ipynb"],
        help='What is archived, matched against the whole path. Add "*.py" or "*.md" for jupytext\'s text notebooks.',
    ).tag(config=True)
    tag_versions = Bool(
        False,
        help=(
            "Give each version the tag bookstore-pinned=false, which pinning turns to true, so that a lifecycle rule "
            "can select what is not pinned. Needs the permission s3:PutObjectTagging."
        ),
    ).tag(config=True)
    skip_unchanged = Bool(
        True, help="A save whose bytes equal the version that is still the newest makes no second version."
    ).tag(config=True)
    min_interval = Float(
        0.0,
        min=0.0,
        help="Seconds between versions of one path; of the saves within the interval the newest is kept. 0: keep all.",
    ).tag(config=True)
    allow_unversioned = Bool(
        False, help="Write to a bucket that keeps no versions: every save replaces the one before."
    ).tag(config=True)

    outbox_dir = Unicode(help="Where saves wait on local disk until the store holds them.").tag(config=True)
    outbox_reserve = Int(
        100 * _MIB, min=0, help="Bytes of the outbox's disk that are left free for the user's own files."
    ).tag(config=True)
    memory_limit = Int(256 * _MIB, min=0, help="Bytes of saves held in memory while the outbox's disk takes none.").tag(
        config=True
    )
    drain_timeout = Float(
        5.0, min=0.0, help="Seconds for which a stopping server still sends what waits; the rest stays in the outbox."
    ).tag(config=True)

    #: What was configured and could not be used; filled by `load`.
    problems: tuple[SettingProblem, ...] = ()

    @default("s3_bucket")
    def _default_s3_bucket(self) -> str:
        return os.environ.get("JPYNB_S3_BUCKET", "")

    @default("s3_endpoint_url")
    def _default_s3_endpoint_url(self) -> str:
        return os.environ.get("JPYNB_S3_ENDPOINT_URL") or AWS_ENDPOINT

    @default("s3_region_name")
    def _default_s3_region_name(self) -> str:
        return os.environ.get("JPYNB_S3_REGION_NAME") or DEFAULT_REGION

    @default("s3_access_key_id")
    def _default_s3_access_key_id(self) -> str | None:
        return os.environ.get("JPYNB_S3_ACCESS_KEY_ID") or None

    @default("s3_secret_access_key")
    def _default_s3_secret_access_key(self) -> str | None:
        return os.environ.get("JPYNB_S3_SECRET_ACCESS_KEY") or None

    @default("s3_session_token")
    def _default_s3_session_token(self) -> str | None:
        return os.environ.get("JPYNB_S3_SESSION_TOKEN") or None

    @default("outbox_dir")
    def _default_outbox_dir(self) -> str:
        return str(Path(jupyter_data_dir()) / "bookstore" / "outbox")

    @validate("outbox_dir")
    def _check_outbox_dir(self, proposal: Any) -> str:
        value: str = proposal["value"]
        try:
            directory = os.fsencode(Path(value).expanduser())
        except (RuntimeError, ValueError) as e:  # no such user; not a name that a file system could hold
            raise TraitError(f"The 'outbox_dir' trait cannot be {value!r}: {e}") from e
        if b"\0" in directory:
            raise TraitError(f"The 'outbox_dir' trait cannot be {value!r}: it holds a null character")
        return value

    @validate("archive_globs", "s3_cloning_buckets")
    def _read_list(self, proposal: Any) -> list[str]:
        # A command line gives a list as --name=one --name=two; one that is given as JSON arrives as a single text.
        value: list[str] = proposal["value"]
        try:
            listed = json.loads(value[0]) if len(value) == 1 else None
        except (ValueError, RecursionError):
            return value
        if isinstance(listed, list) and all(isinstance(item, str) for item in listed):
            return listed
        return value

    @validate("min_interval", "drain_timeout")
    def _check_seconds(self, proposal: Any) -> float:
        value: float = proposal["value"]
        if not math.isfinite(value):
            raise TraitError(f"The '{proposal['trait'].name}' trait cannot be {value}: no timer could hold it")
        return value

    def __init__(self, **kwargs: Any) -> None:
        self._region_is_chosen = bool(os.environ.get("JPYNB_S3_REGION_NAME"))
        super().__init__(**kwargs)
        self.observe(self._region_was_set, "s3_region_name")
        self._region_is_chosen |= "s3_region_name" in kwargs or any(
            "s3_region_name" in section for section in self._find_my_config(self.config)
        )

    def _region_was_set(self, change: object) -> None:
        self._region_is_chosen = True

    @classmethod
    def load(cls, **kwargs: Any) -> BookstoreSettings:
        """Settings from configuration in which anything may be wrong.

        Parameters
        ----------
        **kwargs
            As for any configurable: ``parent``, ``config``, ``log``.

        Returns
        -------
        BookstoreSettings
            Each value that cannot be used is left at its default and told in `problems`, as is each name that is no
            setting. Nothing is raised for a wrong value.
        """
        config = kwargs.pop("config", None)
        parent = kwargs.pop("parent", None)
        if config is None:
            config = parent.config if parent is not None else Config()
        section = config.get("BookstoreSettings", Config())
        if isinstance(section, dict):
            usable, problems = cls._sift(section)
        else:  # nothing hinders a JSON file
            hint = 'Right would be {"BookstoreSettings": {"s3_bucket": "…"}}.'
            usable, problems = Config(), [SettingProblem("*", "(not read)", "The section holds no settings.", hint)]
        settings = cls(config=Config({"BookstoreSettings": usable}), **kwargs)
        settings.parent = parent
        settings.problems = tuple(problems)
        return settings

    @classmethod
    def _sift(cls, section: dict[str, Any]) -> tuple[Config, list[SettingProblem]]:
        traits = cls.class_traits(config=True)
        usable = Config()
        problems = []
        for name, value in section.items():
            if name not in traits:
                near = difflib.get_close_matches(name, traits, n=1)
                hint = f"Did you mean {near[0]}?" if near else "The reference documentation lists the settings."
                problems.append(SettingProblem(name, "(not read)", "is no setting of bookstore.", hint, False))
                continue
            try:
                cls(config=Config({"BookstoreSettings": Config({name: value})}))
            except (TraitError, ValueError, TypeError) as e:
                shown = shown_value(name, value)
                reason = "is not a value of the right kind." if name in SECRET_TRAITS else _one_line(str(e))
                problems.append(SettingProblem(name, shown, reason, f"Right would be {traits[name].info()}."))
            else:
                usable[name] = value
        return usable, problems

    @property
    def region(self) -> str | None:
        """The region that was chosen, or None where the SDK's own chain decides."""
        return (self.s3_region_name or None) if self._region_is_chosen else None

    @property
    def endpoint(self) -> str | None:
        """The endpoint, or None for AWS at the region's own endpoint."""
        return None if self.s3_endpoint_url.rstrip("/") == AWS_ENDPOINT else self.s3_endpoint_url

    @property
    def is_configured(self) -> bool:
        """True where a bucket is named, or somebody tried to: without one Jupyter works as if bookstore were absent."""
        return bool(self.s3_bucket) or any(p.trait == "s3_bucket" for p in self.problems)

    def archives(self, path: str) -> bool:
        """Whether a path is one of those that are archived (``archive_globs``; checkpoints of Jupyter never are)."""
        if ".ipynb_checkpoints" in path.split("/"):
            return False
        return any(fnmatch.fnmatchcase(path, glob) for glob in self.archive_globs)

    def prefix(self, kind: str, root_dir: str = "") -> str:
        """A prefix with every field filled in.

        Parameters
        ----------
        kind : str
            ``workspace``, ``published`` or ``scheduled``.
        root_dir : str
            The server's root directory, for ``{root}``.

        Raises
        ------
        SettingsError
            A field is unknown, or empty here, or the prefix is none.
        """
        trait = f"{kind}_prefix"
        template: str = getattr(self, trait)
        values = prefix_fields(root_dir)
        parts = []
        try:
            for literal, field, spec, conversion in string.Formatter().parse(template):
                parts.append(literal)
                if field is None:
                    continue
                if spec or conversion or field not in values:
                    known = ", ".join(f"{{{name}}}" for name in values)
                    raise SettingsError(f"{trait} {template!r} has a field {{{field}}} that is none of {known}.")
                if not values[field]:
                    raise SettingsError(
                        f"{trait} {template!r}: the field {{{field}}} is empty here, so that keys would run together.",
                        "Use another field, or start the server where this one has a value.",
                    )
                parts.append(values[field])
        except ValueError as e:
            raise SettingsError(f"{trait} {template!r} cannot be read: {e}.") from e
        prefix = s3_key("".join(parts))
        steps = prefix.split("/")
        if not prefix:
            raise SettingsError(f"{trait} is empty.", "Name a folder of the bucket, such as 'workspace'.")
        if "." in steps or ".." in steps or RESERVED in steps:
            raise SettingsError(f"{trait} {template!r} has a part '.', '..' or '{RESERVED}'.")
        try:
            size = len(prefix.encode("utf-8"))
        except UnicodeEncodeError as e:
            raise SettingsError(f"{trait} {template!r} gives {prefix!r}, which is not valid Unicode.") from e
        if size > MAX_KEY_BYTES // 2:
            raise SettingsError(f"{trait} {template!r} leaves too little of a key's {MAX_KEY_BYTES} bytes for paths.")
        return prefix

    def check(self, root_dir: str = "") -> tuple[SettingProblem, ...]:
        """Everything that is wrong with the settings, without asking the store.

        Parameters
        ----------
        root_dir : str
            The server's root directory.

        Returns
        -------
        tuple of SettingProblem
            Those found while loading come first. Empty where all is well.
        """
        found = list(self.problems)
        checks = (
            self._check_store,
            self._check_lists,
            lambda: self._check_prefixes(root_dir),
            self._check_directories,
        )
        for check in checks:
            try:
                found += check()
            except (OSError, ValueError) as e:
                # Whatever a value may be, it never keeps Jupyter from starting.
                reason = f"cannot be checked: {type(e).__name__}."
                found.append(SettingProblem("(several)", "(not shown)", reason, "Run bookstore doctor."))
        return tuple(found)

    def _problem(self, trait: str, message: str, hint: str, *, blocks: bool = True) -> SettingProblem:
        return SettingProblem(trait, shown_value(trait, getattr(self, trait)), message, hint, blocks)

    def _check_store(self) -> Iterable[SettingProblem]:
        if self.s3_bucket and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]", self.s3_bucket):
            yield self._problem(
                "s3_bucket", "is no name of a bucket.", "Give the bare name, without s3:// and without a path."
            )
        try:
            url = urlsplit(self.s3_endpoint_url)
            is_address = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:  # half an IPv6 address, or a port that is no number
            is_address = False
        if not is_address:
            yield self._problem(
                "s3_endpoint_url", "is no address.", "Give scheme and host, such as https://minio.example.org:9000."
            )
        elif url.username or url.password or url.query or url.fragment:
            yield SettingProblem(
                "s3_endpoint_url", "(hidden)", "holds more than an address.", "Credentials have settings of their own."
            )
        if bool(self.s3_access_key_id) != bool(self.s3_secret_access_key):
            absent = "s3_secret_access_key" if self.s3_access_key_id else "s3_access_key_id"
            yield self._problem(absent, "is missing.", "Set the access key and its secret, or neither.")
        if self.s3_kms_key_id and not (self.s3_server_side_encryption or "").startswith("aws:kms"):
            yield self._problem(
                "s3_kms_key_id", "has no effect.", "Set s3_server_side_encryption to 'aws:kms' as well."
            )
        if self.s3_ca_bundle and not os.path.isfile(self.s3_ca_bundle):  # noqa: PTH113 - Path.is_file may raise
            yield self._problem("s3_ca_bundle", "is no file.", "Give the path of a file of PEM certificates.")

    def _check_lists(self) -> Iterable[SettingProblem]:
        for trait, example in (("archive_globs", "*.ipynb"), ("s3_cloning_buckets", "team-*")):
            strange = next((item for item in getattr(self, trait) if _LIST_IN_ITEM.fullmatch(item)), None)
            if strange is not None:
                yield self._problem(
                    trait,
                    f"holds {shown_value(trait, strange)}, which is a list inside of a glob.",
                    f'Right would be ["{example}", "…"] in a file, and on a command line '
                    f"'--BookstoreSettings.{trait}={example}' once for each glob.",
                    blocks=trait == "archive_globs",
                )

    def _check_prefixes(self, root_dir: str) -> Iterable[SettingProblem]:
        seen: dict[str, str] = {}
        for kind in ("workspace", "published", "scheduled"):
            trait = f"{kind}_prefix"
            archiving = kind == "workspace"
            try:
                prefix = self.prefix(kind, root_dir)
            except SettingsError as e:
                yield self._problem(trait, str(e), e.hint, blocks=archiving)
                continue
            for other, other_trait in seen.items():
                if f"{prefix}/".startswith(f"{other}/") or f"{other}/".startswith(f"{prefix}/"):
                    yield self._problem(
                        trait,
                        f"lies within {other_trait}, or around it.",
                        "Give each a folder of its own.",
                        blocks=True,
                    )
            seen[prefix] = trait

    def _check_directories(self) -> Iterable[SettingProblem]:
        if self.fs_cloning_basedir and not Path(self.fs_cloning_basedir).is_absolute():
            yield self._problem(
                "fs_cloning_basedir",
                "is not an absolute path, file system cloning will be disabled.",
                "Give the whole path, from / on.",
                blocks=False,
            )
        try:
            self.outbox_path()
        except SettingsError as e:
            yield self._problem("outbox_dir", str(e), e.hint)

    def outbox_path(self) -> Path:
        """Where saves wait, with ``~`` filled in.

        Raises
        ------
        SettingsError
            It is no absolute path, or there is no home directory to fill in.
        """
        try:
            path = Path(self.outbox_dir).expanduser()
        except RuntimeError as e:
            raise SettingsError(f"there is no home directory for ~: {e}.", "Give the whole path, from / on.") from e
        if not path.is_absolute():
            raise SettingsError("is not an absolute path.", "Give the whole path, from / on.")
        return path


def shown_value(trait: str, value: object) -> str:
    """A value as it may be shown: secrets are hidden, long ones cut."""
    if trait in SECRET_TRAITS:
        return "(not set)" if value is None or value == "" else "(hidden)"
    if trait == "s3_endpoint_url" and "@" in str(value):  # somebody's credentials may stand before it
        return "(hidden)"
    text = repr(str(value)) if type(value).__name__ == "DeferredConfigString" else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def prefix_fields(root_dir: str = "") -> dict[str, str]:
    """What the fields of a prefix stand for here; an empty value means that there is none.

    Parameters
    ----------
    root_dir : str
        The server's root directory; ``{root}`` is its last part.
    """
    try:
        user = os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for this uid
        user = ""
    values = {
        "username": user,
        "servername": os.environ.get("JUPYTERHUB_SERVER_NAME", ""),
        "hostname": socket.gethostname(),
        "root": Path(root_dir).name if root_dir else "",
    }
    # A slash in a name would open a folder of somebody else's.
    return {name: value.replace("/", "-").replace("\\", "-") for name, value in values.items()}


def validate_bookstore(settings: BookstoreSettings) -> dict[str, bool]:
    """Which features the settings allow.

    Parameters
    ----------
    settings : BookstoreSettings

    Returns
    -------
    dict of str to bool
        ``bookstore_valid`` (bucket and endpoint), ``archive_valid`` (and a workspace prefix), ``publish_valid`` (and a
        published prefix), ``s3_clone_valid`` (cloning from S3 is on), ``fs_clone_valid`` (an absolute
        ``fs_cloning_basedir``).
    """
    basedir = settings.fs_cloning_basedir
    if basedir and not Path(basedir).is_absolute():
        settings.log.warning("%s is not an absolute path, file system cloning will be disabled.", basedir)
    general = bool(settings.s3_bucket) and bool(settings.s3_endpoint_url)
    return {
        "bookstore_valid": general,
        "archive_valid": general and bool(settings.workspace_prefix),
        "publish_valid": general and bool(settings.published_prefix),
        "s3_clone_valid": settings.enable_s3_cloning,
        "fs_clone_valid": bool(basedir) and Path(basedir).is_absolute(),
    }


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if line.endswith(".") else f"{line}."
