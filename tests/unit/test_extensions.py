"""An installed package adds data sets and encoders by an entry point, and a broken one is named."""

import pytest

from securealign.data import TextDataset, builtin_names, load_dataset
from securealign.errors import ConfigurationError, InputError
from securealign.models import builtin_encoders, open_encoder

MODULE = """
from securealign.data import TextDataset

def poems(cache):
    return TextDataset(name="poems", texts=("one", str(cache)))

class Encoder:
    def __init__(self, name, **options):
        self.name, self.options = name, options

DATASETS = {"poems": poems}
ENCODERS = {"letters": Encoder}
AGAIN = {"nyt": poems}
NUMBER = 3
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package with these entry points."""

    def installed(**entries):
        folder = tmp_path / "poetry_sets-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: poetry-sets\nVersion: 1.0\n")
        lines = [f"[securealign.{group}]\nmore = {value}\n" for group, value in entries.items()]
        (folder / "entry_points.txt").write_text("\n".join(lines))
        (tmp_path / "poetry_sets.py").write_text(MODULE)
        monkeypatch.delitem(__import__("sys").modules, "poetry_sets", raising=False)
        monkeypatch.syspath_prepend(tmp_path)

    return installed


def test_a_package_adds_a_data_set_beside_the_built_in_ones(install, tmp_path):
    install(datasets="poetry_sets:DATASETS")
    assert {"poems", "nyt"} <= set(builtin_names())
    assert load_dataset("poems", cache=tmp_path) == TextDataset(name="poems", texts=("one", str(tmp_path)))
    assert load_dataset("poems", limit=1).texts == ("one",)


def test_a_package_adds_an_encoder_that_takes_the_options(install, tmp_path):
    install(encoders="poetry_sets:ENCODERS")
    assert {"letters", "minilm"} <= set(builtin_encoders())
    encoder = open_encoder("letters", max_tokens=9, cache=tmp_path)
    assert encoder.name == "letters"
    assert encoder.options.items() >= {"max_tokens": 9, "cache": tmp_path}.items()


def test_an_unknown_encoder_is_answered_with_the_nearest(install):
    install(encoders="poetry_sets:ENCODERS")
    with pytest.raises(InputError, match="Did you mean 'letters'"):
        open_encoder("./leters")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("poetry_sets:ABSENT", "cannot be imported"),
        ("poetry_absent:SETS", "cannot be imported"),
        ("poetry_sets:NUMBER", "is no mapping"),
        ("poetry_sets:AGAIN", "repeats the name 'nyt'"),
    ],
)
def test_a_broken_catalogue_is_named_with_its_package(install, value, reason):
    install(datasets=value)
    with pytest.raises(ConfigurationError, match=rf"poetry-sets.*{reason}|repeats.*uninstall"):
        load_dataset("brown")
