"""The directive ``bookstore-rest``: every route and every document, from ``bookstore/openapi.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: The document that the package ships and the server serves.
OPENAPI = Path(__file__).resolve().parent.parent.parent / "bookstore" / "openapi.json"


def kind_of(schema: dict[str, Any]) -> str:
    """A schema's type in words, with a link where it has a section of its own."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"`{name} <#schema-{name.lower()}>`__"
    if "oneOf" in schema:
        return " or ".join(kind_of(one) for one in schema["oneOf"])
    if "enum" in schema:
        return ", ".join(f"``{json.dumps(value)}``" for value in schema["enum"])
    kinds = schema.get("type", "anything")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if text == "array":
        return f"array of {kind_of(schema['items'])}"
    return f"{text} ({schema['format']})" if "format" in schema else text


def kind_of_content(name: str, schema: dict[str, Any]) -> str:
    """What an answer of a media type is, in words."""
    return {"text/html": "HTML page", "*/*": "the bytes"}.get(name) or kind_of(schema)


def _parameters(parameters: list[dict[str, Any]]) -> list[str]:
    rows = [".. list-table::", "   :header-rows: 1", "   :widths: 22 26 52", ""]
    rows += ["   * - Parameter", "     - Type", "     - Meaning"]
    for one in parameters:
        must = " It has to be given." if one["required"] and one["in"] == "query" else ""
        place = " A header." if one["in"] == "header" else ""
        rows += [
            f"   * - ``{one['name']}``",
            f"     - {kind_of(one['schema'])}",
            f"     - {one['description']}{must}{place}",
        ]
    return [*rows, ""]


def _table(schema: dict[str, Any]) -> list[str]:
    rows = [".. list-table::", "   :header-rows: 1", "   :widths: 22 26 52", ""]
    rows += ["   * - Field", "     - Type", "     - Meaning"]
    for name, field in schema.get("properties", {}).items():
        rows += [f"   * - ``{name}``", f"     - {kind_of(field)}", f"     - {field.get('description', '')}"]
    return [*rows, ""]


class RestDirective(Directive):
    """``.. bookstore-rest::``."""

    def run(self) -> list[nodes.Node]:
        """A section for each operation, then one for each document."""
        document = json.loads(OPENAPI.read_text(encoding="utf-8"))
        self._components = document["components"]
        self.state.document.settings.env.note_dependency(str(OPENAPI))
        made = []
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                made.append(self._operation(method.upper(), path, operation))
        documents = nodes.section(ids=["documents"], names=["documents"])
        documents += nodes.title(text="Documents")
        for name, schema in document["components"]["schemas"].items():
            documents += self._schema(name, schema)
        return [*made, documents]

    def _operation(self, method: str, path: str, operation: dict[str, Any]) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(f"{method} {path}")], names=[f"{method} {path}"])
        section += nodes.title("", "", nodes.literal(text=f"{method} {path}"))
        rows = [operation["description"], ""]
        if parameters := [self._resolved(one) for one in operation.get("parameters", ())]:
            rows += _parameters(parameters)
        if body := operation.get("requestBody"):
            (content,) = body["content"].values()
            rows += [f"**Body** {body['description']}", "", *_table(content["schema"])]
        rows += [".. list-table:: Answers", "   :header-rows: 1", "   :widths: 12 28 60", ""]
        rows += ["   * - Status", "     - Document", "     - When"]
        for status, answer in operation["responses"].items():
            told = self._resolved(answer)
            kinds = [kind_of_content(name, content["schema"]) for name, content in told.get("content", {}).items()]
            rows += [f"   * - ``{status}``", f"     - {' or '.join(kinds)}", f"     - {told['description']}"]
        self._parse(rows, section)
        return section

    def _resolved(self, told: dict[str, Any]) -> dict[str, Any]:
        """What a reference to a component stands for."""
        if "$ref" not in told:
            return told
        _, _, kind, name = told["$ref"].split("/")
        found: dict[str, Any] = self._components[kind][name]
        return found

    def _schema(self, name: str, schema: dict[str, Any]) -> nodes.section:
        section = nodes.section(ids=[f"schema-{name.lower()}"], names=[name])
        section += nodes.title(text=name)
        rows = [schema.get("description", ""), ""]
        if whole := [one for one in schema.get("allOf", ()) if "$ref" in one]:
            rows += [f"All fields of {' and '.join(map(kind_of, whole))}, and:", ""]
        for part in (schema, *schema.get("allOf", ())):
            if "properties" in part:
                rows += _table(part)
        self._parse(rows, section)
        return section

    def _parse(self, rows: list[str], into: nodes.Element) -> None:
        self.state.nested_parse(StringList(rows, source="openapi.json"), 0, into)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("bookstore-rest", RestDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
