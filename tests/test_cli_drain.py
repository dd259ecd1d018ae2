"""``bookstore drain``: what dead servers left reaches the bucket, and whatever does not stays where it is safe."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from bookstore.cli import main
from ci.bucket import Bucket
from ci.command_line import CommandLine
from ci.jupyter_process import JupyterProcess, notebook

_NUMBERS = iter(range(1, 1000))


@pytest.fixture
def cli(tmp_path) -> CommandLine:
    return CommandLine(tmp_path / "jupyter")


@pytest.fixture
def late(moto) -> Bucket:
    """A bucket that is not there yet, so that saves wait for it."""
    return Bucket(moto, f"drained-{next(_NUMBERS)}")


def entries(outbox: Path) -> list[Path]:
    return sorted(outbox.rglob("*.entry"))


def sources(bucket: Bucket) -> list[str]:
    """What the first cell of each version of a.ipynb says, oldest first."""
    return ["".join(json.loads(version)["cells"][0]["source"]) for version in bucket.versions("workspace/a.ipynb")]


def leave_saves(start_jupyter, bucket: Bucket, saves: int = 3) -> JupyterProcess:
    """Have a server take saves that it cannot ship, and kill it."""
    jupyter: JupyterProcess = start_jupyter(bucket)
    for number in range(saves):
        jupyter.save("a.ipynb", notebook(f"save {number}"))
    jupyter.save("b.ipynb", notebook("b"))
    jupyter.kill()
    return jupyter


@pytest.fixture
def outbox(cli) -> Path:
    return cli.home / "data" / "bookstore" / "outbox"


def test_ships_in_order_what_a_killed_server_left(start_jupyter, late, cli, outbox):
    jupyter = leave_saves(start_jupyter, late)
    late.server.create_bucket(late.name)
    ran = cli.run("drain", "--json", **late.environment)
    assert ran.code == 0, ran.all
    (result,) = ran.json()["outboxes"]
    assert (result["shipped"], result["waiting"], result["problems"]) == (4, 0, [])
    assert sources(late) == ["save 0 # 0", "save 1 # 0", "save 2 # 0"]
    assert late.versions("workspace/b.ipynb") == [jupyter.on_disk("b.ipynb")]
    assert entries(outbox) == []
    assert late.server.secret_access_key not in ran.all
    again = cli.run("drain", "--outbox", str(outbox), **late.environment)
    assert again.code == 0
    assert "0 saves shipped" in again.out


def test_touches_nothing_while_the_bucket_cannot_be_used(start_jupyter, late, cli, outbox):
    leave_saves(start_jupyter, late)
    before = entries(outbox)
    ran = cli.run("drain", "--json", **late.environment)
    assert ran.code == 1
    assert ran.json()["error"]["code"] == "BucketMissing"
    assert entries(outbox) == before


def test_leaves_a_running_server_its_saves(start_jupyter, late, cli, outbox):
    jupyter = start_jupyter(late)
    jupyter.save("a.ipynb", notebook("x"))
    other = Bucket(late.server, late.server.create_bucket(f"{late.name}-other"))
    ran = cli.run("drain", **other.environment)
    assert ran.code == 1
    assert f"bookstore flush --root {jupyter.root}" in ran.out
    assert jupyter.status()["waiting"] == 1
    assert len(entries(outbox)) == 1


def test_leaves_what_was_meant_for_another_bucket_unless_told_otherwise(start_jupyter, late, cli, outbox):
    leave_saves(start_jupyter, late)
    other = Bucket(late.server, late.server.create_bucket(f"{late.name}-other"))
    ran = cli.run("drain", **other.environment)
    assert ran.code == 1
    assert "--any-destination" in ran.out
    assert late.name in ran.out
    assert len(entries(outbox)) == 4
    ran = cli.run("drain", "--any-destination", **other.environment)
    assert ran.code == 0, ran.all
    assert len(other.versions("workspace/a.ipynb")) == 3


def test_ctrl_c_leaves_the_rest_safely_and_adoptable(start_jupyter, late, cli, outbox):
    leave_saves(start_jupyter, late)
    late.server.create_bucket(late.name)
    with socket.socket() as black_hole:
        black_hole.bind(("127.0.0.1", 0))
        black_hole.listen()
        environment = {
            **late.environment,
            "JPYNB_S3_ENDPOINT_URL": f"http://127.0.0.1:{black_hole.getsockname()[1]}",
        }
        process = subprocess.Popen(
            cli.command("drain", "--any-destination"),
            cwd=cli.root,
            env={**cli.environment, **environment},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        connection, _ = black_hole.accept()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 130, err
    assert b"Traceback" not in out + err
    assert len(entries(outbox)) == 4
    assert cli.run("drain", **late.environment).code == 0
    assert len(late.versions("workspace/a.ipynb")) == 3


def test_ctrl_c_while_shipping_gives_back_what_was_adopted(start_jupyter, late, cli, outbox):
    leave_saves(start_jupyter, late, saves=40)
    late.server.create_bucket(late.name)
    process = subprocess.Popen(
        cli.command("drain"),
        cwd=cli.root,
        env={**cli.environment, **late.environment},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while len(entries(outbox)) > 39 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (130, 0), (out, err)
    assert b"Traceback" not in out + err
    ran = cli.run("drain", **late.environment)
    assert ran.code == 0, ran.all
    assert sources(late) == [f"save {number} # 0" for number in range(40)]
    assert entries(outbox) == []


def test_timeout_ends_it_and_the_rest_waits(start_jupyter, late, cli, outbox):
    leave_saves(start_jupyter, late)
    late.server.create_bucket(late.name)
    ran = cli.run("drain", "--timeout", "0", "--json", **late.environment)
    assert ran.code == 1
    assert ran.json()["outboxes"][0]["waiting"] == 4
    assert len(entries(outbox)) == 4


def test_a_server_on_another_host_is_watched_before_its_saves_are_taken(
    start_jupyter, late, cli, outbox, monkeypatch, capsys
):
    leave_saves(start_jupyter, late)
    late.server.create_bucket(late.name)
    (directory,) = (d for d in outbox.iterdir() if (d / "owner.json").exists())
    owner = json.loads((directory / "owner.json").read_text())
    (directory / "owner.json").write_text(json.dumps({**owner, "boot_id": "another", "host": "elsewhere"}))
    ran = cli.run("drain", "--no-wait", **late.environment)
    assert ran.code == 1
    assert "Drain without --no-wait" in ran.out or "flush" in ran.out
    assert len(entries(outbox)) == 4

    from bookstore.cli import drain_outbox
    from bookstore.outbox_owner import Watch

    monkeypatch.setattr(drain_outbox, "HEARTBEAT_PATIENCE", 1.0)
    monkeypatch.setattr(drain_outbox, "Watch", partial(Watch, patience=1.0))
    for name, value in {**cli.environment, **late.environment}.items():
        monkeypatch.setenv(name, value)
    assert main(["drain", "--json", "--outbox", str(outbox)]) == 0
    printed = capsys.readouterr()
    assert "watching its heartbeat" in printed.err
    assert json.loads(printed.out)["outboxes"][0]["shipped"] == 4


def test_what_was_refused_is_tried_once_more(start_jupyter, late, cli, outbox):
    leave_saves(start_jupyter, late, saves=1)
    late.server.create_bucket(late.name)
    refused = outbox / "refused"
    refused.mkdir(mode=0o700)
    for entry in entries(outbox):
        entry.rename(refused / entry.name)
        (refused / entry.name).with_suffix(".json").write_text('{"why": "the test"}')
    assert cli.run("status").code == 1
    ran = cli.run("drain", **late.environment)
    assert "0 saves shipped" in ran.out or ran.out == f"{outbox}\n  0 saves shipped\n"
    assert len(entries(refused)) == 2
    ran = cli.run("drain", "--retry-refused", "--json", **late.environment)
    assert ran.code == 0, ran.all
    assert ran.json()["outboxes"][0]["shipped"] == 2
    assert list(refused.iterdir()) == []
    assert len(late.versions("workspace/a.ipynb")) == 1


def test_a_damaged_save_is_set_aside_and_told(start_jupyter, late, cli, outbox):
    leave_saves(start_jupyter, late)
    late.server.create_bucket(late.name)
    damaged = entries(outbox)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"X")
    ran = cli.run("drain", **late.environment)
    assert ran.code == 1
    assert "3 saves shipped, 1 damaged" in ran.out
    assert len(entries(outbox / "quarantine")) == 1


def test_a_save_without_a_key_is_not_guessed_to_be_somebodys(start_jupyter, late, cli, outbox):
    jupyter = start_jupyter(late, config={"jupyter_server_config.py": "c.BookstoreSettings.workspace_prefix = ''\n"})
    jupyter.save("a.ipynb", notebook("x"))
    jupyter.kill()
    (cli.home / "config" / "jupyter_server_config.py").unlink()
    late.server.create_bucket(late.name)
    ran = cli.run("drain", "--BookstoreSettings.workspace_prefix=w/{username}", **late.environment)
    assert ran.code == 1
    assert "--BookstoreSettings.workspace_prefix=workspace/NAME" in ran.out
    assert len(entries(outbox)) == 1
    ran = cli.run("drain", "--BookstoreSettings.workspace_prefix=w/ada", **late.environment)
    assert ran.code == 0, ran.all
    assert len(late.versions("w/ada/a.ipynb")) == 1


def test_wrong_directories_are_told(bucket, cli, outbox):
    ran = cli.run("drain", "--outbox", str(cli.home / "nowhere"), **bucket.environment)
    assert ran.code == 1
    assert "nowhere is no directory" in ran.out
    (cli.home / "work").mkdir()
    (cli.home / "work" / "thesis.ipynb").write_text("{}")
    ran = cli.run("drain", "--outbox", str(cli.home / "work"), **bucket.environment)
    assert ran.code == 1
    assert "work is no outbox" in ran.out
    (cli.home / "empty").mkdir()
    (cli.home / "empty" / ".DS_Store").write_text("")
    assert cli.run("drain", "--outbox", str(cli.home / "empty"), **bucket.environment).code == 0
    assert cli.run("drain", **bucket.environment).code == 0, "an outbox that was never needed holds nothing"
    assert not outbox.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root drains what is another user's")
def test_what_root_leaves_in_a_users_outbox_is_the_users(start_jupyter, late, cli, outbox):
    leave_saves(start_jupyter, late)
    late.server.create_bucket(late.name)
    damaged = entries(outbox)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"X")
    for path in (outbox, *outbox.rglob("*")):
        os.chown(path, 12345, 12345)
    assert cli.run("drain", "--timeout", "0", **late.environment).code == 1
    assert {path.stat().st_uid for path in (outbox, *outbox.rglob("*"))} == {12345}
    cli.run("drain", **late.environment)
    assert {path.stat().st_uid for path in (outbox, *outbox.rglob("*"))} == {12345}
    assert len(entries(outbox / "quarantine")) == 1
