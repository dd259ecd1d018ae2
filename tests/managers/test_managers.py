"""Contents managers and extensions of other projects, archived without being replaced.

These packages enable themselves where they are installed, so they have an environment of their own (tox -e managers).
"""

from __future__ import annotations

import asyncio
import json

import pytest

from ci.jupyter_process import contents_url, notebook


@pytest.mark.parametrize("how", ["the extension", "an explicit class"])
def test_both_files_of_a_jupytext_pair_are_archived(start_jupyter, bucket, how):
    pytest.importorskip("jupytext")
    config = "c.BookstoreSettings.archive_globs = ['*.ipynb', '*.py']\n"
    if how == "an explicit class":
        config += "c.ServerApp.contents_manager_class = 'jupytext.AsyncTextFileContentsManager'\n"
    jupyter = start_jupyter(bucket, is_alone=False, config={"jupyter_server_config.py": config})
    content = notebook("paired", jupytext={"formats": "ipynb,py:percent"})
    jupyter.save("paired.ipynb", content)
    content["cells"][0]["source"] = "second = 2"
    jupyter.save("paired.ipynb", content)
    jupyter.flush()
    for name in ("paired.ipynb", "paired.py"):
        versions = bucket.versions(f"workspace/{name}")
        assert len(versions) == 2, name
        assert versions[-1] == jupyter.on_disk(name)
    assert b"second = 2" in bucket.versions("workspace/paired.py")[-1]
    jupyter.ok("PATCH", contents_url("paired.ipynb"), {"path": "renamed.ipynb"})
    jupyter.flush()
    assert (jupyter.root / "renamed.py").exists(), "jupytext renames both"
    assert bucket.versions("workspace/renamed.ipynb") == [jupyter.on_disk("renamed.ipynb")]


def test_a_text_notebook_of_jupytext_is_archived_as_text(start_jupyter, bucket):
    pytest.importorskip("jupytext")
    jupyter = start_jupyter(
        bucket,
        is_alone=False,
        config={"jupyter_server_config.py": "c.BookstoreSettings.archive_globs = ['*.md']\n"},
    )
    jupyter.save("text.md", notebook("x = 1"))
    jupyter.flush()
    assert bucket.versions("workspace/text.md") == [jupyter.on_disk("text.md")]
    assert jupyter.on_disk("text.md").startswith(b"---\njupyter:"), "jupytext's text, and no JSON"


def test_s3contents_is_archived_as_it_stores(start_jupyter, bucket, moto):
    pytest.importorskip("s3contents")
    home = moto.create_bucket(f"{bucket.name}-home", versioned=False)
    config = f"""
c.ServerApp.contents_manager_class = "s3contents.S3ContentsManager"
c.S3ContentsManager.bucket = "{home}"
c.S3ContentsManager.endpoint_url = "{moto.endpoint_url}"
c.S3ContentsManager.access_key_id = "{moto.access_key_id}"
c.S3ContentsManager.secret_access_key = "{moto.secret_access_key}"
"""
    jupyter = start_jupyter(bucket, is_alone=False, config={"jupyter_server_config.py": config})
    for number in range(3):
        jupyter.save("inside.ipynb", notebook(f"{number}"))
    jupyter.ok("PATCH", contents_url("inside.ipynb"), {"path": "moved.ipynb"})
    jupyter.flush()
    versions = bucket.versions("workspace/inside.ipynb")
    assert ["".join(json.loads(v)["cells"][0]["source"]) for v in versions] == ["0 # 0", "1 # 0", "2 # 0"]
    assert bucket.versions("workspace/moved.ipynb") == versions[-1:]
    assert bucket.metadata("workspace/inside.ipynb")["bookstore-source"] == "model"
    assert bucket.metadata("workspace/moved.ipynb")["bookstore-previous-key"] == "workspace/inside.ipynb"
    with moto.client() as client:
        stored = client.get_object(Bucket=home, Key="moved.ipynb")["Body"].read()
    assert versions[-1] == stored, "byte for byte what the manager stored"


def test_jupyter_fs_is_archived_as_it_stores(start_jupyter, bucket, tmp_path):
    pytest.importorskip("jupyterfs")
    drive = tmp_path / "drive"
    drive.mkdir()
    config = f"""
c.ServerApp.contents_manager_class = "jupyterfs.metamanager.MetaManager"
c.ServerApp.jpserver_extensions = {{"jupyterfs.extension": True, "bookstore": True}}
c.JupyterFs.resources = [{{"name": "drive", "url": "file://{drive}", "type": "fsspec", "auth": "none"}}]
"""
    jupyter = start_jupyter(bucket, is_alone=False, config={"jupyter_server_config.py": config})
    resources = jupyter.ok("GET", "/jupyterfs/resources")
    name = next(r["drive"] for r in resources if r["name"] == "drive")
    for number in range(3):
        jupyter.save(f"{name}:inside.ipynb", notebook(f"{number}"))
    jupyter.flush()
    keys = {key for key in bucket.keys() if key.endswith("inside.ipynb")}  # noqa: SIM118 - a method of ours
    assert len(keys) == 1
    versions = bucket.versions(keys.pop())
    assert ["".join(json.loads(v)["cells"][0]["source"]) for v in versions] == ["0 # 0", "1 # 0", "2 # 0"]
    assert versions[-1] == (drive / "inside.ipynb").read_bytes()


def test_what_a_collaboration_room_saves_is_archived(start_jupyter, bucket):
    pytest.importorskip("jupyter_server_ydoc")
    jupyter = start_jupyter(bucket, is_alone=False)
    jupyter.save("together.ipynb", notebook("before"))
    session = jupyter.ok("PUT", "/api/collaboration/session/together.ipynb", {"format": "json", "type": "notebook"})
    asyncio.run(_write_in_room(jupyter, session, "written = 'together'"))
    jupyter.wait_for_status(lambda s: b"together'" in jupyter.on_disk("together.ipynb"))
    jupyter.flush()
    versions = bucket.versions("workspace/together.ipynb")
    assert len(versions) >= 2
    assert versions[-1] == jupyter.on_disk("together.ipynb")
    assert b"together'" in versions[-1]


async def _write_in_room(jupyter, session, source):
    """Join the room as JupyterLab does and change the first cell."""
    import pycrdt
    from jupyter_ydoc import YNotebook
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    room = f"{session['format']}:{session['type']}:{session['fileId']}"
    url = f"ws://127.0.0.1:{jupyter.port}/api/collaboration/room/{room}?sessionId={session['sessionId']}"
    socket = await websocket_connect(HTTPRequest(url, headers={"Authorization": f"token {jupyter.token}"}))
    document = pycrdt.Doc()
    shared = YNotebook(document)
    await socket.write_message(pycrdt.create_sync_message(document), binary=True)
    while not shared.ycells:
        message = await asyncio.wait_for(socket.read_message(), 30)
        if message and message[0] == pycrdt.YMessageType.SYNC:
            reply = pycrdt.handle_sync_message(message[1:], document)
            if reply is not None:
                await socket.write_message(reply, binary=True)
    updates = []
    document.observe(lambda event: updates.append(event.update))
    shared.set_cell(0, {**shared.get_cell(0), "source": source})
    for update in updates:
        await socket.write_message(pycrdt.create_update_message(update), binary=True)
    deadline = asyncio.get_running_loop().time() + 30
    while source.encode() not in jupyter.on_disk("together.ipynb").replace(b"\\", b""):
        assert asyncio.get_running_loop().time() < deadline, jupyter.last_words()
        await asyncio.sleep(0.1)
    socket.close()
