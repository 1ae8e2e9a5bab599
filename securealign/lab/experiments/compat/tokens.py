"""The tokenizers of two causal language models: would text generation work across them (paper, section 3.2)?"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from securealign.errors import InputError
from securealign.lab.assets.lookup import CAUSAL_LMS
from securealign.lab.experiments.compat.setting import CompatConfig, Side
from securealign.lab.experiments.run import Row, Store
from securealign.lab.experiments.tokenizers.measure import NamedTokenizer, open_tokenizer
from securealign.lab.measures.tokenizers import fertility, jaccard, match_tokens, verdict
from securealign.models.hub import hub_folder, is_hub_id

#: Public texts that the tokenizers are compared on.
_TEXTS = 500

Opener = Callable[[str], NamedTokenizer]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """How alike the vocabularies are and how often both cut a text alike, with the paper's verdict."""

    jaccard: float
    exact_rate: float
    aligned_rate: float
    boundary_rate: float
    client_tokens_per_word: float
    provider_tokens_per_word: float
    #: Weights of the smaller model, in billions; None if unknown.
    smaller_billions: float | None
    outlook: str
    reason: str


def tokens(setting: CompatConfig, store: Store, opener: Opener = open_tokenizer) -> Tokens | None:
    """Return how the tokenizers compare; None unless both sides are causal language models with fast tokenizers."""
    specs = [causal_spec(side) for side in (setting.client, setting.provider)]
    if specs[0] is None or specs[1] is None:
        return None
    texts = setting.public.data.texts[:_TEXTS]
    compare = partial(_compare, specs[0], specs[1], texts, opener)
    found = store.rows("compat-tokens", {**setting.key, "texts": len(texts)}, compare)
    return Tokens(**found[0]) if found else None


def causal_spec(side: Side) -> str | None:
    """Return the name of a causal language model; None for a side that is none."""
    spec: str = getattr(side, "spec", "")
    if spec in CAUSAL_LMS:
        return spec
    if Path(spec).is_dir():
        return spec if _is_causal(Path(spec)) else None
    return spec if "/" in spec and is_hub_id(spec) and _is_causal(hub_folder(spec)) else None


def _is_causal(folder: Path) -> bool:
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError, AttributeError):
        return False
    return any(str(name).endswith("ForCausalLM") for name in named)


def _compare(client: str, provider: str, texts: Sequence[str], opener: Opener) -> list[Row]:
    try:
        ours, theirs = opener(client), opener(provider)
    except InputError:  # no fast tokenizer, and the others do not know which characters a token stands for
        return []
    cut_ours, cut_theirs = ours.tokenize(texts), theirs.tokenize(texts)
    rates = match_tokens(target=cut_theirs, source=cut_ours)._asdict()
    del rates["positions"]
    sizes = (ours.parameters, theirs.parameters)
    smaller = None if sizes[0] is None or sizes[1] is None else float(min(sizes[0], sizes[1]))
    found = verdict(rates["exact_rate"], smaller)
    return [
        {
            "jaccard": jaccard(ours.vocabulary, theirs.vocabulary),
            **rates,
            "client_tokens_per_word": fertility(texts, cut_ours).tokens_per_word,
            "provider_tokens_per_word": fertility(texts, cut_theirs).tokens_per_word,
            "smaller_billions": None if smaller is None else smaller / 1e9,
            "outlook": found.outlook.value,
            "reason": found.reason,
        }
    ]
