"""The directive ``bookstore-settings``: every setting, from the traits themselves.

What the settings are, their types, defaults and help come from `BookstoreSettings`; only the headings under which they
stand, and how a default that depends on the machine is spelt, are written here. A trait that no heading claims ends
the build, so that a new setting cannot be forgotten.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from traitlets import Bool, CaselessStrEnum, Float, Int, List, TraitType

from bookstore.bookstore_config import AWS_ENDPOINT, DEFAULT_REGION, BookstoreSettings

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: Headings and what stands under each, in the order in which somebody sets bookstore up.
GROUPS: dict[str, tuple[str, ...]] = {
    "The bucket": (
        "s3_bucket",
        "s3_endpoint_url",
        "s3_region_name",
        "s3_addressing_style",
        "s3_ca_bundle",
        "s3_server_side_encryption",
        "s3_kms_key_id",
        "allow_unversioned",
    ),
    "Credentials": ("s3_access_key_id", "s3_secret_access_key", "s3_session_token"),
    "What is archived, and where": (
        "archive_globs",
        "workspace_prefix",
        "skip_unchanged",
        "min_interval",
        "tag_versions",
    ),
    "The outbox": ("outbox_dir", "outbox_reserve", "memory_limit", "drain_timeout"),
    "Requests": ("max_threads", "max_content_size"),
    "Publishing, scheduling, cloning": (
        "published_prefix",
        "scheduled_prefix",
        "enable_s3_cloning",
        "s3_cloning_buckets",
        "fs_cloning_basedir",
    ),
}

#: Defaults that a computer fills in when the settings are made.
DYNAMIC = {
    "s3_bucket": '""',
    "s3_endpoint_url": f'"{AWS_ENDPOINT}"',
    "s3_region_name": f'"{DEFAULT_REGION}"',
    "s3_access_key_id": "None",
    "s3_secret_access_key": "None",
    "s3_session_token": "None",
    "outbox_dir": "bookstore/outbox in Jupyter's data directory (jupyter --data-dir)",
}


def grouped_traits() -> dict[str, dict[str, TraitType[Any, Any]]]:
    """Every setting under its heading.

    Raises
    ------
    LookupError
        The headings and the traits name different settings.
    """
    traits = BookstoreSettings.class_traits(config=True)
    named = [name for group in GROUPS.values() for name in group]
    if sorted(named) != sorted(traits):
        raise LookupError(f"docs/_ext/bookstore_settings.py: GROUPS is to name {set(named) ^ set(traits)}")
    return {heading: {name: traits[name] for name in group} for heading, group in GROUPS.items()}


def kind_of(trait: TraitType[Any, Any]) -> str:
    """A trait's type in words."""
    if isinstance(trait, CaselessStrEnum):
        return " or ".join(f'``"{value}"``' for value in trait.values) + ", or None"
    if isinstance(trait, Bool):
        return "True or False"
    if isinstance(trait, Int):
        return f"whole number, at least {trait.min}"
    if isinstance(trait, Float):
        return f"number, at least {trait.min:g}"
    if isinstance(trait, List):
        return "list of text"
    return "text, or None" if trait.allow_none else "text"


def default_of(name: str, trait: TraitType[Any, Any]) -> str:
    """A trait's default as it is written in a configuration file."""
    if name in DYNAMIC:
        return DYNAMIC[name]
    value = trait.default()
    return re.sub("'", '"', repr(value)) if isinstance(value, (str, list)) else repr(value)


def environment_of(trait: TraitType[Any, Any]) -> str | None:
    """The environment variable that a trait's default comes from."""
    variable: str | None = trait.metadata.get("env")
    return variable


class SettingsDirective(Directive):
    """``.. bookstore-settings::``."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        made: list[nodes.Node] = []
        for heading, traits in grouped_traits().items():
            section = nodes.section(ids=[nodes.make_id(heading)])
            section += nodes.title(text=heading)
            for name, trait in traits.items():
                section += self._setting(name, trait)
            made.append(section)
        return made

    def _setting(self, name: str, trait: TraitType[Any, Any]) -> nodes.section:
        section = nodes.section(ids=[f"setting-{name.replace('_', '-')}"], names=[name])
        section += nodes.title("", "", nodes.literal(text=name))
        rows = [
            str(trait.help).replace("*", r"\*"),
            "",
            f":Type: {kind_of(trait)}",
            f":Default: ``{default_of(name, trait)}``",
        ]
        if (variable := environment_of(trait)) is not None:
            rows.append(f":Environment: ``{variable}``")
        rows.append(f":Command line: ``--BookstoreSettings.{name}=…``")
        self.state.nested_parse(StringList(rows, source=f"help of {name}"), 0, section)
        return section


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("bookstore-settings", SettingsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
