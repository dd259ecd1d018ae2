"""The command line's arguments, help, configuration and errors."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bookstore.cli.commands import COMMANDS
from ci.command_line import CommandLine

SECRET = "topsecret-value"


@pytest.fixture
def cli(tmp_path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_tells_commands_examples_and_exit_codes(cli, command):
    ran = cli.run(*([command] if command else []), "--help")
    assert (ran.code, ran.err) == (0, "")
    assert "examples:" in ran.out
    assert "exit codes: 0 fine, 1 something is wrong, 2 wrong usage" in ran.out
    assert "--json" in ran.out
    if command is None:
        assert all(f"  {name}" in ran.out for name in COMMANDS)


def test_the_program_by_another_name_calls_itself_so(cli, monkeypatch, capsys):
    from bookstore.cli import main

    monkeypatch.setattr("sys.argv", ["/usr/bin/jupyter-bookstore"])
    assert main(["sttus"]) == 2
    with pytest.raises(SystemExit) as ended:
        main(["status", "--help"])
    assert ended.value.code == 0
    assert "usage: jupyter bookstore status" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["help"], ["help", "drain"], ["help", "help"], ["--json", "help", "demo"]])
def test_help_may_be_asked_for_by_a_word(cli, arguments):
    ran = cli.run(*arguments)
    command = [name for name in arguments if name in COMMANDS]
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == cli.run(*command, "--help").out


@pytest.mark.parametrize("module", ["bookstore", "bookstore.cli"])
def test_the_package_runs_as_a_program(cli, module):
    command = [sys.executable, "-m", module, "--version"]
    ran = subprocess.run(command, cwd=cli.root, env=cli.environment, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout.decode().split()[0]) == (0, "bookstore")


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["doctro"], "Did you mean doctor?"),
        (["status", "--jsn"], "Did you mean --json?"),
        (["status", "--tokn", SECRET], "Did you mean --token?"),
        ([f"--tokn={SECRET}", "status"], ""),
        (["--tokn", SECRET, "status"], ""),
        (["status", f"--BookstoreSetings.s3_secret_access_key={SECRET}"], "--BookstoreSettings.s3_secret_access_key?"),
        (["status", f"--BookstoreSettings.s3_secret_acess_key={SECRET}"], "--BookstoreSettings.s3_secret_access_key?"),
        (["status", "--BookstoreSettings.s3_bucket"], "--BookstoreSettings.s3_bucket=VALUE"),
        (["flush", "--timeout", "soon"], "--help"),
        (["flush", "--timeout", "-1"], "--help"),
        (["flush", "--timeout", "601"], "Call it again"),
        (["demo", "--port", "70000"], "--help"),
        (["demo", "--app", "classic"], "--help"),
        (["status", "--token", SECRET], "--url"),
        (["status", "--root", "/nowhere/at/all"], "below the server's root"),
        (["doctor", "--root", "/nowhere/at/all"], "root directory"),
        (["status", "--url", "foo"], "http://localhost:8888/"),
        (["flush", "--url", "http://[::1"], "http://localhost:8888/"),
        (["status", "--url", "http://localhost:many/"], "http://localhost:8888/"),
        (["help", "drian"], "Did you mean drain?"),
        (["hlep"], "Did you mean help?"),
        (["status", "surplus"], "--help"),
        ([], "demo, doctor"),
    ],
)
def test_wrong_usage_ends_with_2_and_what_would_be_right(cli, arguments, suggestion):
    ran = cli.run(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert suggestion in ran.err
    assert "Traceback" not in ran.err
    assert SECRET not in ran.err


def test_wrong_usage_is_one_document_for_programs(cli):
    ran = cli.run("status", "--json", "--nonsense")
    assert ran.code == 2
    assert ran.json()["error"]["code"] == "UsageError"


def test_settings_come_from_every_file_of_jupyter_and_from_any_place_of_the_command_line(cli):
    config = cli.home / "config"
    config.mkdir()
    (config / "jupyter_lab_config.py").write_text("print('I print')\nc.BookstoreSettings.s3_bucket = 'from-lab'\n")
    (config / "jupyter_notebook_config.json").write_text(json.dumps({"BookstoreSettings": {"workspace_prefix": "nb"}}))

    def settings_line(*arguments: str) -> str:
        ran = cli.run(*arguments)
        (finding,) = [f for f in ran.json()["findings"] if f["step"] == "settings"]
        return str(finding["message"])

    elsewhere = "--BookstoreSettings.s3_endpoint_url=http://127.0.0.1:9"
    assert settings_line("doctor", "--json", elsewhere) == "bucket from-lab at http://127.0.0.1:9, prefix nb"
    (config / "jupyter_server_config.py").write_text("c.BookstoreSettings.s3_bucket = 'from-server'\n")
    assert "from-server" in settings_line("doctor", "--json", elsewhere)
    assert "from-cli" in settings_line(elsewhere, "--BookstoreSettings.s3_bucket", "from-cli", "doctor", "--json")
    (cli.home / "other.py").write_text("c.BookstoreSettings.s3_bucket = 'from-other'\n")
    assert "from-other" in settings_line("--config", str(cli.home / "other.py"), "doctor", "--json", elsewhere)


def test_a_broken_configuration_file_is_named_without_what_stands_in_it(cli):
    config = cli.home / "config"
    config.mkdir()
    (config / "jupyter_server_config.py").write_text(f"x = 1\nc.BookstoreSettings.s3_secret_access_key = '{SECRET}\n")
    (config / "jupyter_lab_config.py").write_text(f"\n\nraise ValueError('{SECRET}')\n")
    ran = cli.run("doctor")
    assert ran.code == 1
    assert "jupyter_server_config.py cannot be read: SyntaxError in line 2." in ran.out
    assert "jupyter_lab_config.py cannot be read: ValueError in line 3." in ran.out
    assert SECRET not in ran.all
    assert "Traceback" not in ran.all


def test_a_missing_configuration_file_is_told(cli):
    ran = cli.run("status", "--config", "/nowhere.py")
    assert ran.code == 1
    assert "/nowhere.py is not there" in ran.err


@pytest.mark.parametrize(
    "setting",
    ["max_threads=many", "max_threads=0", "s3_endpoint_url=nowhere", "outbox_dir=relative", "s3_bucket=s3://x"],
)
def test_wrong_values_are_told_and_never_trace_back(cli, setting):
    for command in ("doctor", "drain"):
        ran = cli.run(command, f"--BookstoreSettings.{setting}", JPYNB_S3_BUCKET="books")
        assert ran.code == 1
        assert setting.partition("=")[0] in ran.all
        assert "Traceback" not in ran.all


def test_a_reader_that_has_seen_enough_is_no_error(cli):
    process = subprocess.Popen(
        cli.command("status", "--json"),
        cwd=cli.root,
        env=cli.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    told = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert told == b""
