"""Converted models are made once, complete or absent, and names of pinned models never reach the hub."""

import stat
from contextlib import nullcontext

import pytest

from securealign.errors import AssetError, InputError
from securealign.lab.assets import lookup
from securealign.lab.assets.conversion import folders
from securealign.lab.assets.conversion.folders import Recipe, converted_folder
from securealign.lab.assets.lookup import CAUSAL_LMS, causal_lm_folder
from securealign.models import builtin_encoders, encoders, open_encoder


@pytest.fixture(autouse=True)
def fetched(tmp_path, monkeypatch):
    """Pretends that every asset holds one file with its name."""

    def fetch(asset, *, cache):
        folder = tmp_path / "fetched" / asset.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "raw").write_text(asset.name)
        return folder

    monkeypatch.setattr(folders, "fetch", fetch)


def join(sources, folder):
    (folder / "made").write_text("+".join((source / "raw").read_text() for source in sources))
    (folder / "made").chmod(0o600)


def failing(_sources, _folder):
    raise KeyboardInterrupt


def recipe_of(convert, **changes):
    return Recipe(assets=("e5", "minilm"), convert=convert, **changes)


def test_a_model_is_made_from_its_assets_and_named_by_the_first(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = converted_folder(recipe_of(join), cache=tmp_path / "cache")
    assert folder == tmp_path / "cache" / "converted" / "e5-0.3.0"
    assert (folder / "made").read_text() == "e5+minilm"
    assert stat.S_IMODE((folder / "made").stat().st_mode) == 0o644
    assert caplog.messages == ["converting e5 (0 MB), once"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["converted"]


def test_it_is_made_once_and_again_by_another_revision(tmp_path):
    folder = converted_folder(recipe_of(join), cache=tmp_path)
    assert converted_folder(recipe_of(failing), cache=tmp_path) == folder
    with pytest.raises(KeyboardInterrupt):
        converted_folder(recipe_of(failing, revision=2), cache=tmp_path)
    assert (folder / "made").is_file()


def test_a_killed_conversion_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        converted_folder(recipe_of(failing), cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "converted").iterdir()) == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["converted"]


@pytest.fixture
def no_hub(monkeypatch):
    def hub(spec, **_):
        raise AssertionError(spec)

    monkeypatch.setattr(encoders, "hub_folder", hub)
    monkeypatch.setattr(lookup, "converted_folder", lambda recipe, **_: recipe.assets[0])
    monkeypatch.setattr(lookup, "fetch", lambda name, **_: name)


def test_every_causal_model_is_known_by_its_name(no_hub):
    assert CAUSAL_LMS == ("smollm2", "gemma")
    assert [causal_lm_folder(name) for name in CAUSAL_LMS] == ["smollm2", "gemma"]
    assert set(CAUSAL_LMS) < set(builtin_encoders())


def test_a_pinned_name_of_another_kind_is_refused_without_asking_the_hub(no_hub):
    with pytest.raises(InputError, match=r"'minilm' is no causal language model.*Use one of smollm2, gemma"):
        causal_lm_folder("minilm")
    with pytest.raises(InputError, match="'vader' is no causal"):
        causal_lm_folder("vader")
    with pytest.raises(InputError, match="'movie/train' is no encoder"):
        open_encoder("movie/train")


def test_a_folder_is_its_own_answer_and_the_hub_has_the_rest(tmp_path, monkeypatch):
    assert causal_lm_folder(str(tmp_path)) == tmp_path
    monkeypatch.setattr(encoders, "hub_folder", lambda spec, **_: spec)
    assert causal_lm_folder("someone/model@main") == "someone/model@main"


@pytest.mark.parametrize("accepted", [None, "gemma"])
def test_terms_are_asked_for_before_another_model_is_fetched(no_hub, tmp_path, monkeypatch, accepted):
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path))
    monkeypatch.delenv("SECUREALIGN_ACCEPT_TERMS", raising=False)
    lookup.require_terms(("smollm2", "a/model", "./folder"))
    if accepted:
        monkeypatch.setenv("SECUREALIGN_ACCEPT_TERMS", accepted)
    with nullcontext() if accepted else pytest.raises(AssetError, match="Gemma Terms of Use"):
        lookup.require_terms(("smollm2", "gemma"))


def test_a_model_that_is_in_the_cache_needs_no_consent_again(tmp_path, monkeypatch):
    monkeypatch.delenv("SECUREALIGN_ACCEPT_TERMS", raising=False)
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path))
    monkeypatch.setitem(lookup.RECIPES, "gemma", Recipe(assets=("gemma",), convert=join))
    with pytest.raises(AssetError, match="Gemma Terms of Use"):
        lookup.require_terms(["gemma"])
    converted_folder(lookup.RECIPES["gemma"])
    lookup.require_terms(["gemma"])
