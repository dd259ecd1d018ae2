"""Whether bytes are a valid notebook, and which rule of its format which cell breaks. Pure functions.

The rules are those of nbformat's own schemas, each notebook by the schema of the format that it says it has. Nothing
is repaired, as ``nbformat.validate`` would: who publishes gets these bytes or none.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

from bookstore.errors import NotebookInvalid
from bookstore.nesting import MAX_NESTING, is_too_deep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: How many faults an error names.
FAULTS_NAMED: Final = 5

#: Characters of a value that an error repeats.
_VALUE_SHOWN: Final = 60

#: The newest minor format of each major one whose rules nbformat knows in full.
_KNOWN_MINOR: Final = {3: 0, 4: 5}

#: By major format: the name of each type's definition in the schema.
_CELLS: Final[Mapping[int, Mapping[str, str]]] = {
    3: {"code": "code_cell", "markdown": "markdown_cell", "html": "markdown_cell"}
    | {"heading": "heading_cell", "raw": "raw_cell"},
    4: {"code": "code_cell", "markdown": "markdown_cell", "raw": "raw_cell"},
}
_OUTPUTS: Final[Mapping[int, Mapping[str, str]]] = {
    3: {name: name for name in ("pyout", "display_data", "stream", "pyerr")},
    4: {name: name for name in ("execute_result", "display_data", "stream", "error")},
}

_TYPES: Final = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


def checked_notebook(content: bytes) -> None:
    """See that bytes are a valid notebook with at least one cell.

    Parameters
    ----------
    content : bytes
        The file's bytes; any nbformat that has a schema (3 and 4), and minor formats newer than nbformat knows by
        what is known of them.

    Raises
    ------
    NotebookInvalid
        Tells the first `FAULTS_NAMED` faults: the cell, by its number from 1 and its id if it has one, and the rule.
        Or it is nested more than `MAX_NESTING` levels deep, which many programs that read notebooks cannot take.
    """
    try:
        notebook = _parsed(content)
        faults = list(itertools.islice(_faults(notebook), FAULTS_NAMED + 1))
    except RecursionError as e:
        raise _nested_too_deeply() from e
    if faults:
        more = "; and more" if len(faults) > FAULTS_NAMED else ""
        raise NotebookInvalid(f"The notebook is invalid: {'; '.join(faults[:FAULTS_NAMED])}{more}")


def _parsed(content: bytes) -> dict[str, Any]:
    if not content.strip():
        raise NotebookInvalid("The notebook is empty", "Add a cell, save the notebook, and try again.")
    try:
        document = json.loads(content.decode("utf-8"), parse_constant=_refused_constant)
    except UnicodeDecodeError as e:
        raise NotebookInvalid(f"The notebook is not UTF-8: byte {e.start} is {content[e.start]:#04x}") from e
    except ValueError as e:
        raise NotebookInvalid(f"The notebook is not JSON: {e}") from e
    if is_too_deep(document):
        raise _nested_too_deeply()
    if not isinstance(document, dict):
        raise NotebookInvalid(f"The notebook is invalid: it must be an object, not {_kind(document)}")
    return document


def _nested_too_deeply() -> NotebookInvalid:
    return NotebookInvalid(
        f"The notebook is nested too deeply: at most {MAX_NESTING} lists and objects may lie within one another",
        "Clear the output or remove the metadata that hold such data, save the notebook, and try again.",
    )


def _refused_constant(name: str) -> None:
    # Python's own reader takes what browsers, and with them Jupyter, do not (RFC 8259, section 6).
    raise ValueError(f"{name} is no number of JSON")


def _faults(notebook: dict[str, Any]) -> Iterator[str]:
    major, minor = notebook.get("nbformat"), notebook.get("nbformat_minor")
    for name, value in (("nbformat", major), ("nbformat_minor", minor)):
        if name not in notebook:
            yield f"'{name}' is missing"
        elif type(value) is not int:
            yield f"'{name}' must be a whole number, not {_shown(value)}"
    if type(major) is not int or type(minor) is not int:
        return
    if not _has_schema(major, minor):
        yield f"there are no rules for nbformat {major}.{minor}; known are 3.0 and all of 4"
        return
    yield from _Rules(major, minor).faults(notebook)


def _has_schema(major: int, minor: int) -> bool:
    # nbformat relaxes its newest rules for what is newer, but has done so for format 4 only.
    return major in _KNOWN_MINOR and minor >= 0 and (major == 4 or minor <= _KNOWN_MINOR[major])


class _Rules:
    """The rules of one format."""

    def __init__(self, major: int, minor: int) -> None:
        self.major = major
        self.minor = minor
        self.has_ids = (major, minor) >= (4, 5)
        self.is_newer_than_known = minor > _KNOWN_MINOR[major]

    def faults(self, notebook: dict[str, Any]) -> Iterator[str]:
        if not self._is_valid(notebook):
            # Piece by piece: of a whole notebook the schema only says that a cell is none of its kinds.
            found = itertools.chain(self._frame_faults(notebook), self._cells_faults(_cells(notebook)))
            first = next(found, None)
            yield first if first is not None else f"it breaks a rule of nbformat {self.major}.{self.minor}"
            yield from found
        elif not _cells(notebook):
            yield "it has no cells"
        elif self.has_ids:
            yield from self._repeated_ids(notebook["cells"])

    def _frame_faults(self, notebook: dict[str, Any]) -> Iterator[str]:
        """Faults of what surrounds the cells."""
        frame = dict(notebook)
        if isinstance(notebook.get("cells"), list):
            frame["cells"] = []
        if isinstance(notebook.get("worksheets"), list):
            frame["worksheets"] = [
                {**sheet, "cells": []} if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list) else sheet
                for sheet in notebook["worksheets"]
            ]
        yield from map(_in_words, self._errors(frame))

    def _cells_faults(self, cells: Sequence[Any]) -> Iterator[str]:
        for number, cell in enumerate(cells, 1):
            name = _name(number, cell)
            yield from (f"{name}: {fault}" for fault in self._cell_faults(cell))
        if self.has_ids:
            yield from self._repeated_ids(cells)

    def _cell_faults(self, cell: Any) -> Iterator[str]:
        frame = cell
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        if isinstance(outputs, list):
            frame = {**cell, "outputs": []}
        yield from self._piece_faults(frame, "cell", "cell_type", _CELLS[self.major])
        if isinstance(outputs, list) and cell.get("cell_type") == "code":
            for number, output in enumerate(outputs, 1):
                for fault in self._piece_faults(output, "output", "output_type", _OUTPUTS[self.major]):
                    yield f"output {number}: {fault}"

    def _piece_faults(self, piece: Any, what: str, field: str, types: Mapping[str, str]) -> Iterator[str]:
        """Faults of a cell or an output, by the definition of the type that it says it has."""
        if not isinstance(piece, dict):
            yield f"it must be an object, not {_kind(piece)}"
            return
        if field not in piece:
            yield f"'{field}' is missing"
            return
        named = piece[field]
        definition = types.get(named) if isinstance(named, str) else None
        if definition is None and isinstance(named, str) and self.is_newer_than_known:
            definition = f"unrecognized_{what}"
        if definition is None:
            yield f"'{field}' must be {_any_of([repr(name) for name in types])}, not {_shown(named)}"
            return
        yield from map(_in_words, self._errors(piece, definition))

    def _repeated_ids(self, cells: Sequence[Any]) -> Iterator[str]:
        first: dict[str, int] = {}
        for number, cell in enumerate(cells, 1):
            cell_id = cell.get("id") if isinstance(cell, dict) else None
            if isinstance(cell_id, str) and first.setdefault(cell_id, number) != number:
                yield f"{_name(number, cell)}: cell {first[cell_id]} has the same 'id'"

    def _is_valid(self, notebook: dict[str, Any]) -> bool:
        # nbformat's quick validator, which compiles the schema, but tells little of what is wrong.
        return next(iter(self._validator().iter_errors(notebook)), None) is None

    def _errors(self, piece: Any, definition: str | None = None) -> Iterator[Any]:
        schema = None if definition is None else {"$ref": f"#/definitions/{definition}"}
        errors: Iterator[Any] = self._validator("jsonschema").iter_errors(piece, schema)
        return errors

    def _validator(self, name: str | None = None) -> Any:
        # Costs 0.1 s to import, and who only reads results needs none of it.
        from nbformat.validator import get_validator

        return get_validator(self.major, self.minor, name=name)  # type: ignore[no-untyped-call]


def _cells(notebook: dict[str, Any]) -> list[Any]:
    """All cells; of nbformat 3 those of all worksheets, in order."""
    sheets = notebook.get("worksheets") if notebook["nbformat"] == 3 else [notebook]
    if not isinstance(sheets, list):
        return []
    found = [sheet["cells"] for sheet in sheets if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list)]
    return [cell for cells in found for cell in cells]


def _name(number: int, cell: Any) -> str:
    cell_id = cell.get("id") if isinstance(cell, dict) else None
    return f"cell {number} (id {_shown(cell_id)})" if isinstance(cell_id, str) else f"cell {number}"


def _in_words(error: Any) -> str:
    """What a validation error of jsonschema says, for people."""
    path = ".".join(str(part + 1 if isinstance(part, int) else part) for part in error.relative_path)
    field = f"'{path}'" if path else "it"
    rule, wanted, value = error.validator, error.validator_value, error.instance
    if rule == "required":
        # One error for each missing name, which only its text tells.
        missing = [name for name in wanted if name not in value and error.message.startswith(repr(name))]
        return f"{_joined(path, missing[0])} is missing" if missing else str(error.message)
    if rule == "additionalProperties":
        known = error.schema.get("properties", {})
        strange = [_joined(path, name) for name in value if name not in known]
        return f"{', '.join(strange)} {'is' if len(strange) == 1 else 'are'} not allowed"
    if rule == "type":
        return f"{field} must be {_described({'type': wanted})}, not {_shown(value)}"
    if rule in ("oneOf", "anyOf") and all("type" in choice for choice in wanted):
        return f"{field} must be {_any_of([_described(choice) for choice in wanted])}, not {_shown(value)}"
    if rule == "enum":
        return f"{field} must be {_any_of([json.dumps(choice) for choice in wanted])}, not {_shown(value)}"
    if rule == "minimum":
        return f"{field} must be at least {wanted}, not {_shown(value)}"
    if rule == "uniqueItems":
        return f"{field} must not name anything twice"
    if path == "id":
        return f"'id' must be 1 to 64 letters, digits, '-' or '_', not {_shown(value)}"
    if rule == "pattern":
        return f"{field} must match {wanted}, not {_shown(value)}"
    return f"{field} breaks the rule {rule!r}: {_cut(str(error.message))}"


def _joined(path: str, name: str) -> str:
    return f"'{path}.{name}'" if path else f"'{name}'"


def _described(schema: Mapping[str, Any]) -> str:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if types == ["array"] and schema.get("items") == {"type": "string"}:
        return "a list of strings"
    return _any_of([_TYPES[name] for name in types])


def _any_of(choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _kind(value: Any) -> str:
    kinds = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return kinds.get(type(value), "an object")


def _shown(value: Any) -> str:
    """A value as far as it helps: what is small is repeated, of the rest only the kind is told."""
    if isinstance(value, str):
        return _cut(repr(value))
    return _cut(json.dumps(value)) if isinstance(value, (int, float)) else _kind(value)


def _cut(text: str) -> str:
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}…"
