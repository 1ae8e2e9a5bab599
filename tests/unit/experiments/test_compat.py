"""A pair from texts to the page, with encoders that are made here: what is measured, kept, refused and shown."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from securealign.alignment import LinearHead
from securealign.alignment.regression import RELATED
from securealign.data import TextDataset
from securealign.errors import ErrorCode, InputError
from securealign.lab.experiments.compat.assess import Cost, Usage, assess
from securealign.lab.experiments.compat.page import lines, render
from securealign.lab.experiments.compat.rules import Advice
from securealign.lab.experiments.compat.setting import (
    CompatConfig,
    EncoderSide,
    FileSide,
    Public,
    open_side,
    usual_least,
    usual_texts,
)
from securealign.lab.experiments.compat.tokens import Tokens, causal_spec, tokens
from securealign.lab.experiments.corpora import Corpora, Embeddings
from securealign.lab.experiments.run import Store
from securealign.lab.measures.tokenizers import Tokenized
from securealign.protocol.policy.rank import sessions_allowed
from securealign.protocol.policy.rules import Policy

MEANINGS, CLASSES = 24, 16
TASK = "news/train:news/test"
SECRET = "xyzzy"
#: Encoders that share nothing, and few texts, are what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")
COST = Cost(
    suite="lwe-128", security_bits=128, hides_head=True, network="wan", rows=300, queries=1000, classes=20,
    training_seconds=2.0, client_seconds=1.0, provider_seconds=0.5, bytes_up=1000, bytes_down=500,
    client_memory=1 << 20, provider_memory=1 << 20, query_seconds=0.01, query_bytes=100.0, query_bytes_all=200.0,
    queries_for_head=25, shown_at_least=0.1,
)  # fmt: skip


def _random(*parts):
    return np.random.default_rng(list(hashlib.sha256("/".join(map(str, parts)).encode()).digest()))


def meaning(text):
    """Return what a text means: its class, the number after its first word, and much of its own."""
    word = text.split()[0]
    centre = _random(word).normal(size=MEANINGS) if word.startswith("class") else np.zeros(MEANINGS)
    return 0.9 * centre + _random(text).normal(size=MEANINGS)


class Turned:
    """The meaning of a text, turned by a random rotation; or nothing of it."""

    def __init__(self, name, *, unrelated=False):
        self.name, self.dimension, self.unrelated, self.encoded = name, MEANINGS, unrelated, 0
        self.fingerprint = hashlib.sha256(name.encode()).hexdigest()
        self._rotation = np.linalg.qr(_random("turn", name).normal(size=(MEANINGS, MEANINGS)))[0]

    def encode(self, texts, *, progress=None):
        self.encoded += len(texts)
        rows = [_random(self.name, t).normal(size=MEANINGS) if self.unrelated else meaning(t) for t in texts]
        return np.asarray(np.array(rows) @ self._rotation, dtype=np.float32)


def load(name):
    base, _, part = name.partition("/")
    count = {"train": 640, "test": 200}.get(part, 300)
    classes = tuple(f"class{number}" for number in range(CLASSES))
    if part:
        texts = tuple(f"class{row % CLASSES} {SECRET} {base} {part} {row}" for row in range(count))
        return TextDataset(
            name=name, texts=texts, labels=tuple(row % CLASSES for row in range(count)), class_names=classes
        )
    return TextDataset(name=name, texts=tuple(f"{name} {SECRET} plain {row}" for row in range(count)))


ENCODERS = {name: Turned(name, unrelated=name.startswith("odd")) for name in ("one", "two", "odd", "odd2")}


def embeddings(folder):
    return Embeddings(folder=folder / "vectors", opener=ENCODERS.__getitem__)


def setting(folder, client, provider, *, public="public", probes=(TASK,), count=300):
    vectors, dataset = embeddings(folder), public if isinstance(public, TextDataset) else load(public)
    corpora = Corpora(train=640, test=200, load=load)
    return CompatConfig(
        client=open_side(client, dataset.texts, vectors),
        provider=open_side(provider, dataset.texts, vectors),
        public=Public.draw(dataset, dataset.name, count, corpora),
        probes=probes,
        corpora=corpora,
        seeds=2,
    )


def assessed(folder, client, provider, **options):
    return assess(
        setting(folder, client, provider, **options), Store(folder / "cells"), Usage(), max_tokens=64,
        command="the command", price=lambda *_: COST,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compat")


@pytest.fixture(scope="module", autouse=True)
def fixed_penalty():
    """Fit heads with one penalty: to choose it fits each head sixty times, and no test here is about that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "securealign.lab.experiments.compat.probes.fit_head", partial(LinearHead.fit, inverse_penalty=1.0)
        )
        yield


@pytest.fixture(scope="module")
def turned(folder):
    return assessed(folder, "one", "two")


@pytest.fixture(scope="module")
def unrelated(folder):
    return assessed(folder, "odd", "two")


def test_a_rotation_of_the_other_is_worth_aligning(turned):
    assert turned.recommendation.advice is Advice.ALIGN
    assert turned.likeness.cka > 0.99
    assert turned.likeness.r2_unseen > 0.99
    assert turned.likeness.relatedness > RELATED
    assert turned.likeness.shown > 0.99
    assert turned.evidence.kept > 0.95


def test_unrelated_encoders_are_not(unrelated):
    assert unrelated.recommendation.advice is Advice.NOT
    assert unrelated.recommendation.rule == "keeps too little"
    assert abs(unrelated.likeness.cka_debiased) < 0.1
    assert unrelated.likeness.r2_unseen < 0.05
    assert unrelated.likeness.relatedness < RELATED
    # The client's columns alone span so much of any embeddings.
    assert unrelated.likeness.shown == pytest.approx(MEANINGS / 300, abs=0.03)


def test_two_that_see_nothing_are_not_either(folder):
    assert assessed(folder, "odd", "odd2").recommendation.advice is Advice.NOT


def test_an_encoder_for_itself_is_worth_aligning(folder):
    same = assessed(folder, "one", "one")
    assert same.recommendation.advice is Advice.ALIGN
    assert same.loss.mean == pytest.approx(0, abs=0.02)


def test_the_shuffled_control_is_near_nothing(turned):
    assert abs(turned.likeness.svcca_64_shuffled) < 0.2
    assert turned.likeness.svcca_64 > 0.95


def test_a_second_time_nothing_is_computed(folder, turned, monkeypatch):
    monkeypatch.setattr("securealign.lab.experiments.compat.probes.fit_head", None)
    monkeypatch.setattr("securealign.lab.experiments.compat.evidence.linear_cka", None)
    again = assessed(folder, "one", "two")
    assert again.as_dict() == turned.as_dict()


@pytest.mark.parametrize("change", [{"shots": 1}, {"seeds": 1}])
def test_another_question_is_another_cell(folder, turned, change):
    def cells():
        return {path.name for path in (folder / "cells" / "compat-probe").iterdir()}

    before, other = cells(), replace(setting(folder, "one", "two"), **change)
    assess(other, Store(folder / "cells"), Usage(), max_tokens=64, price=lambda *_: COST)
    assert len(cells() - before) == 1


def test_clusters_are_shown_and_do_not_count(turned):
    assert [probe.classes for probe in turned.clusters] == [8]  # 20 would be twelve texts each
    assert turned.loss.probes == 1


def test_labels_of_the_public_file_make_a_probe_of_their_own(folder):
    found = assessed(folder, "one", "two", public="labelled/train", probes=(), count=640)
    (labels,) = found.labels
    assert (labels.tests, labels.trained, labels.classes) == (128, 512, CLASSES)
    assert found.evidence.source == "labels"
    assert found.recommendation.advice is Advice.ALIGN
    assert "all that the recommendation rests on" in render(found)


def test_test_texts_that_the_public_file_holds_are_left_out(folder):
    both = load("news/test").texts[:100] + load("public").texts
    found = assessed(folder, "one", "two", public=TextDataset(name="mixed", texts=both), count=400)
    (probe,) = found.probes
    assert (probe.tests, probe.dropped, probe.shares_texts) == (100, 100, True)
    assert "left out" in render(found)


def test_a_probe_that_the_public_file_holds_whole_is_refused(folder):
    with pytest.raises(InputError, match="holds the test texts") as caught:
        assessed(folder, "one", "two", public=TextDataset(name="same", texts=load("news/test").texts))
    assert "--probes" in caught.value.hint


def save(folder, name, texts, encoder):
    np.save(folder / name, ENCODERS[encoder].encode(texts))
    return str(folder / name)


def test_files_of_embeddings_give_likeness_and_clusters_alone(folder):
    texts = load("public").texts
    client, provider = save(folder, "client.npy", texts, "one"), save(folder, "provider.npy", texts, "two")
    found = assessed(folder, client, provider)
    assert (found.probes, found.loss) == ([], None)
    assert found.recommendation.advice is Advice.CARE
    assert found.likeness.r2_unseen > 0.99
    page = render(found)
    assert "No labelled task could be tried" in page
    assert str(folder) not in page
    strangers = assessed(folder, save(folder, "odd.npy", texts, "odd"), provider)
    assert strangers.recommendation.advice is Advice.NOT


def test_sides_that_training_would_refuse_are_not_tried(folder):
    texts = tuple(f"many {SECRET} {row}" for row in range(400))
    for name in ("left", "right"):
        np.save(folder / f"{name}.npy", _random(name).normal(size=(400, 100)))
    dataset = TextDataset(name="many", texts=texts, labels=tuple(row % 2 for row in range(400)), class_names=("x", "y"))
    found = assessed(folder, str(folder / "left.npy"), str(folder / "right.npy"), public=dataset, count=400, probes=())
    assert found.likeness.refused
    assert (found.probes, found.labels, found.clusters) == ([], [], [])
    assert (found.recommendation.rule, found.recommendation.advice) == ("unrelated", Advice.NOT)
    assert "training would refuse" in render(found)


def test_the_kind_of_map_is_part_of_the_question(folder, turned):
    vectors = replace(setting(folder, "one", "two"), map_kind="ridge")
    other = assess(vectors, Store(folder / "cells"), Usage(), max_tokens=64, price=lambda *_: COST)
    assert (turned.map, turned.other_map, other.map, other.other_map) == ("soft", "ridge", "ridge", "soft")
    assert other.probes[0].mapped == pytest.approx(turned.probes[0].mapped_other)
    assert 'map = "ridge"' in render(other)


def test_a_file_goes_with_an_encoder_and_keeps_the_first_of_equal_texts(folder):
    texts = (*load("public").texts, load("public").texts[0])
    path = save(folder, "twice.npy", texts, "one")
    dataset = TextDataset(name="twice", texts=texts)
    found = assessed(folder, path, "two", public=dataset)
    assert (found.rows, found.in_file, found.client.encodes, found.provider.encodes) == (300, 301, False, True)
    side = FileSide.load(folder / "twice.npy", texts)
    np.testing.assert_array_equal(side.of(texts[:1])[0], np.load(path)[0])
    with pytest.raises(InputError, match="no embeddings of other"):
        side.of(["x"], "other")


def test_an_array_of_several_is_named_by_its_key(folder):
    texts = load("public").texts
    rows = np.load(save(folder, "one.npy", texts, "one"))
    np.savez(folder / "several.npz", first=rows, other=rows[:, :1])
    side = open_side(f"{folder / 'several.npz'}:first", texts, Embeddings())
    assert (side.name, side.encodes) == ("several.npz:first", False)
    np.testing.assert_array_equal(side.of(texts[:2]), rows[:2].astype(np.float32))


def test_a_file_of_another_length_is_refused(folder):
    path = save(folder, "short.npy", ["a b", "c d"], "one")
    with pytest.raises(InputError, match="2 rows for 300 texts"):
        setting(folder, path, "two")


def test_too_few_public_texts_are_refused_with_how_many_are_needed(folder):
    few = setting(folder, "one", "two", count=MEANINGS + 1)
    with pytest.raises(InputError) as caught:
        few.check()
    assert caught.value.code is ErrorCode.TOO_FEW_ROWS
    assert f"{MEANINGS + 2} at the very least" in caught.value.hint
    assert f"better {3 * MEANINGS}" in caught.value.hint
    assert "Raise --texts" in caught.value.hint


def test_the_least_that_is_not_refused_still_gives_a_page(folder):
    found = assessed(folder, "one", "two", count=MEANINGS + 2, probes=())
    assert "usual policy refuses" in render(found)
    assert any(words.startswith("More public texts") for words in found.recommendation.helps)


@pytest.mark.parametrize("dimension", [50, 383, 384, 768])
def test_what_a_usual_policy_asks_for_is_what_it_allows(dimension):
    rows = usual_least(dimension)
    assert sessions_allowed(dimension + 1, rows, Policy().max_rank_fraction) == 1
    assert sessions_allowed(dimension + 1, rows - 1, Policy().max_rank_fraction) == 0
    assert usual_texts(dimension) == max(2500, rows)
    assert usual_texts(4096) == usual_least(4096) > 3 * 4096


def test_the_page_holds_every_part_and_none_of_the_texts(turned):
    page = render(turned)
    assert SECRET not in page
    assert len(page) < 200_000
    for part in ("accuracy", "likeness", "cost", "caveats", "made"):
        assert page.count(f'<section id="{part}">') == 1
    assert page.index("verdict yes") < page.index('id="accuracy"') < page.index('id="cost"') < page.index('id="made"')
    assert "the command" in page
    assert turned.public_digest[:16] in page
    assert not re.search(r'(?:src|href)="(?!#|data:,)', page)


def test_names_are_escaped(turned):
    named = replace(turned, client=replace(turned.client, name="<script>"), public_name="<b>", command="</code><i>")
    page = render(named)
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;" in page


def test_all_of_it_is_json(turned, unrelated):
    for found in (turned, unrelated):
        content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
        assert content["recommendation"]["advice"] == found.recommendation.advice.value
        assert content["probes"][0]["loss"] == found.probes[0].loss
        assert SECRET not in json.dumps(content)


def test_the_summary_says_what_and_why(turned):
    styles, words = zip(*lines(turned), strict=True)
    assert words[0] == "one for two: align"
    assert styles[0] == "bold green"
    assert any("accuracy lost" in line and "new task: unknown" in line for line in words)
    assert any(line.startswith("cost over wan") for line in words)


class Letters:
    """A tokenizer with a token for each so many characters, of a model with fifty weights."""

    parameters = 50

    def __init__(self, width):
        self.width, self.vocabulary = width, frozenset({"b", "a" * width})

    def tokenize(self, texts):
        ends = [np.arange(self.width, len(text) + 1, self.width) for text in texts]
        return [Tokenized(["a" * self.width] * len(each), each) for each in ends]


def _language_model(folder, name, architecture="LlamaForCausalLM"):
    (folder / name).mkdir()
    (folder / name / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    return str(folder / name)


def test_tokenizers_are_compared_between_language_models_alone(tmp_path, monkeypatch):
    vectors, store = embeddings(tmp_path), Store(tmp_path / "cells")
    client, provider = (EncoderSide(_language_model(tmp_path, name), vectors) for name in ("fine", "coarse"))
    for side in (client, provider):
        monkeypatch.setitem(ENCODERS, side.spec, ENCODERS["one"])
    pair = replace(setting(tmp_path, "one", "two"), client=client, provider=provider)
    widths = {client.spec: Letters(1), provider.spec: Letters(2)}
    found = tokens(pair, store, widths.__getitem__)
    assert found.jaccard == pytest.approx(1 / 3)
    assert (found.exact_rate, found.boundary_rate) == (0, 1)
    assert found.smaller_billions == pytest.approx(5e-8)
    assert found.outlook == "poor"
    assert client.name == "fine"
    assert tokens(setting(tmp_path, "one", "two"), store) is None


@pytest.mark.models
def test_a_language_model_without_a_fast_tokenizer_is_not_compared(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="needs the extra 'models'")
    side = EncoderSide(_language_model(tmp_path, "slow"), embeddings(tmp_path))
    monkeypatch.setitem(ENCODERS, side.spec, ENCODERS["one"])
    pair = replace(setting(tmp_path, "one", "two"), client=side, provider=side)
    assert tokens(pair, Store(tmp_path / "cells")) is None


@pytest.mark.parametrize(("spec", "causal"), [("smollm2", True), ("minilm", False), ("one", False)])
def test_built_in_language_models_are_known_by_name(tmp_path, spec, causal):
    assert (causal_spec(EncoderSide(spec, embeddings(tmp_path))) is not None) == causal


def test_other_folders_are_no_language_models(tmp_path):
    vectors = embeddings(tmp_path)
    assert causal_spec(EncoderSide(_language_model(tmp_path, "bert", "BertModel"), vectors)) is None
    (tmp_path / "empty").mkdir()
    assert causal_spec(EncoderSide(str(tmp_path / "empty"), vectors)) is None


def test_tokenizers_show_on_the_page_where_there_are_any(turned):
    likeness = Tokens(
        jaccard=0.5, exact_rate=0.7, aligned_rate=0.8, boundary_rate=0.8, client_tokens_per_word=1.3,
        provider_tokens_per_word=1.4, smaller_billions=0.13, outlook="poor", reason="0.13 billion weights",
    )  # fmt: skip
    assert 'id="tokens"' not in render(turned)
    found = replace(turned, tokens=likeness)
    assert render(found).count('id="tokens"') == 1
    assert any(line == "tokenizers: poor, 0.13 billion weights" for _, line in lines(found))
