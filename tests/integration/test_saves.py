"""Every way in which Jupyter stores a notebook, over HTTP, to a real bucket."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator

import pytest

from ci.bucket import Bucket, recorded_requests
from ci.jupyter_process import JupyterProcess, contents_url, notebook

HOOKS = """
from tornado.web import HTTPError

def edit(model, path, **kwargs):
    if "rejected" in path:
        raise HTTPError(400, "the user's hook says no")
    if "broken" in path:
        raise ValueError("the user's hook is broken")
    if "stripped" in path and model["type"] == "notebook":
        for cell in model["content"]["cells"]:
            cell["source"] = "stripped by the hook"

c.ContentsManager.pre_save_hook = edit
"""


@pytest.fixture(scope="module")
def shared_bucket(moto):
    return Bucket(moto, moto.create_bucket("saves"))


@pytest.fixture(scope="module")
def jupyter(shared_bucket, tmp_path_factory) -> Iterator[JupyterProcess]:
    with JupyterProcess(
        tmp_path_factory.mktemp("saves"),
        environment=shared_bucket.environment,
        config={"jupyter_server_config.py": HOOKS},
    ) as process:
        yield process


def test_each_save_becomes_a_version_with_the_bytes_that_are_on_disk(jupyter, shared_bucket):
    on_disk = []
    for number in range(5):
        jupyter.save("plain.ipynb", notebook(f"save {number}"))
        on_disk.append(jupyter.on_disk("plain.ipynb"))
    jupyter.flush()
    assert shared_bucket.versions("workspace/plain.ipynb") == on_disk


def test_an_object_tells_where_it_comes_from(jupyter, shared_bucket):
    jupyter.save("provenance.ipynb", notebook("x"))
    jupyter.flush()
    first = shared_bucket.metadata("workspace/provenance.ipynb")
    assert first["bookstore-reason"] == "new", "the file was not there before"
    jupyter.save("provenance.ipynb", notebook("y"))
    status = jupyter.flush()
    metadata = shared_bucket.metadata("workspace/provenance.ipynb")
    assert metadata["bookstore-sha256"] == hashlib.sha256(jupyter.on_disk("provenance.ipynb")).hexdigest()
    assert metadata["bookstore-root"] == str(jupyter.root)
    assert metadata["bookstore-reason"] == "save"
    assert metadata["bookstore-user"]
    assert status["last_version"]["path"] == "provenance.ipynb"
    assert status["last_version"]["version_id"] == shared_bucket.rows("workspace/provenance.ipynb")[-1]["VersionId"]


def test_an_uploaded_notebook_is_archived(jupyter, shared_bucket):
    data = json.dumps(notebook("uploaded"), indent=4).encode()
    jupyter.upload("uploaded.ipynb", data)
    jupyter.flush()
    assert shared_bucket.versions("workspace/uploaded.ipynb") == [data]
    assert jupyter.on_disk("uploaded.ipynb") == data


def test_a_chunked_upload_is_archived_once_and_whole(jupyter, shared_bucket):
    data = json.dumps(notebook("chunk " * 1000, cells=40)).encode()
    size = len(data) // 3
    chunks = [data[:size], data[size : 2 * size], data[2 * size :]]
    for number, chunk in zip((1, 2, -1), chunks, strict=True):
        model = {
            "type": "file",
            "format": "base64",
            "chunk": number,
            "name": "chunked.ipynb",
            "path": "chunked.ipynb",
            "content": base64.b64encode(chunk).decode(),
        }
        jupyter.ok("PUT", contents_url("chunked.ipynb"), model)
    jupyter.flush()
    assert jupyter.on_disk("chunked.ipynb") == data
    assert shared_bucket.versions("workspace/chunked.ipynb") == [data]


def test_a_new_notebook_is_archived(jupyter, shared_bucket):
    path = jupyter.ok("POST", "/api/contents/", {"type": "notebook"})["path"]
    jupyter.flush()
    assert shared_bucket.versions(f"workspace/{path}") == [jupyter.on_disk(path)]
    assert shared_bucket.metadata(f"workspace/{path}")["bookstore-reason"] == "new"


def test_a_copied_notebook_is_archived(jupyter, shared_bucket):
    jupyter.save("original.ipynb", notebook("to copy"))
    copy = jupyter.ok("POST", "/api/contents/", {"copy_from": "original.ipynb"})["path"]
    jupyter.flush()
    assert copy != "original.ipynb"
    assert shared_bucket.versions(f"workspace/{copy}") == [jupyter.on_disk(copy)]
    assert shared_bucket.metadata(f"workspace/{copy}")["bookstore-reason"] == "copy"


def test_the_notebooks_of_a_copied_directory_are_archived(jupyter, shared_bucket):
    for directory in ("folder", "folder/deeper", "copies"):
        jupyter.ok("PUT", contents_url(directory), {"type": "directory"})
    jupyter.save("folder/one.ipynb", notebook("one"))
    jupyter.save("folder/deeper/two.ipynb", notebook("two"))
    model = jupyter.ok("POST", contents_url("copies"), {"copy_from": "folder"})
    jupyter.flush()
    for name in ("one.ipynb", "deeper/two.ipynb"):
        path = f"{model['path']}/{name}"
        assert shared_bucket.versions(f"workspace/{path}") == [jupyter.on_disk(path)]
    assert not any(".ipynb_checkpoints" in key for key in shared_bucket.keys())  # noqa: SIM118 - a method of ours


def test_a_renamed_notebook_is_archived_under_its_new_key_and_says_where_it_was(jupyter, shared_bucket):
    jupyter.save("before.ipynb", notebook("same bytes"))
    jupyter.flush()
    record = shared_bucket.metadata("workspace/before.ipynb")["bookstore-record"]
    jupyter.ok("PATCH", contents_url("before.ipynb"), {"path": "after.ipynb"})
    jupyter.flush()
    assert shared_bucket.versions("workspace/after.ipynb") == [jupyter.on_disk("after.ipynb")]
    metadata = shared_bucket.metadata("workspace/after.ipynb")
    assert metadata["bookstore-reason"] == "rename"
    assert metadata["bookstore-previous-key"] == "workspace/before.ipynb"
    assert metadata["bookstore-previous-record"] == record
    assert len(shared_bucket.rows("workspace/before.ipynb")) == 1, "a rename touches nothing in the archive"


def test_the_notebooks_of_a_renamed_directory_are_archived_under_their_new_keys(jupyter, shared_bucket):
    for directory in ("old", "old/inner"):
        jupyter.ok("PUT", contents_url(directory), {"type": "directory"})
    jupyter.save("old/inner/deep.ipynb", notebook("deep"))
    jupyter.ok("PATCH", contents_url("old"), {"path": "new"})
    jupyter.flush()
    assert shared_bucket.versions("workspace/new/inner/deep.ipynb") == [jupyter.on_disk("new/inner/deep.ipynb")]
    metadata = shared_bucket.metadata("workspace/new/inner/deep.ipynb")
    assert metadata["bookstore-previous-key"] == "workspace/old/inner/deep.ipynb"


def test_a_restored_checkpoint_is_archived(jupyter, shared_bucket):
    jupyter.save("checkpointed.ipynb", notebook("first"))
    first = jupyter.on_disk("checkpointed.ipynb")
    checkpoint = jupyter.ok("POST", contents_url("checkpointed.ipynb") + "/checkpoints")["id"]
    jupyter.save("checkpointed.ipynb", notebook("second"))
    second = jupyter.on_disk("checkpointed.ipynb")
    jupyter.ok("POST", contents_url("checkpointed.ipynb") + f"/checkpoints/{checkpoint}")
    jupyter.flush()
    assert jupyter.on_disk("checkpointed.ipynb") == first
    assert shared_bucket.versions("workspace/checkpointed.ipynb") == [first, second, first]


def test_a_deleted_notebook_keeps_its_versions(jupyter, shared_bucket):
    jupyter.save("deleted.ipynb", notebook("gone from disk"))
    content = jupyter.on_disk("deleted.ipynb")
    jupyter.ok("DELETE", contents_url("deleted.ipynb"))
    jupyter.flush()
    assert shared_bucket.versions("workspace/deleted.ipynb") == [content]
    assert [row["kind"] for row in shared_bucket.rows("workspace/deleted.ipynb")] == ["Versions"]


@pytest.mark.parametrize("ids", ["missing", "double"])
def test_the_bytes_are_the_same_where_cell_ids_are(jupyter, shared_bucket, ids):
    content = notebook("ids", cells=3)
    for cell in content["cells"]:
        if ids == "missing":
            del cell["id"]
        else:
            cell["id"] = "all-alike"
    path = f"ids-{ids}.ipynb"
    jupyter.save(path, content)
    jupyter.flush()
    assert shared_bucket.versions(f"workspace/{path}") == [jupyter.on_disk(path)]


@pytest.mark.parametrize(
    "path",
    ["unicode/Ünïcödé 数据.ipynb", "blanks/a b  c.ipynb", "odd/100% + (1) #2 'q' & =.ipynb", "dots/x..y...ipynb"],
)
def test_odd_paths_arrive_under_their_own_keys(jupyter, shared_bucket, path):
    folder = path.rpartition("/")[0]
    for depth in range(1, folder.count("/") + 2):
        jupyter.ok("PUT", contents_url("/".join(folder.split("/")[:depth])), {"type": "directory"})
    jupyter.save(path, notebook("odd"))
    jupyter.flush()
    assert shared_bucket.versions(f"workspace/{path}") == [jupyter.on_disk(path)]


def test_a_path_that_goes_up_and_down_is_the_file_it_names(jupyter, shared_bucket):
    jupyter.ok("PUT", contents_url("updown"), {"type": "directory"})
    jupyter.save("updown/../turned.ipynb", notebook("turned"))
    jupyter.flush()
    assert shared_bucket.versions("workspace/turned.ipynb") == [jupyter.on_disk("turned.ipynb")]


def test_what_is_no_notebook_is_not_archived(jupyter, shared_bucket):
    jupyter.upload("picture.png", b"\x89PNG")
    jupyter.ok("PUT", contents_url("text.txt"), {"type": "file", "format": "text", "content": "hello"})
    jupyter.flush()
    assert not {"workspace/picture.png", "workspace/text.txt"} & shared_bucket.keys()


def test_what_the_user_s_hook_rejects_is_not_archived(jupyter, shared_bucket):
    model = {"type": "notebook", "format": "json", "content": notebook("no")}
    assert jupyter.request("PUT", contents_url("rejected.ipynb"), model).status == 400
    jupyter.flush()
    assert "workspace/rejected.ipynb" not in shared_bucket.keys()  # noqa: SIM118 - a method of ours


def test_a_broken_hook_of_the_user_s_changes_nothing(jupyter, shared_bucket):
    jupyter.save("broken-hook.ipynb", notebook("still saved"))
    jupyter.flush()
    assert shared_bucket.versions("workspace/broken-hook.ipynb") == [jupyter.on_disk("broken-hook.ipynb")]


def test_what_the_user_s_hook_changed_is_archived_as_changed(jupyter, shared_bucket):
    jupyter.save("stripped.ipynb", notebook("secret output"))
    jupyter.flush()
    (content,) = shared_bucket.versions("workspace/stripped.ipynb")
    assert content == jupyter.on_disk("stripped.ipynb")
    assert b"stripped by the hook" in content
    assert b"secret output" not in content


def test_a_path_outside_the_root_archives_nothing(jupyter, shared_bucket):
    model = {"type": "notebook", "format": "json", "content": notebook("outside")}
    before = shared_bucket.keys()
    assert jupyter.request("PUT", "/api/contents/..%2F..%2Foutside.ipynb", model).status >= 400
    jupyter.flush()
    assert shared_bucket.keys() == before
    assert not (jupyter.root.parent.parent / "outside.ipynb").exists()


def test_a_save_that_fails_on_disk_archives_nothing(jupyter, shared_bucket):
    (jupyter.root / "folder.ipynb").mkdir()
    model = {"type": "notebook", "format": "json", "content": notebook("no")}
    assert jupyter.request("PUT", contents_url("folder.ipynb"), model).status >= 400
    status = jupyter.flush()
    assert status["waiting"] == 0
    assert "workspace/folder.ipynb" not in shared_bucket.keys()  # noqa: SIM118 - a method of ours


def test_fifty_quick_saves_are_fifty_versions_in_order(jupyter, shared_bucket):
    on_disk = []
    for number in range(50):
        jupyter.save("quick.ipynb", notebook(f"save {number}"))
        on_disk.append(jupyter.on_disk("quick.ipynb"))
    jupyter.flush()
    assert shared_bucket.versions("workspace/quick.ipynb") == on_disk


def test_twenty_saves_of_one_path_and_two_hundred_of_others_at_once_are_220_versions(start_jupyter, durable_bucket):
    jupyter = start_jupyter(durable_bucket)
    same = [("one.ipynb", notebook(f"x{'y' * 1000 * number}", cells=number + 1)) for number in range(20)]
    others = [(f"other-{number}.ipynb", notebook(f"number {number}")) for number in range(200)]
    jupyter.save_all([*others[:100], *same, *others[100:]])
    jupyter.flush()
    json.loads(jupyter.on_disk("one.ipynb"))
    versions = durable_bucket.versions("workspace/one.ipynb")
    assert len(versions) == 20
    assert versions[-1] == jupyter.on_disk("one.ipynb"), "the newest version is what is on disk"
    sources = {"".join(json.loads(version)["cells"][0]["source"]) for version in versions}
    assert sources == {content["cells"][0]["source"] for _, content in same}
    for path, _ in others:
        assert durable_bucket.versions(f"workspace/{path}") == [jupyter.on_disk(path)]


def test_saves_of_one_path_at_once_leave_a_whole_file_each_time(jupyter):
    for attempt in range(5):
        saves = [("whole.ipynb", notebook("z" * 3000 * number, cells=number + 1)) for number in range(20)]
        jupyter.save_all(saves)
        found = json.loads(jupyter.on_disk("whole.ipynb"))
        assert len(found["cells"]) in range(1, 21), attempt


def test_a_save_is_one_request_once_its_key_is_known(jupyter, shared_bucket):
    with recorded_requests() as requests:
        for number in range(10):
            jupyter.save("counted.ipynb", notebook(f"{number}"))
        jupyter.flush()
        first = len(requests("counted.ipynb"))
        for number in range(10, 30):
            jupyter.save("counted.ipynb", notebook(f"{number}"))
        jupyter.flush()
        after = requests("counted.ipynb")
    assert first == 11, "ten saves and a look at a key that was never seen"
    assert after[first:] == ["PUT"] * 20


def test_a_save_that_changes_nothing_makes_no_version(jupyter, shared_bucket):
    for _ in range(3):
        jupyter.save("unchanged.ipynb", notebook("the same"))
        status = jupyter.flush()
    assert len(shared_bucket.versions("workspace/unchanged.ipynb")) == 1
    assert status["unchanged"] >= 2
    jupyter.save("unchanged.ipynb", notebook("another"))
    jupyter.save("unchanged.ipynb", notebook("the same"))
    jupyter.flush()
    assert len(shared_bucket.versions("workspace/unchanged.ipynb")) == 3
