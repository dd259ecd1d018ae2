"""What a save costs with other projects that bring notebooks to S3, against the default manager of their own server.

s3contents keeps notebooks in the bucket and nowhere else: its save returns once the store has answered. bookstore 2.5.1
sends the notebook to the bucket after the save, and runs on Notebook 6.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import CannotInstall, make, release
from benchmarks.figures import Figure, estimated, not_measured
from benchmarks.samples import ratio
from benchmarks.scene import Saves, Scene, milliseconds, save_in_turns
from ci.jupyter_process import JupyterProcess

NAME = "others"

#: Name, bytes of the notebook, and how often it is saved.
SIZES = [("20 kB", 20_000, 24), ("200 kB", 200_000, 16), ("2 MB", 2_000_000, 10), ("20 MB", 20_000_000, 5)]

#: The last release of bookstore 2 runs with these: it asks aiobotocore 1 for its session, and derives from a manager
#: that Notebook 7 does not have.
BOOKSTORE_2 = ("bookstore==2.5.1", "notebook<7", "aiobotocore<2")

S3CONTENTS = ("s3contents", "jupyter_server")


#: None of the bookstore that is imported here.
_NO_PATH = {"PYTHONPATH": ""}


class CannotStart(RuntimeError):
    """A server of another project does not start here; the message says why, in one line."""


class OtherJupyter(JupyterProcess):
    """A server that may not start, which is no fault of this project."""

    def start(self) -> JupyterProcess:
        """Start and wait until it answers."""
        try:
            return super().start()
        except RuntimeError as e:
            raise CannotStart(str(e).strip().splitlines()[-1]) from e


class Notebook6(OtherJupyter):
    """Notebook 6, which has no Jupyter Server under it and other names for the same options."""

    def _launch(self) -> None:
        command = [
            self._python,
            "-m",
            "notebook",
            "--no-browser",
            "--allow-root",
            f"--NotebookApp.port={self.port}",
            "--NotebookApp.port_retries=0",
            f"--NotebookApp.notebook_dir={self.root}",
            f"--NotebookApp.token={self.token}",
            *self._arguments,
        ]
        self._log = self.log.open("ab")
        self.process = subprocess.Popen(  # noqa: S603 - our own server
            command,
            env=self.environment,
            cwd=self.root,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )


@dataclass(frozen=True)
class Contender:
    """One way of bringing notebooks to S3.

    Attributes
    ----------
    name : str
        With its release.
    server : JupyterProcess
    plain_name : str
        The server without it, with its release.
    plain : JupyterProcess
    bucket : str
        Where notebooks go.
    """

    name: str
    server: JupyterProcess
    plain_name: str
    plain: JupyterProcess
    bucket: str


def measure(scene: Scene) -> Iterator[Figure]:
    """Save in turns with whatever can be installed here."""
    bucket = scene.bucket()
    with scene.pair("both", bucket=bucket) as pair, scene.place("others") as place, ExitStack() as stack:
        contenders = [Contender("bookstore (this release)", pair.ours, "Jupyter Server", pair.plain, bucket)]
        for make_one in () if scene.effort.quick else (_s3contents, _bookstore_2):
            try:
                contender = make_one(scene, place, pair.plain)
                for server in (contender.plain, contender.server):
                    if server.process is None:
                        stack.enter_context(server)
            except (CannotInstall, CannotStart) as e:
                yield not_measured(NAME, f"save with {make_one.__name__.strip('_')}", str(e))
            else:
                contenders.append(contender)
        servers = {one.name: one.server for one in contenders} | {one.plain_name: one.plain for one in contenders}
        sizes = SIZES[:1] if scene.effort.quick else SIZES
        for label, size, count in sizes:
            seen = save_in_turns(servers, f"size-{size}.ipynb", size, count, scene.effort)
            yield from (_figure(label, one, seen) for one in contenders)
        if not scene.effort.quick:
            _require_notebooks(scene, contenders)


def _figure(label: str, contender: Contender, seen: Mapping[str, Saves]) -> Figure:
    ours, plain = seen[contender.name].seconds, seen[contender.plain_name].seconds
    return estimated(
        NAME,
        f"save of {label}, p50, {contender.name}, against the default manager of {contender.plain_name}",
        ratio(ours, plain),
        n=len(ours),
        beside={"default ms": milliseconds(plain), "archiving ms": milliseconds(ours)},
    )


def _require_notebooks(scene: Scene, contenders: list[Contender]) -> None:
    """See that every bucket got notebooks: one that is not written to would make a fast save."""
    with scene.store.client() as client:
        for one in contenders:
            found = client.list_objects_v2(Bucket=one.bucket)["KeyCount"]
            assert found, f"nothing of {one.name} arrived, so its figure means nothing"


def _s3contents(scene: Scene, place: Path, jupyter_server: JupyterProcess) -> Contender:
    python = make((scene.effort.environments or place) / "s3contents", S3CONTENTS, like_here=True)
    bucket = scene.bucket()
    config = _lines(
        {
            "ServerApp.contents_manager_class": "s3contents.S3ContentsManager",
            "S3ContentsManager.bucket": bucket,
            "S3ContentsManager.endpoint_url": scene.store.endpoint_url,
            "S3ContentsManager.access_key_id": scene.store.access_key_id,
            "S3ContentsManager.secret_access_key": scene.store.secret_access_key,
        }
    )
    server = OtherJupyter(
        place / "s3contents",
        environment=_NO_PATH,
        python=str(python),
        enabled=False,
        config={"jupyter_server_config.py": config},
    )
    return Contender(f"s3contents {release(python, 's3contents')}", server, "Jupyter Server", jupyter_server, bucket)


def _bookstore_2(scene: Scene, place: Path, _: JupyterProcess) -> Contender:
    python = make((scene.effort.environments or place) / "bookstore-2", BOOKSTORE_2)
    bucket = scene.bucket()
    config = _lines(
        {
            "NotebookApp.contents_manager_class": "bookstore.BookstoreContentsArchiver",
            "BookstoreSettings.s3_bucket": bucket,
            "BookstoreSettings.s3_endpoint_url": scene.store.endpoint_url,
            "BookstoreSettings.s3_access_key_id": scene.store.access_key_id,
            "BookstoreSettings.s3_secret_access_key": scene.store.secret_access_key,
        }
    )
    plain, ours = (
        Notebook6(place / name, environment=_NO_PATH, python=str(python), config={"jupyter_notebook_config.py": lines})
        for name, lines in (("notebook-6", ""), ("bookstore-2", config))
    )
    name = f"bookstore 2.5.1 with aiobotocore {release(python, 'aiobotocore')}"
    return Contender(name, ours, f"Notebook {release(python, 'notebook')}", plain, bucket)


def _lines(settings: Mapping[str, str]) -> str:
    return "".join(f"c.{name} = {value!r}\n" for name, value in settings.items())
