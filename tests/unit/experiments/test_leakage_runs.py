"""The experiment on what an alignment gives away: what it finds, says, draws and keeps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.experiments import FakeEncoder, fake_config, load, measure, one_that_sees_nothing

from securealign.alignment.clear import fit_map
from securealign.alignment.scaling import deviations
from securealign.errors import ConfigurationError, InputError
from securealign.lab.experiments.corpora import Corpora
from securealign.lab.experiments.leakage.measure import Collection, WordWeights, directions
from securealign.lab.experiments.leakage.sweep import Spectrum
from securealign.lab.experiments.leakage.values import alignment_means, found_by_pair, penalty_means, summary
from securealign.lab.experiments.page import section
from securealign.lab.measures.fits import explained

SIZES = (12, 30, 500)
#: Encoders that share nothing, and few texts, are what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leakage")
    config = fake_config(folder, *one_that_sees_nothing(), seeds=4)
    return measure("leakage", folder, config, sizes=SIZES, command="the command")


def rows_of(result, source, target, size):
    wanted = (source, target, size)
    return [row for row in result.table("alignment") if (row["source"], row["target"], row["rows"]) == wanted]


def paired(rows, source=9, target=5, seed=0):
    random = np.random.default_rng(seed)
    z_b = random.normal(size=(rows, source)) + 2
    return z_b, z_b @ random.normal(size=(source, target)) + random.normal(size=(rows, target)) - 1


@pytest.mark.parametrize("rows", [7, 40], ids=["fewer rows than dimensions", "more rows"])
@pytest.mark.parametrize("share", [1e-2, 1.0])
def test_a_spectrum_gives_the_ridge_map(rows, share):
    z_b, z_a = paired(rows)
    scale = deviations(z_b)
    spectrum, scaled = Spectrum.of(z_b, scale), z_b / scale
    # Every column has a squared norm of as much as there are rows.
    fitted, ridge = spectrum.fit(z_a), fit_map(scaled, z_a, share * rows)
    np.testing.assert_allclose(fitted.predict(spectrum.project(z_b[:4]), share), ridge.apply(scaled[:4]), atol=1e-8)
    assert fitted.used(share) == pytest.approx(explained(z_a, ridge.apply(scaled)))
    assert spectrum.rank == min(9, rows - 1)


def test_what_leaks_is_the_projection_on_the_client_s_columns():
    """The client computes it from its rows and the product of the protocol alone."""
    z_b, z_a = paired(40)
    centred = z_b - z_b.mean(axis=0)
    product = centred.T @ (z_a - z_a.mean(axis=0))
    projected = centred @ np.linalg.solve(centred.T @ centred, product)
    fitted = Spectrum.of(z_b, deviations(z_b)).fit(z_a)
    assert fitted.leaked == pytest.approx(np.sum(projected**2) / np.sum((z_a - z_a.mean(axis=0)) ** 2))
    assert fitted.leaked == pytest.approx(fitted.used(0.0))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 10), st.floats(1.1, 10))
def test_a_larger_penalty_uses_less(seed, share, factor):
    z_b, z_a = paired(30, seed=seed)
    fitted = Spectrum.of(z_b, deviations(z_b)).fit(z_a)
    assert fitted.used(share * factor) < fitted.used(share) < fitted.leaked


def test_rows_as_few_as_dimensions_give_everything_away(result):
    for source in ("a", "b", "odd"):
        assert all(row["leaked"] == pytest.approx(1.0) for row in rows_of(result, source, "a", 12))


def test_with_more_rows_only_what_encoders_share_leaks(result):
    alike, odd = rows_of(result, "a", "b", 80), rows_of(result, "odd", "b", 80)
    assert min(row["leaked"] for row in alike) > 0.9
    assert np.mean([row["leaked"] for row in odd]) == pytest.approx(16 / 79, abs=0.05)
    assert np.mean([row["held_out"] for row in alike]) > 0.8
    assert np.mean([row["held_out"] for row in odd]) < 0.1


def test_the_shuffled_control_counts_dimensions(result):
    for row in alignment_means(result).to_dicts():
        assert row["leaked_shuffled"] == pytest.approx(row["expected_shuffled"], abs=0.06)


def test_sizes_are_cut_to_the_rows_that_are_not_held_out(result):
    assert result.settings["sizes"] == [12, 30, 80]


def test_a_penalty_changes_the_map_and_not_what_leaks(result):
    means = penalty_means(result).to_dicts()
    assert [row["used"] for row in means] == sorted((row["used"] for row in means), reverse=True)
    assert len({row["leaked"] for row in means}) == 1
    assert means[-1]["used"] < means[0]["used"] <= means[0]["leaked"]


def test_mapped_texts_are_found_unless_the_encoders_share_nothing(result):
    found = {(row["source"], row["target"]): row["top1"] for row in found_by_pair(result).to_dicts()}
    assert found["a", "b"] > 0.8
    assert found["odd", "b"] < 0.15
    assert {row["top1"] for row in result.table("native")} == {1.0}
    assert {row["candidates"] for row in result.table("native")} == {140}


WORDS = WordWeights.of(("the cat", "the dog", "the fish swims", "the bird"), 3)


def test_rare_words_weigh_more():
    assert WORDS.overlap("The cat", "the CAT!") == 1.0
    assert WORDS.overlap("the cat", "the dog") == 0.0  # a word that all texts hold tells nothing
    assert 0 < WORDS.overlap("cat dog", "cat bird") < 1
    assert WORDS.overlap("cat", "cat unheard") > 0
    assert WORDS.overlap("the the the cat", "cat") == 0.0  # only the first words count
    assert WORDS.overlap("", "the") == 0.0


def test_an_embedding_that_says_nothing_finds_the_true_text_by_chance_alone():
    """All candidates are tied: the true one is neither first nor, of forty, among ten."""
    random = np.random.default_rng(0)
    public, private = random.normal(size=(30, 4)), random.normal(size=(10, 4))
    texts = tuple(f"p{row}" for row in range(30)), tuple(f"t{row}" for row in range(10))
    collection = Collection.of(WORDS, texts, (public, private))
    blank = collection.attack(np.tile(public.mean(axis=0), (10, 1)))
    assert (blank["top1"], blank["top10"], blank["overlap"]) == (0.0, 0.0, 0.0)
    assert collection.attack(private)["top1"] == 1.0
    assert collection.guess() == 0.0


def test_directions_do_not_depend_on_length():
    rows, mean = np.array([[3.0, 4.0], [1.0, 1.0]]), np.array([1.0, 1.0])
    np.testing.assert_allclose(directions(rows, mean), [[2 / 13**0.5, 3 / 13**0.5], [0, 0]], rtol=1e-6)


def test_the_section_says_what_the_tables_say(result):
    text, found = section(result), found_by_pair(result)["top1"]
    assert text.startswith("## ")
    assert "the command" in text
    assert "the client learns at least 100.0 %" in text
    assert f"{100 * found.max():.1f} % of the mapped" in text
    assert "leakage-alignment.svg" in text
    assert "leakage-inversion.svg" in text
    title, rows = summary(result)
    assert title.startswith("What 80 public rows")
    assert len(rows) == 6


def test_the_section_leaves_out_what_was_not_measured(result):
    kept = {**result.tables, "alignment": [row for row in result.table("alignment") if row["rows"] == 80]}
    assert "With N up to" not in section(replace(result, tables=kept))
    few = {**result.tables, "alignment": [row for row in result.table("alignment") if row["rows"] == 12]}
    settings = {**result.settings, "sizes": [12]}
    assert "With more rows" not in section(replace(result, tables=few, settings=settings))
    for own, told in ((0.2, False), (0.3, True)):
        native = [{**row, "overlap": own, "overlap_guessed": 0.2} for row in result.table("native")]
        text = section(replace(result, tables={**result.tables, "native": native}))
        assert ("of the gain over chance" in text) == told


def test_sizes_too_small_are_refused(tmp_path):
    encoders = FakeEncoder("a"), FakeEncoder("b")
    with pytest.raises(ConfigurationError, match="on 3 rows"):
        measure("leakage", tmp_path, fake_config(tmp_path, *encoders), sizes=(3, 30))
    assert not any(encoder.encoded for encoder in encoders)


def test_private_texts_must_not_all_be_public(tmp_path):
    encoders = FakeEncoder("a"), FakeEncoder("b")
    corpora = Corpora(train=80, test=40, public=96, public_sets=("colours/test",), load=load)
    with pytest.raises(InputError, match="are public") as caught:
        measure("leakage", tmp_path, fake_config(tmp_path, *encoders, corpora=corpora), sizes=SIZES)
    assert caught.value.hint
    assert not any(encoder.encoded for encoder in encoders)
