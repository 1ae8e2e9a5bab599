"""Where queries and heads sit in slots: every slot of an answer is a whole result, and none a partial sum."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from securealign.he.openfhe_ckks.layout import Layout

LAYOUTS = st.sampled_from([64, 128, 256, 512, 1024, 2048]).flatmap(
    lambda slots: st.builds(
        Layout,
        features=st.one_of(st.integers(1, 40), st.integers(1, 5000)),
        classes=st.integers(1, min(300, slots)),
        slots=st.just(slots),
    )
)


def evaluate(layout, query, weight, *, sums=None):
    """Return the slots of an answer as the provider computes it, and the rotations that it took."""
    used = set()

    def rotate(slots, distance):
        used.add(distance)
        return np.roll(slots, -distance)

    blocks, factors = layout.place(query), layout.factors(weight)
    total = np.zeros(layout.slots)
    for step in reversed(range(layout.steps)):
        if step < layout.steps - 1:
            total = rotate(total, layout.copies)
        total = total + (blocks * factors[:, step]).sum(axis=0)
    for distance in layout.sums if sums is None else sums:
        total = total + rotate(total, distance)
    return total, used


def case(layout, seed):
    random = np.random.default_rng(seed)
    return random.normal(size=layout.features), random.normal(size=(layout.features, layout.classes))


@given(LAYOUTS, st.integers(0, 2**32))
def test_every_slot_is_the_whole_result_of_its_class(layout, seed):
    query, weight = case(layout, seed)
    slots, _ = evaluate(layout, query, weight)
    results = np.zeros(layout.period)
    results[: layout.classes] = query @ weight
    assert np.allclose(slots, np.tile(results, layout.slots // layout.period), atol=1e-9)
    assert np.allclose(layout.read(slots), query @ weight, atol=1e-9)


@given(LAYOUTS.filter(lambda layout: layout.sums and layout.features > 1), st.integers(0, 2**32))
def test_without_the_last_rotation_slots_hold_partial_sums(layout, seed):
    query, weight = case(layout, seed)
    slots, _ = evaluate(layout, query, weight, sums=layout.sums[:-1])
    results = np.tile((query @ weight)[0], layout.slots // layout.period)
    assert not np.allclose(slots[:: layout.period], results, atol=1e-9)


@given(LAYOUTS, st.integers(0, 2**32))
def test_keys_are_made_for_the_rotations_that_are_used(layout, seed):
    _, used = evaluate(layout, *case(layout, seed))
    assert sorted(used) == layout.rotations
    assert all(0 < rotation < layout.slots for rotation in used)


@given(LAYOUTS)
def test_few_rotations_are_enough(layout):
    assert len(layout.rotations) <= 1 + int(np.log2(layout.slots))
    assert layout.steps * layout.copies <= max(layout.period, layout.copies)
