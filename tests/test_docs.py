"""The documentation and the program say the same."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, get_args, get_origin, get_type_hints

import pytest
from tornado.web import RequestHandler

import bookstore
from bookstore import results
from bookstore.bookstore_config import BookstoreSettings
from bookstore.cli.arguments import command_parser
from bookstore.cli.commands import COMMANDS
from bookstore.delivery import ForeignVersion
from bookstore.errors import BookstoreError
from bookstore.handlers import NO_ROUTE, ROUTES, collect_handlers
from bookstore.rest.errors import STATUSES
from bookstore.service import ArchiveService
from bookstore.status import NO_BUCKET, ArchiveStatus, LastVersion, Problem

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
FEATURES = ("bookstore_valid", "archive_valid", "publish_valid", "s3_clone_valid", "fs_clone_valid")

#: The results that are documents of their own.
RESULTS = (
    "Label",
    "Version",
    "History",
    "CellChange",
    "Side",
    "Comparison",
    "Archived",
    "Restored",
    "Published",
    "Listing",
    "Removed",
)


def read(name):
    return (REPOSITORY / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def openapi():
    return json.loads((Path(bookstore.__file__).parent / "openapi.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schemas(openapi):
    return openapi["components"]["schemas"]


@pytest.fixture
def extensions(monkeypatch):
    """The Sphinx extensions that generate the reference."""
    pytest.importorskip("docutils", reason="pip install -r requirements-docs.txt")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    return importlib.import_module


# -- settings ----------------------------------------------------------------------------------------------------------


def test_every_setting_has_its_place_in_the_reference(extensions):
    groups = extensions("bookstore_settings").grouped_traits()
    named = [name for traits in groups.values() for name in traits]
    assert sorted(named) == sorted(BookstoreSettings.class_trait_names(config=True))
    assert "bookstore-settings::" in read("docs/reference/settings.md")


def test_every_setting_says_what_it_is_for():
    for name, trait in BookstoreSettings.class_traits(config=True).items():
        assert trait.help.strip(), name


def test_an_environment_variable_is_told_with_its_setting():
    for name, trait in BookstoreSettings.class_traits(config=True).items():
        if variable := trait.metadata.get("env"):
            assert variable in trait.help, name


def test_the_defaults_of_the_reference_are_those_of_the_program(extensions, monkeypatch):
    for name in os.environ:
        if name.startswith("JPYNB_"):
            monkeypatch.delenv(name)
    settings = BookstoreSettings()
    module = extensions("bookstore_settings")
    for name, trait in BookstoreSettings.class_traits(config=True).items():
        told = module.default_of(name, trait)
        if name == "outbox_dir":
            assert settings.outbox_dir.replace(os.sep, "/").endswith("/bookstore/outbox")
        else:
            assert eval(told) == getattr(settings, name), name  # noqa: S307 - our own text


def test_the_example_configuration_runs_and_names_every_setting():
    text = read("jupyter_config.py.example")
    compile(text, "jupyter_config.py.example", "exec")
    named = re.findall(r"^(?:# )?c\.BookstoreSettings\.(\w+) = ", text, re.MULTILINE)
    assert sorted(named) == sorted(BookstoreSettings.class_trait_names(config=True))


def test_the_example_configuration_shows_the_defaults(monkeypatch):
    from traitlets.config import Config

    for name in os.environ:
        if name.startswith("JPYNB_"):
            monkeypatch.delenv(name)
    defaults = BookstoreSettings()
    text = re.sub(r"^# (c\.BookstoreSettings\.)", r"\1", read("jupyter_config.py.example"), flags=re.MULTILINE)
    config = Config()
    exec(compile(text, "jupyter_config.py.example", "exec"), {"get_config": lambda: config})  # noqa: S102 - our own
    settings = BookstoreSettings.load(config=config)
    assert settings.problems == ()
    for name in BookstoreSettings.class_trait_names(config=True):
        if name != "outbox_dir":
            assert getattr(settings, name) == getattr(defaults, name), name


# -- routes ------------------------------------------------------------------------------------------------------------


def test_the_settings_of_the_interface_are_told_with_their_defaults():
    schema = json.loads(read("ui/schema/plugin.json"))
    page = read("docs/how-to/browser.md")
    told = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE))
    assert told == {name: json.dumps(one["default"]) for name, one in schema["properties"].items()}


def test_every_route_is_in_the_openapi_document_and_the_other_way_round(openapi):
    methods = ("get", "head", "put", "post", "patch", "delete")
    served = {
        route.path: {
            method for method in methods if getattr(route.handler, method) is not getattr(RequestHandler, method)
        }
        for route in ROUTES
    }
    assert {path: set(operations) for path, operations in openapi["paths"].items()} == served


def test_every_route_is_served_where_the_settings_allow_all_and_answers_with_and_without_a_slash():
    log = logging.getLogger("test")
    *served, (anything, no_route) = collect_handlers(log, "/user/kylek/", dict.fromkeys(FEATURES, True))
    assert len(served) == len(ROUTES)
    assert no_route is NO_ROUTE.handler
    assert re.fullmatch(anything, "/user/kylek/api/bookstore/no/such/route")
    for route in ROUTES:
        address = "/user/kylek" + route.path.replace("{path}", "a%20folder/b.ipynb")
        for path in (address, f"{address}/"):
            (handler,) = [handler for pattern, handler in served if re.fullmatch(pattern, path)]
            assert handler is route.handler, path


def test_routes_of_what_the_settings_switch_off_are_not_there():
    log = logging.getLogger("test")
    served = collect_handlers(log, "/", dict.fromkeys(FEATURES, False))
    paths = {route.path for route in ROUTES if route.handler in dict(served).values()}
    assert paths == {
        "/api/bookstore",
        "/api/bookstore/status",
        "/api/bookstore/flush",
        "/api/bookstore/openapi.json",
    }


def test_each_method_of_each_route_asks_who_one_is_and_is_no_other_class_s():
    for route in (*ROUTES, NO_ROUTE):
        for method in ("get", "head", "put", "post", "patch", "delete"):
            inherited = getattr(RequestHandler, method)
            if (function := getattr(route.handler, method)) is inherited:
                continue
            # The authorizer is asked about what the first call of a method was: each class needs its own.
            assert method in vars(route.handler), f"{route.handler.__name__}.{method} is inherited"
            inner = function.__wrapped__
            assert inner.__code__.co_filename.endswith("decorator.py"), f"{route.handler.__name__}.{method}"
            assert inner.__wrapped__.__qualname__ == f"{route.handler.__name__}.{method}"


def test_every_reference_in_the_openapi_document_leads_somewhere(openapi):
    for reference in re.findall(r'"#/(.*?)"', json.dumps(openapi)):
        found = openapi
        for part in reference.split("/"):
            found = found[part]


def test_every_schema_is_one(schemas):
    jsonschema = pytest.importorskip("jsonschema")
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "model"),
    [
        ("ArchiveStatus", ArchiveStatus),
        ("Problem", Problem),
        ("LastVersion", LastVersion),
        ("ForeignVersion", ForeignVersion),
        *((name, getattr(results, name)) for name in RESULTS),
    ],
)
def test_each_document_has_the_fields_that_the_program_writes(schemas, schema, model):
    fields = [field.name for field in dataclasses.fields(model)]
    assert list(schemas[schema]["properties"]) == fields
    assert schemas[schema]["required"] == fields


@pytest.mark.parametrize(
    ("schema", "model"),
    [
        ("ArchiveStatus", ArchiveStatus),
        ("Problem", Problem),
        *((name, getattr(results, name)) for name in RESULTS),
    ],
)
def test_each_field_may_be_null_where_the_program_says_so(schemas, schema, model):
    for name, hint in get_type_hints(model).items():
        if get_origin(hint) is ClassVar:
            continue
        field = schemas[schema]["properties"][name]
        kinds = field.get("type", [one.get("type") for one in field.get("oneOf", ())])
        assert ("null" in kinds) == (type(None) in get_args(hint)), name


def test_every_result_that_a_route_answers_with_has_a_schema(schemas):
    there = {name for name, one in vars(results).items() if isinstance(one, type) and issubclass(one, results.Result)}
    # What would be cloned is shown on a page; a clone is a contents model with what the result has beside.
    assert there - {"Result", "CloneSource", "Cloned"} == set(RESULTS)
    beside = {field.name for field in dataclasses.fields(results.Cloned)} - {"model"}
    assert set(schemas["Cloned"]["properties"]) == beside | set(schemas["Contents"]["properties"])


def test_the_codes_of_errors_have_statuses_that_the_document_knows(openapi):
    known = {
        int(status)
        for operations in openapi["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
    }
    assert set(STATUSES.values()) - {500} <= known


def full_status():
    problem = dataclasses.replace(NO_BUCKET, since="2026-01-01T00:00:00.000+00:00")
    return ArchiveStatus(
        "trouble",
        last_version=LastVersion("a.ipynb", "workspace/a.ipynb", "1", "2026-01-01", "2026-01-01", "stored"),
        set_aside=[{"path": "a.ipynb", "kind": "refused", "message": "too large"}],
        foreign=[dataclasses.asdict(ForeignVersion("workspace/a.ipynb", None, "host:/root", ""))],
        problems=[problem],
        warnings=[problem],
    )


@pytest.mark.parametrize("status", [ArchiveStatus("off"), full_status()], ids=["empty", "full"])
def test_a_status_satisfies_its_schema(schemas, status):
    jsonschema = pytest.importorskip("jsonschema")
    document = json.loads(json.dumps(status.to_dict()))
    jsonschema.validate(
        document, {"$ref": "#/components/schemas/ArchiveStatus", "components": {"schemas": strict(schemas)}}
    )


def test_what_a_server_answers_satisfies_its_schema(schemas, tmp_path, monkeypatch):
    jsonschema = pytest.importorskip("jsonschema")
    monkeypatch.delenv("JPYNB_S3_BUCKET", raising=False)
    settings = BookstoreSettings(outbox_dir=str(tmp_path), s3_bucket="notebooks", s3_kms_key_id="no effect")
    service = ArchiveService(settings, root_dir=str(tmp_path), log=settings.log)
    document = json.loads(json.dumps(service.document()))
    assert document["archive"]["problems"]
    jsonschema.validate(
        document, {"$ref": "#/components/schemas/Bookstore", "components": {"schemas": strict(schemas)}}
    )


def strict(schemas):
    """The schemas, with unknown fields refused: later releases may add some, the documentation may not lack any."""
    return {name: {**schema, "additionalProperties": False} for name, schema in schemas.items()}


# -- problems ----------------------------------------------------------------------------------------------------------


def all_errors():
    # Everything that may define one is imported: the tree of a subclass is only then complete.
    for module in pkgutil.walk_packages(bookstore.__path__, "bookstore."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = set(), [BookstoreError]
    while left:
        error = left.pop()
        if error.__module__.startswith("bookstore."):
            found.add(error.__name__)
            left += error.__subclasses__()
    return sorted(found)


def problem_codes():
    """What the program makes problems of that are no errors."""
    codes = set()
    for file in Path(bookstore.__file__).parent.glob("*.py"):
        codes |= set(re.findall(r"(?<!\w)(?:Problem|cls)\(\s*\"(\w+)\",", file.read_text(encoding="utf-8")))
    return codes


def explained():
    return set(re.findall(r"^`(\w+)`(?: \(passes\))?\n: ", read("docs/how-to/troubleshooting.md"), re.MULTILINE))


def test_every_error_and_every_problem_is_explained_and_nothing_else():
    codes = problem_codes()
    assert {"NoBucket", "Setting", "SetAside", "FleetingOutbox", "LeftBehind", "ForeignOrigin"} <= codes
    assert explained() == {*all_errors(), *codes, "UsageError"}


def test_what_passes_by_itself_is_marked_so():
    marked = set(re.findall(r"^`(\w+)` \(passes\)$", read("docs/how-to/troubleshooting.md"), re.MULTILINE))
    errors = importlib.import_module("bookstore.errors")
    transient = {name for name in all_errors() if getattr(getattr(errors, name, None), "transient", False)}
    assert marked == transient


def test_the_openapi_document_names_the_codes_of_problems(schemas):
    told = schemas["Problem"]["properties"]["code"]["description"]
    assert set(re.findall(r"``(\w+)``", told)) == problem_codes()


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_its_options_are_in_the_reference(name, extensions):
    module = extensions("bookstore_cli")
    parser = command_parser(COMMANDS[name], "bookstore")
    told = [*module.options(parser, common=False), *module.options(parser, common=True)]
    known = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
    assert {option for action in told for option in action.option_strings} == known
    assert all(action.help for action in told)
    assert "bookstore-commands::" in read("docs/reference/cli.md")


def test_no_page_names_a_command_that_there_is_not():
    known = {*COMMANDS, "COMMAND"}
    for page in [*DOCS.rglob("*.md"), REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md"]:
        if "_build" in page.parts:
            continue
        for command in re.findall(
            r"(?:^\$ |^# |`)bookstore ([a-z]\w*)", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            assert command in known, f"{page}: bookstore {command}"


def test_no_page_names_a_setting_that_there_is_not():
    known = set(BookstoreSettings.class_trait_names(config=True))
    for page in DOCS.rglob("*.md"):
        if "_build" not in page.parts:
            named = set(re.findall(r"BookstoreSettings\.(\w+)", page.read_text(encoding="utf-8")))
            assert named <= known, page


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_the_documentation_builds_without_a_warning(tmp_path):
    pytest.importorskip("furo", reason="pip install -r requirements-docs.txt")
    pytest.importorskip("myst_parser", reason="pip install -r requirements-docs.txt")
    # All is read and every link followed; only the pages are not written.
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-n",
        "-q",
        "-b",
        "dummy",
        str(DOCS),
        str(tmp_path),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=120)
    assert built.returncode == 0, built.stderr
