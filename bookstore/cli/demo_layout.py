"""Where the demo keeps what, and the files that it writes there for others to read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.errors import SettingsError
from bookstore.outbox import instance_directories
from bookstore.outbox_owner import DELIVERED_FILE

if TYPE_CHECKING:
    from bookstore.embedded_s3 import EmbeddedS3

BUCKET = "bookstore-demo"

#: Lies in the place that comes before all others. It needs no environment, so that `bookstore doctor --config` can read
#: it too, and holds no secret: that stands in the file of keys beside it.
#: Beside the history's own buttons those of nbdime, which looks at checkpoints and git, and a question about news.
_PAGE = {"disabledExtensions": {"nbdime-jupyterlab": True, "@jupyterlab/apputils-extension:announcements": True}}

_CONFIG = '''\
"""The configuration of bookstore's demo; written anew at each start."""

import configparser

keys = configparser.ConfigParser(interpolation=None)
keys.read({credentials!a}, encoding="ascii")

c = get_config()  # noqa: F821
c.ServerApp.jpserver_extensions = {{"bookstore": True}}
c.ServerApp.root_dir = {root_dir!a}
c.BookstoreSettings.s3_bucket = {bucket!a}
c.BookstoreSettings.s3_endpoint_url = {endpoint_url!a}
c.BookstoreSettings.s3_region_name = "us-east-1"
c.BookstoreSettings.s3_access_key_id = keys.get("default", "aws_access_key_id", fallback=None)
c.BookstoreSettings.s3_secret_access_key = keys.get("default", "aws_secret_access_key", fallback=None)
c.BookstoreSettings.s3_session_token = None
c.BookstoreSettings.s3_addressing_style = "path"
c.BookstoreSettings.s3_server_side_encryption = None
c.BookstoreSettings.s3_kms_key_id = None
c.BookstoreSettings.s3_ca_bundle = None
c.BookstoreSettings.workspace_prefix = "workspace"
c.BookstoreSettings.published_prefix = "published"
c.BookstoreSettings.scheduled_prefix = "scheduled"
c.BookstoreSettings.allow_unversioned = False
c.BookstoreSettings.min_interval = 0.0
c.BookstoreSettings.outbox_dir = {outbox_dir!a}
'''


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the demo keeps what.

    The outbox is the demo's own. In the user's, `bookstore drain --any-destination` would ship the demo's saves into
    the user's bucket, and a server of the user would forever tell of saves that it must not take.

    Attributes
    ----------
    base : Path
    """

    base: Path

    @classmethod
    def standard(cls) -> Layout:
        """Where the demo keeps everything if it is told no other directory."""
        from jupyter_core.paths import jupyter_data_dir

        return cls(Path(jupyter_data_dir()).absolute() / "bookstore" / "demo")

    @classmethod
    def holding(cls, directory: Path) -> Layout | None:
        """The demo among whose notebooks a directory lies; None where it is no demo's."""
        directory = directory.resolve()
        for parent in (directory, *directory.parents):
            layout = cls(parent.parent)
            if parent == layout.notebooks and layout.config_file.is_file():
                return layout
        return None

    @classmethod
    def of_this_user(cls, directory: Path) -> Layout | None:
        """The demo among whose notebooks a directory lies, if this user started it.

        Its configuration is a program: one that merely lies there, as in somebody else's checkout, must never be run.
        """
        layout = cls.holding(directory)
        return layout if layout is not None and layout.is_registered else None

    @property
    def _is_standard(self) -> bool:
        return self.base.resolve() == Layout.standard().base.resolve()

    @property
    def _registration(self) -> Path:
        """Where this user's data say that the directory is a demo's."""
        name = hashlib.sha256(os.fsencode(self.base)).hexdigest()[:32]
        return Layout.standard().base.parent / "demos" / name

    @property
    def is_registered(self) -> bool:
        """Whether it is known that this user started a demo here."""
        if self._is_standard:
            return True
        try:
            return self._registration.read_bytes() == os.fsencode(self.base)
        except OSError:
            return False

    def register(self) -> None:
        """Remember that this user started a demo here, so that commands find its configuration by themselves."""
        if self._is_standard:
            return
        with self.usable():
            self._registration.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._registration.write_bytes(os.fsencode(self.base))

    @property
    def notebooks(self) -> Path:
        """Jupyter's root directory."""
        return self.base / "notebooks"

    @property
    def s3(self) -> Path:
        """The S3 server's directory."""
        return self.base / "s3"

    @property
    def outbox(self) -> Path:
        """Where saves wait."""
        return self.base / "outbox"

    @property
    def config(self) -> Path:
        """The directory of Jupyter's configuration."""
        return self.base / "jupyter" / "config"

    @property
    def config_file(self) -> Path:
        """Jupyter's configuration."""
        return self.config / "jupyter_server_config.py"

    @property
    def data(self) -> Path:
        """Jupyter's data: signatures, workspaces."""
        return self.base / "jupyter" / "data"

    @property
    def log(self) -> Path:
        """What Jupyter said since its last start."""
        return self.base / "jupyter" / "jupyter.log"

    @property
    def credentials(self) -> Path:
        """The keys, in the form in which other S3 programs read them."""
        return self.base / "aws-credentials"

    @property
    def command(self) -> str:
        """What starts this demo again."""
        return "bookstore demo" if self._is_standard else f"bookstore demo --directory {shlex.quote(str(self.base))}"

    def prepare(self) -> None:
        """Make the directories, which only their owner may enter.

        Raises
        ------
        SettingsError
            They cannot be made.
        """
        with self.usable():
            for directory in (self.base, self.notebooks, self.config, self.data):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write_files(self, s3: EmbeddedS3) -> None:
        """Write Jupyter's configuration and the file of keys, which only its owner may read.

        Raises
        ------
        SettingsError
            They cannot be written.
        """
        keys = f"[default]\naws_access_key_id = {s3.access_key_id}\naws_secret_access_key = {s3.secret_access_key}\n"
        config = _CONFIG.format(
            credentials=str(self.credentials),
            root_dir=str(self.notebooks),
            bucket=BUCKET,
            endpoint_url=s3.endpoint_url,
            outbox_dir=str(self.outbox),
        )
        with self.usable():
            self.credentials.unlink(missing_ok=True)
            fd = os.open(self.credentials, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "w", encoding="ascii") as f:
                f.write(keys)
            self.config_file.write_text(config, encoding="ascii")
            page = self.config / "labconfig" / "page_config.json"
            if not page.exists():  # what somebody has changed there since stays
                page.parent.mkdir(mode=0o700, exist_ok=True)
                page.write_text(json.dumps(_PAGE), encoding="ascii")

    def claim_outbox(self) -> None:
        """Have the next server take what earlier ones left, also where the S3 server's port has changed since.

        A server leaves alone what another brought to another address with success. But here it is the same bucket, and
        there is no other. To be called while no other demo uses the directory.
        """
        with self.usable():
            for directory in instance_directories(self.outbox) if self.outbox.is_dir() else ():
                (directory / DELIVERED_FILE).unlink(missing_ok=True)

    @contextlib.contextmanager
    def usable(self) -> Iterator[None]:
        """Make an error of the disk one that says what to do about the directory."""
        try:
            yield
        except OSError as e:
            where = f"{e.filename}: " if e.filename not in (None, str(self.base)) else ""
            why = "it is a file" if self.base.is_file() else f"{where}{e.strerror or e}"
            raise SettingsError(
                f"The demo cannot keep its data in {self.base}: {why}.",
                "Choose a directory of your own, or one that is not there yet, with --directory.",
            ) from e
