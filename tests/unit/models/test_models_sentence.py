"""A model folder says how its token vectors become one; what is not implemented is refused."""

import json

import pytest

from securealign.errors import ConfigurationError, InputError
from securealign.models.sentence import SentencePlan, read_sentence_plan


def folder_with(tmp_path, modules, pooling=None, limits=None):
    listing = [
        {"path": f"{n}_{kind}", "type": f"sentence_transformers.models.{kind}"} for n, kind in enumerate(modules)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(listing))
    if pooling is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if limits is not None:
        (tmp_path / "sentence_bert_config.json").write_text(json.dumps(limits))
    return tmp_path


def test_without_the_files_of_sentence_transformers_it_is_the_plain_mean(tmp_path):
    assert read_sentence_plan(tmp_path) == SentencePlan(pooling="mean", normalize=False)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False, "include_prompt": True}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "cls", "embedding_dimension": 8}, "cls"),
    ],
)
def test_the_pooling_of_the_folder_is_used(tmp_path, config, pooling):
    folder = folder_with(tmp_path, ["Transformer", "Pooling"], config)
    assert read_sentence_plan(folder).pooling == pooling


def test_normalisation_limits_and_an_override_are_kept(tmp_path):
    limits = {"max_seq_length": 99, "do_lower_case": True}
    folder = folder_with(tmp_path, ["Transformer", "Pooling", "Normalize"], {"pooling_mode_cls_token": True}, limits)
    expected = SentencePlan(pooling="max", normalize=True, lower_case=True, max_tokens=99)
    assert read_sentence_plan(folder, pooling="max") == expected


@pytest.mark.parametrize(
    ("modules", "config", "message"),
    [
        (["Transformer", "Pooling", "Dense"], {"pooling_mode_cls_token": True}, "asks for the module 'Dense'"),
        (["Transformer", "Pooling"], {"pooling_mode_weightedmean_tokens": True}, "the pooling weightedmean_tokens"),
        (["Transformer", "Pooling"], {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, r"cls\+max"),
        (["Transformer", "Pooling"], {}, "the pooling none"),
    ],
)
def test_what_is_not_implemented_is_refused(tmp_path, modules, config, message):
    with pytest.raises(InputError, match=f"{message}.*give them as an .npy file"):
        read_sentence_plan(folder_with(tmp_path, modules, config))


@pytest.mark.parametrize(("content", "message"), [("{", "is not valid JSON"), ("{}", "does not hold what it should")])
def test_damaged_files_are_reported(tmp_path, content, message):
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(InputError, match=f"modules.json {message}"):
        read_sentence_plan(tmp_path)


def test_an_unknown_pooling_lists_the_known_ones(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no pooling 'median'. Use one of: mean, cls, max, lasttoken"):
        read_sentence_plan(tmp_path, pooling="median")


def prompted(tmp_path, content):
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize(
    ("content", "prompt"),
    [
        ({"prompts": {"query": "query: "}, "default_prompt_name": "query"}, "query: "),
        ({"prompts": {"query": "query: "}, "default_prompt_name": None}, ""),
        ({"prompts": {}}, ""),
        ({}, ""),
    ],
)
def test_the_default_prompt_of_the_folder_is_used(tmp_path, content, prompt):
    assert read_sentence_plan(prompted(tmp_path, content)).prompt == prompt


def test_a_default_prompt_that_is_missing_is_reported(tmp_path):
    with pytest.raises(InputError, match="names the prompt 'query' and does not hold it"):
        read_sentence_plan(prompted(tmp_path, {"default_prompt_name": "query"}))


def test_a_prompt_that_should_not_be_pooled_is_refused(tmp_path):
    folder = folder_with(
        tmp_path, ["Transformer", "Pooling"], {"pooling_mode_mean_tokens": True, "include_prompt": False}
    )
    assert read_sentence_plan(folder).prompt == ""
    prompted(folder, {"prompts": {"query": "q"}, "default_prompt_name": "query"})
    with pytest.raises(InputError, match="a prompt left out of the pooling, which is not implemented"):
        read_sentence_plan(folder)
