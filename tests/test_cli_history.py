"""The life of a notebook on the command line: with this machine's settings, and through a running server."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import io
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from bookstore.cli import main
from bookstore.cli.arguments import UsageError
from bookstore.cli.clone import parse_address
from bookstore.cli.places import Place, api_path
from bookstore.cli.schedule import given_parameters, parameter_value
from bookstore.cli.version_names import find_version, shown_ids
from bookstore.errors import CredentialsRejected
from bookstore.provenance import Provenance, from_metadata, to_metadata
from bookstore.results import Label, Version
from bookstore.storage.memory import MemoryStore
from bookstore.versions import Versions
from ci.bucket import Bucket
from ci.command_line import CommandLine, Ran
from ci.jupyter_process import JupyterProcess, notebook

_SEQUENCE = count(1)
_NAMES = count(1)


@dataclass(frozen=True)
class Desk:
    """A command line, and what it works on."""

    cli: CommandLine
    bucket: Bucket
    jupyter: JupyterProcess | None

    def name(self) -> str:
        """A path that no other test uses."""
        return f"notebook-{next(_NAMES)}.ipynb"

    def seed(self, path: str, *texts: str, on_disk: bool = True, **provenance: str) -> list[str]:
        """Versions of a notebook as saves leave them, and the file; their version ids, oldest first."""
        return [self.put(path, as_bytes(text), on_disk=on_disk and text == texts[-1], **provenance) for text in texts]

    def put(self, path: str, content: bytes, *, on_disk: bool, **provenance: str) -> str:
        number = next(_SEQUENCE)
        metadata = to_metadata(
            Provenance(
                record_id=f"record-{number}",
                sha256=hashlib.sha256(content).hexdigest(),
                saved_at=time.time(),
                sequence=number,
                **{"user": "ada", "host": "here", "root_dir": "/home/ada", "instance": "i", **provenance},
            )
        )
        if on_disk:
            file = self.cli.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        with self.bucket.server.client() as client:
            answer = client.put_object(
                Bucket=self.bucket.name, Key=f"workspace/{path}", Body=content, Metadata=metadata
            )
        return str(answer["VersionId"])

    def versions(self, path: str) -> list[dict]:
        return self.run("versions", path, "--all", "--json").json()["versions"]

    def run(self, *args: str, cwd: Path | None = None, **environment: str) -> Ran:
        """Run a command to its end; in this process, which spares the seconds that importing everything takes."""
        wanted = {**self.cli.environment, **environment}
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        with (
            pytest.MonkeyPatch.context() as patch,
            Path(os.devnull).open() as nothing,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            for name in os.environ.keys() - wanted.keys():
                patch.delenv(name)
            for name, value in wanted.items():
                patch.setenv(name, value)
            patch.setattr("sys.stdin", nothing)
            patch.chdir(cwd or self.cli.root)
            code = main(list(args))
        for stream in (out, err):
            stream.flush()
        ran = Ran(code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())
        assert "Traceback" not in ran.err
        assert "nobody foresaw" not in ran.err
        return ran


def as_bytes(text: str) -> bytes:
    return (json.dumps(notebook(text, cells=2), indent=1) + "\n").encode()


def at_terminal(desk: Desk, columns: int, *args: str) -> str:
    """What a command prints at a terminal of this width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        desk.cli.command(*args),
        cwd=desk.cli.root,
        env={**desk.cli.environment, "TERM": "xterm", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=subprocess.DEVNULL,
    )
    os.close(follower)
    told = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux: nobody holds the other side any more
            break
        if not piece:
            break
        told += piece
    os.close(leader)
    assert process.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", told.decode()).replace("\r", "")


@pytest.fixture(scope="module", params=["local", "remote"])
def desk(request, moto, tmp_path_factory) -> Iterator[Desk]:
    """The same commands with this machine's settings, and where only a running server knows the bucket."""
    home = tmp_path_factory.mktemp(request.param)
    bucket = Bucket(moto, moto.create_bucket(f"cli-history-{request.param}"))
    if request.param == "local":
        config = home / "config"
        config.mkdir()
        (config / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": {"root_dir": str(home / "root")}}))
        yield Desk(CommandLine(home, bucket.environment), bucket, None)
        return
    shared = home / "shared"
    shared.mkdir()
    environment = {**bucket.environment}
    arguments = [f"--BookstoreSettings.fs_cloning_basedir={shared}"]
    with JupyterProcess(home, environment=environment, base_url="/user/ada/", arguments=arguments) as jupyter:
        yield Desk(CommandLine(home), bucket, jupyter)


def test_the_versions_of_a_file_are_listed_with_who_when_and_why(desk):
    path = desk.name()
    ids = desk.seed(path, "one", "two", "two")
    ran = desk.run("versions", path)
    assert ran.code == 0
    lines = [line for line in ran.out.splitlines() if line.lstrip().startswith("latest")]
    assert [line.split()[0] for line in lines] == ["latest", "latest~1", "latest~2"]
    for line, version_id in zip(lines, reversed(ids), strict=True):
        assert version_id in line
        assert "ada" in line
        assert " save" in line
        assert time.strftime("%Y-%m-%d") in line
    assert [" = " in line for line in lines] == [True, False, False]
    document = desk.run("versions", path, "-n", "2", "--json").json()
    assert [version["version_id"] for version in document["versions"]] == ids[:0:-1]
    assert [version["number"] for version in document["versions"]] == [0, 1]
    assert document["more"] is True
    assert f"the newest 2 versions of {path}; --all shows the rest" in desk.run("versions", path, "-n", "2").out
    assert f"the newest version of {path}; --all" in desk.run("versions", path, "-n", "1").out


def test_a_history_shows_deletions_earlier_names_and_origins(desk):
    before, path = desk.name(), desk.name()
    desk.seed(before, "one", on_disk=False)
    desk.seed(
        path, "one", "two", reason="rename", previous_key=f"workspace/{before}", host="there", root_dir="/home/bob"
    )
    with desk.bucket.server.client() as client:
        client.delete_object(Bucket=desk.bucket.name, Key=f"workspace/{path}")
    ran = desk.run("versions", path)
    rows = ran.out.splitlines()[4:]
    assert "deleted" in rows[0]
    assert "latest" not in rows[0]
    assert f"rename from {before}" in rows[1]
    (earlier,) = [row for row in rows if f" {before} " in row and "latest~2" in row]
    assert "here:/home/ada" in earlier
    assert "there:/home/bob" in rows[1]
    assert desk.run("show", path, "latest~2").out == as_bytes("one").decode()


@pytest.mark.parametrize("columns", [80, 100])
def test_at_a_terminal_ids_are_short_and_whole_where_they_are_asked_for(desk, columns):
    path = desk.name()
    ids = desk.seed(path, "one", "two", "three", "four")
    assert desk.run("restore", path, ids[0], "--yes").code == 0
    ids = [version["version_id"] for version in desk.versions(path)]
    told = at_terminal(desk, columns, "versions", path)
    assert max(map(len, told.splitlines())) <= columns
    rows = [line for line in told.splitlines() if line.lstrip().startswith("latest")]
    found = [re.search(rf"{version_id[:8]}[^ ]*", row) for row, version_id in zip(rows, ids, strict=True)]
    shown = [match[0] for match in found if match is not None]
    assert len({len(short) for short in shown}) == 1
    assert all(version_id.startswith(short) for short, version_id in zip(shown, ids, strict=True))
    assert ids[0] not in told
    assert told.count(shown[-1]) == 2, "why tells it too"
    assert desk.run("show", path, shown[-1]).out == as_bytes("one").decode()
    for line, version_id in zip(
        [line for line in at_terminal(desk, columns, "versions", path, "--long").splitlines() if "latest" in line],
        ids,
        strict=True,
    ):
        assert f" {version_id} " in line


def test_what_is_no_terminal_gets_whole_ids_and_no_line_is_broken(desk):
    path = "/".join(["a-directory-with-a-long-name"] * 4) + f"/{desk.name()}"
    before = desk.name()
    desk.seed(before, "one", on_disk=False)
    ids = desk.seed(path, "one", reason="rename", previous_key=f"workspace/{before}")
    ran = desk.run("versions", path, COLUMNS="80")
    (line,) = [line for line in ran.out.splitlines() if line.lstrip().startswith("latest ")]
    assert ids[0] in line
    assert path in line


def test_a_file_without_versions_is_told(desk):
    ran = desk.run("versions", "never.ipynb", "--json")
    assert ran.code == 1
    assert ran.json()["error"]["code"] == "ObjectMissing"
    made = desk.name()
    (desk.cli.root / made).write_text("not saved in Jupyter")
    for command in (["versions"], ["show"], ["diff"], ["show", "~1"], ["restore", "some-label", "--yes"]):
        name, *rest = command
        gone, there = (desk.run(name, path, *rest) for path in ("never.ipynb", made))
        assert gone.code == there.code == (2 if name == "diff" else 1)
        assert f"no such file in {desk.cli.root}" in gone.err
        assert "archive_globs" in there.err
        assert "bookstore versions" not in gone.err + there.err


def test_a_directory_is_no_file_with_versions(desk):
    path = desk.name()
    desk.seed(f"folder/{path}", "one")
    for command in (["versions"], ["show"]):
        ran = desk.run(*command, "folder")
        assert ran.code == 1
        assert "'folder' is a directory" in ran.err
        assert desk.run(*command, ".").code == 2


def test_a_path_is_relative_to_a_root_that_is_named(desk, tmp_path):
    name = desk.name()
    ids = desk.seed(f"named/{name}", "one", "two")
    for root, given in ((desk.cli.root, f"named/{name}"), (desk.cli.root / "named", name)):
        if desk.jupyter is None and root != desk.cli.root:
            continue  # without a server the directory itself is the root
        options = ["--root", str(root)]
        assert desk.run("versions", given, *options, "--json", cwd=tmp_path).json()["path"] == f"named/{name}"
        assert desk.run("restore", given, ids[0], "--yes", *options, cwd=tmp_path).code == 0
        assert (desk.cli.root / "named" / name).read_bytes() == as_bytes("one")
        ran = desk.run("versions", f"../../{given}", *options, cwd=tmp_path)
        assert ran.code == 2
        assert "outside the root directory" in ran.err
    if desk.jupyter is not None:
        options = ["--url", f"http://localhost:{desk.jupyter.port}/user/ada/"]
        assert desk.run("versions", f"named/{name}", *options, cwd=tmp_path).code == 0
    else:
        assert desk.run("verify", f"named/{name}", "--root", str(desk.cli.root), cwd=tmp_path).out.startswith("3 v")
    # What lies below the root from the current directory goes before.
    below = desk.cli.root / "named"
    assert desk.run("versions", name, "--root", str(desk.cli.root), cwd=below).code == 0


def test_a_version_is_shown_to_programs_with_its_details(desk):
    before, path = desk.name(), desk.name()
    old = desk.seed(before, "one", "two", "three", on_disk=False)
    ids = desk.seed(path, "three", "four", reason="rename", previous_key=f"workspace/{before}")
    for name, version_id, text in (("latest", ids[1], "four"), (ids[0], ids[0], "three"), ("~4", old[0], "one")):
        version = desk.run("show", path, name, "--json").json()["version"]
        assert version["version_id"] == version_id
        assert version["sha256"] == hashlib.sha256(as_bytes(text)).hexdigest()
        assert version["user"] == "ada"
        assert version["saved_at"]


def test_a_path_outside_the_root_is_refused_with_the_reason(desk):
    # Where a server runs, it is chosen by --root: no server holds the path itself.
    options = ["--root", str(desk.cli.root)] if desk.jupyter is not None else []
    ran = desk.run("versions", "../outside.ipynb", *options)
    assert ran.code == 2
    assert "outside the root directory" in ran.err
    assert "--root" in ran.err


def test_a_path_is_relative_to_the_current_directory(desk):
    name = desk.name()
    desk.seed(f"deep/er/{name}", "one")
    ran = desk.run("versions", f"er/{name}", "--json", cwd=desk.cli.root / "deep")
    assert ran.json()["path"] == f"deep/er/{name}"
    absolute = desk.cli.root / "deep" / "er" / name
    assert desk.run("show", str(absolute), "--root", str(desk.cli.root), cwd=desk.cli.home).code == 0


def test_a_version_is_found_by_id_its_beginning_label_and_number(desk):
    path = desk.name()
    ids = desk.seed(path, "one", "two", "three")
    assert desk.run("label", path, ids[0], "--name", "first").code == 0
    expected = {ids[0]: "one", ids[1][:8]: "two", "first": "one", "latest": "three", "~1": "two", "latest~2": "one"}
    for name, text in expected.items():
        assert desk.run("show", path, name).out == as_bytes(text).decode(), name
    for name, said in {
        "~3": "3 versions, so there is no latest~3",
        "none-such": "no version 'none-such'",
        ids[0][:3]: "4 characters",
        str(desk.cli.root): "write latest~N",
    }.items():
        ran = desk.run("show", path, name)
        assert (ran.code, ran.out) == (1, "")
        assert said in ran.err
    desk.run("label", path, ids[1], "--name", "first")
    ran = desk.run("show", path, "first")
    assert ran.code == 1
    assert ids[0] in ran.err
    assert ids[1] in ran.err
    assert "give an id" in ran.err


def test_bytes_are_shown_exactly_and_written_over_nothing(desk, tmp_path):
    path = desk.name()
    desk.seed(path, "one", "two")
    target = tmp_path / "out.ipynb"
    assert desk.run("show", path, "~1", "-o", str(target)).code == 0
    assert target.read_bytes() == as_bytes("one")
    target.write_text("mine")
    ran = desk.run("show", path, "-o", str(target))
    assert ran.code == 1
    assert "--force" in ran.err
    assert target.read_text() == "mine"
    assert desk.run("show", path, "-o", str(target), "--force").code == 0
    assert target.read_bytes() == as_bytes("two")
    assert list(tmp_path.iterdir()) == [target]
    document = desk.run("show", path, "--json").json()
    assert document["content"] == as_bytes("two").decode()


def test_altered_bytes_make_no_file(desk, tmp_path):
    path = desk.name()
    desk.seed(path, "one")
    metadata = desk.bucket.metadata(f"workspace/{path}")
    with desk.bucket.server.client() as client:
        client.put_object(Bucket=desk.bucket.name, Key=f"workspace/{path}", Body=b"other", Metadata=metadata)
    ran = desk.run("show", path, "-o", str(tmp_path / "out.ipynb"))
    assert ran.code == 1
    assert "SHA-256" in ran.err
    assert list(tmp_path.iterdir()) == []
    shown, restored = (
        desk.run("show", path, "--json").json(),
        desk.run("restore", path, "latest", "--yes", "--json").json(),
    )
    assert shown["error"] == restored["error"]
    assert "Do not use these bytes" in shown["error"]["hint"]
    assert "bookstore verify" in shown["error"]["hint"]


def test_a_diff_names_the_changed_cell_in_colour(desk):
    path = desk.name()
    desk.seed(path, "one", "two")
    changed = notebook("two", cells=2)
    changed["cells"][1]["source"] = "print('new')"
    (desk.cli.root / path).write_text(json.dumps(changed))
    ran = desk.run("diff", path, FORCE_COLOR="1")
    assert ran.code == 1
    assert "code cell 2 (id cell-1) changed: source" in ran.out
    assert "cell 1" not in ran.out
    assert "\x1b[32m+print('new')" in ran.out
    assert "\x1b[31m-two # 1" in ran.out
    plain = desk.run("diff", path, "latest~1", "latest")
    assert plain.code == 1
    assert "\x1b" not in plain.out
    assert "code cell 1 (id cell-0) changed: source" in plain.out
    document = desk.run("diff", path, "--json").json()
    assert [change["cell_id"] for change in document["cells"]] == ["cell-1"]


def test_a_diff_ends_with_0_for_the_same_and_2_for_trouble(desk):
    path = desk.name()
    desk.seed(path, "one", "two")
    same = desk.run("diff", path, "latest")
    assert (same.code, same.out, same.err) == (0, "", "")
    assert desk.run("diff", path, "~1", "~1").code == 0
    assert desk.run("diff", path, "none-such").code == 2
    assert desk.run("diff", "never.ipynb").code == 2


def test_a_restored_version_is_the_file_again_and_a_new_version(desk):
    path = desk.name()
    ids = desk.seed(path, "one", "two")
    ran = desk.run("restore", path, "~1")
    assert ran.code == 2
    assert "--yes" in ran.err
    ran = desk.run("restore", path, "~1", "--yes", "--json")
    assert ran.code == 0
    assert (desk.cli.root / path).read_bytes() == as_bytes("one")
    history = desk.versions(path)
    assert [version["version_id"] for version in history[1:]] == ids[::-1]
    assert history[0]["version_id"] == ran.json()["restored"]["archived"]["version_id"]
    assert (history[0]["reason"], history[0]["from_version"]) == ("restore", ids[0])
    other = desk.name()
    assert desk.run("restore", path, ids[1], "--to", other, "--yes").code == 0
    assert (desk.cli.root / other).read_bytes() == as_bytes("two")
    assert (desk.cli.root / path).read_bytes() == as_bytes("one")
    ran = desk.run("restore", path, ids[0], "--to", other, "--yes")
    assert f"{other} is replaced. What it holds is archived first" in ran.err


def test_unsaved_changes_on_disk_are_archived_before_they_are_restored_over(desk):
    path = desk.name()
    desk.seed(path, "one", "two")
    (desk.cli.root / path).write_bytes(as_bytes("never archived"))
    assert desk.run("restore", path, "~1", "--yes").code == 0
    assert desk.run("show", path, "~1").out == as_bytes("never archived").decode()


@pytest.mark.parametrize(("answer", "code", "text"), [("y\n", 0, "one"), ("\n", 1, "two")])
def test_a_restore_asks_at_a_terminal(desk, answer, code, text):
    path = desk.name()
    desk.seed(path, "one", "two")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        desk.cli.command("restore", path, "~1"),
        cwd=desk.cli.root,
        env=desk.cli.environment,
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(follower)
    os.write(leader, answer.encode())
    _, told = process.communicate(timeout=120)
    os.close(leader)
    assert f"Write it over {path}? [y/N]" in told.decode()
    assert process.returncode == code
    assert (desk.cli.root / path).read_bytes() == as_bytes(text)


def test_a_label_is_put_on_changed_and_taken_off(desk):
    path = desk.name()
    ids = desk.seed(path, "one", "two")
    tagged = {"Bucket": desk.bucket.name, "Key": f"workspace/{path}", "VersionId": ids[0]}
    foreign = {"Key": "team", "Value": "blue"}
    with desk.bucket.server.client() as client:
        client.put_object_tagging(**tagged, Tagging={"TagSet": [foreign]})
        assert desk.run("label", path, "latest~1", "--name", "draft", "--note", "of the paper", "--pin").code == 0
        tags = client.get_object_tagging(**tagged)["TagSet"]
    assert foreign in tags
    assert {"Key": "bookstore-pinned", "Value": "true"} in tags
    line = next(line for line in desk.run("versions", path).out.splitlines() if ids[0] in line)
    assert "draft (pinned) of the paper" in line
    listed = desk.run("versions", path, "--pinned")
    assert f"1 pinned version of {path}" in listed.out
    assert "latest" not in listed.out, "its place is not known"
    assert [line.split()[:1] for line in listed.out.splitlines() if ids[0] in line] == [[time.strftime("%Y-%m-%d")]]
    assert ids[1] not in listed.out
    document = desk.run("versions", path, "--pinned", "--json").json()
    assert [(one["version_id"], one["number"]) for one in document["versions"]] == [(ids[0], None)]
    assert document["versions"][0]["label"]["name"] == "draft"
    assert document["more"] is False
    assert desk.run("versions", path, "--pinned", "--all").code == 2
    assert "Name     draft" in desk.run("label", path, "draft", "--unpin").out
    nothing = desk.run("versions", path, "--pinned")
    assert (nothing.code, nothing.out) == (0, f"No version of {path} is pinned.\n")
    assert desk.run("versions", "never.ipynb", "--pinned").code == 1
    assert desk.versions(path)[1]["label"]["pinned"] is False
    document = desk.run("label", path, "draft", "--remove", "--json").json()
    assert not (document["version"]["label"] or {}).get("name")
    assert desk.run("show", path, "draft").code == 1
    assert desk.run("label", path, "latest").code == 2
    assert desk.run("label", path, "latest", "--remove", "--pin").code == 2


def test_publishing_lists_its_history_and_can_be_withdrawn(desk):
    path = desk.name()
    desk.seed(path, "one")
    ran = desk.run("publish", path, "--json")
    assert ran.code == 0
    item = ran.json()["item"]
    assert item["s3_path"] == f"s3://{desk.bucket.name}/published/{path}"
    assert desk.bucket.read(f"published/{path}") == as_bytes("one")
    (desk.cli.root / path).write_bytes(as_bytes("two"))
    assert desk.run("publish", path).code == 0
    assert path in desk.run("publish", "--list").out
    history = desk.run("publish", path, "--history")
    assert item["versionID"] in history.out
    assert "2 versions" in history.out
    assert desk.run("show", path, "~1", "--area", "published").out == as_bytes("one").decode()
    assert desk.run("publish", path, "--withdraw").code == 0
    listed = desk.run("publish", "--list", "--json").json()["items"]
    assert path not in [item["path"] for item in listed]
    again = desk.run("publish", path, "--withdraw")
    assert again.code == 1
    assert f"'{path}' is not published, or is no more" in again.err
    assert "bookstore publish --list" in again.err
    assert "HeadObject" not in again.err
    assert desk.run("publish").code == 2
    assert desk.run("publish", path, "--list").code == 2


def test_an_invalid_notebook_is_not_published(desk):
    path = desk.name()
    broken = notebook("one")
    del broken["cells"][0]["source"]
    (desk.cli.root / path).write_text(json.dumps(broken))
    ran = desk.run("publish", path, "--json")
    assert ran.code == 1
    assert ran.json()["error"]["code"] == "NotebookInvalid"
    (desk.cli.root / "text.txt").write_text("no notebook")
    assert desk.run("publish", "text.txt", "--json").json()["error"]["code"] == "NotANotebook"


def test_a_scheduled_copy_is_pinned_and_has_its_parameters_and_command(desk, tmp_path):
    path = desk.name()
    ids = desk.seed(path, "one", "two")
    file = tmp_path / "run.yaml"
    file.write_text("region: north\nyear: 2025\n")
    ran = desk.run("schedule", path, "--version", "latest~1", "--parameters", str(file), "-p", "year", "2026")
    assert ran.code == 0
    assert desk.bucket.read(f"scheduled/{path}") == as_bytes("one")
    command = shlex.split(ran.out.splitlines()[-1])
    assert command[0] == "papermill"
    assert command[1].startswith(f"bookstore://{desk.bucket.name}/scheduled/{path}?versionId=")
    assert command[2] == path.replace(".ipynb", "-out.ipynb")
    document = desk.run("schedule", path, "--show", "--json").json()
    assert document["item"]["parameters"] == {"region": "north", "year": 2026}
    assert document["item"]["from_version"] == ids[0]
    assert document["item"]["url"] == command[1]
    assert f"1 version of {path}" in desk.run("schedule", path, "--history").out
    assert "never scheduled" in desk.run("schedule", "never.ipynb", "--history").err
    listed = desk.run("schedule", "--list").out
    assert next(line for line in listed.splitlines() if path in line).count("year=2026") == 1
    long = "x" * 300
    assert desk.run("schedule", path, "-p", "text", long).code == 0
    assert f"text='{long}'" in desk.run("schedule", "--list").out
    narrow = at_terminal(desk, 80, "schedule", "--list")
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.count("x") >= 300
    assert desk.run("schedule", path, "--withdraw").code == 0
    for gone in (desk.run("schedule", path, "--show"), desk.run("schedule", path, "--withdraw")):
        assert gone.code == 1
        assert f"'{path}' is not scheduled, or is no more" in gone.err
        assert "bookstore schedule --list" in gone.err
    assert desk.run("schedule", path, "--show", "-p", "a", "1").code == 2


def test_an_object_is_cloned_by_version_into_the_current_directory_and_over_nothing(desk):
    path = desk.name()
    ids = desk.seed(path, "one", "two")
    address = f"s3://{desk.bucket.name}/workspace/{path}"
    below = desk.cli.root / f"below-{path}"
    below.mkdir()
    ran = desk.run("clone", f"{address}?versionId={ids[0]}", "--json", cwd=below)
    assert ran.code == 0
    assert ran.json()["cloned"]["path"] == f"below-{path}/{path}"
    assert (below / path).read_bytes() == as_bytes("one")
    ran = desk.run("clone", address, path, cwd=below)
    assert ran.code == 0
    assert (below / path).read_bytes() == as_bytes("one")
    assert (below / path.replace(".ipynb", "-1.ipynb")).read_bytes() == as_bytes("two")
    if desk.jupyter is not None:
        desk.jupyter.flush()
    made = from_metadata(desk.bucket.metadata(f"workspace/below-{path}/{path}"))
    assert made is not None
    assert (made.reason, made.from_version) == ("clone", ids[0])
    missing = f"s3://{desk.bucket.name}/no/such.ipynb"
    ran = desk.run("clone", missing)
    assert ran.code == 1
    assert f"There is no {missing}, or it was deleted." in ran.err
    assert "Check the key" in ran.err
    ran = desk.run("clone", f"{missing}?versionId=abc")
    assert f"There is no version 'abc' of {missing}." in ran.err
    ran = desk.run("clone", "s3://no-such-bucket/a.ipynb")
    assert ran.code == 1
    assert "There is no bucket 'no-such-bucket' to clone from." in ran.err
    assert "Create the bucket" not in ran.err
    assert desk.run("clone", "http://example.org/a.ipynb").code == 2
    assert desk.run("clone").code == 2


def test_a_shared_file_is_cloned(desk):
    name = desk.name()
    shared = desk.cli.home / "shared"
    shared.mkdir(exist_ok=True)
    (shared / name).write_bytes(as_bytes("shared"))
    settings = [f"--BookstoreSettings.fs_cloning_basedir={shared}"] if desk.jupyter is None else []
    assert desk.run("clone", "--file", name, f"mine-{name}", *settings).code == 0
    assert (desk.cli.root / f"mine-{name}").read_bytes() == as_bytes("shared")
    ran = desk.run("clone", "--file", "../../etc/passwd", *settings)
    assert ran.code == 1
    assert str(shared) not in ran.all


# -- which server, which root ------------------------------------------------------------------------------------------


def test_a_server_at_an_address_does_the_work_and_its_refusal_is_told(start_jupyter, bucket, tmp_path):
    jupyter = start_jupyter(bucket)
    jupyter.save("a.ipynb", notebook("x"))
    jupyter.flush()
    stranger = CommandLine(tmp_path / "stranger")
    url = f"http://127.0.0.1:{jupyter.port}"
    ran = stranger.run("versions", "a.ipynb", "--url", url, "--token", jupyter.token)
    assert ran.code == 0, ran.err
    assert " save" in ran.out
    ran = stranger.run("versions", "../a.ipynb", "--url", url, "--token", jupyter.token)
    assert ran.code == 2
    ran = stranger.run("versions", "a.ipynb", "--url", url, "--token", "wrong", "--json")
    assert ran.json()["error"]["code"] == "ServerRefused"


def test_a_server_without_bookstore_is_passed_over(start_jupyter, bucket, tmp_path):
    jupyter = start_jupyter(bucket, enabled=False)
    cli = CommandLine(tmp_path / "jupyter", bucket.environment)
    (jupyter.root / "a.ipynb").write_bytes(as_bytes("x"))
    assert cli.run("archive", ".").code == 0
    assert bucket.versions("workspace/a.ipynb") == [as_bytes("x")]
    ran = cli.run("versions", "a.ipynb", "--url", f"http://127.0.0.1:{jupyter.port}")
    assert ran.code == 1
    assert "jupyter server extension list" in ran.err


@pytest.mark.parametrize(
    "command",
    [
        ["archive", "."],
        ["archive", ".", "--dry-run"],
        ["restore", "a.ipynb", "latest", "--yes"],
        ["label", "a.ipynb", "latest", "--pin"],
        ["publish", "a.ipynb"],
        ["publish", "a.ipynb", "--withdraw"],
        ["schedule", "a.ipynb"],
        ["schedule", "a.ipynb", "--withdraw"],
        ["clone", "s3://books/a.ipynb"],
    ],
    ids=" ".join,
)
def test_nothing_is_written_below_a_root_that_would_be_a_guess(bucket, tmp_path, command):
    local = Desk(CommandLine(tmp_path, bucket.environment), bucket, None)
    local.seed("below/a.ipynb", "one")
    before = bucket.keys()
    ran = local.run(*command, "--json", cwd=local.cli.root / "below")
    assert ran.code == 2
    error = ran.json()["error"]
    assert "would be a guess" in error["message"]
    assert f"--root {local.cli.root / 'below'}" in error["hint"]
    assert bucket.keys() == before


def test_what_only_reads_takes_the_current_directory_for_the_root(bucket, tmp_path):
    local = Desk(CommandLine(tmp_path, bucket.environment), bucket, None)
    local.seed("a.ipynb", "one")
    for command in (["versions", "a.ipynb"], ["show", "a.ipynb"], ["diff", "a.ipynb"], ["publish", "--list"]):
        ran = local.run(*command)
        assert (ran.code, ran.err) == (0, "")
    assert local.run("publish", "below/a.ipynb", "--root", ".").code == 1
    assert local.run("publish", "a.ipynb", "--root", ".").code == 0


def test_what_would_be_written_by_another_contents_manager_is_left_to_its_server(bucket, tmp_path):
    local = Desk(CommandLine(tmp_path, bucket.environment), bucket, None)
    config = tmp_path / "config"
    config.mkdir()
    server_app = {"root_dir": str(local.cli.root), "contents_manager_class": "elsewhere.DriveManager"}
    (config / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": server_app}))
    local.seed("a.ipynb", "one", "two")
    for command in (["restore", "a.ipynb", "latest~1", "--yes"], ["archive", "."], ["publish", "a.ipynb"]):
        ran = local.run(*command)
        assert ran.code == 1
        assert "elsewhere.DriveManager" in ran.err
        assert "Start the Jupyter server" in ran.err
    assert (local.cli.root / "a.ipynb").read_bytes() == as_bytes("two")
    assert local.run("versions", "a.ipynb").err == ""
    compared = local.run("diff", "a.ipynb")
    assert compared.code == 0
    assert "not through the configured contents manager elsewhere.DriveManager" in compared.err
    for own in (
        "bookstore.archive.BookstoreContentsArchiver",
        "jupyter_server.services.contents.filemanager.FileContentsManager",
    ):
        server_app["contents_manager_class"] = own
        (config / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": server_app}))
        assert local.run("restore", "a.ipynb", "latest~1", "--yes").code == 0


def test_a_server_without_bookstore_tells_the_root_all_the_same(start_jupyter, bucket, tmp_path):
    jupyter = start_jupyter(bucket, enabled=False)
    cli = CommandLine(tmp_path / "jupyter", bucket.environment)
    below = jupyter.root / "below"
    below.mkdir()
    (below / "a.ipynb").write_bytes(as_bytes("x"))
    assert cli.run("archive", ".", cwd=below).code == 0
    assert bucket.keys() == {"workspace/below/a.ipynb"}


def test_without_a_bucket_the_missing_setting_is_told(tmp_path):
    ran = CommandLine(tmp_path).run("versions", "a.ipynb")
    assert ran.code == 1
    assert "JPYNB_S3_BUCKET" in ran.err


def test_servers_that_hold_other_directories_are_named_where_there_is_no_bucket(start_jupyter, bucket, tmp_path):
    jupyter = start_jupyter(bucket)
    cli = CommandLine(tmp_path / "jupyter")
    for command in (["versions", "a.ipynb"], ["publish", "--list"], ["clone", f"s3://{bucket.name}/a.ipynb"]):
        ran = cli.run(*command, cwd=tmp_path)
        assert ran.code == 1
        assert f"None of your servers holds {'a.ipynb' if 'versions' in command else 'this directory'}" in ran.err
        assert f"they hold {jupyter.root}" in ran.err
        assert "--root or --url" in ran.err


def test_what_only_reads_opens_nothing_but_the_store(bucket, tmp_path):
    local = Desk(CommandLine(tmp_path, bucket.environment), bucket, None)
    local.seed("a.ipynb", "one")
    script = (
        "import sys\nfrom bookstore.cli import main\ncode = main(sys.argv[1:])\n"
        "loaded = {'nbformat', 'jupyter_server.services.contents.manager', 'bookstore.archive'} & sys.modules.keys()\n"
        "sys.exit(f'{code} {sorted(loaded)}' if code or loaded else 0)\n"
    )
    for command in (["versions", "a.ipynb"], ["show", "a.ipynb"], ["publish", "--list"], ["schedule", "--list"]):
        ran = subprocess.run(
            [sys.executable, "-c", script, *command],
            cwd=local.cli.root,
            env=local.cli.environment,
            capture_output=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr.decode()) == (0, "")
    assert not (tmp_path / "data" / "bookstore").exists()


@pytest.mark.parametrize("command", [["versions", "a.ipynb"], ["versions", "a.ipynb", "--json"], ["show", "a.ipynb"]])
def test_output_that_nobody_takes_is_told_or_left(bucket, tmp_path, command):
    local = Desk(CommandLine(tmp_path, bucket.environment), bucket, None)
    local.put("a.ipynb", b"x" * 300_000, on_disk=False)
    full = Path("/dev/full")
    if full.exists():
        with full.open("wb") as nowhere:
            process = subprocess.run(
                local.cli.command(*command),
                cwd=local.cli.root,
                env=local.cli.environment,
                stdout=nowhere,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert process.returncode == 1
        assert process.stderr.decode().startswith("bookstore: Standard output cannot be written to: No space left")
        assert len(process.stderr.splitlines()) == 2
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        local.cli.command(*command),
        cwd=local.cli.root,
        env=local.cli.environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, b"")


def test_where_labels_cannot_be_read_either_it_is_the_listing_that_is_told():
    class Refusing(MemoryStore):
        async def list_versions(self, *_, **__):
            await asyncio.sleep(0.01)
            raise CredentialsRejected("listing versions")

        def get(self, *_, **__):
            raise CredentialsRejected("reading labels")

    with pytest.raises(CredentialsRejected, match="listing versions"):
        asyncio.run(Versions(Refusing("books"), "workspace").history("a.ipynb"))


def test_a_link_to_the_root_is_the_root(tmp_path):
    root = tmp_path / "real"
    (root / "sub").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(root)
    assert api_path(str(link / "sub" / "a.ipynb"), root) == "sub/a.ipynb"
    assert api_path(str(root / "gone" / "a.ipynb"), link) == "gone/a.ipynb"
    assert api_path(str(root), link) == ""
    assert api_path(str(root / ".hidden"), root) == ".hidden"
    with pytest.raises(UsageError, match="outside the root"):
        api_path(str(tmp_path / "real-not" / "a.ipynb"), root)


def test_a_version_is_found_by_its_label_without_asking_for_the_details_of_all():
    rows = [Version("a", "workspace/a", f"id-{number}", 1, "", "") for number in range(3)]
    rows[2] = replace(rows[2], label=Label("first"))

    class Listed:
        def versions(self, path, *, area, details, page):
            assert not details
            return iter(rows)

    assert find_version(Place(Listed(), None), "a", "first").version_id == "id-2"


def test_as_much_of_an_id_is_shown_as_tells_it_apart():
    ids = ["671644085be71b3e", "67164408d5ec717e", "671644094e190667"]
    assert set(shown_ids(ids[1:]).values()) == {"67164408", "67164409"}
    assert {version_id: version_id[:9] for version_id in ids} == shown_ids(ids)
    assert shown_ids(["null", "67164408d5ec717e"]) == {"null": "null", "67164408d5ec717e": "67164408"}
    assert shown_ids([]) == {}


# -- what is written on the command line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("s3://books/a/b.ipynb", ("books", "a/b.ipynb", None)),
        ("s3://books/a b%20c.ipynb?versionId=x-1", ("books", "a b%20c.ipynb", "x-1")),
        ("s3://books/what?.ipynb", ("books", "what?.ipynb", None)),
        ("bookstore://books/a%20b.ipynb?versionId=x%2F1", ("books", "a b.ipynb", "x/1")),
    ],
)
def test_an_address_has_bucket_key_and_version(address, parts):
    assert parse_address(address) == parts


@pytest.mark.parametrize("address", ["books/a.ipynb", "s3://books", "s3://books/", "s3:///a.ipynb", "http://x/y"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match="no address"):
        parse_address(address)


def test_parameters_are_read_as_papermill_reads_them():
    translate = pytest.importorskip("papermill.cli")._resolve_type
    for text in ("True", "False", "None", "1", "-3", "1.5", "1e3", "true", "text", "", "0x10", "1_000"):
        assert parameter_value(text) == translate(text), text
    assert parameter_value("nan") == "nan"
    assert parameter_value("inf") == "inf"


def test_parameters_of_the_command_line_come_before_those_of_a_file(tmp_path):
    file = tmp_path / "run.json"
    file.write_text('{"a": 1, "b": [1, 2]}')
    assert given_parameters(str(file), [("a", "2")]) == {"a": 2, "b": [1, 2]}


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.yaml", "a: [topsecret"), ("a.json", "[1]")])
def test_a_file_of_parameters_that_cannot_be_read_is_told_without_what_it_holds(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(UsageError, match="--parameters") as told:
        given_parameters(str(file), [])
    assert "topsecret" not in str(told.value)
    with pytest.raises(UsageError, match="cannot be read"):
        given_parameters(str(tmp_path / "none.json"), [])
