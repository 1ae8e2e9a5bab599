"""Where settings come from, which source wins, and what is said about one that does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from securealign.errors import ConfigurationError, ErrorCode, ExitCode
from securealign.settings import Section, Settings, load_settings


class Link(Section):
    address: str = "from the default"
    port: int = Field(default=1, gt=0)
    names: tuple[str, ...] = ()
    folder: Path = Path("folder")


class Example(Settings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE__")

    link: Link = Link()
    other: Link | None = None


ENVIRONMENT = "EXAMPLE__LINK__ADDRESS"


@pytest.fixture
def load(tmp_path):
    """Write a configuration file and read it with overrides."""

    def read(text, *overrides):
        file = tmp_path / "example.toml"
        file.write_text(text, encoding="utf-8")
        return load_settings(Example, file, list(overrides))

    return read


def test_an_empty_file_gives_the_defaults(load):
    assert load("").model_dump() == Example().model_dump()


def test_the_file_beats_the_default_the_environment_the_file_and_a_flag_both(load, monkeypatch):
    text = '[link]\naddress = "from the file"\nport = 7'
    assert load(text).link.address == "from the file"
    monkeypatch.setenv(ENVIRONMENT, "from the environment")
    assert load(text).link.address == "from the environment"
    assert load(text, "link.address=from the flag").link.address == "from the flag"
    assert load(text, "link.address=from the flag").link.port == 7


def test_the_last_of_two_flags_wins(load):
    assert load("", "link.port=2", "link.port=3").link.port == 3


def test_two_files_read_in_one_process_do_not_mix(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.toml").write_text(f'[link]\naddress = "{name}"', encoding="utf-8")
    first, second = (load_settings(Example, tmp_path / name / "c.toml", []) for name in ("a", "b"))
    assert (first.link.address, second.link.address) == ("a", "b")
    assert first.path(Path("x")) == tmp_path / "a" / "x"
    assert Example.toml_file is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("link.address=plain words", "plain words"),
        ('link.address="5"', "5"),
        ("link.address=a=b", "a=b"),
        ("link.address=", ""),
    ],
)
def test_a_flag_needs_no_quotes_for_a_string(load, override, expected):
    assert load("", override).link.address == expected


def test_a_flag_can_hold_a_list(load):
    assert load("", 'link.names=["a", "b"]').link.names == ("a", "b")


@pytest.mark.parametrize("override", ["nonsense", "link=5", "link.port", ".port=5", "link.=5", "=5"])
def test_a_flag_of_another_form_is_refused(load, override):
    with pytest.raises(ConfigurationError, match=r"section\.name=value"):
        load("", override)


@pytest.mark.parametrize(
    ("text", "overrides", "named"),
    [
        ("[link]\nadress = 'x'", [], "link.adress"),
        ("[lnik]\nport = 5", [], "lnik"),
        ("port = 5", [], "port"),
        ("", ["link.adress=x"], "link.adress"),
        ("", ["nowhere.port=5"], "nowhere"),
    ],
)
def test_an_unknown_name_is_refused_and_named(load, text, overrides, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        load(text, *overrides)
    assert caught.value.code is ErrorCode.CONFIGURATION_INVALID
    assert caught.value.code.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[link]\nadress = 'x'", "Did you mean 'address'? See the commented example."),
        ("[other]\nprot = 5\n[lnik]", "Did you mean 'port'? Did you mean 'link'? See the commented example."),
        ("[link]\nzzz = 5", "See the commented example."),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_known_one(load, text, hint):
    with pytest.raises(ConfigurationError, match="unknown name") as caught:
        load(text)
    assert caught.value.hint == hint


def test_unknown_names_of_the_file_can_be_ignored_but_not_those_of_flags(tmp_path):
    file = tmp_path / "example.toml"
    file.write_text("[link]\nport = 7\nlater = 1\n[later]\nport = 5\n", encoding="utf-8")
    assert load_settings(Example, file, [], ignore_unknown=True).link.port == 7
    with pytest.raises(ConfigurationError, match=r"link\.later: unknown name"):
        load_settings(Example, file, ["link.later=2"], ignore_unknown=True)


def test_an_unknown_name_in_the_environment_is_refused_and_named(load, monkeypatch):
    monkeypatch.setenv("EXAMPLE__LINK__ADRESS", "x")
    with pytest.raises(ConfigurationError, match=r"(?i)link\.adress"):
        load("")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[link]\nport = 'five'", "link.port"),
        ("[link]\nport = 0", "link.port: Input should be greater than 0"),
        ("[link]\naddress = 5", "link.address"),
        ("[link]\nnames = 'a'", "link.names"),
        ("link = 5", "link"),
        ("[other]\nport = 'five'\nnames = 3", "other.port.*; other.names"),
    ],
)
def test_a_value_of_another_type_is_refused_and_named(load, text, named):
    with pytest.raises(ConfigurationError, match=named):
        load(text)


@pytest.mark.parametrize("text", ["[link", "link.port = ", "[link]\nport = 5\nport = 6", "\0"])
def test_a_file_that_is_no_toml_is_refused(load, text):
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load(text)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe[link]")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_settings(Example, tmp_path / "c.toml", [])


def test_an_environment_variable_that_cannot_be_read_is_blamed_itself_and_not_the_file(load, monkeypatch):
    monkeypatch.setenv("EXAMPLE__LINK__NAMES", "[not json")
    with pytest.raises(ConfigurationError, match="environment") as caught:
        load("")
    assert "TOML" not in caught.value.message


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_missing_file_says_where_an_example_is(tmp_path, name):
    with pytest.raises(ConfigurationError, match="no configuration file") as caught:
        load_settings(Example, tmp_path / name, [])
    assert "example" in caught.value.hint


def test_paths_are_relative_to_the_file_unless_they_are_absolute(load, tmp_path, monkeypatch):
    settings = load("[link]\nfolder = 'certs'")
    assert settings.path(settings.link.folder) == tmp_path / "certs"
    assert settings.path(Path("/elsewhere")) == Path("/elsewhere")
    monkeypatch.setenv("HOME", "/home/someone")
    assert settings.path(Path("~/certs")) == Path("/home/someone/certs")


def test_a_name_is_a_path_where_there_is_one(load, tmp_path):
    settings = load("")
    assert settings.path_or_name("ag-news") == "ag-news"
    (tmp_path / "ag-news").mkdir()
    assert settings.path_or_name("ag-news") == str(tmp_path / "ag-news")
    assert settings.path_or_name("organisation/model") == "organisation/model"


def test_settings_cannot_be_changed(load):
    settings = load("")
    with pytest.raises(ValueError, match="frozen"):
        settings.link = Link()
    with pytest.raises(ValueError, match="frozen"):
        settings.link.port = 5
