import numpy as np
import pytest
from support.entropy import SeededEntropy

from securealign import align_in_process
from securealign.alignment.ridge import CrossMoments, solve_ridge
from securealign.errors import SuiteError
from securealign.lab.experiments.membership.shadow import (
    ClearShadows,
    Material,
    PrivateRows,
    PrivateTexts,
    draw_members,
    fold_numbers,
    noise_plan,
    provided,
    shuffle_members,
)
from securealign.protocol.policy.privacy import Privacy

N, POOL, D_B, D_A = 120, 12, 6, 4


@pytest.fixture(scope="module")
def material():
    """Rows of two parties that see the same directions, normalised at the provider."""
    random = np.random.default_rng(0)
    source = random.normal(size=(N + POOL, D_B))
    target = source @ random.normal(size=(D_B, D_A)) + random.normal(size=(N + POOL, D_A))
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    return Material(source[:N], target[:N], source[N:], target[N:]).standardised()


def test_every_candidate_is_in_one_of_two_maps_that_share_a_fold():
    members = draw_members(20, POOL, np.random.default_rng(0), exact=True)
    assert (members.sum(axis=1) == POOL // 2).all()
    assert (members[0::2] ^ members[1::2]).all()
    folds = fold_numbers(20, 5)
    assert (folds[0::2] == folds[1::2]).all()
    assert np.bincount(folds).tolist() == [4] * 5
    loose = draw_members(20, POOL, np.random.default_rng(0), exact=False)
    assert len(set(loose.sum(axis=1))) > 1
    assert (loose[0::2] ^ loose[1::2]).all()


def test_shuffled_members_agree_with_true_ones_half_of_the_time():
    members = draw_members(200, POOL, np.random.default_rng(0), exact=True)
    shuffled = shuffle_members(members, np.random.default_rng(1))
    assert (shuffled[0::2] ^ shuffled[1::2]).all()
    assert abs(np.mean(members == shuffled) - 0.5) < 0.05


def test_a_constant_column_of_the_source_becomes_zero():
    source = np.column_stack([np.full(5, 3.0), np.arange(5.0)])
    found = Material(source, source, source, source).standardised()
    assert not found.public_source[:, 0].any()
    assert found.public_source[:, 1].std() == pytest.approx(1)
    assert found.penalty(0.5) == pytest.approx(0.5 * 5 / 2)


def test_shadow_maps_are_ridge_maps_of_public_rows_and_members(material):
    penalty = material.penalty(0.05)
    members = draw_members(4, POOL, np.random.default_rng(0), exact=True)
    shadows = ClearShadows(material, penalty)
    for line, (found,) in zip(members, shadows.maps(members), strict=True):
        moments = CrossMoments.empty(D_B, D_A)
        moments.update(material.public_source, material.public_target)
        moments.update(material.pool_source[line], material.pool_target[line])
        expected = solve_ridge(moments.source, moments.target_mean, moments.cross, penalty)
        np.testing.assert_allclose(found[:-1], expected.weight, atol=1e-10)
        np.testing.assert_allclose(found[-1], expected.bias, atol=1e-10)


def test_maps_under_noise_are_as_far_off_as_those_of_the_protocol(material):
    """With all candidates as members, the protocol's own sessions give maps of the same distribution."""
    penalty, epsilon = material.penalty(0.05), 2.0
    everyone = np.ones((60, POOL), dtype=bool)
    plan = noise_plan(material, epsilon, N + POOL)
    assert plan.multiplier == Privacy(epsilon=epsilon, max_epsilon=epsilon).noise_multiplier
    ours = np.stack([found for (found,) in PrivateRows(material, penalty, plan, 0).maps(everyone)])
    source = np.vstack([material.public_source, material.pool_source])
    target = np.vstack([material.public_target, material.pool_target])
    theirs = []
    for session in range(60):
        run = align_in_process(
            target,
            source,
            suite="plaintext",
            ridge=penalty,
            privacy=Privacy(epsilon=epsilon, max_epsilon=epsilon),
            # Seeded, or one run in some hundred would fall outside the bounds by chance.
            entropy=SeededEntropy(b"session %d" % session),
        )
        theirs.append(np.vstack([run.alignment.weight, run.alignment.bias]))
    assert ours.std(axis=0).mean() == pytest.approx(np.std(theirs, axis=0).mean(), rel=0.1)
    standard_error = np.std(theirs, axis=0).max() * np.sqrt(2 / 60)
    assert np.abs(ours.mean(axis=0) - np.mean(theirs, axis=0)).max() < 4.5 * standard_error


def test_without_noise_rows_that_are_left_out_count_as_zeros(material):
    penalty = material.penalty(0.05)
    members = draw_members(2, POOL, np.random.default_rng(0), exact=False)
    shadows = PrivateRows(material, penalty, None, 0)
    for line, (found,) in zip(members, shadows.maps(members), strict=True):
        run = align_in_process(
            np.vstack([material.public_target, material.pool_target * line[:, None]]),
            np.vstack([material.public_source, material.pool_source]),
            suite="plaintext",
            ridge=penalty,
        )
        # The private map weighs texts otherwise, so it is near that of the protocol without noise, and not the same.
        assert np.corrcoef(found[:-1].ravel(), run.alignment.weight.ravel())[0, 1] > 0.98


def test_deviations_of_texts_lie_in_the_space_of_members_but_for_noise(material):
    members = draw_members(2, POOL, np.random.default_rng(0), exact=True)
    plans = [noise_plan(material, epsilon, N + POOL // 2) for epsilon in (1e4, 1.0)]
    shadows = PrivateTexts(material, material.penalty(0.05), plans, 0)
    quiet, loud = next(shadows.maps(members))
    assert np.linalg.norm(quiet - shadows.reference) < np.linalg.norm(loud - shadows.reference) / 10
    again, _ = next(PrivateTexts(material, material.penalty(0.05), plans, 0).maps(members))
    np.testing.assert_array_equal(quiet, again)


def test_rows_of_the_provider_are_clipped_and_its_noise_is_as_wide_as_promised(material):
    plan = noise_plan(material, 1.0, N)
    limited, noise = provided(material.public_target * 5, plan, "a name")
    assert np.linalg.norm(limited, axis=1).max() <= 1
    assert noise.shape == (D_B + 1, D_A)
    many = np.stack([provided(np.zeros((1, D_A)), plan, str(name))[1] for name in range(200)])
    assert many.std() == pytest.approx(plan.deviation, rel=0.05)


def test_an_epsilon_that_leaves_no_precision_is_refused(material):
    with pytest.raises(SuiteError, match="leaves no precision"):
        noise_plan(material, 1e-6, N)
