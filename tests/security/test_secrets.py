"""What gets out of a server whose store repeats every secret in its errors: nothing, wherever one looks."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path

import pytest

from bookstore.bookstore_config import SECRET_TRAITS, BookstoreSettings, shown_value
from bookstore.service import ArchiveService
from bookstore.storage.memory import MemoryStore
from ci.command_line import CommandLine
from ci.jupyter_process import JupyterProcess, notebook

from .conftest import ACCESS_KEY, BUCKET, SECRET, SECRETS, TOKEN, hostile_store

#: Jupyter itself writes its whole configuration to the log at DEBUG, its own token included.
JUPYTERS_OWN = re.compile(r"\[D [^]]*\] Config changed: ")

EVENTS = """
import logging
c.EventLogger.handlers = [logging.FileHandler({file!r})]
c.EventLogger.allowed_schemas = "__all__"
"""


def told(request):
    """Answer with what was sent and with all secrets, as a refusal that nothing but the administrator can mend."""
    text = f"{' '.join(SECRETS)} {request.headers}".replace("&", "&amp;").replace("<", "&lt;")
    names = ("Message", "AWSAccessKeyId", "StringToSign", "CanonicalRequest")
    line = " ".join(text.split())
    body = "<Error><Code>InvalidAccessKeyId</Code>" + "".join(f"<{name}>{text}</{name}>" for name in names) + "</Error>"
    return 403, {"x-amz-request-id": line, "x-amz-id-2": line}, body.encode()


@pytest.fixture(scope="module")
def betrayed(tmp_path_factory):
    """A server at DEBUG whose store is hostile: the secret from a configuration file, the rest from the environment."""
    home = tmp_path_factory.mktemp("betrayed")
    config = f"c.BookstoreSettings.s3_secret_access_key = {SECRET!r}\n"
    config += "c.BookstoreSettings.drain_timeout = 0.0\n" + EVENTS.format(file=str(home / "events.jsonl"))
    with hostile_store() as store:
        store.reply = told
        environment = {
            "JPYNB_S3_BUCKET": BUCKET,
            "JPYNB_S3_ENDPOINT_URL": store.url,
            "JPYNB_S3_ACCESS_KEY_ID": ACCESS_KEY,
            "JPYNB_S3_SESSION_TOKEN": TOKEN,
        }
        with JupyterProcess(
            home, environment=environment, config={"jupyter_server_config.py": config}, arguments=["--debug"]
        ) as process:
            process.save("betrayed.ipynb", notebook("x"))
            process.wait_for_status(lambda status: status["problems"])
            assert store.seen
            yield process


def assert_no_secret(text, where):
    for secret in SECRETS:
        assert secret not in text, f"{where}: ...{text[max(0, text.find(secret) - 300) : text.find(secret)]}"


def test_no_answer_shows_a_secret(betrayed):
    paths = betrayed.ok("GET", "/api/bookstore/openapi.json")["paths"]
    statuses = set()
    for route, methods in paths.items():
        for method in methods:
            address = route.replace("{path}", "betrayed.ipynb")
            body = {
                "clone": {"s3_bucket": BUCKET, "s3_key": "x"},
                "cloned": {"s3_bucket": BUCKET, "s3_key": "x"},
                "restore": {"version_id": "1"},
                "label": {"version_id": "1", "name": "x"},
                "flush": {"timeout": 0},
                "archive": {"timeout": 0},
                "publish": {"type": "notebook", "content": notebook("x")},
                "published": {"type": "notebook", "content": notebook("x")},
                "schedule": {"version_id": "1"},
                "scheduled": {"version_id": "1"},
            }.get(route.removeprefix("/api/bookstore/").partition("/")[0])
            if address.endswith(("clone", "cloned")):
                address += f"?s3_bucket={BUCKET}&s3_key=x&relpath=x"
            answer = betrayed.request(method.upper(), address, body if method not in ("get", "head") else None)
            statuses.add(answer.status)
            assert_no_secret(answer.body.decode() + str(answer.headers), f"{method} {route}")
    assert statuses & {403, 503}  # the store's refusal did reach those who asked


def test_status_metrics_and_events_show_no_secret(betrayed):
    status = betrayed.status()
    assert status["problems"][0]["code"] == "CredentialsRejected"
    assert "***" in status["problems"][0]["message"]  # the store's words were repeated, and these were not
    assert_no_secret(json.dumps(status), "status")
    metrics = betrayed.request("GET", "/metrics").body.decode()
    assert "bookstore_failures_total" in metrics
    assert_no_secret(metrics, "metrics")
    assert "betrayed.ipynb" not in metrics  # whoever scrapes learns no names of files
    assert BUCKET not in metrics
    file = betrayed.home / "events.jsonl"
    deadline = time.monotonic() + 10
    while "bookstore/failed" not in file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert_no_secret(file.read_text(), "events")


def test_the_log_at_debug_shows_no_secret_but_where_jupyter_prints_its_configuration(betrayed):
    lines = betrayed.log.read_text(errors="replace").splitlines()
    assert any(line.startswith("[D ") for line in lines)
    assert any("saves wait in the outbox" in line for line in lines)
    ours = [line for line in lines if not JUPYTERS_OWN.search(line)]
    assert_no_secret("\n".join(ours), "log")
    # What came by the environment is in none of its lines.
    for secret in (ACCESS_KEY, TOKEN):
        assert secret not in "\n".join(lines)


def test_what_waits_on_the_disk_holds_no_secret(betrayed):
    outbox = Path(betrayed.status()["outbox"])
    files = [file for file in outbox.rglob("*") if file.is_file()]
    assert any(file.suffix == ".entry" for file in files)
    for file in files:
        assert_no_secret(file.read_bytes().decode("utf-8", "replace"), file.name)


def test_the_command_line_shows_no_secret(betrayed):
    cli = CommandLine(betrayed.home, {k: v for k, v in betrayed.environment.items() if k.startswith("JPYNB_")})
    for command in (["status"], ["versions", "betrayed.ipynb"]):
        assert_no_secret(cli.run(*command).all, " ".join(command))


# -- in Python ---------------------------------------------------------------------------------------------------------


def settings(tmp_path):
    return BookstoreSettings(
        s3_bucket=BUCKET,
        s3_access_key_id=ACCESS_KEY,
        s3_secret_access_key=SECRET,
        s3_session_token=TOKEN,
        outbox_dir=str(tmp_path / "outbox"),
    )


async def test_nothing_that_is_printed_while_looking_for_an_error_shows_a_secret(tmp_path):
    chosen = settings(tmp_path)
    service = ArchiveService(chosen, root_dir=str(tmp_path), log=logging.getLogger("x"), store=MemoryStore(BUCKET))
    for thing in (chosen, service, service.store, service.shipper, service.outbox, service.status(), service.problems):
        assert_no_secret(repr(thing) + str(thing), type(thing).__name__)
    for trait in SECRET_TRAITS:
        assert shown_value(trait, getattr(chosen, trait)) == "(hidden)"


def test_every_setting_that_sounds_secret_is_treated_as_one():
    for name in BookstoreSettings.class_trait_names(config=True):
        if re.search("secret|token|password|access_key|credential", name):
            assert name in SECRET_TRAITS, name
