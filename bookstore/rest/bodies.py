"""Bodies of requests: JSON objects with known fields. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from bookstore.errors import InvalidRequest
from bookstore.nesting import MAX_NESTING, is_too_deep

#: Longest value that an error repeats, in characters.
_SHOWN = 80

#: An escape that may be one half of a character; only such text is looked at twice.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")

#: A notebook or parameters, and what is around them.
_DEEPEST = MAX_NESTING + 2

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "a string"),
    "flag": ((bool,), "true or false"),
    "number": ((int, float), "a number"),
    "object": ((dict,), "a JSON object"),
    "version": ((str,), "a string"),
}

#: S3 User Guide, "How S3 Versioning works": version ids are opaque strings, ready for URLs and of 1,024 bytes at most.
#: What is none is refused here, since servers answer it in many ways.
_VERSION = re.compile(r"[!-~]{1,1024}")


@dataclass(frozen=True, slots=True)
class Field:
    """What may stand in a body under one name.

    Attributes
    ----------
    name : str
    kind : str
        ``text``, ``flag``, ``number``, ``object`` or ``version``, a version id.
    required : bool
        A field that is not required may be null, which says the same as leaving it out; so does an empty version id.
    """

    name: str
    kind: str = "text"
    required: bool = False


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises
    ------
    InvalidRequest
        It is not JSON in UTF-8, or JSON of another kind.
    """
    try:
        text = body.decode("utf-8")
        document = json.loads(text, parse_constant=_refuse)
        if _HALF.search(text):
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as e:
        raise InvalidRequest(f"The body is not UTF-8: {e.reason} at byte {e.start}.", "Send JSON in UTF-8.") from e
    except UnicodeEncodeError as e:
        raise InvalidRequest("The body holds one half of a surrogate pair.", "Send whole characters.") from e
    except RecursionError as e:
        raise _too_deep() from e
    except ValueError as e:
        raise InvalidRequest(f"The body is not JSON: {e}.", "Send a JSON object.") from e
    if is_too_deep(document, _DEEPEST):
        raise _too_deep()
    if not isinstance(document, dict):
        raise InvalidRequest(f"The body is to be a JSON object, not {shown(document)}.", "Send a JSON object.")
    return document


def checked(document: dict[str, Any], fields: Iterable[Field]) -> dict[str, Any]:
    """The values of a body by name; None for each field that was left out.

    Parameters
    ----------
    document : dict
    fields : iterable of Field

    Raises
    ------
    InvalidRequest
        A field is unknown, missing, or of another type.
    """
    known = {field.name: field for field in fields}
    if unknown := sorted(set(document) - set(known)):
        names = ", ".join(known)
        raise InvalidRequest(
            f"Unknown {'field' if len(unknown) == 1 else 'fields'}: {', '.join(map(shown, unknown[:10]))}.",
            f"Known are {names}." if names else "This body has no fields.",
        )
    return {name: _value(field, document.get(name)) for name, field in known.items()}


def shown(value: object) -> str:
    """A value as an error may repeat it."""
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def checked_version(name: str, version_id: str) -> str:
    """A version id.

    Raises
    ------
    InvalidRequest
        No version could have it.
    """
    if not _VERSION.fullmatch(version_id):
        raise InvalidRequest(f"{name} {shown(version_id)} is no version id.", "Give one that the history shows.")
    return version_id


def _value(field: Field, value: Any) -> Any:
    if value is None:
        if field.required:
            raise InvalidRequest(f"{field.name} is missing.", f"Send {field.name} as {_KINDS[field.kind][1]}.")
        return None
    kinds, words = _KINDS[field.kind]
    # To Python, true is a number.
    if not isinstance(value, kinds) or (isinstance(value, bool) and field.kind != "flag"):
        raise InvalidRequest(f"{field.name} is to be {words}, not {shown(value)}.", f"Send {field.name} as {words}.")
    if field.kind == "version":
        if not value and not field.required:
            return None
        return checked_version(field.name, str(value))
    return value


def _too_deep() -> InvalidRequest:
    hint = f"At most {MAX_NESTING} lists and objects may lie within one another."
    return InvalidRequest("The body is nested too deeply.", hint)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
