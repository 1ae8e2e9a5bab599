"""What differential privacy costs: maps get worse as epsilon falls, as much as the width of the noise says."""

from __future__ import annotations

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.pair import TOY_LWE

from securealign import align_in_process
from securealign.protocol.policy.privacy import Privacy

N, D_A, D_B, LATENT = 3000, 16, 10, 6


@pytest.fixture(scope="module")
def world():
    """Normalised embeddings of the same latent texts by two encoders: public ones, and queries."""
    random = np.random.default_rng(0)
    maps = random.normal(size=(LATENT, D_A)), random.normal(size=(LATENT, D_B))

    def embed(latent, matrix):
        rows = latent @ matrix + 0.2 * random.normal(size=(len(latent), matrix.shape[1]))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    public, queries = random.normal(size=(N, LATENT)), random.normal(size=(500, LATENT))
    return tuple(embed(latent, matrix) for latent in (public, queries) for matrix in maps)


def mapped(world, epsilon: float | None):
    rule = None if epsilon is None else Privacy(epsilon=epsilon, max_epsilon=epsilon)
    run = align_in_process(
        world[0], world[1], suite=TOY_LWE, ridge="auto", privacy=rule, entropy=SeededEntropy(b"accuracy")
    )
    return run.alignment.apply(world[3]), rule


def test_predictions_move_by_the_noise_over_the_texts_for_every_column(world):
    clear, _ = mapped(world, None)
    moved = []
    for epsilon in (16.0, 4.0, 1.0, 0.25):
        noisy, rule = mapped(world, epsilon)
        moved.append(float(np.sqrt(np.mean((noisy - clear) ** 2))))
        expected = rule.noise_multiplier * (D_B + 1) / N
        # Without noise the two maps differ by the weights of texts.
        assert moved[-1] < 2 * expected + 0.02
    assert moved == sorted(moved)
    assert moved[-1] > 5 * moved[0]


def test_little_noise_leaves_a_map_as_good_as_without(world):
    truth = world[2]
    errors = [np.sum((mapped(world, epsilon)[0] - truth) ** 2) for epsilon in (None, 4.0)]
    assert errors[1] < 1.02 * errors[0]
