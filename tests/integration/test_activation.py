"""Installed is enabled; nobody's manager is replaced; Jupyter starts whatever the settings say."""

from __future__ import annotations

import json

import pytest

from ci.jupyter_process import contents_url, notebook

MINE = """
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

class Mine(AsyncLargeFileManager):
    async def save(self, model, path=""):
        if model["type"] == "notebook":
            model["content"]["metadata"]["saved_by"] = "the user's own manager"
        return await super().save(model, path)

c.{app}.contents_manager_class = Mine
"""


@pytest.mark.parametrize(
    ("application", "file", "app"),
    [
        ("server", "jupyter_config.py", "ServerApp"),
        ("server", "jupyter_server_config.py", "ServerApp"),
        ("lab", "jupyter_server_config.py", "ServerApp"),
        ("lab", "jupyter_lab_config.py", "ServerApp"),
        ("notebook", "jupyter_config.py", "ServerApp"),
        ("notebook", "jupyter_notebook_config.py", "ServerApp"),
        ("notebook", "jupyter_notebook_config.py", "NotebookApp"),
    ],
)
def test_the_user_s_own_manager_is_kept_and_its_saves_are_archived(start_jupyter, bucket, application, file, app):
    jupyter = start_jupyter(bucket, application=application, config={file: MINE.format(app=app)})
    jupyter.save("mine.ipynb", notebook("x"))
    jupyter.flush()
    content = jupyter.on_disk("mine.ipynb")
    assert json.loads(content)["metadata"]["saved_by"] == "the user's own manager"
    assert bucket.versions("workspace/mine.ipynb") == [content]


def test_a_manager_named_on_the_command_line_is_kept(start_jupyter, bucket, tmp_path):
    (tmp_path / "own_manager.py").write_text(MINE.format(app="ServerApp").replace("c.ServerApp", "#"))
    jupyter = start_jupyter(
        bucket,
        environment={"PYTHONPATH": _python_path(tmp_path)},
        arguments=["--ServerApp.contents_manager_class=own_manager.Mine"],
    )
    jupyter.save("mine.ipynb", notebook("x"))
    jupyter.flush()
    assert b"the user's own manager" in bucket.versions("workspace/mine.ipynb")[0]


def _python_path(directory):
    import os

    return os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize("enabled", [True, False], ids=["with the extension", "without the extension"])
def test_an_explicit_archiver_archives_once(start_jupyter, bucket, enabled):
    config = "from bookstore import BookstoreContentsArchiver\n"
    config += "c.ServerApp.contents_manager_class = BookstoreContentsArchiver\n"
    jupyter = start_jupyter(bucket, enabled=enabled, config={"jupyter_server_config.py": config})
    jupyter.save("explicit.ipynb", notebook("x"))
    content = jupyter.on_disk("explicit.ipynb")
    if enabled:
        jupyter.flush()
    else:
        assert jupyter.request("GET", "/api/bookstore").status == 404
        _wait_for(lambda: bucket.versions("workspace/explicit.ipynb"))
    assert bucket.versions("workspace/explicit.ipynb") == [content]


def _wait_for(condition, timeout=60.0):
    import time

    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_sync_manager_stays_sync_and_is_archived(start_jupyter, bucket):
    config = (
        "c.ServerApp.contents_manager_class = 'jupyter_server.services.contents.largefilemanager.LargeFileManager'\n"
    )
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": config})
    on_disk = []
    for number in range(3):
        jupyter.save("sync.ipynb", notebook(f"{number}"))
        on_disk.append(jupyter.on_disk("sync.ipynb"))
    jupyter.ok("PATCH", contents_url("sync.ipynb"), {"path": "moved.ipynb"})
    jupyter.ok("PUT", contents_url("folder"), {"type": "directory"})
    jupyter.save("folder/inner.ipynb", notebook("inner"))
    jupyter.ok("POST", contents_url(""), {"copy_from": "folder"})
    jupyter.flush()
    assert bucket.versions("workspace/sync.ipynb") == on_disk
    assert bucket.versions("workspace/moved.ipynb") == on_disk[-1:]
    copies = [key for key in bucket.keys() if key.startswith("workspace/folder-Copy")]  # noqa: SIM118
    assert len(copies) == 1


def test_without_a_bucket_jupyter_works_as_before_and_says_what_to_set(start_jupyter):
    jupyter = start_jupyter()
    jupyter.save("plain.ipynb", notebook("x"))
    document = jupyter.ok("GET", "/api/bookstore")
    assert document["features"]["bookstore_valid"] is False
    assert document["archive"]["state"] == "off"
    assert "s3_bucket" in document["archive"]["problems"][0]["hint"]
    assert not (jupyter.data / "bookstore").exists()
    assert jupyter.stop() == 0


def test_wrong_settings_are_named_and_saves_wait(start_jupyter, bucket):
    config = "c.BookstoreSettings.max_threads = 'many'\nc.BookstoreSettings.workspace_prefx = 'x'\n"
    config += "c.BookstoreSettings.fs_cloning_basedir = 'relative/dir'\n"
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": config})
    jupyter.save("waits.ipynb", notebook("x"))
    status = jupyter.wait_for_status(lambda s: s["waiting"] == 1)
    (problem,) = status["problems"]
    assert problem["setting"] == "max_threads"
    assert "many" in problem["value"]
    assert "int" in problem["hint"]
    assert {"workspace_prefx", "fs_cloning_basedir"} <= {warning["setting"] for warning in status["warnings"]}
    assert any("workspace_prefix" in warning["hint"] for warning in status["warnings"])
    assert jupyter.stop() == 0
    log = jupyter.log.read_text()
    assert "max_threads" in log
    assert "relative/dir is not an absolute path, file system cloning will be disabled." in log
    assert bucket.keys() == set()

    (jupyter.home / "config" / "jupyter_server_config.py").write_text("")
    jupyter.start()
    jupyter.flush()
    assert bucket.versions("workspace/waits.ipynb") == [jupyter.on_disk("waits.ipynb")]


def test_prefix_fields_are_filled_in(start_jupyter, bucket):
    jupyter = start_jupyter(
        bucket,
        arguments=["--BookstoreSettings.workspace_prefix=people/{username}/{root}"],
        environment={"JUPYTERHUB_USER": "kylek"},
    )
    jupyter.save("mine.ipynb", notebook("x"))
    jupyter.flush()
    assert bucket.keys() == {"people/kylek/root/mine.ipynb"}


def test_globs_widen_what_is_archived(start_jupyter, bucket):
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": "c.BookstoreSettings.archive_globs = ['*.md']"})
    text = {"type": "file", "format": "text", "content": "# text"}
    jupyter.ok("PUT", contents_url("notes.md"), text)
    jupyter.save("book.ipynb", notebook("x"))
    jupyter.flush()
    assert bucket.keys() == {"workspace/notes.md"}
    assert bucket.versions("workspace/notes.md") == [b"# text"]


def test_starting_imports_no_sdk(start_jupyter):
    probe = (
        "import sys, atexit\natexit.register(lambda: print('SDK:', sorted(m for m in sys.modules if 'boto' in m)))\n"
    )
    jupyter = start_jupyter(config={"jupyter_server_config.py": probe})
    assert jupyter.stop() == 0
    assert "SDK: []" in jupyter.log.read_text()


def test_routes_answer_with_and_without_a_slash_under_a_base_url_and_ask_who_one_is(start_jupyter, bucket):
    import http.client

    jupyter = start_jupyter(bucket, base_url="/user/kylek/")
    for path in ("/api/bookstore", "/api/bookstore/"):
        assert jupyter.ok("GET", path)["features"]["archive_valid"] is True
        connection = http.client.HTTPConnection("127.0.0.1", jupyter.port)
        connection.request("GET", f"/user/kylek{path}")
        assert connection.getresponse().status == 403
        connection.close()
    assert jupyter.ok("POST", "/api/bookstore/flush/", {"timeout": 1})["remaining"] == 0
    answer = jupyter.request("POST", "/api/bookstore/flush", {"timeout": "soon"})
    assert answer.status == 400
    assert "soon" in answer.json()["message"]


def test_two_servers_of_one_user_share_an_outbox_directory_in_peace(start_jupyter, bucket, tmp_path):
    shared = [f"--BookstoreSettings.outbox_dir={tmp_path / 'outbox'}"]
    first = start_jupyter(bucket, home=tmp_path / "one", arguments=shared)
    second = start_jupyter(bucket, home=tmp_path / "two", arguments=shared)
    for number in range(10):
        first.save("first.ipynb", notebook(f"{number}"))
        second.save("second.ipynb", notebook(f"{number}"))
    first.flush()
    second.flush()
    assert len(bucket.versions("workspace/first.ipynb")) == 10
    assert len(bucket.versions("workspace/second.ipynb")) == 10


def test_a_foreign_origin_at_the_head_is_told_and_hidden_from_nobody(start_jupyter, bucket, tmp_path):
    first = start_jupyter(bucket, home=tmp_path / "one")
    second = start_jupyter(bucket, home=tmp_path / "two")
    first.save("Untitled.ipynb", notebook("the first person's"))
    first.flush()
    second.save("Untitled.ipynb", notebook("the second person's"))
    status = second.flush()
    assert status["foreign"][0]["key"] == "workspace/Untitled.ipynb"
    assert str(first.root) in status["foreign"][0]["origin"]
    assert any(warning["code"] == "ForeignOrigin" for warning in status["warnings"])
    first.save("Untitled.ipynb", notebook("the first person's again"))
    first.flush()
    assert len(bucket.versions("workspace/Untitled.ipynb")) == 3


def test_the_archiver_can_be_used_as_in_bookstore_2(bucket, tmp_path, monkeypatch):
    import asyncio
    import time

    from bookstore.archive import ArchiveRecord, BookstoreContentsArchiver

    with pytest.raises(TypeError, match="positional"):
        BookstoreContentsArchiver("positional")
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    archiver = BookstoreContentsArchiver()
    assert archiver.settings.s3_bucket == bucket.name

    async def use():
        records = [ArchiveRecord("by-hand.ipynb", f"content {n}", time.time()) for n in range(5)]
        await asyncio.gather(*map(archiver.archive, records))
        assert archiver.path_locks == {}
        async with archiver.path_lock_ready:
            pass
        model = {"type": "notebook", "content": notebook("hooked")}
        archiver.run_pre_save_hook(model, "hooked.ipynb")
        from bookstore.archive import service_of

        service = service_of(archiver)
        deadline = time.monotonic() + 30
        while not bucket.versions("workspace/hooked.ipynb"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await service.stop()
        await service.stop()

    asyncio.run(use())
    assert bucket.versions("workspace/by-hand.ipynb") == [f"content {n}".encode() for n in range(5)]
    assert archiver.session is not None
