"""Tiny random language models: states and heads, streamed fits, scores, and text from a stitched pair."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.causal_lms import (
    SENTENCES,
    byte_fallback_tokenizer,
    byte_level_tokenizer,
    save_gemma,
    save_llama,
)
from support.optional import later, needs

from securealign.alignment import AlignmentMap
from securealign.alignment.ridge import solve_ridge
from securealign.errors import ConfigurationError, DependencyError, InputError
from securealign.lab.generation import fitting
from securealign.lab.generation.causal import DEPTHS, POST_NORM, PRE_NORM, CausalModel, same_tokens
from securealign.lab.generation.decoding import (
    Chooser,
    End,
    Sampling,
    StopRules,
    TokenBytes,
)
from securealign.lab.generation.fitting import FitSettings, Stitch, fit_stitches, fitted_maps, paired_states
from securealign.lab.generation.scoring import (
    Predictions,
    predict,
    predict_mapped,
    score,
    score_native,
)
from securealign.lab.generation.stitched import (
    Context,
    Prompt,
    StitchedModel,
    frame,
)
from securealign.lab.measures.fits import explained
from securealign.lab.measures.tokenizers import NO_OFFSET, pair_tokens

pytestmark = [pytest.mark.models, needs("torch", "transformers", extra="models")]
torch, transformers = later("torch"), later("transformers")

PROMPT = Prompt("the quick brown fox")
TEXTS = [f"{one} and {other}" for one in SENTENCES for other in SENTENCES]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "llama": save_llama(root / "llama", byte_level_tokenizer(chat=True)),
        "gemma": save_gemma(root / "gemma", byte_fallback_tokenizer()),
        "other": save_llama(root / "other", byte_level_tokenizer(), seed=9, hidden_size=20),
    }


@pytest.fixture(scope="module")
def models(folders):
    return {name: CausalModel(folder) for name, folder in folders.items()}


def native_states(model, text):
    ids = model.tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        return model.model(**ids, output_hidden_states=True)


def random_map(source, target, seed=3):
    random = np.random.default_rng(seed)
    return AlignmentMap(random.normal(size=(source.dimension, target.dimension)), np.zeros(target.dimension))


def test_special_tokens_have_no_end_and_all_others_end_in_the_text(models):
    tokens = models["gemma"].tokenize(["the dog 🙂", "a"])
    assert tokens[0].ends[0] == NO_OFFSET
    assert tokens[0].ends[1:].min() > 0
    assert tokens[0].ends[-1] == len("the dog 🙂")
    assert models["llama"].tokenize(["the dog"])[0].ends[0] > 0
    assert len(models["llama"].tokenize([SENTENCES[0]], max_tokens=3)[0].ids) == 3


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_states_are_those_of_the_model_whatever_shares_the_batch(models, name):
    model = models[name]
    tokens = model.tokenize([SENTENCES[0], "a dog"])
    states = model.states([text.ids for text in tokens], DEPTHS)
    output = native_states(model, "a dog")
    inner = output.hidden_states
    np.testing.assert_allclose(states[POST_NORM][1], inner[-1][0].numpy(), atol=1e-5)
    np.testing.assert_allclose(states["h[-2]"][1], inner[model.layers - 1][0].numpy(), atol=1e-5)
    np.testing.assert_allclose(model.logits(states[POST_NORM][1]), output.logits[0].numpy(), atol=1e-4)
    # The state before the norm gives the same logits once it has passed the norm, and is another one.
    np.testing.assert_allclose(model.logits(states[PRE_NORM][1], PRE_NORM), output.logits[0].numpy(), atol=1e-4)
    assert not np.allclose(states[PRE_NORM][1], states[POST_NORM][1], atol=1e-2)


def test_logits_come_in_blocks_and_are_the_same(models, monkeypatch):
    monkeypatch.setattr("securealign.lab.generation.causal.HEAD_ROWS", 4)
    model = models["gemma"]
    states = np.random.default_rng(0).normal(size=(10, model.dimension))
    blocks = list(model.logit_blocks(states))
    assert [rows.stop - rows.start for rows, _ in blocks] == [4, 4, 2]
    np.testing.assert_allclose(torch.cat([block for _, block in blocks]), model.logits(states), rtol=1e-4, atol=1e-4)


def test_a_cap_on_logits_is_part_of_the_head(tmp_path):
    tokenizer = byte_level_tokenizer()
    config = transformers.Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        head_dim=4, intermediate_size=8, final_logit_softcapping=0.5, pad_token_id=0,
    )  # fmt: skip
    transformers.Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = CausalModel(tmp_path)
    assert model.logits(100 * np.ones((1, 8))).abs().max() <= 0.5


def test_a_model_is_known_by_its_files_and_its_ends(models, folders, tmp_path):
    assert models["llama"].fingerprint == CausalModel(folders["llama"]).fingerprint
    assert models["llama"].fingerprint != models["other"].fingerprint
    assert models["llama"].end_ids == {0, 2}
    assert models["gemma"].tokenizer.eos_token_id in models["gemma"].end_ids
    assert models["llama"].parameters == sum(weight.numel() for weight in models["llama"].model.parameters())
    assert repr(models["llama"]) == "<CausalModel llama: 4 blocks of 16, 330 tokens>"
    assert same_tokens(models["llama"], models["other"])
    assert not same_tokens(models["llama"], models["gemma"])
    with pytest.raises(InputError, match=r"holds no config\.json with safetensors weights"):
        CausalModel(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be used as a causal language model"):
        CausalModel(tmp_path)


def test_damaged_weights_are_reported(folders, tmp_path):
    folder = shutil.copytree(folders["llama"], tmp_path / "llama")
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="llama cannot be used as a causal language model: it cannot be loaded"):
        CausalModel(folder)


def test_without_torch_the_extra_is_named(folders, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(DependencyError, match="pip install 'securealign"):
        CausalModel(folders["llama"])


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_a_context_that_goes_back_gives_the_states_of_a_fresh_one(models, name):
    model, random = models[name], np.random.default_rng(4)
    context, ids = Context(model), [int(number) for number in random.integers(5, 80, 30)]
    for cut, added in [(0, 25), (25, 5), (12, 9), (3, 1), (4, 20), (4, 20), (2, 0)]:
        ids = ids[:cut] + [int(number) for number in random.integers(5, 80, added)]
        expected = model.states([np.array(ids)])[POST_NORM][0][-1]
        np.testing.assert_allclose(context.read(ids), expected, atol=2e-4)


def test_a_context_reads_again_only_what_changed(models):
    context = Context(models["llama"])
    context.read([5, 6, 7, 8])
    context.read([5, 6, 7, 8, 9])
    assert context.fed == 5
    context.read([5, 6, 7, 9])
    assert context.fed == 6
    context.read([5, 6, 7, 9])
    assert context.fed == 6
    with pytest.raises(InputError, match="The prompt holds no token"):
        context.read([])


def reference_moments(models, stitch, texts, *, exact=False):
    rows = []
    for text in texts:
        source, target = models[stitch.source].tokenize([text])[0], models[stitch.target].tokenize([text])[0]
        at = pair_tokens(target.ends, source.ends, exact=exact)
        usable = (at.source > 0) & (at.target > 0)
        states = models[stitch.source].states([source.ids], [stitch.depth])[stitch.depth][0]
        others = models[stitch.target].states([target.ids], [stitch.landing])[stitch.landing][0]
        rows.append((states[at.source[usable]], others[at.target[usable]]))
    return [np.concatenate(parts).astype(np.float64) for parts in zip(*rows, strict=True)]


@pytest.mark.thorough
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("stitch", [Stitch("llama", "gemma"), Stitch("gemma", "llama", "L/2", PRE_NORM)])
def test_a_streamed_fit_is_the_ridge_regression_of_all_pairs(models, monkeypatch, stitch, exact):
    monkeypatch.setattr(fitting, "_BLOCK_PAIRS", 40)
    monkeypatch.setattr(fitting, "_BATCH", 3)
    x, y = reference_moments(models, stitch, TEXTS, exact=exact)
    seen = []
    found = fit_stitches(
        models, [stitch], TEXTS, pairs=10**6, exact=exact, report=lambda done, total: seen.append(done)
    )[stitch]
    assert found.count == len(x) == seen[-1]
    fitted = found.solve(0.5)
    centred = x - x.mean(axis=0)
    weight = np.linalg.solve(centred.T @ centred + 0.5 * np.eye(x.shape[1]), centred.T @ (y - y.mean(axis=0)))
    np.testing.assert_allclose(fitted.weight, weight, atol=1e-6)
    np.testing.assert_allclose(fitted.bias, y.mean(axis=0) - x.mean(axis=0) @ weight, atol=1e-6)


def test_reading_ends_when_all_have_their_pairs(models):
    stitches = [Stitch("llama", "gemma"), Stitch("gemma", "gemma")]
    found = fit_stitches(models, stitches, TEXTS, pairs=50)
    assert [accumulator.count for accumulator in found.values()] == [50, 50]
    with pytest.raises(InputError, match="gave no pair of tokens"):
        fit_stitches(models, stitches, ["  "], pairs=50)[stitches[0]].solve(1.0)


def test_maps_are_fitted_once_and_kept_by_all_that_they_depend_on(models, tmp_path, monkeypatch):
    stitches = [Stitch("llama", "gemma"), Stitch("llama", "llama")]
    settings = [FitSettings(pairs=60, ridge=1.0), FitSettings(pairs=60, ridge="auto")]
    first = fitted_maps(models, stitches, TEXTS, settings, folder=tmp_path)
    assert first[stitches[0], settings[0]].metadata["source"] == "llama"
    assert first[stitches[0], settings[0]].metadata["rows"] == 60
    monkeypatch.setattr(fitting, "fit_stitches", None)
    again = fitted_maps(models, stitches, TEXTS, settings, folder=tmp_path)
    for key, alignment in first.items():
        np.testing.assert_array_equal(again[key].weight, alignment.weight)
    with pytest.raises(TypeError):
        fitted_maps(models, stitches, TEXTS[:-1], settings, folder=tmp_path)


def test_a_model_is_explained_by_itself_and_not_by_a_shuffled_map(models):
    # Several tokens that make up one character all end at it, and are all paired with the first of them.
    texts = [text for text in TEXTS if text.isascii()]
    stitch = Stitch("llama", "llama")
    alignment = fit_stitches(models, [stitch], texts, pairs=10**6)[stitch].solve(1e-4)
    model = models["llama"]
    pairs = paired_states(model, model, ([POST_NORM], [POST_NORM]), texts, count=70)
    assert len(pairs) == 70
    assert pairs.exact.all()
    native = predict(model, pairs.target[POST_NORM], pairs.following)
    mapped, r2 = predict_mapped(model, alignment, pairs, depth=POST_NORM, landing=POST_NORM)
    assert r2 > 0.999
    assert score(mapped, native, pairs.following).agreement > 0.95
    order = np.random.default_rng(0).permutation(model.dimension)
    shuffled = AlignmentMap(alignment.weight[order], alignment.bias)
    wrong, r2 = predict_mapped(model, shuffled, pairs, depth=POST_NORM, landing=POST_NORM)
    assert r2 < 0.5
    assert score(wrong, native, pairs.following).agreement < 0.5


def test_scores_are_the_model_s_own_loss(models):
    model = models["gemma"]
    ids = model.tokenizer(SENTENCES[0], return_tensors="pt")
    with torch.inference_mode():
        # Transformers' loss counts every token but the first; here the second is the first that is predicted from text.
        logits = model.model(**ids).logits[0, 1:-1]
        loss = torch.nn.functional.cross_entropy(logits, ids["input_ids"][0, 2:]).item()
    found = score_native(model, [SENTENCES[0], "", "a dog"], count=5)
    assert found.nll == pytest.approx(loss, abs=1e-4)
    assert found.tokens == len(logits)
    first_end = model.tokenize([SENTENCES[0]])[0].ends[1]
    assert found.characters == len(SENTENCES[0]) - first_end
    assert found.bits_per_character == pytest.approx(loss * len(logits) / np.log(2) / found.characters, abs=1e-4)


def test_scores_can_leave_positions_out():
    mine = Predictions(np.array([1.0, 3.0]), np.array([5, 6]))
    other = Predictions(np.array([0.0, 0.0]), np.array([5, 7]))
    found = score(mine, other, np.array([5, 7]), np.array([False, True]))
    assert (found.positions, found.nll, found.top1, found.agreement) == (1, 3.0, 0.0, 0.0)
    assert found.perplexity == pytest.approx(np.exp(3))


def test_constant_targets_have_nothing_to_explain():
    assert explained(np.ones((3, 2)), np.zeros((3, 2))) == 0


def test_texts_without_pairs_cannot_be_scored(models):
    with pytest.raises(InputError, match="gave no pair of tokens"):
        paired_states(models["llama"], models["gemma"], ([POST_NORM], [POST_NORM]), [" "], count=5)


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_the_bytes_of_tokens_are_those_that_the_tokenizer_decodes(models, name):
    model = models[name]
    table = TokenBytes(model.tokenizer, model.vocabulary, model.special_ids)
    text = "the lazy dog 🙂 café ünï\n  x"
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(table.of(number) for number in ids).decode() == text
    assert table.of(model.tokenizer.eos_token_id) == b""
    assert table.of(model.vocabulary - 1) == (b"" if name == "gemma" else table.of(model.vocabulary - 1))
    assert table.of(10**6) == b""
    assert 0 < table.continuing.sum() < model.vocabulary


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_native_text_is_what_transformers_generates(models, name):
    model = models[name]
    ids = model.tokenizer(PROMPT.text, return_tensors="pt")
    with torch.inference_mode():
        expected = model.model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :]
    found = StitchedModel.native(model).complete(PROMPT, StopRules(max_new_tokens=24))
    until = next((at for at, token in enumerate(expected.tolist()) if token in model.special_ids), len(expected))
    assert list(found.tokens) == expected.tolist()[:until][: len(found.tokens)]
    assert len(found.tokens) == until or found.end is End.SPECIAL


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_an_identity_map_changes_nothing_and_a_shuffled_one_does(models, name):
    model, rules = models[name], StopRules(max_new_tokens=20)
    native = StitchedModel.native(model).complete(PROMPT, rules)
    identity = AlignmentMap(np.eye(model.dimension), np.zeros(model.dimension))
    assert StitchedModel(model, model, identity).complete(PROMPT, rules) == native
    shuffled = AlignmentMap(np.eye(model.dimension)[::-1].copy(), np.zeros(model.dimension))
    assert StitchedModel(model, model, shuffled).complete(PROMPT, rules).tokens != native.tokens


def test_two_copies_with_other_names_for_tokens_agree_through_text(models, folders, tmp_path):
    """A pair that hands over text gives the native text, as far as that text falls into the same tokens again."""
    model = models["llama"]
    other = CausalModel(folders["llama"])
    pair = StitchedModel(model, other, None)
    pair._direct = False
    native = StitchedModel.native(model)
    tokens = native.complete(PROMPT, StopRules(max_new_tokens=20)).tokens
    text = PROMPT.text
    table = TokenBytes(model.tokenizer, model.vocabulary, model.special_ids)
    stable = 0
    for stable in range(len(tokens)):
        text = (PROMPT.text.encode() + b"".join(table.of(token) for token in tokens[: stable + 1])).decode(
            errors="replace"
        )
        again = model.tokenizer(text)["input_ids"]
        if again != model.tokenizer(PROMPT.text)["input_ids"] + list(tokens[: stable + 1]):
            break
    assert pair.complete(PROMPT, StopRules(max_new_tokens=20)).tokens[: stable + 1] == tokens[: stable + 1]


@pytest.mark.parametrize(("source", "target"), [("llama", "gemma"), ("gemma", "llama"), ("llama", "other")])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_every_token_follows_from_all_the_text_before_it(models, source, target, temperature):
    """Each step is what a pair says that reads prompt and text anew, without a cache."""
    rules, sampling = StopRules(max_new_tokens=25), Sampling(temperature=temperature, seed=5)
    one, other = models[source], models[target]
    alignment = random_map(one, other)
    pair = StitchedModel(one, other, alignment)
    chooser, bytes_of = Chooser(sampling), TokenBytes(other.tokenizer, other.vocabulary, other.special_ids)
    data, tokens = b"", []
    for step in pair.stream(PROMPT, rules, sampling):
        if step.token is None:
            break
        text = data.decode(errors="ignore")
        ids = one.tokenizer(PROMPT.text + text)["input_ids"]
        if same_tokens(one, other):
            ids = one.tokenizer(PROMPT.text)["input_ids"] + tokens
        state = one.states([np.array(ids)])[POST_NORM][0][-1:]
        pending = len(text.encode()) != len(data) and not same_tokens(one, other)
        logits = other.logits(alignment.apply(state))[0]
        assert step.token == chooser.choose(logits, bytes_of.continuing if pending else None)
        tokens.append(step.token)
        data += bytes_of.of(step.token)
        if b"\xff" in data or data.decode(errors="replace") != data.decode(errors="ignore"):
            break  # what cannot be read back as text is not compared any further
    assert tokens


def test_the_pieces_are_the_text(models):
    pair = StitchedModel(models["llama"], models["gemma"], random_map(models["llama"], models["gemma"]))
    rules = StopRules(max_new_tokens=30)
    steps = list(pair.stream(PROMPT, rules))
    assert [step.end for step in steps[:-1]] == [None] * (len(steps) - 1)
    assert "".join(step.text for step in steps) == pair.complete(PROMPT, rules).text


def test_sampling_depends_on_the_seed_alone(models):
    pair = StitchedModel.native(models["llama"])
    rules = StopRules(max_new_tokens=15)
    first = pair.complete(PROMPT, rules, Sampling(temperature=2.0, seed=1))
    assert first == pair.complete(PROMPT, rules, Sampling(temperature=2.0, seed=1))
    assert first != pair.complete(PROMPT, rules, Sampling(temperature=2.0, seed=2))
    greedy = pair.complete(PROMPT, rules)
    assert pair.complete(PROMPT, rules, Sampling(temperature=2.0, top_p=1e-6)) == greedy


def test_sampling_keeps_to_the_likeliest_and_the_allowed():
    logits = torch.tensor([2.0, 1.9, 0.0, -1.0])
    chooser = Chooser(Sampling(temperature=1.0, top_p=0.5, seed=0))
    assert {chooser.choose(logits) for _ in range(50)} == {0, 1}
    only = np.array([False, False, True, True])
    assert {chooser.choose(logits, only) for _ in range(20)} == {2}
    assert Chooser(Sampling()).choose(logits, only) == 2
    assert Chooser(Sampling()).choose(logits, np.zeros(4, dtype=bool)) == 0


@pytest.mark.parametrize(
    ("settings", "message"), [({"temperature": -1}, "temperature of -1"), ({"top_p": 0}, "top-p of 0")]
)
def test_sampling_out_of_range_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Sampling(**settings)


def test_rules_end_a_text(models):
    pair = StitchedModel.native(models["llama"])
    whole = pair.complete(PROMPT, StopRules(max_new_tokens=12))
    assert len(whole.tokens) == 12 or whole.end is not End.LENGTH
    middle = whole.text[3:5]
    stopped = pair.complete(PROMPT, StopRules(max_new_tokens=12, strings=(middle,)))
    assert (stopped.text, stopped.end) == (whole.text[: whole.text.index(middle)], End.STRING)
    assert pair.complete(Prompt(PROMPT.text, stops=(middle,)), StopRules(max_new_tokens=12)).text == stopped.text


def constant_pair(models, token):
    """A pair whose head says the same token whatever the source reads."""
    source, target = models["llama"], models["gemma"]
    weight = target.model.get_output_embeddings().weight.detach().numpy()[token].astype(np.float64)
    return StitchedModel(source, target, AlignmentMap(np.zeros((source.dimension, target.dimension)), 1e3 * weight))


def likeliest(pair):
    return int(pair.next_logits(PROMPT).argmax())


def test_loops_letters_and_ends_of_turn_end_a_text(models):
    gemma = models["gemma"]
    vocabulary = gemma.tokenizer.get_vocab()
    ends = {}
    for name in ("▁", "e", "A", "<eos>", "<unk>", "<0xF0>"):
        pair = constant_pair(models, vocabulary[name])
        if likeliest(pair) == vocabulary[name]:
            ends[name] = pair.complete(PROMPT, StopRules(max_new_tokens=9, repeats=4, letters="AB"))
    expected = {"▁": End.REPETITION, "e": End.REPETITION, "A": End.LETTER, "<eos>": End.TURN, "<unk>": End.SPECIAL}
    assert {name: found.end for name, found in ends.items() if name in expected} == {
        name: end for name, end in expected.items() if name in ends
    }
    assert len(ends) >= 4


def test_a_map_for_other_models_is_refused(models):
    llama, gemma = models["llama"], models["gemma"]
    with pytest.raises(InputError, match="A map of 12 to 16 dimensions does not lead from llama"):
        StitchedModel(llama, gemma, random_map(gemma, llama))
    with pytest.raises(InputError, match="does not lead"):
        StitchedModel(llama, gemma, None)


def test_a_conversation_is_framed_as_the_model_knows_it(models):
    messages = [{"role": "user", "content": "hello"}]
    templated = frame(models["llama"], messages)
    assert templated == Prompt("<|im_start|>hello<|im_end|><|im_start|>", special=False)
    plain = frame(models["gemma"], [*messages, {"role": "assistant", "content": "hi"}, *messages])
    assert plain.text == "User: hello\nAssistant: hi\nUser: hello\nAssistant:"
    assert "\nUser:" in plain.stops


def test_moments_of_pairs_are_those_of_the_ridge():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 3)).astype(np.float32), random.normal(size=(30, 2)).astype(np.float32)
    accumulator = fitting.PairAccumulator(3, 2)
    for rows in (slice(0, 10), slice(10, 30)):
        accumulator.add(x[rows], y[rows])
    solved = accumulator.solve("auto")
    moments = accumulator.moments
    again = solve_ridge(moments.source, moments.target_mean, moments.cross, "auto")
    np.testing.assert_array_equal(solved.weight, again.weight)
