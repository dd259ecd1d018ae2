"""``bookstore demo``: the whole way with an S3 server of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bookstore.embedded_s3 import find_server
from ci.command_line import CommandLine

pytestmark = pytest.mark.skipif(find_server() is None, reason="no S3 server is installed beside bookstore")


@pytest.fixture
def cli(tmp_path) -> CommandLine:
    # What the user has configured must neither be changed nor get in the way.
    config = tmp_path / "config"
    config.mkdir()
    (config / "jupyter_server_config.py").write_text("c.BookstoreSettings.s3_bucket = 'the-users-own'\n")
    return CommandLine(
        tmp_path,
        {
            "JPYNB_S3_SECRET_ACCESS_KEY": "the-users-secret",
            "JPYNB_S3_SESSION_TOKEN": "the-users-token",
            "AWS_PROFILE": "missing",
            "HTTP_PROXY": "http://127.0.0.1:9",
        },
    )


def files(directory: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_check_proves_the_whole_way_and_leaves_nothing_behind(cli):
    before = files(cli.home)
    temporary = cli.home / "tmp"
    temporary.mkdir()
    ran = cli.run("demo", "--check", "--json", TMPDIR=str(temporary))
    assert ran.code == 0, ran.all
    document = ran.json()
    assert [row["save"] for row in document["saves"]] == [1, 2, 3]
    assert all(row["is_same"] for row in document["saves"])
    assert len({row["version_id"] for row in document["saves"]}) == 3
    assert document["seconds"] < 60
    assert list(temporary.iterdir()) == []
    assert files(cli.home) == before


def test_check_tells_why_it_failed_with_the_end_of_the_log(cli):
    broken = cli.home / "broken"
    broken.mkdir()
    (broken / "jupyterlab.py").write_text("raise RuntimeError('this JupyterLab is broken')\n")
    path = os.pathsep.join([str(broken), cli.environment.get("PYTHONPATH", "")])
    ran = cli.run("demo", "--check", PYTHONPATH=path)
    assert ran.code == 1
    assert "this JupyterLab is broken" in ran.err
    assert "Jupyter ended with 1" in ran.err


def test_runs_until_it_is_interrupted_and_is_there_again(cli):
    directory = cli.home / "demo"

    def start() -> tuple[subprocess.Popen[bytes], dict[str, object]]:
        process = subprocess.Popen(
            cli.command("demo", "--directory", str(directory), "--no-browser", "--app", "server", "--json"),
            env=cli.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        text = ""
        while True:
            line = process.stdout.readline().decode()
            assert line, "the demo ended"
            text += line
            if line == "}\n":
                return process, json.loads(text)

    def stop(process: subprocess.Popen[bytes], number: int) -> None:
        process.send_signal(number)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 0

    process, document = start()
    try:
        assert (directory / "notebooks" / "welcome.ipynb").exists()
        ran = cli.run("status", "--json", "--root", str(directory / "notebooks"))
        assert ran.code == 0, ran.all
        assert ran.json()["servers"][0]["bookstore"]["archive"]["destination"] == "s3://bookstore-demo/workspace"
        for name in ("aws-credentials", "s3/state.json"):
            assert (directory / name).stat().st_mode & 0o077 == 0
        log = Path(str(document["log"])).read_text()
        assert "the-users-secret" not in log
    finally:
        stop(process, signal.SIGINT)
    process, again = start()
    stop(process, signal.SIGTERM)
    assert again["endpoint_url"] == document["endpoint_url"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and list((cli.home / "runtime").glob("jpserver-*.json")):
        time.sleep(0.1)
    assert list((cli.home / "runtime").glob("jpserver-*.json")) == [], "Jupyter has ended"


def test_an_application_that_is_not_installed_is_told(cli, monkeypatch, capsys):
    from bookstore.cli import demo, main

    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    assert main(["demo", "--app", "notebook"]) == 1
    assert "notebook is not installed" in capsys.readouterr().err
