"""``bookstore demo``: the whole way with an S3 server of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.session
import psutil
import pytest
from botocore.config import Config

from bookstore.cli.demo_layout import BUCKET, Layout
from bookstore.cli.demo_serve import _show
from bookstore.cli.output import Output
from bookstore.embedded_s3 import find_server
from bookstore.jupyter_servers import JupyterServer, ask
from ci.command_line import CommandLine
from ci.jupyter_process import notebook

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


def test_check_is_told_in_lines_without_blanks_at_their_end(cli):
    ran = cli.run("demo", "--check", "--app", "server")
    assert ran.code == 0, ran.all
    lines = ran.out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert len(max(lines, key=len)) <= 90
    assert len([line for line in lines if "…" in line]) == 3


def test_check_tells_why_it_failed_with_the_end_of_the_log(cli):
    broken = cli.home / "broken"
    broken.mkdir()
    (broken / "jupyterlab.py").write_text("raise RuntimeError('this JupyterLab is broken')\n")
    path = os.pathsep.join([str(broken), cli.environment.get("PYTHONPATH", "")])
    ran = cli.run("demo", "--check", PYTHONPATH=path)
    assert ran.code == 1
    assert "this JupyterLab is broken" in ran.err
    assert "Jupyter ended with 1" in ran.err


class Demo:
    """A demo that runs, in a process of its own, and what it says."""

    def __init__(self, cli: CommandLine, directory: Path, *arguments: str, **environment: str) -> None:
        self.said = cli.home / "said"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                cli.command("demo", "--directory", str(directory), "--app", "server", "--json", *arguments),
                env={**cli.environment, **environment},
                stdout=subprocess.PIPE,
                stderr=said,
                stdin=subprocess.DEVNULL,
            )
        assert self.process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = self.process.stdout.readline().decode()
            assert line, f"the demo ended: {self.said.read_text()}"
            text += line
        self.document: dict[str, Any] = json.loads(text)
        self.state = directory / "s3" / "state.json"
        url, _, token = str(self.document["url"]).partition("?token=")
        self.server = JupyterServer(url, token)

    def __enter__(self) -> Demo:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def wait_until_said(self, text: str) -> None:
        wait_for(lambda: text in self.said.read_text() or self.process.poll() is not None)
        assert text in self.said.read_text()

    @property
    def s3_server(self) -> psutil.Process:
        return psutil.Process(json.loads(self.state.read_text())["server"]["pid"])

    def client(self) -> Any:
        state = json.loads(self.state.read_text())
        return botocore.session.get_session().create_client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{state['ports']['s3']}",
            region_name="us-east-1",
            aws_access_key_id=state["access_key_id"],
            aws_secret_access_key=state["secret_access_key"],
            config=Config(proxies={}),
        )

    def suspend_versions(self) -> None:
        """From now on saves wait: none would become a version."""
        self.client().put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})

    def save(self, text: str) -> None:
        model = {"type": "notebook", "format": "json", "content": notebook(text)}
        ask(self.server, "PUT", "api/contents/a.ipynb", model)

    def archive(self) -> dict[str, Any]:
        document: dict[str, Any] = ask(self.server, "GET", "api/bookstore")["archive"]
        return document

    def wait_until_archived(self, saves: int) -> None:
        wait_for(lambda: (archive := self.archive())["archived"] >= saves and not archive["waiting"])

    def versions(self) -> list[str]:
        """What the first cell of each version of a.ipynb says, oldest first."""
        client, key = self.client(), "workspace/a.ipynb"
        rows = client.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]
        bodies = [client.get_object(Bucket=BUCKET, Key=key, VersionId=row["VersionId"])["Body"].read() for row in rows]
        return ["".join(json.loads(body)["cells"][0]["source"]) for body in reversed(bodies)]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_runs_until_it_is_interrupted_and_is_there_again(cli):
    directory = cli.home / "demo"
    with Demo(cli, directory, "--no-browser") as demo:
        assert (directory / "notebooks" / "welcome.ipynb").exists()
        ran = cli.run("status", "--json", "--root", str(directory / "notebooks"))
        assert ran.code == 0, ran.all
        assert ran.json()["servers"][0]["bookstore"]["archive"]["destination"] == "s3://bookstore-demo/workspace"
        for name in ("aws-credentials", "s3/state.json"):
            assert (directory / name).stat().st_mode & 0o077 == 0
        assert "the-users-secret" not in Path(demo.document["log"]).read_text()
        # What the welcome and the demo itself say is all that it takes.
        assert "bookstore restore welcome.ipynb latest~1" in (directory / "notebooks" / "welcome.ipynb").read_text()
        demo.save("one")
        demo.save("two")
        demo.wait_until_archived(2)
        history = cli.run("versions", "a.ipynb", cwd=directory / "notebooks")
        assert (history.code, history.out.count(" latest")) == (0, 2), history.all
        assert cli.run("restore", "a.ipynb", "latest~1", "--yes", cwd=directory / "notebooks").code == 0
        assert demo.versions() == ["one # 0", "two # 0", "one # 0"]
        # The doctor reads the demo's configuration, which needs nothing of the environment in which Jupyter runs.
        config = demo.document["config_file"]
        ran = CommandLine(cli.home).run("doctor", "--config", config, "--json")
        assert ran.code == 0, ran.all
        assert demo.document["endpoint_url"] in ran.out
        secret = json.loads(demo.state.read_text())["secret_access_key"]
        assert secret not in ran.all
        assert secret not in Path(config).read_text()
        # Among the demo's notebooks the commands find its configuration by themselves, whatever the user's own says.
        notebooks = directory / "notebooks"
        here = CommandLine(cli.home, {"JPYNB_S3_SECRET_ACCESS_KEY": "the-users-secret", "JPYNB_S3_BUCKET": "the-users"})
        for command in (["doctor"], ["verify"], ["drain"]):
            ran = here.run(*command, cwd=notebooks)
            assert ran.code == 0, ran.all
        scheduled = cli.run("schedule", "a.ipynb", cwd=notebooks)
        assert scheduled.out.splitlines()[-1].startswith(f"JUPYTER_CONFIG_PATH={directory}/jupyter/config papermill ")
        assert demo.stop() == 0
        assert "not yet in the bucket" not in demo.said.read_text()
    ran = here.run("versions", "a.ipynb", cwd=notebooks)
    assert ran.code == 1
    assert f"bookstore demo --directory {directory}" in ran.err
    with Demo(cli, directory, "--no-browser") as again:
        assert again.stop(signal.SIGTERM) == 0
    assert again.document["endpoint_url"] == demo.document["endpoint_url"]
    wait_for(lambda: not list((cli.home / "runtime").glob("jpserver-*.json")))


def test_no_configuration_is_run_that_merely_lies_where_a_demos_would(cli):
    trap = Layout(cli.home / "checkout")
    trap.prepare()
    ran_it = cli.home / "ran-it"
    trap.config_file.write_text(f"open({str(ran_it)!r}, 'w').close()\n")
    for command in (["verify"], ["doctor"], ["versions", "a.ipynb"]):
        cli.run(*command, "--BookstoreSettings.s3_bucket=", cwd=trap.notebooks)
    assert not ran_it.exists()
    trap_layout = Layout.holding(trap.notebooks)
    assert trap_layout is not None
    assert Layout.of_this_user(trap.notebooks) is None


def test_an_address_is_not_broken_by_a_narrow_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    address = f"http://127.0.0.1:2/lab?token={'a' * 48}"
    s3 = SimpleNamespace(endpoint_url="http://127.0.0.1:1", kind="SeaweedFS", keeps_data=True)
    _show(Output(is_json=False), Layout(tmp_path), s3, SimpleNamespace(browser_url=address))
    assert f"Open       {address}" in capsys.readouterr().out.splitlines()


def test_people_are_told_the_commands_that_list_and_restore_versions(tmp_path, capsys):
    layout = Layout(tmp_path / "a demo")
    s3 = SimpleNamespace(endpoint_url="http://127.0.0.1:1", kind="SeaweedFS", keeps_data=True)
    _show(Output(is_json=False), layout, s3, SimpleNamespace(browser_url="http://127.0.0.1:2/lab"))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = lines.index(f"cd '{layout.notebooks}'")
    assert lines[at + 1 : at + 3] == ["bookstore versions welcome.ipynb", "bookstore restore welcome.ipynb latest~1"]
    assert any("s3api list-object-versions" in line for line in lines[at + 3 :])


def test_what_waits_at_the_end_is_told_found_and_shipped_by_the_next(cli):
    directory = cli.home / "demo"
    with Demo(cli, directory, "--no-browser") as demo:
        demo.save("one")
        demo.wait_until_archived(1)
        demo.suspend_versions()
        demo.save("two")
        wait_for(lambda: demo.archive()["problems"])
        demo.save("three")
        assert demo.stop(signal.SIGTERM) == 1
        again = f"shipped by the next: bookstore demo --directory {directory}"
        assert f"2 saves not yet in the bucket: kept in {directory / 'outbox'}, and {again}" in demo.said.read_text()

    ran = cli.run("status", "--json", "--root", str(directory / "notebooks"))
    assert ran.code == 1
    assert [outbox["waiting"] for outbox in ran.json()["demos"]] == [2]
    ran = cli.run("status", cwd=directory / "notebooks")
    assert ran.code == 1
    assert f"2 saves in the outbox of the demo, {directory / 'outbox'}" in ran.out
    assert again in ran.out
    assert "Nothing waits in the outbox of the settings in force" in ran.out
    assert cli.run("status").code == 0, "plain status knows the usual demo only"

    # At another address, since its own is taken, it is still the same bucket.
    port = int(demo.document["endpoint_url"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), Demo(cli, directory, "--no-browser") as demo:
        assert not demo.document["endpoint_url"].endswith(f":{port}")
        wait_for(lambda: not demo.archive()["waiting"] and not list((directory / "outbox").rglob("*.entry")))
        assert demo.versions()[-1] == "three # 0"
        assert demo.stop() == 0


def test_plain_status_looks_at_the_usual_demo(cli):
    usual = Layout(cli.home / "data" / "bookstore" / "demo")
    usual.prepare()
    usual.config_file.write_text("")
    assert cli.run("status").code == 0
    refused = usual.outbox / "refused"
    refused.mkdir(parents=True)
    (refused / "00000001-00000001-0.entry").write_bytes(b"")
    ran = cli.run("status")
    assert ran.code == 1
    assert f"1 save set aside in {refused}" in ran.out


def test_an_s3_server_that_dies_is_told_and_started_again(cli):
    with Demo(cli, cli.home / "demo", "--no-browser") as demo:
        demo.save("one")
        demo.wait_until_archived(1)
        demo.s3_server.kill()
        demo.wait_until_said("has ended. Starting it again")
        demo.save("two")
        demo.wait_until_said("The S3 server runs again.")
        demo.wait_until_archived(2)
        assert demo.versions() == ["one # 0", "two # 0"]
        assert demo.stop() == 0


def taken(port):
    """Take a port as soon as the system gives it back: what a killed process held is closed a moment after its end."""
    found = []

    def take():
        with contextlib.suppress(OSError):
            found.append(socket.create_server(("127.0.0.1", port)))
        return found

    wait_for(take)
    return found[0]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="holds the demo while its server is made unusable")
@pytest.mark.parametrize(
    ("broken", "told"),
    [("data", "The S3 server cannot be started again"), ("port", "Another program has taken the address")],
)
def test_an_s3_server_that_cannot_be_started_again_ends_the_demo_in_good_order(cli, broken, told):
    directory = cli.home / "demo"
    with Demo(cli, directory, "--no-browser") as demo, contextlib.ExitStack() as stack:
        server, port = demo.s3_server, int(demo.document["endpoint_url"].rpartition(":")[2])
        children = psutil.Process(demo.process.pid).children()
        demo.process.send_signal(signal.SIGSTOP)
        server.kill()
        wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
        if broken == "port":
            stack.enter_context(taken(port))
        else:
            (directory / "s3" / "data").rename(directory / "kept")
            (directory / "s3" / "data").write_text("")
        demo.process.send_signal(signal.SIGCONT)
        assert demo.process.wait(60) == 1
        assert told in demo.said.read_text()
        assert f"bookstore demo --directory {directory}" in demo.said.read_text()
        assert not [process for process in children if process.is_running()]


def test_a_browser_that_is_not_there_is_told_with_the_address(cli):
    with Demo(cli, cli.home / "demo", BROWSER="no-such-browser") as demo:
        demo.wait_until_said(f"No browser could be opened. Open this address yourself: {demo.document['url']}")
        assert demo.stop() == 0


@pytest.mark.parametrize(
    ("below", "why"), [("", "it is a file"), ("/below/it", "Not a directory")], ids=["a file", "below a file"]
)
def test_a_directory_that_cannot_be_used_is_told(cli, below, why):
    (cli.home / "file").write_text("mine")
    ran = cli.run("demo", "--directory", f"{cli.home / 'file'}{below}")
    assert ran.code == 1
    assert f"cannot keep its data in {cli.home / 'file'}{below}: {why}" in ran.err
    assert "--directory" in ran.err
    assert "nobody foresaw" not in ran.err


def test_a_port_that_is_taken_is_told_at_once(cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = cli.run("demo", "--port", str(port), "--directory", str(cli.home / "demo"))
    assert ran.code == 1
    assert f"Port {port} is taken" in ran.err
    assert "--port" in ran.err
    assert not (cli.home / "demo").exists(), "nothing was started"


def test_a_check_takes_no_directory(cli):
    ran = cli.run("demo", "--check", "--directory", str(cli.home / "demo"))
    assert ran.code == 2
    assert "temporary directory" in ran.err


def test_warns_of_other_people_before_it_gives_addresses(monkeypatch, capsys, tmp_path):
    from bookstore.cli import demo_serve
    from bookstore.cli.output import Output

    monkeypatch.setattr(demo_serve, "shared_machine_warning", lambda: "Others are here.")
    server = SimpleNamespace(endpoint_url="http://127.0.0.1:1", kind="SeaweedFS", keeps_data=True)
    printed = []
    monkeypatch.setattr(Output, "note", lambda _, text: printed.append(text))
    monkeypatch.setattr(Output, "line", lambda _, text="", **__: printed.append(text))
    monkeypatch.setattr(Output, "pairs", lambda _, pairs: printed.append(dict(pairs)["Open"]))
    demo_serve._show(Output(is_json=False), Layout(tmp_path), server, SimpleNamespace(browser_url="the address"))
    assert printed.index("Others are here.\n") < printed.index("the address")


def test_an_application_that_is_not_installed_is_told(cli, monkeypatch, capsys):
    from bookstore.cli import demo, main

    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    assert main(["demo", "--app", "notebook"]) == 1
    assert "notebook is not installed" in capsys.readouterr().err
