"""Archiving what a directory holds, and reading it again: interrupted, resumed, with files and stores that fail."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from bookstore.cli.archive import GIVE_UP, files_below
from ci.bucket import Bucket
from ci.command_line import CommandLine
from ci.jupyter_process import notebook

#: As many as issue 3 of the project asks for.
MANY = 1000


def rooted(home: Path, environment: dict[str, str]) -> CommandLine:
    """A command line whose configuration names the root."""
    cli = CommandLine(home, environment)
    config = home / "config"
    config.mkdir()
    (config / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": {"root_dir": str(cli.root)}}))
    return cli


def write(root: Path, name: str, text: str = "x") -> bytes:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    content = (json.dumps(notebook(f"{text} {name}"), indent=1) + "\n").encode()
    file.write_bytes(content)
    return content


def all_rows(bucket: Bucket) -> list[dict]:
    """Every version and delete marker below the workspace, but bookstore's own objects."""
    with bucket.server.client() as client:
        pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket.name, Prefix="workspace/")
        rows = [row for page in pages for kind in ("Versions", "DeleteMarkers") for row in page.get(kind, ())]
    return [row for row in rows if not row["Key"].startswith("workspace/.bookstore/")]


def number_of_objects(bucket: Bucket) -> int:
    with bucket.server.client() as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix="workspace/")
        return sum(page["KeyCount"] for page in pages)


def alter(bucket: Bucket, key: str) -> str:
    """Put other bytes where a version's own should be, with all that it says of itself; the version id."""
    with bucket.server.client() as client:
        was = client.get_object(Bucket=bucket.name, Key=key)
        content = was["Body"].read().replace(b"x", b"y")
        answer = client.put_object(Bucket=bucket.name, Key=key, Body=content, Metadata=was["Metadata"])
    return str(answer["VersionId"])


def test_a_thousand_notebooks_interrupted_halfway_and_resumed_are_a_thousand_versions(durable_bucket, tmp_path):
    cli = rooted(tmp_path, durable_bucket.environment)
    contents = {f"folder-{i % 7}/{i}.ipynb": write(cli.root, f"folder-{i % 7}/{i}.ipynb") for i in range(MANY)}
    process = subprocess.Popen(
        cli.command("archive", ".", "--json"),
        cwd=cli.root,
        env=cli.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while number_of_objects(durable_bucket) < MANY // 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    document = json.loads(out)
    assert document["interrupted"] is True
    assert document["failed"] == []
    done = document["archived"]
    assert MANY // 3 <= done < MANY
    assert f"{done} of {MANY} files are done" in err.decode()
    assert "Run it again" in err.decode()
    assert "Traceback" not in err.decode()

    before = {(row["Key"], row["VersionId"]) for row in all_rows(durable_bucket)}
    assert len(before) == done
    ran = cli.run("archive", ".", "--json", timeout=300)
    assert ran.code == 0
    again = ran.json()
    assert (again["archived"], again["already_there"]) == (MANY - done, done)
    rows = all_rows(durable_bucket)
    assert before <= {(row["Key"], row["VersionId"]) for row in rows}
    assert Counter(row["Key"] for row in rows) == Counter(f"workspace/{name}" for name in contents)
    for name in list(contents)[::97]:
        assert durable_bucket.read(f"workspace/{name}") == contents[name]
    assert durable_bucket.metadata("workspace/folder-0/0.ipynb")["bookstore-reason"] == "backfill"

    ran = cli.run("verify", "--json")
    assert ran.code == 0
    agreed = ran.json()
    assert agreed["checked"] == MANY
    assert agreed["bytes"] >= sum(map(len, contents.values()))

    version_id = alter(durable_bucket, "workspace/folder-3/3.ipynb")
    ran = cli.run("verify")
    assert ran.code == 1
    assert f"altered: s3://{durable_bucket.name}/workspace/folder-3/3.ipynb, version {version_id}" in ran.out
    assert hashlib.sha256(contents["folder-3/3.ipynb"]).hexdigest() in ran.out
    assert "1 altered, 0 unreadable" in ran.out
    (altered,) = cli.run("verify", "folder-3", "--json").json()["altered"]
    assert (altered["key"], altered["version_id"]) == ("workspace/folder-3/3.ipynb", version_id)
    assert cli.run("verify", "folder-2").code == 0
    assert cli.run("verify", "folder-3/3.ipynb").code == 1
    assert cli.run("verify", "folder-3/10.ipynb").code == 0
    assert cli.run("verify", "--prefix", "published").code == 0


def test_a_running_server_archives_what_lies_below_its_root(start_jupyter, bucket, tmp_path):
    jupyter = start_jupyter(bucket)
    cli = CommandLine(tmp_path / "jupyter")  # it knows no bucket
    contents = {f"old/{i}.ipynb": write(jupyter.root, f"old/{i}.ipynb") for i in range(40)}
    write(jupyter.root, "elsewhere.ipynb")
    ran = cli.run("archive", "old", "--json")
    assert ran.code == 0, ran.err
    assert ran.json()["archived"] == 40
    assert {row["Key"] for row in all_rows(bucket)} == {f"workspace/{name}" for name in contents}
    write(jupyter.root, "old/7.ipynb", "changed")
    ran = cli.run("archive", "old")
    assert "1 archived, 39 already there" in ran.out
    assert jupyter.status()["waiting"] == 0


def test_only_files_that_the_settings_name_are_archived_and_hidden_ones_when_asked_for(bucket, tmp_path):
    cli = rooted(tmp_path, bucket.environment)
    write(cli.root, "a.ipynb")
    write(cli.root, ".hidden.ipynb")
    write(cli.root, ".folder/b.ipynb")
    write(cli.root, ".ipynb_checkpoints/a-checkpoint.ipynb")
    (cli.root / "data.csv").write_text("1,2")
    dry = cli.run("archive", ".", "--dry-run", "--hidden", "--json")
    assert dry.code == 0
    assert dry.json()["would_archive"] == [".folder/b.ipynb", ".hidden.ipynb", "a.ipynb"]
    assert all_rows(bucket) == []
    assert cli.run("archive", ".").code == 0
    assert {row["Key"] for row in all_rows(bucket)} == {"workspace/a.ipynb"}
    assert cli.run("archive", ".", "--hidden").code == 0
    assert len(all_rows(bucket)) == 3
    assert cli.run("archive", "data.csv").code == 0
    assert len(all_rows(bucket)) == 4
    assert cli.run("archive", "none").code == 2


def test_labels_are_counted_apart_and_numbers_have_their_grammar(bucket, tmp_path):
    cli = rooted(tmp_path, bucket.environment)
    write(cli.root, "a.ipynb")
    assert cli.run("archive", ".").code == 0
    assert cli.run("label", "a.ipynb", "latest", "--name", "first").code == 0
    with bucket.server.client() as client:
        client.put_object(Bucket=bucket.name, Key="workspace/foreign.txt", Body=b"x")
        client.delete_object(Bucket=bucket.name, Key="workspace/foreign.txt")
        ran = cli.run("verify")
        assert ran.code == 0
        assert "1 version checked" in ran.out
        assert "1 version of other programs could be read." in ran.out
        assert "1 version of labels and other objects of bookstore's own." in ran.out
        assert "1 delete marker, which has no bytes." in ran.out
        client.delete_object(Bucket=bucket.name, Key="workspace/foreign.txt")
        assert "2 delete markers, which have no bytes." in cli.run("verify").out
        (key,) = filter(lambda key: "/.bookstore/" in key, bucket.keys())
        client.put_object(Bucket=bucket.name, Key=key, Body=b"{")
    ran = cli.run("verify")
    assert ran.code == 1
    assert f"unreadable: s3://{bucket.name}/{key}" in ran.out
    assert "no JSON object" in ran.out


def test_a_version_that_another_program_put_upon_a_save_is_named_and_strictly_an_error(bucket, tmp_path):
    cli = rooted(tmp_path, bucket.environment)
    write(cli.root, "a.ipynb")
    write(cli.root, "b.ipynb")
    assert cli.run("archive", ".").code == 0
    assert cli.run("verify", "--strict").code == 0
    with bucket.server.client() as client:
        evil = client.put_object(Bucket=bucket.name, Key="workspace/b.ipynb", Body=b"evil")["VersionId"]
    ran = cli.run("verify")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == (
        f"not written by bookstore: s3://{bucket.name}/workspace/b.ipynb, version {evil}, and is the newest of its key"
    )
    assert "Warning: 1 version was not written by bookstore" in ran.out
    strict = cli.run("verify", "--strict", "--json")
    assert strict.code == 1
    document = strict.json()
    assert document["ok"] is False
    assert document["foreign"] == [{"key": "workspace/b.ipynb", "version_id": evil, "is_newest": True}]
    assert cli.run("verify", "a.ipynb", "--strict").code == 0


def test_links_to_directories_are_not_followed(tmp_path):
    write(tmp_path, "top/a.ipynb")
    write(tmp_path, "elsewhere/b.ipynb")
    (tmp_path / "top" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "top" / "loop").symlink_to(tmp_path / "top")
    assert list(files_below(tmp_path / "top", hidden=True)) == ["a.ipynb"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_that_fails_is_told_and_does_not_keep_the_others(bucket, tmp_path):
    cli = rooted(tmp_path, bucket.environment)
    write(cli.root, "good.ipynb")
    (cli.root / "gone.ipynb").symlink_to(cli.root / "nowhere")
    Path(os.fsdecode(os.fsencode(cli.root) + b"/\xff.ipynb")).write_text("{}")
    ran = cli.run("archive", ".", "--json")
    assert ran.code == 1
    document = ran.json()
    assert document["archived"] == 1
    assert [failure["code"] for failure in document["failed"]] == ["FileMissing", "PathError"]
    assert {row["Key"] for row in all_rows(bucket)} == {"workspace/good.ipynb"}
    people = cli.run("archive", ".")
    assert "2 failed" in people.out
    assert "gone.ipynb" in people.out
    assert "Traceback" not in people.err


def test_where_everything_fails_the_rest_is_left_for_another_time(moto, tmp_path):
    cli = rooted(tmp_path, Bucket(moto, "no-such-bucket").environment)
    for i in range(GIVE_UP * 4):
        write(cli.root, f"{i}.ipynb")
    ran = cli.run("archive", ".", "--json")
    assert ran.code == 1
    document = ran.json()
    assert {failure["code"] for failure in document["failed"]} == {"BucketMissing"}
    assert GIVE_UP <= len(document["failed"]) < GIVE_UP * 4
    assert document["left"] == GIVE_UP * 4 - len(document["failed"])


def test_progress_is_shown_at_a_terminal_only(bucket, tmp_path):
    cli = rooted(tmp_path, bucket.environment)
    for i in range(5):
        write(cli.root, f"{i}.ipynb")

    def told_at_terminal(*options: str) -> str:
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            cli.command("archive", ".", *options),
            cwd=cli.root,
            env={**cli.environment, "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=follower,
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
        return told.decode()

    assert "5/5" in told_at_terminal()
    assert told_at_terminal("--json") == ""
    assert cli.run("archive", ".").err == ""


class DeafServer:
    """Takes connections and what is sent over them, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.was_called = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "JPYNB_S3_BUCKET": "books",
            "JPYNB_S3_ENDPOINT_URL": f"http://127.0.0.1:{self._socket.getsockname()[1]}",
            "JPYNB_S3_ACCESS_KEY_ID": "key",
            "JPYNB_S3_SECRET_ACCESS_KEY": "secret",
        }

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            self._connections.append(connection)
            self.was_called.set()

    def __enter__(self) -> DeafServer:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()


def interrupted(cli: CommandLine, server: DeafServer, command: list[str], signals: list[int]) -> tuple[int, str]:
    """Run a command until it asks the server, send it signals, and tell how it ended."""
    process = subprocess.Popen(
        cli.command(*command),
        cwd=cli.root,
        env=cli.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert server.was_called.wait(60)
    for number in signals:
        process.send_signal(number)
    _, err = process.communicate(timeout=25)  # the store has longer to answer
    return process.returncode, err.decode()


@pytest.mark.parametrize(
    ("command", "signals", "said"),
    [
        (["archive", "."], [signal.SIGINT, signal.SIGTERM], "Interrupted"),
        (["verify"], [signal.SIGINT], "not verified"),
        (["versions", "a.ipynb"], [signal.SIGINT], "Interrupted"),
        (["versions", "a.ipynb"], [signal.SIGTERM], "Interrupted"),
    ],
)
def test_who_does_not_want_to_wait_for_a_deaf_store_ends_the_command(tmp_path, command, signals, said):
    with DeafServer() as server:
        cli = rooted(tmp_path, server.environment)
        write(cli.root, "a.ipynb")
        code, err = interrupted(cli, server, command, signals)
    assert code == 130
    assert said in err
    assert "Traceback" not in err


def test_verify_needs_a_bucket(tmp_path):
    ran = CommandLine(tmp_path).run("verify")
    assert ran.code == 1
    assert "JPYNB_S3_BUCKET" in ran.err


def test_an_interruption_while_a_server_works_is_told_and_resumed(start_jupyter, bucket, tmp_path):
    jupyter = start_jupyter(bucket)
    cli = CommandLine(tmp_path / "jupyter")
    for i in range(150):
        write(jupyter.root, f"{i}.ipynb")
    process = subprocess.Popen(
        cli.command("archive", ".", "--jobs", "2"),
        cwd=cli.root,
        env=cli.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    jupyter.wait_for_status(lambda status: status["archived"] >= 10)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 150 files are done" in err.decode()
    assert 10 <= len(all_rows(bucket)) < 150
    assert cli.run("archive", ".").code == 0
    assert Counter(row["Key"] for row in all_rows(bucket)) == Counter(f"workspace/{i}.ipynb" for i in range(150))
