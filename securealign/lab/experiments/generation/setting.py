"""What the experiment is run on, and the models and texts that its cells share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from pathlib import Path

from securealign.alignment.ridge import Penalty
from securealign.data import TextDataset, dataset_digest, load_dataset
from securealign.errors import InputError
from securealign.lab.assets.lookup import causal_lm_folder
from securealign.lab.generation.causal import DEPTHS, POST_NORM, CausalModel
from securealign.lab.generation.fitting import PAPER_RIDGE, FitSettings, Stitch
from securealign.lab.generation.passages import Passages, join_passages, split_passages

#: Source and target of a pair, by name.
Pair = tuple[str, str]


def open_causal(spec: str) -> CausalModel:
    """Open a model by built-in name, folder or hub id; a folder's model has the folder's name."""
    path = Path(spec)
    return CausalModel(causal_lm_folder(spec), name=path.resolve().name if path.is_dir() else spec)


@dataclass(frozen=True)
class GenerationConfig:
    """Models, all ordered pairs of which are measured, and sizes.

    `pairs` of tokens fit a map; `test` positions score it, `sweep` of them at the depths other than the last. `samples`
    prompts are continued by `max_new_tokens` at most, and `questions` are asked. Raises what its parts raise.
    """

    models: tuple[str, ...] = ("smollm2", "gemma")
    data: str = "brown"
    pairs: int = 40_000
    test: int = 3_000
    sweep: int = 500
    ridge: Penalty = PAPER_RIDGE
    exact: bool = False
    max_tokens: int = 128
    depths: tuple[str, ...] = DEPTHS
    samples: int = 6
    max_new_tokens: int = 40
    questions: int = 50
    question_data: str = "wordnet/nouns/test"
    encoder: str = "minilm"
    seed: int = 0
    open_model: Callable[[str], CausalModel] = field(default=open_causal, repr=False, compare=False)
    load: Callable[[str], TextDataset] = field(default=load_dataset, repr=False, compare=False)

    @cached_property
    def opened(self) -> Mapping[str, CausalModel]:
        """The models by name, open; raises `InputError` when two have the same name."""
        found = [self.open_model(spec) for spec in self.models]
        if len({model.name for model in found}) < len(found):
            raise InputError("Two models have the same name.", hint="Name each once; rename one of the folders.")
        return {model.name: model for model in found}

    @cached_property
    def passages(self) -> Passages:
        """Passages to fit on and to test on."""
        return split_passages(join_passages(self.load(self.data).texts), seed=self.seed)

    @cached_property
    def train_digest(self) -> str:
        """Hexadecimal digest of the passages that maps are fitted on."""
        return dataset_digest(self.passages.train).hex()

    @cached_property
    def test_digest(self) -> str:
        """Hexadecimal digest of the passages that maps are tested on."""
        return dataset_digest(self.passages.test).hex()

    @property
    def ordered_pairs(self) -> list[Pair]:
        """All (source, target), those of different models first."""
        return [*permutations(self.opened, 2), *((name, name) for name in self.opened)]

    def stitches(self, pair: Pair) -> list[Stitch]:
        """Return the ways from source to target that are compared, the usual one first.

        From every depth to the state that the head reads; between different models also to the target's state of the
        same depth, which its own norm and head then read.
        """
        source, target = pair
        found = [Stitch(source, target, depth) for depth in dict.fromkeys((POST_NORM, *self.depths))]
        if source != target:
            found += [Stitch(source, target, depth, depth) for depth in self.depths if depth != POST_NORM]
        return found

    @property
    def fits(self) -> list[FitSettings]:
        """How maps are fitted: with the penalty of the setting, and with the other one to compare."""
        ridges: list[Penalty] = [self.ridge, "auto" if self.ridge != "auto" else PAPER_RIDGE]
        return [
            FitSettings(pairs=self.pairs, ridge=ridge, exact=self.exact, max_tokens=self.max_tokens) for ridge in ridges
        ]
