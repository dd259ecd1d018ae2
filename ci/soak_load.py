"""The clients of a soak: people who save, upload, rename, copy, delete, look back, restore and publish over HTTP.

What they do is drawn from the seed; what comes of it is noted in a `ci.soak_ledger.Ledger`. Paths are of one client
each, so that it knows what they hold, but for one hot path that all of them save.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import nbformat

from ci.jupyter_process import JupyterProcess, Response, contents_url, notebook
from ci.soak_ledger import Ledger

#: Bytes of what is saved, and how often each size is drawn: 360 kB on average.
SIZES: Final = (20_000, 200_000, 1_000_000, 4_000_000)
SIZE_WEIGHTS: Final = (60, 25, 10, 5)


#: Bytes of one output of a notebook, and of one part of a chunked upload.
OUTPUT_SIZE: Final = 500_000
CHUNK_SIZE: Final = 400_000

#: Who saves, and who looks back.
SAVERS: Final = ("ann", "ben", "cat", "dan")
HISTORIANS: Final = ("ida",)

#: The path that all save at the same time.
HOT_PATH: Final = "hot.ipynb"

#: Paths that a client saves again and again, and new ones that it keeps before it deletes the oldest.
PATHS: Final = 30
FRESH_KEPT: Final = 20

#: Answers that tell of trouble with the store, which only those may get who ask the store for something.
TROUBLE: Final = frozenset({403, 404, 409, 429, 502, 503, 504})

#: Seconds after which an answer counts as never coming.
PATIENCE: Final = 180.0


@dataclass(frozen=True)
class Content:
    """Bytes as they are on disk once they are saved, and the model that is sent."""

    model: dict[str, Any]
    data: bytes

    @property
    def sha256(self) -> str:
        """Of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


def notebook_content(rng: random.Random, name: str, size: int) -> Content:
    """A notebook that nobody else saves: some code, and pictures as outputs where it is large."""
    document = notebook("\n".join(f"value_{n} = {rng.getrandbits(64)}" for n in range(min(size, 20_000) // 40)))
    document["metadata"]["save"] = name
    left = size - 20_000
    while left > 0:
        picture = base64.b64encode(rng.randbytes(min(left, OUTPUT_SIZE) * 3 // 4)).decode()
        document["cells"][0]["outputs"].append(
            {"output_type": "display_data", "metadata": {}, "data": {"image/png": picture}}
        )
        left -= OUTPUT_SIZE
    text: str = nbformat.writes(  # type: ignore[no-untyped-call]
        nbformat.from_dict(document),  # type: ignore[no-untyped-call]
        version=nbformat.NO_CONVERT,
    )
    data = text.encode() if text.endswith("\n") else f"{text}\n".encode()
    return Content({"type": "notebook", "format": "json", "content": document}, data)


def file_content(rng: random.Random, name: str, size: int) -> Content:
    """A text, or something binary."""
    if rng.random() < 0.5:
        text = f"{name} ä\n" + f"{rng.getrandbits(256):064x}\n" * (size // 65)
        return Content({"type": "file", "format": "text", "content": text}, text.encode())
    data = name.encode() + rng.randbytes(size)
    return Content({"type": "file", "format": "base64", "content": base64.b64encode(data).decode()}, data)


class Weather:
    """Whether the store, or what it still has to catch up on, may excuse an error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_bad = False
        self._cleared = float("-inf")

    def worsen(self) -> None:
        """A fault begins."""
        with self._lock:
            self._is_bad = True

    def clear(self) -> None:
        """The fault is over, and all that waited has arrived."""
        with self._lock:
            self._is_bad, self._cleared = False, time.monotonic()

    def was_bad_since(self, moment: float) -> bool:
        """Whether a fault was felt at any time since then."""
        with self._lock:
            return self._is_bad or self._cleared >= moment


class Gate:
    """Lets clients work, or has them pause until nothing is under way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_open = self._is_over = False
        self._busy = 0

    def open(self) -> None:
        """Let them work."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def close(self) -> None:
        """Have them pause; returns once nothing is under way."""
        with self._changed:
            self._is_open = False
            self._changed.wait_for(lambda: not self._busy)

    def end(self) -> None:
        """Have them go."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def enter(self, gap: float) -> bool:
        """Wait some seconds and until the gate is open; False once all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over, gap)
            self._changed.wait_for(lambda: self._is_open or self._is_over)
            if self._is_over:
                return False
            self._busy += 1
            return True

    def leave(self) -> None:
        """What was begun is done."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()


class Client:
    """One person.

    Parameters
    ----------
    name : str
    jupyter : JupyterProcess
    ledger : Ledger
    weather : Weather
    rng : random.Random
        What this person does.
    control : JupyterProcess, optional
        A server without archiving that gets the same saves.
    """

    def __init__(
        self,
        name: str,
        jupyter: JupyterProcess,
        ledger: Ledger,
        weather: Weather,
        rng: random.Random,
        control: JupyterProcess | None = None,
    ) -> None:
        self.name = name
        self.rng = rng
        self._jupyter = jupyter
        self._control = control
        self._ledger = ledger
        self._weather = weather
        self._number = 0
        #: What each of this person's files holds: hash and size.
        self.files: dict[str, tuple[str, int]] = {}
        for server in (jupyter, control):
            if server is not None:
                (server.root / name / "folder").mkdir(parents=True, exist_ok=True)

    #: What this person does, and how often each; the names are those of methods.
    work: tuple[tuple[str, int], ...] = ()

    def do_something(self) -> None:
        """Do one thing."""
        names, weights = zip(*self.work, strict=True)
        getattr(self, f"do_{self.rng.choices(names, weights)[0]}")()

    # -- saving ----------------------------------------------------------------------------------------------------

    def do_save(self) -> None:
        """Save one of some notebooks."""
        self._save(f"{self.name}/n {self.rng.randrange(PATHS)}.ipynb", self._notebook())

    def _next_name(self) -> str:
        self._number += 1
        return f"{self.name} {self._number}"

    def _notebook(self, size: int = 0) -> Content:
        chosen = size or self.rng.choices(SIZES, SIZE_WEIGHTS)[0]
        return notebook_content(self.rng, self._next_name(), chosen)

    def _save(self, path: str, content: Content) -> None:
        event = self._ledger.send(key_of(path), content.sha256, len(content.data))
        if self._contents("PUT", path, content.model):
            self._ledger.answer(event)
            self.files[path] = content.sha256, len(content.data)

    def _contents(self, method: str, path: str, body: object = None) -> Any:
        """Ask something of the contents interface, which has to succeed whatever ails the store."""
        if self._control is not None:
            self._ask(self._control, method, contents_url(path), body)
        answer = self._ask(self._jupyter, method, contents_url(path), body)
        if not 200 <= answer.status < 300:
            self._ledger.refuse(f"{method} {path} by {self.name}: {answer.status} {answer.body[:300]!r}")
            return None
        return json.loads(answer.body) if answer.body else True

    def _ask(self, server: JupyterProcess, method: str, url: str, body: object = None) -> Response:
        try:
            return server.request(method, url, body, timeout=PATIENCE)
        except (OSError, http.client.HTTPException) as e:
            return Response(0, {}, repr(e).encode())

    # -- asking bookstore ------------------------------------------------------------------------------------------

    def _bookstore(self, method: str, route: str, path: str = "", body: object = None, **query: str) -> Response | None:
        """Ask bookstore something that needs the store; None where that is in trouble."""
        url = f"/api/bookstore/{route}" + (f"/{quote(path)}" if path else "")
        begun = time.monotonic()
        answer = self._ask(self._jupyter, method, f"{url}?{urlencode(query)}" if query else url, body)
        if 200 <= answer.status < 300:
            self._ledger.count(f"{method} {route}")
            return answer
        self._ledger.count("excused")
        if answer.status not in TROUBLE or not self._weather.was_bad_since(begun):
            self._ledger.refuse(f"{method} {route} {path} by {self.name}: {answer.status} {answer.body[:300]!r}")
        return None


class Saver(Client):
    """Somebody who works with files."""

    work = (
        ("save", 40),
        ("save_hot", 14),
        ("save_file", 8),
        ("upload_in_chunks", 5),
        ("save_fresh", 10),
        ("read", 8),
        ("rename", 4),
        ("rename_folder", 2),
        ("copy_folder", 3),
        ("copy", 3),
        ("delete", 3),
    )

    def do_save_hot(self) -> None:
        """Save what all save."""
        content = self._notebook(self.rng.choice(SIZES[:2]))
        event = self._ledger.send(key_of(HOT_PATH), content.sha256, len(content.data))
        if self._contents("PUT", HOT_PATH, content.model):
            self._ledger.answer(event)

    def do_save_file(self) -> None:
        """Save a text or upload something binary."""
        content = file_content(self.rng, self._next_name(), self.rng.choice(SIZES[:3]))
        suffix = "txt" if content.model["format"] == "text" else "bin"
        self._save(f"{self.name}/file {self.rng.randrange(PATHS // 4)}.{suffix}", content)

    def do_upload_in_chunks(self) -> None:
        """Upload something large, as JupyterLab does."""
        suffix = self.rng.choice(["bin", "ipynb"])
        size = self.rng.choice([1_000_000, 2_000_000])
        name = self._next_name()
        data = self._notebook(size).data if suffix == "ipynb" else name.encode() + self.rng.randbytes(size)
        path = f"{self.name}/upload {self.rng.randrange(3)}.{suffix}"
        event = self._ledger.send(key_of(path), hashlib.sha256(data).hexdigest(), len(data))
        starts = range(0, len(data), CHUNK_SIZE)
        for number, start in enumerate(starts, 1):
            text = base64.b64encode(data[start : start + CHUNK_SIZE]).decode()
            chunk = -1 if number == len(starts) else number
            if not self._contents("PUT", path, {"type": "file", "format": "base64", "content": text, "chunk": chunk}):
                return
        self._ledger.answer(event)
        self.files[path] = event.sha256, event.size

    def do_save_fresh(self) -> None:
        """Save a notebook that is new, and delete the oldest of those."""
        fresh = [path for path in self.files if path.startswith(f"{self.name}/fresh ")]
        if len(fresh) >= FRESH_KEPT:
            self._delete(fresh[0])
        self._save(f"{self.name}/fresh {self._number + 1}.ipynb", self._notebook(SIZES[0]))

    def do_read(self) -> None:
        """Open a file."""
        if self.files and self._contents("GET", self.rng.choice(list(self.files))):
            self._ledger.count("read")

    def do_rename(self) -> None:
        """Give a file its other name."""
        path = self._one_of_mine()
        if path is None:
            return
        stem, _, suffix = path.rpartition(".")
        new = f"{stem.removesuffix(' ä')}.{suffix}" if stem.endswith(" ä") else f"{stem} ä.{suffix}"
        if new in self.files:
            self._delete(new)
        self._rename({path: new}, path, new)

    def do_rename_folder(self) -> None:
        """Give the folder its other name."""
        old = self._folder()
        if not self._in(old):
            self._save_inside(old)
        new = f"{self.name}/{'moved ü' if old.endswith('folder') else 'folder'}"
        self._rename({path: new + path[len(old) :] for path in self._in(old)}, old, new)

    def _rename(self, moved: dict[str, str], old: str, new: str) -> None:
        events = [self._ledger.send(key_of(to), *self.files[path], "rename") for path, to in moved.items()]
        if self._contents("PATCH", old, {"path": new}):
            self._ledger.answer(*events)
            for path, to in moved.items():
                self.files[to] = self.files.pop(path)

    def do_copy_folder(self) -> None:
        """Copy the folder, or delete the copy."""
        folder = self._folder()
        copy = f"{folder}-Copy1"
        if self._in(copy):
            if self._contents("DELETE", copy):
                self._ledger.count("delete")
                for path in self._in(copy):
                    del self.files[path]
            return
        self._save_inside(folder)
        copied = {path: copy + path[len(folder) :] for path in self._in(folder)}
        events = [self._ledger.send(key_of(to), *self.files[path], "copy") for path, to in copied.items()]
        answer = self._contents("POST", self.name, {"copy_from": folder})
        if answer and answer["path"] == copy:
            self._ledger.answer(*events)
            self.files.update({to: self.files[path] for path, to in copied.items()})
        elif answer:
            self._ledger.refuse(f"the copy of {folder} is {answer['path']}, not {copy}")

    def _save_inside(self, folder: str) -> None:
        self._save(f"{folder}/inside {self.rng.randrange(4)}.ipynb", self._notebook(SIZES[0]))

    def do_copy(self) -> None:
        """Copy a notebook, and delete the copy."""
        path = self._one_of_mine(".ipynb")
        if path is None:
            return
        copy = path.replace(".ipynb", "-Copy1.ipynb")
        # Jupyter reads it and saves it, so the copy's bytes are those of the notebook where that was saved by Jupyter.
        event = self._ledger.send(key_of(copy), *self.files[path], "copy")
        answer = self._contents("POST", self.name, {"copy_from": path})
        if not answer:
            return
        if answer["path"] == copy:
            self._ledger.answer(event)
        else:
            self._ledger.refuse(f"the copy of {path} is {answer['path']}, not {copy}")
        self._contents("DELETE", answer["path"])

    def do_delete(self) -> None:
        """Delete a file."""
        path = self._one_of_mine()
        if path is not None:
            self._delete(path)

    def _delete(self, path: str) -> None:
        if self._contents("DELETE", path):
            self._ledger.count("delete")
            del self.files[path]

    def _one_of_mine(self, suffix: str = "") -> str | None:
        """A file that lies in no folder."""
        mine = [path for path in self.files if path.count("/") == 1 and path.endswith(suffix)]
        return self.rng.choice(mine) if mine else None

    def _folder(self) -> str:
        moved = f"{self.name}/moved ü"
        return moved if self._in(moved) else f"{self.name}/folder"

    def _in(self, folder: str) -> list[str]:
        return [path for path in self.files if path.startswith(f"{folder}/")]


class Historian(Client):
    """Somebody who looks back: histories, contents, comparisons, labels, restores, publications."""

    work = (
        ("save", 20),
        ("look_back", 20),
        ("read_version", 15),
        ("compare", 8),
        ("label", 10),
        ("restore", 10),
        ("publish", 8),
        ("list_published", 4),
        ("ask_state", 5),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: What was said about versions, by path and version, where it was acknowledged; None where that is not known.
        self.names: dict[tuple[str, str], str | None] = {}

    def do_save(self) -> None:
        """Save one of few notebooks, so that histories grow long."""
        self._save(f"{self.name}/h {self.rng.randrange(6)}.ipynb", self._notebook(self.rng.choice(SIZES[:2])))

    def _history(self) -> tuple[str, list[dict[str, Any]]]:
        if not self.files:
            return "", []
        path = self.rng.choice(list(self.files))
        answer = self._bookstore("GET", "versions", path, limit=str(self.rng.choice([5, 20, 100])))
        return path, answer.json()["versions"] if answer is not None else []

    def do_look_back(self) -> None:
        """See a history."""
        self._history()

    def do_read_version(self) -> None:
        """Read a version: its bytes are those that its hash tells."""
        path, versions = self._history()
        if not versions:
            return
        version = self.rng.choice(versions)
        answer = self._bookstore("GET", "content", path, version_id=version["version_id"])
        if answer is not None and hashlib.sha256(answer.body).hexdigest() != version["sha256"]:
            self._ledger.refuse(f"version {version['version_id']} of {path} reads as other bytes")

    def do_compare(self) -> None:
        """Compare two versions."""
        path, versions = self._history()
        if len(versions) > 1:
            before, after = versions[-1]["version_id"], versions[0]["version_id"]
            self._bookstore("GET", "diff", path, before=before, after=after)

    def do_label(self) -> None:
        """Name a version."""
        path, versions = self._history()
        if not versions:
            return
        version_id, name = self.rng.choice(versions)["version_id"], self._next_name()
        body = {"version_id": version_id, "name": name, "pinned": self.rng.random() < 0.3}
        self.names[path, version_id] = None
        if self._bookstore("PATCH", "label", path, body) is not None:
            self.names[path, version_id] = name

    def do_restore(self) -> None:
        """Bring a version back."""
        path, versions = self._history()
        if not versions:
            return
        version = self.rng.choice(versions)
        chosen = version["sha256"], version["size"]
        # What the file holds is archived first, where no version has it.
        self._ledger.send(key_of(path), *self.files[path], "archive")
        event = self._ledger.send(key_of(path), *chosen, "restore")
        body = {"version_id": version["version_id"], "force": True}
        if self._bookstore("POST", "restore", path, body) is not None:
            self._ledger.answer(event)
        content = self._jupyter.on_disk(path)
        self.files[path] = hashlib.sha256(content).hexdigest(), len(content)
        if event.acknowledged and self.files[path] != chosen:
            self._ledger.refuse(f"{path} was restored and holds other bytes")

    def do_publish(self) -> None:
        """Publish a notebook as it is."""
        if not self.files:
            return
        path = self.rng.choice(list(self.files))
        self._ledger.send(key_of(path), *self.files[path], "archive")
        event = self._ledger.send(key_of(path, "published"), *self.files[path], "publish")
        if self._bookstore("PUT", "publish", path) is not None:
            self._ledger.answer(event)

    def do_list_published(self) -> None:
        """See what is published."""
        self._bookstore("GET", "published")

    def do_ask_state(self) -> None:
        """Ask for the state, as the browser does, and for Jupyter's metrics."""
        self._bookstore("GET", "status")
        self._ask(self._jupyter, "GET", "/metrics")


def key_of(path: str, prefix: str = "workspace") -> str:
    """Where a path's versions are."""
    return f"{prefix}/{path}"


class Load:
    """All clients, each in a thread of its own.

    Parameters
    ----------
    jupyter : JupyterProcess
    ledger : Ledger
    weather : Weather
    seed : int
    rate : float
        Pieces of work per second, of all clients together.
    control : JupyterProcess, optional
        As for `Client`.
    """

    def __init__(
        self,
        jupyter: JupyterProcess,
        ledger: Ledger,
        weather: Weather,
        *,
        seed: int,
        rate: float,
        control: JupyterProcess | None = None,
    ) -> None:
        self.gate = Gate()
        self._ledger = ledger
        makers: Sequence[tuple[str, Callable[..., Client]]] = [
            *((name, Saver) for name in SAVERS),
            *((name, Historian) for name in HISTORIANS),
        ]
        # No secret: chance that can be repeated.
        self.clients = [
            make(name, jupyter, ledger, weather, random.Random(f"{seed}/{name}"), control)  # noqa: S311
            for name, make in makers
        ]
        self._gap = len(self.clients) / rate
        self._threads = [
            threading.Thread(target=self._work, args=(client,), name=client.name, daemon=True)
            for client in self.clients
        ]

    @property
    def names(self) -> dict[tuple[str, str], str]:
        """What was said about versions and acknowledged, by path and version."""
        books = [client.names for client in self.clients if isinstance(client, Historian)]
        return {version: name for book in books for version, name in book.items() if name is not None}

    def start(self) -> None:
        """Let them come; they work while the gate is open."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Have them go, and wait for them."""
        self.gate.end()
        for thread in self._threads:
            thread.join()

    def _work(self, client: Client) -> None:
        begun = time.monotonic()
        while self.gate.enter(max(0.0, self._gap * client.rng.uniform(0.5, 1.5) - (time.monotonic() - begun))):
            begun = time.monotonic()
            try:
                client.do_something()
            except Exception as e:  # noqa: BLE001 - whatever it is, it is told in the end and the others go on
                self._ledger.refuse(f"{client.name} met {e!r}")
            finally:
                self.gate.leave()
