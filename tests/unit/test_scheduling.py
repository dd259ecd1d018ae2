"""`bookstore.scheduling`: a scheduled copy is pinned to its version, and its parameters travel with it."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookstore.errors import (
    BucketNotVersioned,
    IntegrityError,
    InvalidRequest,
    NotANotebook,
    ObjectMissing,
    PathError,
    PreconditionFailed,
)
from bookstore.provenance import MAX_METADATA_BYTES, from_metadata
from bookstore.publishing import metadata_size
from bookstore.results import Version
from bookstore.scheduling import (
    MAX_PARAMETERS,
    PARAMETERS,
    PARAMETERS_KEY,
    Schedules,
    checked_parameters,
    parameters_of,
)
from bookstore.storage.memory import MemoryStore

CONTENT = json.dumps(
    {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "Title"}],
    }
).encode()

#: Too long for metadata.
LONG = {"text": "x" * 3000, "n": 1}


async def _may_write() -> None:
    return None


def schedules_on(store: MemoryStore, prefix: str = "scheduled") -> Schedules:
    return Schedules(store, prefix, host="machine", root_dir="/home/ada", before_write=_may_write)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("lake")


@pytest.fixture
def schedules(store) -> Schedules:
    return schedules_on(store)


def source(key: str = "workspace/a.ipynb", version_id: str = "w7") -> Version:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return Version("a.ipynb", key, version_id, len(CONTENT), "e", "2026-01-01T00:00:00+00:00", sha256=sha256)


async def put(schedules: Schedules, parameters=None, path: str = "a.ipynb", **options):
    options = {"by": "ada", "reason": "schedule", "source": source(), **options}
    return await schedules.put(path, CONTENT, parameters=parameters, **options)


class TestParameters:
    @pytest.mark.parametrize("parameters", [None, {}])
    def test_none_are_fine(self, parameters):
        assert checked_parameters(parameters) == {}

    def test_everything_that_json_holds_is_taken_in_its_order(self):
        given_ones = {"z": 1, "a": None, "größe": [1.5, True, {"deep er": "x"}], "_x": ""}
        chosen = checked_parameters(given_ones)
        assert chosen == given_ones
        assert list(chosen) == list(given_ones)
        chosen["größe"][2]["deep er"] = "changed"
        assert given_ones["größe"][2] == {"deep er": "x"}

    @pytest.mark.parametrize("parameters", [[], "alpha=1", 3, [("a", 1)]])
    def test_what_is_no_mapping_is_refused(self, parameters):
        with pytest.raises(InvalidRequest, match="names with values"):
            checked_parameters(parameters)

    @pytest.mark.parametrize("name", ["", "a b", "1a", "a-b", "a.b", "import", "None", "x=1\nimport os", 3, None])
    def test_a_name_that_is_no_identifier_is_refused(self, name):
        with pytest.raises(InvalidRequest, match="identifier"):
            checked_parameters({name: 1})

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), (1, 2), {1: 2}, {"a": (1,)}, b"x", {1}, object()])
    def test_a_value_that_json_does_not_hold_is_refused_with_its_name(self, value):
        with pytest.raises(InvalidRequest, match="'alpha'"):
            checked_parameters({"alpha": value})

    def test_a_value_within_itself_is_refused(self):
        endless: list[object] = []
        endless.append(endless)
        with pytest.raises(InvalidRequest, match="'alpha'"):
            checked_parameters({"alpha": endless})

    def test_no_more_than_64_kib_are_taken(self):
        room = MAX_PARAMETERS - len('{"a":""}')
        assert checked_parameters({"a": "x" * room})
        with pytest.raises(InvalidRequest, match="65,537 bytes"):
            checked_parameters({"a": "x" * (room + 1)})


async def test_a_copy_is_pinned_to_its_version_and_carries_its_parameters(store, schedules):
    parameters = {"alpha": 0.6, "names": ["ö", "a  b"], "flag": None}
    scheduled = await put(schedules, parameters)
    assert scheduled.key == "scheduled/a.ipynb"
    assert (scheduled.from_key, scheduled.from_version) == ("workspace/a.ipynb", "w7")
    assert scheduled.parameters == parameters
    assert scheduled.url == f"bookstore://lake/scheduled/a.ipynb?versionId={scheduled.versionID}"
    assert await schedules.get("a.ipynb") == scheduled
    assert (await schedules.listing()).items == (scheduled,)
    info = await store.head("scheduled/a.ipynb")
    assert from_metadata(info.metadata).reason == "schedule"
    assert info.metadata["bookstore-from-version"] == "w7"
    # One object is all there is.
    assert store.requests["PutObject"] == 1


async def test_plain_parameters_are_plain_json_in_the_metadata(store, schedules):
    await put(schedules, {"alpha": 0.6, "name": "x"})
    assert (await store.head("scheduled/a.ipynb")).metadata[PARAMETERS] == '{"alpha":0.6,"name":"x"}'


async def test_a_copy_without_parameters_carries_none(store, schedules):
    scheduled = await put(schedules)
    assert scheduled.parameters == {}
    assert not {PARAMETERS, PARAMETERS_KEY} & set((await store.head("scheduled/a.ipynb")).metadata)
    assert (await schedules.get("a.ipynb")).parameters == {}


async def test_long_parameters_lie_in_an_object_that_the_copy_names(store, schedules):
    scheduled = await put(schedules, LONG)
    info = await store.head("scheduled/a.ipynb")
    key = info.metadata[PARAMETERS_KEY]
    async with store.get(key) as body:
        content = b"".join([chunk async for chunk in body.chunks])
    assert key == f"scheduled/.bookstore/parameters/{hashlib.sha256(content).hexdigest()}.json"
    assert json.loads(content) == LONG
    assert await schedules.get("a.ipynb") == scheduled
    assert (await schedules.listing()).items == (scheduled,)


async def test_the_same_long_parameters_are_stored_once(store, schedules):
    first = await put(schedules, LONG)
    second = await put(schedules, LONG, path="b.ipynb")
    assert first.parameters == second.parameters == LONG
    keys = [row.key for row in (await store.list_versions("scheduled/.bookstore/")).versions]
    assert len(keys) == 1


async def test_each_version_keeps_its_own_parameters(schedules):
    versions = [await put(schedules, {"n": n, **extra}) for n, extra in enumerate([{}, LONG, {}])]
    for version in versions:
        assert (await schedules.get("a.ipynb", version.versionID)).parameters == version.parameters


async def test_a_hidden_copy_is_not_listed_and_stays_readable_by_version(schedules):
    scheduled = await put(schedules, {"n": 1})
    await schedules.hide("a.ipynb")
    assert (await schedules.listing()).items == ()
    assert (await schedules.get("a.ipynb", scheduled.versionID)).parameters == {"n": 1}
    with pytest.raises(ObjectMissing):
        await schedules.get("a.ipynb")


async def test_bad_parameters_and_other_files_are_refused_before_anything_is_stored(store, schedules):
    with pytest.raises(InvalidRequest):
        await put(schedules, {"a b": 1})
    with pytest.raises(NotANotebook):
        await put(schedules, {"a": 1}, path="a.txt")
    assert not store.requests


async def test_nothing_is_stored_where_that_would_replace_what_is_there(store):
    async def refuse() -> None:
        raise BucketNotVersioned("it keeps no versions")

    schedules = Schedules(store, "scheduled", host="", root_dir="", before_write=refuse)
    with pytest.raises(BucketNotVersioned):
        await put(schedules, LONG)
    assert not store.requests


@given(st.integers(0, 1900), st.integers(0, 400), st.sampled_from("xö"), st.sampled_from("xö"), st.sampled_from("xö"))
async def test_the_fields_that_matter_win_where_metadata_are_full(size, long, a, b, c):
    store = MemoryStore()
    schedules = schedules_on(store, "scheduled/" + a * 60)
    schedules.root_dir = "/" + b * long
    key = f"workspace/{c * 400}.ipynb"
    parameters = {"text": "y" * size}
    await put(schedules, parameters, by="u" * long, source=source(key, "v" * 64))
    info = await store.head(f"{schedules.prefix}/a.ipynb")
    assert metadata_size(info.metadata) <= MAX_METADATA_BYTES
    kept = from_metadata(info.metadata)
    assert kept.record_id
    assert (kept.sha256, kept.from_key, kept.from_version) == (hashlib.sha256(CONTENT).hexdigest(), key, "v" * 64)
    assert await parameters_of(store, info) == parameters


async def test_a_name_of_who_did_it_is_not_given_up_for_parameters_that_can_lie_elsewhere(store, schedules):
    await put(schedules, {"text": "x" * 1620})
    info = await store.head("scheduled/a.ipynb")
    assert PARAMETERS_KEY in info.metadata
    assert from_metadata(info.metadata).origin == "machine:/home/ada"


async def test_what_cannot_travel_together_is_refused(store):
    schedules = schedules_on(store, "ö" * 255)
    with pytest.raises(PathError, match="too long to travel together"):
        await put(schedules, LONG, source=source("ü" * 500, "v" * 100))


@pytest.mark.parametrize(
    "metadata",
    [
        {PARAMETERS: "{"},
        {PARAMETERS: "b64.!"},
        {PARAMETERS: "[1]"},
        {PARAMETERS: '{"x=1;y": 1}'},
        {PARAMETERS: '{"x": NaN}'},
        {PARAMETERS: "[" * 1500},
        {PARAMETERS_KEY: "scheduled/secret.json"},
        {PARAMETERS_KEY: f"scheduled/.bookstore/parameters/{'0' * 64}.json"},
        {PARAMETERS_KEY: f"scheduled/.bookstore/parameters/{'0' * 64}.json/more"},
    ],
)
async def test_a_copy_whose_parameters_cannot_be_had_is_never_taken_for_one_without(store, schedules, metadata):
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    await store.put("scheduled/a.ipynb", CONTENT, sha256=sha256, metadata=metadata)
    with pytest.raises(IntegrityError, match=r"parameters of 'scheduled/a\.ipynb'") as caught:
        await schedules.get("a.ipynb")
    assert "Schedule the notebook again" in caught.value.hint
    with pytest.raises(IntegrityError):
        await schedules.listing()


@pytest.mark.parametrize("altered", [b'{"text":"other"}', b" " * (MAX_PARAMETERS + 1)])
async def test_parameters_that_were_altered_are_found_out(store, schedules, altered):
    await put(schedules, LONG)
    key = (await store.head("scheduled/a.ipynb")).metadata[PARAMETERS_KEY]
    await store.put(key, altered, sha256=hashlib.sha256(altered).hexdigest())
    with pytest.raises(IntegrityError):
        await schedules.get("a.ipynb")


async def test_a_refused_write_of_parameters_that_are_not_there_is_no_success(store, schedules):
    store.faults = lambda operation, key: (
        PreconditionFailed("a race") if operation == "PutObject" and ".bookstore/" in key else None
    )
    with pytest.raises(ObjectMissing):
        await put(schedules, LONG)
    assert not (await store.list_objects("")).objects
