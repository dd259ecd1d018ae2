"""`bookstore.bookstore_config`: what is chosen, from where, and what is wrong with it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from traitlets.config import Config, LazyConfigValue
from traitlets.config.loader import KVArgParseConfigLoader

from bookstore import bookstore_config
from bookstore.bookstore_config import BookstoreSettings, SettingProblem, prefix_fields, validate_bookstore
from bookstore.errors import SettingsError

SECRET = "Sentinel-bdcd3e1f"

ENVIRONMENT = {
    "s3_bucket": "JPYNB_S3_BUCKET",
    "s3_endpoint_url": "JPYNB_S3_ENDPOINT_URL",
    "s3_region_name": "JPYNB_S3_REGION_NAME",
    "s3_access_key_id": "JPYNB_S3_ACCESS_KEY_ID",
    "s3_secret_access_key": "JPYNB_S3_SECRET_ACCESS_KEY",
    "s3_session_token": "JPYNB_S3_SESSION_TOKEN",
}

DEFAULTS = {
    "workspace_prefix": "workspace",
    "published_prefix": "published",
    "scheduled_prefix": "scheduled",
    "s3_bucket": "",
    "s3_endpoint_url": "https://s3.amazonaws.com",
    "s3_region_name": "us-east-1",
    "s3_access_key_id": None,
    "s3_secret_access_key": None,
    "s3_session_token": None,
    "max_threads": 16,
    "enable_s3_cloning": True,
    "s3_cloning_buckets": ["*"],
    "fs_cloning_basedir": "",
    "archive_globs": ["*.ipynb"],
    "skip_unchanged": True,
    "min_interval": 0.0,
    "allow_unversioned": False,
    "s3_server_side_encryption": None,
    "s3_kms_key_id": None,
    "s3_addressing_style": None,
    "s3_ca_bundle": None,
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in (*ENVIRONMENT.values(), "JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")


def _config(**values) -> Config:
    return Config({"BookstoreSettings": values})


def _load(**values) -> BookstoreSettings:
    return BookstoreSettings.load(config=_config(**values))


def _by_trait(problems) -> dict[str, SettingProblem]:
    return {problem.trait: problem for problem in problems}


# -- where a value comes from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [BookstoreSettings, BookstoreSettings.load])
def test_the_defaults_are_the_documented_ones(make):
    chosen = make()
    assert {name: getattr(chosen, name) for name in DEFAULTS} == DEFAULTS
    assert chosen.check("/home/ada/work") == ()


def test_every_setting_says_what_it_is_for():
    for name, trait in BookstoreSettings.class_traits(config=True).items():
        if name in BookstoreSettings.class_own_traits(config=True):
            assert trait.help, name


def test_what_the_environment_gives_is_said_where_the_setting_is():
    for name, variable in ENVIRONMENT.items():
        assert variable in BookstoreSettings.class_traits()[name].help


@pytest.mark.parametrize(("trait", "variable"), ENVIRONMENT.items())
def test_configuration_goes_before_environment_and_that_before_the_default(monkeypatch, trait, variable):
    assert getattr(_load(), trait) == DEFAULTS[trait]
    monkeypatch.setenv(variable, "https://from.environment")
    assert getattr(_load(), trait) == "https://from.environment"
    assert getattr(BookstoreSettings(), trait) == "https://from.environment"
    assert getattr(_load(**{trait: "https://from.config"}), trait) == "https://from.config"


@pytest.mark.parametrize(("trait", "variable"), ENVIRONMENT.items())
def test_an_empty_variable_is_as_good_as_none(monkeypatch, trait, variable):
    monkeypatch.setenv(variable, "")
    chosen = _load()
    assert getattr(chosen, trait) == DEFAULTS[trait]
    assert chosen.region is None
    assert chosen.check() == ()


def test_a_region_that_nobody_chose_is_left_to_the_sdk(monkeypatch):
    for unchosen in (BookstoreSettings(), _load(), _load(s3_bucket="b-1"), _load(s3_region_name="")):
        assert unchosen.region is None
    assert _load(s3_region_name="us-east-1").region == "us-east-1"
    assert BookstoreSettings(s3_region_name="eu-west-1").region == "eu-west-1"
    assert BookstoreSettings(config=_config(s3_region_name="eu-west-1")).region == "eu-west-1"
    later = BookstoreSettings()
    later.s3_region_name = "eu-north-1"
    assert later.region == "eu-north-1"
    monkeypatch.setenv("JPYNB_S3_REGION_NAME", "eu-central-1")
    assert _load().region == "eu-central-1"
    assert _load(s3_region_name="us-east-1").region == "us-east-1"


@pytest.mark.parametrize("url", ["https://s3.amazonaws.com", "https://s3.amazonaws.com/"])
def test_the_default_endpoint_means_the_regions_own(url):
    assert BookstoreSettings().endpoint is None
    assert _load(s3_endpoint_url=url).endpoint is None


@pytest.mark.parametrize("url", ["http://localhost:9000", "https://s3.eu-west-1.amazonaws.com", "https://minio/x"])
def test_another_endpoint_is_taken_as_it_is(url):
    chosen = _load(s3_endpoint_url=url)
    assert chosen.endpoint == url
    assert chosen.check() == ()


def test_a_command_line_gives_strings_that_become_values():
    config = KVArgParseConfigLoader(
        [
            "--BookstoreSettings.max_threads=3",
            "--BookstoreSettings.skip_unchanged=False",
            "--BookstoreSettings.s3_bucket=b-1",
        ]
    ).load_config()
    chosen = BookstoreSettings.load(config=config)
    assert (chosen.max_threads, chosen.skip_unchanged, chosen.s3_bucket) == (3, False, "b-1")
    wrong = KVArgParseConfigLoader(["--BookstoreSettings.max_threads=three"]).load_config()
    [problem] = BookstoreSettings.load(config=wrong).problems
    assert problem.trait == "max_threads"
    assert "three" in problem.value


def test_a_list_may_be_added_to_in_a_configuration_file():
    config = Config()
    config.BookstoreSettings.archive_globs.append("*.py")
    assert isinstance(config.BookstoreSettings.archive_globs, LazyConfigValue)
    assert BookstoreSettings.load(config=config).archive_globs == ["*.ipynb", "*.py"]


def test_one_glob_may_stand_for_a_list():
    assert _load(archive_globs="*.py").archive_globs == ["*.py"]


@pytest.mark.parametrize("trait", ["archive_globs", "s3_cloning_buckets"])
@pytest.mark.parametrize("written", ['["*.ipynb","*.py"]', ' [ "*.ipynb", "*.py" ] '])
def test_a_command_line_may_give_a_list_as_json(trait, written):
    config = KVArgParseConfigLoader([f"--BookstoreSettings.{trait}={written}"]).load_config()
    chosen = BookstoreSettings.load(config=config)
    assert getattr(chosen, trait) == ["*.ipynb", "*.py"]
    assert chosen.check() == ()


def test_a_command_line_may_give_an_option_of_a_list_several_times():
    given_twice = ["--BookstoreSettings.archive_globs=*.ipynb", "--BookstoreSettings.archive_globs=*.py"]
    config = KVArgParseConfigLoader(given_twice).load_config()
    assert BookstoreSettings.load(config=config).archive_globs == ["*.ipynb", "*.py"]


@pytest.mark.parametrize(("trait", "blocks"), [("archive_globs", True), ("s3_cloning_buckets", False)])
@pytest.mark.parametrize(
    "written", ["['*.ipynb','*.py']", "[*.ipynb,*.py]", '["*.ipynb",5]', '["*.ipynb" "*.py"]', '["[ab].py", "*.md"']
)
def test_what_looks_like_a_list_and_is_none_is_told_with_what_is_right(trait, blocks, written):
    [problem] = _load(**{trait: [written]}).check()
    assert (problem.trait, problem.blocks_archiving) == (trait, blocks)
    assert "list inside of a glob" in problem.message
    assert f"--BookstoreSettings.{trait}=" in problem.hint


@pytest.mark.parametrize("glob", ["[0-9]*.ipynb", "[1]", "5", "true", "[a,b]*.ipynb", "*[,]*", "[ab].[cd]", "a,b"])
def test_a_glob_with_brackets_is_a_glob(glob):
    chosen = _load(archive_globs=[glob])
    assert chosen.archive_globs == [glob]
    assert chosen.check() == ()


def test_the_parents_configuration_is_read():
    app = BookstoreSettings(config=_config(s3_bucket="from-parent"))
    chosen = BookstoreSettings.load(parent=app)
    assert chosen.s3_bucket == "from-parent"
    assert chosen.parent is app


# -- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trait", "value", "shown", "right"),
    [
        ("max_threads", "many", "'many'", "an int"),
        ("max_threads", 0, "0", "an int"),
        ("workspace_prefix", 5, "5", "a unicode string"),
        ("skip_unchanged", "perhaps", "'perhaps'", "a boolean"),
        ("archive_globs", 5, "5", "a list"),
        ("archive_globs", [5], "[5]", "a list"),
        ("min_interval", -1, "-1", "a float"),
        ("min_interval", float("nan"), "nan", "a float"),
        ("drain_timeout", float("inf"), "inf", "a float"),
        ("s3_server_side_encryption", "rot13", "'rot13'", "aws:kms"),
        ("s3_bucket", None, "None", "a unicode string"),
        ("outbox_reserve", -1, "-1", "an int"),
        ("outbox_dir", "/outbox/\0", "'/outbox/\\x00'", "a unicode string"),
        ("outbox_dir", "~no-such-user-at-all/x", "'~no-such-user-at-all/x'", "a unicode string"),
    ],
)
def test_a_wrong_value_is_left_at_its_default_and_named(trait, value, shown, right):
    chosen = _load(**{trait: value})
    [problem] = chosen.problems
    assert (problem.trait, problem.value, problem.blocks_archiving) == (trait, shown, True)
    assert right in problem.hint
    assert f"c.BookstoreSettings.{trait} = {shown}:" in str(problem)
    assert "\n" not in str(problem)
    assert getattr(chosen, trait) == getattr(BookstoreSettings(), trait)
    assert chosen.check()[0] == problem


def test_one_wrong_value_does_not_touch_the_others():
    chosen = _load(max_threads="many", s3_bucket="my-bucket", min_interval=2.5)
    assert (chosen.s3_bucket, chosen.min_interval, chosen.max_threads) == ("my-bucket", 2.5, 16)
    assert [problem.trait for problem in chosen.problems] == ["max_threads"]


def test_a_wrong_bucket_is_no_reason_to_do_as_if_there_were_none():
    assert _load(s3_bucket=["b"]).is_configured
    assert _load(s3_bucket="b-1").is_configured
    assert not _load().is_configured


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("s3_buckett", "s3_bucket"), ("workspace_prefx", "workspace_prefix"), ("max_thread", "max_threads")],
)
def test_an_unknown_name_is_told_with_what_was_meant(name, suggestion):
    [problem] = _load(**{name: "x"}).problems
    assert problem.trait == name
    assert problem.hint == f"Did you mean {suggestion}?"
    assert not problem.blocks_archiving


def test_an_unknown_name_like_no_other_is_told_too():
    [problem] = _load(zzz=1).problems
    assert "reference" in problem.hint


@pytest.mark.parametrize("section", [5, "text", None, ["s3_bucket"]])
def test_a_section_that_is_none_is_told(section):
    config = Config()
    dict.__setitem__(config, "BookstoreSettings", section)  # as a JSON file may have it
    chosen = BookstoreSettings.load(config=config)
    assert chosen.max_threads == 16
    assert len(chosen.problems) == 1


_GARBAGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=20),
    st.binary(max_size=5),
    st.lists(st.text(max_size=4) | st.integers() | st.none(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(
        [
            "{",
            "}",
            "{}",
            "{0}",
            "{username",
            "{username!r}",
            "{username:>9}",
            "http://[::1",
            "http://h:port",
            "//",
            "~",
            "~x",
        ]
    ),
    st.just(object()),
)


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from([*BookstoreSettings.class_own_traits(config=True), "unknown", "log", "parent", "config"]),
        _GARBAGE,
        min_size=1,
        max_size=5,
    )
)
@example({"s3_endpoint_url": "http://[::1"})
@example({"s3_endpoint_url": "http://h:port"})
@example({"outbox_dir": "~no-such-user-at-all/x"})
@example({"outbox_dir": "\ud800"})
@example({"workspace_prefix": "\ud800"})
@example({"fs_cloning_basedir": "\0"})
@example({"s3_ca_bundle": "\0"})
@example({"archive_globs": ["[z-a]", "[", "[!"]})
def test_whatever_is_configured_nothing_is_raised(values):
    chosen = _load(**values)
    for problem in chosen.check("/home/ada/work"):
        assert problem.trait in BookstoreSettings.class_own_traits() or problem.trait in values
        assert problem.message
        assert problem.hint
        assert "\n" not in str(problem)
    validate_bookstore(chosen)
    chosen.archives("a/b.ipynb")
    assert isinstance(chosen.is_configured, bool)
    assert isinstance(Path(chosen.outbox_dir).expanduser().absolute(), Path)
    assert chosen.endpoint is None or isinstance(chosen.endpoint, str)


@pytest.mark.parametrize(
    ("values", "trait", "words"),
    [
        ({"s3_bucket": "s3://bucket"}, "s3_bucket", "bare name"),
        ({"s3_bucket": "bucket/folder"}, "s3_bucket", "bare name"),
        ({"s3_bucket": "b"}, "s3_bucket", "bare name"),
        ({"s3_endpoint_url": "minio:9000"}, "s3_endpoint_url", "scheme and host"),
        ({"s3_endpoint_url": ""}, "s3_endpoint_url", "scheme and host"),
        ({"s3_endpoint_url": "http://[::1"}, "s3_endpoint_url", "scheme and host"),
        ({"s3_endpoint_url": "http://minio:port"}, "s3_endpoint_url", "scheme and host"),
        ({"s3_access_key_id": "AKIA"}, "s3_secret_access_key", "or neither"),
        ({"s3_secret_access_key": "x"}, "s3_access_key_id", "or neither"),
        ({"s3_kms_key_id": "k"}, "s3_kms_key_id", "aws:kms"),
        ({"s3_kms_key_id": "k", "s3_server_side_encryption": "AES256"}, "s3_kms_key_id", "aws:kms"),
        ({"s3_ca_bundle": "/no/such/file.pem"}, "s3_ca_bundle", "PEM"),
        ({"outbox_dir": "relative/outbox"}, "outbox_dir", "whole path"),
        ({"fs_cloning_basedir": "relative"}, "fs_cloning_basedir", "whole path"),
        ({"workspace_prefix": ""}, "workspace_prefix", "folder of the bucket"),
        ({"workspace_prefix": "//"}, "workspace_prefix", "folder of the bucket"),
        ({"workspace_prefix": "{user}"}, "workspace_prefix", "Correct"),
    ],
)
def test_values_of_the_right_kind_are_checked_too(values, trait, words):
    problems = _by_trait(_load(**values).check())
    assert list(problems) == [trait]
    assert words in problems[trait].hint


@pytest.mark.parametrize(
    "values",
    [
        {"s3_bucket": "my.bucket-1", "s3_endpoint_url": "http://127.0.0.1:9000"},
        {"s3_access_key_id": "A", "s3_secret_access_key": "s", "s3_session_token": "t"},
        {"s3_kms_key_id": "k", "s3_server_side_encryption": "aws:kms"},
        {"s3_kms_key_id": "k", "s3_server_side_encryption": "AWS:KMS:dsse"},
        {"outbox_dir": "~/outbox"},
        {"fs_cloning_basedir": "/srv/notebooks"},
        {"s3_ca_bundle": __file__},
        {"workspace_prefix": "teams/{username}/{root}"},
    ],
)
def test_right_values_are_not_complained_about(values):
    assert _load(**values).check("/home/ada/work") == ()


# -- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        dict.fromkeys(sorted(bookstore_config.SECRET_TRAITS), SECRET),
        {"s3_secret_access_key": SECRET},
        {"s3_access_key_id": SECRET},
        *({name: [SECRET]} for name in sorted(bookstore_config.SECRET_TRAITS)),
        *({name: {"key": SECRET}} for name in sorted(bookstore_config.SECRET_TRAITS)),
        {"s3_secret_access_key": SECRET.encode()},
        {"s3_secret_acces_key": SECRET},
        {"aws_secret": SECRET, "max_threads": "many"},
        {"s3_endpoint_url": f"https://user:{SECRET}@host:9000"},
        {"s3_endpoint_url": f"user:{SECRET}@host:9000"},
        {"s3_endpoint_url": f"ftp://user:{SECRET}@host"},
        {"s3_endpoint_url": f"https://user:{SECRET}@[::1"},
        {"s3_endpoint_url": f"https://host:9000/?token={SECRET}"},
    ],
    ids=str,
)
def test_a_secret_never_shows(values, caplog, monkeypatch, capfd):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JPYNB_S3_SESSION_TOKEN", SECRET)
    chosen = BookstoreSettings.load(config=_config(**values), log=logging.getLogger("bookstore.test"))
    problems = chosen.check("/home/ada")
    validate_bookstore(chosen)
    shown = [repr(chosen), str(chosen), repr(problems), *map(str, problems), *map(repr, problems), caplog.text]
    shown += capfd.readouterr()
    assert not [text for text in shown if SECRET in text]


def test_what_is_not_set_is_told_apart_from_what_is_hidden():
    assert bookstore_config.shown_value("s3_secret_access_key", "x") == "(hidden)"
    assert bookstore_config.shown_value("s3_secret_access_key", None) == "(not set)"
    assert bookstore_config.shown_value("s3_secret_access_key", "") == "(not set)"


def test_a_long_value_is_cut():
    [problem] = _load(max_threads="x" * 10_000).problems
    assert len(problem.value) < 250


# -- prefixes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_USER", "grace")
    monkeypatch.setenv("JUPYTERHUB_SERVER_NAME", "gpu")
    monkeypatch.setattr("socket.gethostname", lambda: "node-1")


@pytest.mark.usefixtures("hub")
def test_every_field_of_a_prefix_is_filled_in():
    chosen = _load(workspace_prefix="/w/{username}/{servername}/{hostname}//{root}/")
    assert chosen.prefix("workspace", "/home/grace/projects") == "w/grace/gpu/node-1/projects"
    assert chosen.prefix("published") == "published"
    assert _load(workspace_prefix="{{x}}").prefix("workspace") == "{x}"


def test_without_a_hub_the_user_is_the_systems(monkeypatch):
    assert prefix_fields()["username"] == "ada"
    monkeypatch.setenv("JUPYTERHUB_USER", "grace")
    assert prefix_fields()["username"] == "grace"


@pytest.mark.parametrize("error", [KeyError, OSError, ImportError])
def test_a_user_without_a_name_is_an_error_of_the_prefix_only(monkeypatch, error):
    def nobody():
        raise error

    monkeypatch.setattr("getpass.getuser", nobody)
    with pytest.raises(SettingsError, match=r"username.*empty"):
        _load(workspace_prefix="w/{username}").prefix("workspace")
    assert _load().prefix("workspace") == "workspace"


@pytest.mark.parametrize("template", ["w/{servername}", "{servername}", "w-{servername}", "w/{root}/x"])
def test_an_empty_field_is_an_error_and_never_an_empty_folder(template):
    with pytest.raises(SettingsError, match="empty here"):
        _load(workspace_prefix=template).prefix("workspace")


@pytest.mark.parametrize("root", ["/", ""])
def test_a_root_without_a_name_is_empty(root):
    with pytest.raises(SettingsError, match=r"\{root\} is empty"):
        _load(workspace_prefix="w/{root}").prefix("workspace", root)


@pytest.mark.parametrize(
    "template",
    [
        "{user}",
        "{}",
        "{0}",
        "{username!r}",
        "{username:>20}",
        "{username",
        "username}",
        "{username.__class__}",
        "{username[0]}",
    ],
)
def test_a_field_that_is_none_is_an_error(template):
    with pytest.raises(SettingsError, match="workspace_prefix"):
        _load(workspace_prefix=template).prefix("workspace")


@pytest.mark.parametrize("template", ["a/../b", "..", "./a", "a/.", ".bookstore", "a/.bookstore/b", "", "/", "x" * 513])
def test_a_prefix_that_leads_astray_is_an_error(template):
    with pytest.raises(SettingsError):
        _load(workspace_prefix=template).prefix("workspace")


@pytest.mark.parametrize("user", ["..", ".", ".bookstore"])
def test_a_users_name_does_not_lead_out_of_the_prefix(monkeypatch, user):
    monkeypatch.setenv("JUPYTERHUB_USER", user)
    with pytest.raises(SettingsError):
        _load(workspace_prefix="w/{username}").prefix("workspace")


def test_a_slash_in_a_name_opens_no_folder_of_somebody_elses(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_USER", "ada/../grace\\x")
    assert _load(workspace_prefix="w/{username}").prefix("workspace") == "w/ada-..-grace-x"


def test_a_directory_whose_name_is_not_unicode_gives_no_prefix():
    with pytest.raises(SettingsError, match="Unicode"):
        _load(workspace_prefix="w/{root}").prefix("workspace", os.fsdecode(b"/home/\xff"))


@pytest.mark.parametrize(
    ("workspace", "published", "complaint"),
    [
        ("same", "same", "published_prefix"),
        ("work", "work/published", "published_prefix"),
        ("work/space", "work", "published_prefix"),
        ("/work/", "work", "published_prefix"),
        ("published/{username}", "published", "published_prefix"),
    ],
)
def test_prefixes_within_each_other_are_told(workspace, published, complaint):
    problems = _by_trait(_load(workspace_prefix=workspace, published_prefix=published).check())
    assert list(problems) == [complaint]
    assert "workspace_prefix" in problems[complaint].message
    assert problems[complaint].blocks_archiving


def test_prefixes_that_only_begin_alike_are_apart():
    assert _load(workspace_prefix="work", published_prefix="work-published", scheduled_prefix="wor").check() == ()


def test_a_wrong_prefix_of_something_else_does_not_stop_archiving():
    problems = _by_trait(_load(published_prefix="{nobody}").check())
    assert not problems["published_prefix"].blocks_archiving
    assert _by_trait(_load(workspace_prefix="{nobody}").check())["workspace_prefix"].blocks_archiving


# -- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (False, False, False, True, False)),
        ({"s3_bucket": "b-1"}, (True, True, True, True, False)),
        ({"s3_bucket": "b-1", "s3_endpoint_url": ""}, (False, False, False, True, False)),
        ({"s3_bucket": "b-1", "workspace_prefix": ""}, (True, False, True, True, False)),
        ({"s3_bucket": "b-1", "published_prefix": ""}, (True, True, False, True, False)),
        ({"enable_s3_cloning": False}, (False, False, False, False, False)),
        ({"fs_cloning_basedir": "/srv"}, (False, False, False, True, True)),
        ({"fs_cloning_basedir": "srv"}, (False, False, False, True, False)),
    ],
)
def test_the_five_booleans(values, expected):
    found = validate_bookstore(_load(**values))
    assert found == dict(
        zip(
            ("bookstore_valid", "archive_valid", "publish_valid", "s3_clone_valid", "fs_clone_valid"),
            expected,
            strict=True,
        )
    )
    assert all(type(value) is bool for value in found.values())


@pytest.mark.parametrize("basedir", ["relative/path", "./a", "~/x", "C:notebooks"])
def test_a_relative_directory_for_cloning_is_warned_of_in_these_words(caplog, basedir):
    chosen = BookstoreSettings(fs_cloning_basedir=basedir, log=logging.getLogger("bookstore.test"))
    validate_bookstore(chosen)
    assert [record.getMessage() for record in caplog.records] == [
        f"{basedir} is not an absolute path, file system cloning will be disabled."
    ]


@pytest.mark.parametrize("basedir", ["", "/srv/notebooks"])
def test_there_is_no_warning_where_nothing_is_wrong(caplog, basedir):
    validate_bookstore(BookstoreSettings(fs_cloning_basedir=basedir, log=logging.getLogger("bookstore.test")))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("globs", "path", "archived"),
    [
        (["*.ipynb"], "a.ipynb", True),
        (["*.ipynb"], "deep/down/a b.ipynb", True),
        (["*.ipynb"], "a.py", False),
        (["*.ipynb"], "a.ipynb.txt", False),
        (["*.ipynb"], "A.IPYNB", False),
        (["*.ipynb", "*.py"], "x/a.py", True),
        (["work/*"], "work/a.ipynb", True),
        (["work/*"], "other/work/a.ipynb", False),
        ([], "a.ipynb", False),
        (["*"], "anything", True),
        (["*.ipynb"], ".ipynb_checkpoints/a-checkpoint.ipynb", False),
        (["*"], "x/.ipynb_checkpoints/a.ipynb", False),
        (["*"], "my.ipynb_checkpoints/a.ipynb", True),
    ],
)
def test_globs_choose_what_is_archived_and_never_a_checkpoint(globs, path, archived):
    assert _load(archive_globs=globs).archives(path) is archived
