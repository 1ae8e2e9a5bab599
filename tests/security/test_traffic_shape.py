"""The provider tries to tell two clients apart by the sequence of their messages and the sizes of these.

Texts differ in every way, the numbers of texts and dimensions are equal: nothing may differ. The control is a suite
that compresses, as libraries like to do. Time is not looked at: neither party's arithmetic is constant in time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.machines import inference_client, inference_provider, training_client, training_provider
from support.optional import available_suite
from support.pair import SUITES, Pair
from support.tiers import first_quick

from securealign.alignment.head import LinearHead
from securealign.he.interface import EncryptedRows, Suite
from securealign.he.plaintext import PlaintextSuite
from securealign.he.registry import REGISTRY
from securealign.matrices import FloatMatrix
from securealign.wire import InferenceCodec, TrainingCodec


@dataclass(frozen=True)
class Shape:
    """What the provider is meant to know: numbers of texts and queries, dimensions, classes, slots."""

    rows: int = 24
    queries: int = 5
    dim_a: int = 6
    dim_b: int = 8
    classes: int = 3
    slots: int = 4


def random_texts(random: np.random.Generator, count: int) -> list[str]:
    words = ["".join(chr(97 + letter) for letter in random.integers(0, 26, size=5)) for _ in range(50)]
    return [" ".join(random.choice(words, size=random.integers(1, 200))) for _ in range(count)]


#: Clients, by what they have to say.
TEXTS: dict[str, Callable[[np.random.Generator, int], list[str]]] = {
    "random": random_texts,
    "other random ones": random_texts,
    "empty": lambda random, count: [""] * count,
    "one word each": lambda random, count: ["yes"] * count,
    "one text over and over": lambda random, count: random_texts(random, 1) * count,
    "a long one among empty ones": lambda random, count: ["long " * 1_000] + [""] * (count - 1),
}


def embed(texts: list[str], dimension: int) -> FloatMatrix:
    """Embed texts as sums of a vector for each word: an empty text is zero, a long one is large."""
    return np.array([sum((_word(word, dimension) for word in text.split()), np.zeros(dimension)) for text in texts])


@cache
def _word(word: str, dimension: int) -> np.ndarray:
    return np.random.default_rng(list(word.encode())).normal(size=dimension)


Traffic = list[tuple[bool, str, int]]


def traffic(pair: Pair) -> Traffic:
    """Return what an observer counts: direction, kind and size of every message."""
    return [
        (carried.to_provider, type(pair.codec.decode(carried.frame)).__name__, len(carried.frame))
        for carried in pair.carried
    ]


def training(suite: Suite, z_b: FloatMatrix, shape: Shape, seed: int) -> Traffic:
    codec = TrainingCodec()
    rows = np.hstack([z_b, np.ones((len(z_b), 1))])
    z_a = np.random.default_rng(seed).normal(size=(shape.rows, shape.dim_a))
    client = training_client([suite], rows, entropy=SeededEntropy(b"client %d" % seed))
    provider = training_provider([suite], z_a)
    pair = Pair(client, provider, codec)
    pair.start()
    pair.carry()
    pair.assert_done()
    assert np.allclose(client.product(), z_a.T @ rows, atol=0.01 * np.linalg.norm(rows))
    return traffic(pair)


def inference(suite: Suite, queries: FloatMatrix, shape: Shape, seed: int) -> Traffic:
    codec = InferenceCodec()
    random = np.random.default_rng(seed)
    names = tuple(map(str, range(shape.classes)))
    head = LinearHead(random.normal(size=(shape.dim_a, shape.classes)), random.normal(size=shape.classes), names)
    client = inference_client([suite], shape.dim_a, entropy=SeededEntropy(b"client %d" % seed), slots=shape.slots)
    provider = inference_provider([suite], head)
    pair = Pair(client, provider, codec)
    pair.start()
    pair.carry()
    answers = []
    for query in queries:
        if not client.free_slots:
            pair.up.extend(client.prepare())
            pair.carry()
        pair.up.extend(client.submit(query[None]))
        pair.carry()
        answers += [logits for _, logits in client.take_answers()]
    pair.up.extend(client.finish())
    pair.carry()
    pair.assert_done()
    assert np.allclose(np.vstack(answers), head.logits(queries), atol=0.01 * (1 + np.linalg.norm(queries)))
    return traffic(pair)


def seen(suite: Suite, shape: Shape, kind: str, seed: int = 0) -> tuple[Traffic, Traffic]:
    """Return the traffic of a client with texts of a kind in both phases."""
    random = np.random.default_rng([seed, *kind.encode()])
    public, private = (TEXTS[kind](random, count) for count in (shape.rows, shape.queries))
    trained = training(suite, embed(public, shape.dim_b), shape, seed)
    return trained, inference(suite, embed(private, shape.dim_a), shape, seed)


def random_shape(seed: int) -> Shape:
    random = np.random.default_rng(seed)
    dim_b, classes = random.integers(1, 40), random.integers(1, 12)
    return Shape(
        rows=int(dim_b + random.integers(2, 60)),
        queries=int(random.integers(1, 9)),
        dim_a=int(random.integers(1, 40)),
        dim_b=int(dim_b),
        classes=int(classes),
        slots=int(random.integers(1, 9)),
    )


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
@pytest.mark.parametrize("seed", first_quick(range(6), 2))
def test_texts_of_every_kind_make_the_same_traffic(suite, seed):
    shape = random_shape(seed)
    kinds = [seen(suite, shape, kind, seed) for kind in TEXTS]
    assert all(kind == kinds[0] for kind in kinds)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.thorough) if name == "lwe-128q" else name for name in REGISTRY]
)
def test_every_suite_makes_the_same_traffic_of_different_texts(name):
    suite = available_suite(name)
    shape = Shape(queries=2)
    first, second = (seen(suite, shape, kind) for kind in ("random", "a long one among empty ones"))
    assert first == second


def test_traffic_tells_shapes_apart():
    """The control for the observer: what is meant to be known can be seen."""
    shapes = [random_shape(seed) for seed in range(6)]
    assert len({str(seen(SUITES["toy"], shape, "random")) for shape in shapes}) == len(set(shapes))


class Compressing(PlaintextSuite):
    """Makes messages as short as their content allows."""

    def covariance_encryptor(self, shape, session, rows, entropy):
        party = super().covariance_encryptor(shape, session, rows, entropy)
        encrypt = party.encrypt
        party.encrypt = lambda size, first: (
            EncryptedRows(rows.first, rows.count, zlib.compress(rows.data)) for rows in encrypt(size, first)
        )
        return party

    def covariance_evaluator(self, shape, session, rows, entropy):
        party = super().covariance_evaluator(shape, session, rows, entropy)
        absorb = party.absorb
        party.absorb = lambda rows: absorb(EncryptedRows(rows.first, rows.count, zlib.decompress(rows.data)))
        return party

    def head_encryptor(self, shape, session, entropy, offer=b""):
        party = super().head_encryptor(shape, session, entropy, offer)
        encrypt = party.encrypt
        party.encrypt = lambda pool, first_slot, queries: zlib.compress(encrypt(pool, first_slot, queries))
        return party

    def head_evaluator(self, shape, session, weight, bias, entropy, *, labels=None):
        party = super().head_evaluator(shape, session, weight, bias, entropy, labels=labels)
        evaluate = party.evaluate
        party.evaluate = lambda pool, first_slot, count, query: evaluate(
            pool, first_slot, count, zlib.decompress(query)
        )
        return party


@pytest.mark.parametrize("phase", [0, 1], ids=["training", "inference"])
def test_a_suite_that_compresses_is_caught(phase):
    kinds = [seen(Compressing(), Shape(), kind)[phase] for kind in TEXTS]
    assert any(kind != kinds[0] for kind in kinds)
    # Emptiness is shorter, so the size alone tells something of what was asked.
    sizes = {name: sum(size for up, _, size in kind if up) for name, kind in zip(TEXTS, kinds, strict=True)}
    assert sizes["empty"] < 0.9 * sizes["random"]
