"""What hides the provider's operand under `lwe` is a fresh LWE sample; and where that claim ends.

The attacks on it have files of their own: the head from one answer, the noise of many answers, the reuse of slots.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.lwe_attacks import (
    HEADER_BYTES,
    N,
    Q,
    centred,
    expanded,
    head_pair,
    integers,
    plane_integers,
    public_matrix,
    random_head,
    secret_integers,
    wire_integers,
)
from support.pools import NONCE

from securealign.he.lwe import head as head_module
from securealign.he.lwe import sampling
from securealign.he.lwe.evaluation import rerandomisation
from securealign.he.lwe.residues import Residues, pack, unpack_answer


def test_a_mask_is_a_fresh_lwe_sample_under_a_ternary_secret():
    _, evaluator = head_pair(*random_head(1, features=2, classes=100), slots=3)
    plan, key = evaluator._plan, evaluator._key
    mask = integers(rerandomisation(plan, key, SeededEntropy(b"mask")))
    again = integers(rerandomisation(plan, key, SeededEntropy(b"another mask")))
    assert not (mask == again).any()
    # The secret is the first that is drawn.
    secret = sampling.ternary(SeededEntropy(b"mask"), (100, N)).astype(np.int64).astype(object)
    public, zeros = (plane_integers(planes_of) for planes_of in key.mask_tile(0, N))
    errors = centred(mask[:, :N] - secret @ public).astype(np.int64)
    assert np.abs(errors).max() <= 29
    assert errors.var() == pytest.approx(3.19**2 + 1 / 12, rel=0.05)
    assert not centred(mask[:, N:] - secret @ zeros).any()


# Outside the claim: a client that leaves the protocol.


def test_a_key_with_large_errors_reads_the_mask_which_is_not_claimed_to_be_prevented():
    """The specification names this attack; whoever closes it will have to change this test."""
    weight, bias = random_head(1, features=5, classes=1)
    digits, lowest, gap = 7, 64, 2
    slots = -(-N // digits)
    encryptor, evaluator = head_pair(weight, bias, slots)
    planted = np.zeros((N, slots), dtype=object)
    for entry in range(N):
        planted[entry, entry // digits] = 1 << lowest + gap * (entry % digits)
    key = encryptor.key_material()
    start = HEADER_BYTES + 64
    forged = (wire_integers(key[start:], N, slots) + planted) % Q
    limbs = Residues((forged % (1 << 40)).astype(np.int64), (forged >> 40).astype(np.int64))
    evaluator.accept_key(key[:start] + pack(limbs))
    binding = evaluator._key.binding
    pool = evaluator.prepare(0, NONCE)
    hint = unpack_answer(memoryview(pool)[HEADER_BYTES + 2 :], (1, N))

    # Encryptions of zero, so that only R E' remains of an answer.
    matrix = public_matrix(encryptor._key, "pool 0", 6)
    secret = secret_integers(encryptor._key)
    masks = matrix @ secret % Q
    body = pack(Residues((masks % (1 << 40)).astype(np.int64), (masks >> 40).astype(np.int64)))
    query = binding.seal(head_module.Kind.HEAD_QUERY, body, rows=6, columns=slots)
    answer = evaluator.evaluate(0, 0, slots, query)
    values = unpack_answer(memoryview(answer)[HEADER_BYTES:], (1, slots)).astype(object)
    read = centred((values - hint.astype(object) @ secret) * (Q >> 40))[0]

    recovered = []
    for value in read:
        rest = round(value / 2**lowest)
        for _ in range(digits):
            digit = (rest + 1) % 4 - 1
            recovered.append(digit)
            rest = (rest - digit) // 4
    mask = np.array(recovered[:N], dtype=object)
    assert set(mask.tolist()) <= {-1, 0, 1}

    # With R known, H is U A again up to E1 and rounding.
    public_mask = expanded(evaluator._key._mask, N)
    hidden = evaluator._operand.T.astype(np.int64).astype(object) @ matrix
    left = centred(hint.astype(object) * (Q >> 40) - mask @ public_mask - hidden)
    assert max(abs(left.ravel())) <= (Q >> 41) + 30
