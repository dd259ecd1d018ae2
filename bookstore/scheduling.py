"""Scheduled copies: notebooks pinned to a version, with the parameters that an outside scheduler runs them with.

The parameters travel with the object, so that who reads the one key finds the notebook (the body), the version in the
workspace that it is (``bookstore-from-version``) and the parameters: as JSON in ``bookstore-parameters`` where the
metadata have room, otherwise in an object of their own that ``bookstore-parameters-key`` names. That one is named by
the SHA-256 of its content, so that parameters never change under a copy.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from bookstore.errors import IntegrityError, InvalidRequest, ObjectMissing, PreconditionFailed
from bookstore.nesting import MAX_NESTING, is_too_deep
from bookstore.provenance import decode_value, encode_value
from bookstore.publishing import Shelf, metadata_size
from bookstore.s3_paths import RESERVED, reserved_key

if TYPE_CHECKING:
    from bookstore.storage.base import ObjectInfo, ObjectStore

#: Metadata names.
PARAMETERS: Final = "bookstore-parameters"
PARAMETERS_KEY: Final = "bookstore-parameters-key"

#: Bytes of all parameters as JSON.
MAX_PARAMETERS: Final = 64 * 1024

_PARAMETERS_KEY_FORM: Final = re.compile(rf"(?:.*/)?{re.escape(RESERVED)}/parameters/([0-9a-f]{{64}})\.json", re.DOTALL)


def checked_parameters(parameters: object) -> dict[str, Any]:
    """Parameters as papermill takes them, in the order in which they are given.

    Parameters
    ----------
    parameters : mapping of str to JSON values, or None

    Returns
    -------
    dict
        A copy; empty for None.

    Raises
    ------
    InvalidRequest
        They are no mapping, a name is no identifier, a value is not one of JSON or nested more than `MAX_NESTING`
        levels deep, or all are longer than 64 KiB.
    """
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise InvalidRequest(
            f"The parameters must be names with values, not {type(parameters).__name__}.", 'Such as {"alpha": 0.6}.'
        )
    chosen: dict[str, Any] = {}
    for name, value in parameters.items():
        # The name becomes a variable of the notebook: anything else would be code.
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise InvalidRequest(f"The parameter's name {name!r} is no identifier.", "Use letters, digits and _.")
        chosen[name] = _json_value(name, value)
    size = len(_document(chosen))
    if size > MAX_PARAMETERS:
        raise InvalidRequest(
            f"The parameters are {size:,} bytes long as JSON, and {MAX_PARAMETERS:,} are allowed.",
            "Put large values into a file, and give its address.",
        )
    return chosen


def _json_value(name: str, value: object) -> Any:
    if is_too_deep(value):
        raise InvalidRequest(
            f"The parameter {name!r} is nested too deeply: at most {MAX_NESTING} lists and objects may lie within one "
            "another.",
            "Put such a value into a file, and give its address.",
        )
    try:
        copy = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as e:
        raise InvalidRequest(f"The parameter {name!r} has a value that JSON cannot hold: {e}.") from e
    if copy != value:  # a tuple, a number as the name of a member: papermill would see something else
        raise InvalidRequest(f"The parameter {name!r} has a value that JSON cannot hold as it is.")
    return copy


def _document(parameters: Mapping[str, Any]) -> bytes:
    return json.dumps(parameters, separators=(",", ":")).encode("ascii")


async def parameters_of(store: ObjectStore, info: ObjectInfo) -> dict[str, Any]:
    """The parameters that a scheduled copy carries; empty for any other object.

    Parameters
    ----------
    store : ObjectStore
        Where the object is; one request where the parameters lie in an object of their own.
    info : ObjectInfo

    Raises
    ------
    IntegrityError
        What it carries is not what was scheduled.
    StorageError
    """
    carried, key = info.metadata.get(PARAMETERS), info.metadata.get(PARAMETERS_KEY)
    if carried is None and key is None:
        return {}
    try:
        if carried is not None:
            return checked_parameters(json.loads(decode_value(carried)))
        return checked_parameters(json.loads(await _read(store, decode_value(key or ""))))
    except (ValueError, RecursionError, InvalidRequest) as e:
        raise _altered(info, str(e)) from e
    except ObjectMissing as e:
        raise _altered(info, "the object that holds them is missing") from e


def _altered(info: ObjectInfo, why: str) -> IntegrityError:
    return IntegrityError(
        f"reading the parameters of {info.key!r}, version {info.version_id}: {why}",
        "Schedule the notebook again; this copy must not run without its parameters.",
    )


async def _read(store: ObjectStore, key: str) -> bytes:
    form = _PARAMETERS_KEY_FORM.fullmatch(key)
    if form is None:
        raise ValueError(f"{key!r} is no place of parameters")
    content = b""
    async with store.get(key) as body:
        if body.info.size > MAX_PARAMETERS:
            raise ValueError(f"{key!r} has {body.info.size:,} bytes")
        async for chunk in body.chunks:
            content += chunk
    if hashlib.sha256(content).hexdigest() != form[1]:
        raise ValueError(f"{key!r} does not have the content that its name tells")
    return content


class Schedules(Shelf):
    """The scheduled copies below one prefix: a `Shelf` on which notebooks have parameters."""

    state: ClassVar[str] = "scheduled"
    lister: ClassVar[str] = "bookstore schedule --list"

    def _chosen(self, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        return checked_parameters(parameters)

    async def _carried(self, parameters: dict[str, Any], room: int) -> dict[str, str]:
        if not parameters:
            return {}
        content = _document(parameters)
        inline = {PARAMETERS: encode_value(content.decode("ascii"))}
        if metadata_size(inline) <= room:
            return inline
        sha256 = hashlib.sha256(content).hexdigest()
        key = reserved_key(self.prefix, f"parameters/{sha256}.json")
        # Before the copy that names it: a copy without its parameters is never there.
        try:
            receipt = await self.store.put(
                key, content, sha256=sha256, content_type="application/json", if_none_match=True
            )
        except PreconditionFailed:
            # The same parameters were given before. Unless a racing write was refused as well, which S3 may do.
            await self.store.head(key)
        else:
            self._after_write(receipt)
        return {PARAMETERS_KEY: encode_value(key)}

    async def _parameters(self, info: ObjectInfo) -> dict[str, Any]:
        return await parameters_of(self.store, info)
