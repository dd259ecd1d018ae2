"""``bookstore completion``: scripts that shells can read, with every command and option in them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from bookstore.cli.arguments import command_parser
from bookstore.cli.commands import COMMANDS
from bookstore.cli.completion import SHELLS, script
from ci.command_line import CommandLine

#: Asks bash what it would complete, as it asks when the key is pressed.
ASK = """
source /dev/stdin
COMP_WORDS=("$@")
COMP_CWORD=$(( $# - 1 ))
complete_function=$(complete -p bookstore | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$complete_function bookstore "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash_script() -> str:
    return script("bash")


def completed(bash_script: str, *words: str, cwd=None) -> set[str]:
    ran = subprocess.run(
        ["bash", "-c", ASK, "bash", *words], input=bash_script, cwd=cwd, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    return set(ran.stdout.split())


@pytest.mark.parametrize("shell", SHELLS)
def test_the_program_prints_the_script_and_nothing_else(tmp_path, shell):
    cli = CommandLine(tmp_path)
    ran = cli.run("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == script(shell)
    assert cli.run("completion", shell, "--json").json()["script"] == ran.out


def test_a_shell_that_is_not_known_is_refused(tmp_path):
    ran = CommandLine(tmp_path).run("completion", "tcsh")
    assert ran.code == 2
    assert "bash" in ran.err


def test_bash_completes_commands_options_choices_and_files(bash_script, tmp_path):
    assert completed(bash_script, "bookstore", "") >= set(COMMANDS)
    assert completed(bash_script, "bookstore", "ver") == {"versions", "verify"}
    assert completed(bash_script, "bookstore", "versions", "--al") == {"--all"}
    assert completed(bash_script, "bookstore", "show", "--area", "") == {"workspace", "published", "scheduled"}
    (tmp_path / "analysis.ipynb").touch()
    (tmp_path / "analyses").mkdir()
    assert completed(bash_script, "bookstore", "versions", "anal", cwd=tmp_path) == {"analysis.ipynb", "analyses"}
    assert completed(bash_script, "bookstore", "archive", "anal", cwd=tmp_path) == {"analyses"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_completed(bash_script, name):
    parser = command_parser(COMMANDS[name], "bookstore")
    options = {option for action in parser._actions for option in action.option_strings}
    options = {option for option in options if option.startswith("--") and "." not in option}
    assert completed(bash_script, "bookstore", name, "--") >= options


@pytest.mark.parametrize(("shell", "check"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_the_shell_itself_finds_no_mistake_in_it(tmp_path, shell, check):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "script"
    file.write_text(script(shell), encoding="utf-8")
    ran = subprocess.run([shell, *check, str(file)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_every_script(shell):
    text = script(shell)
    assert all(name in text for name in COMMANDS)
    # What only stands there for the help is nothing to complete.
    assert "BookstoreSettings" not in text
