"""Data sets by name, by file, or from standard input.

Names come from the catalogues of the entry-point group `securealign.datasets`: mappings from a name to a function that
takes the cache folder (None for the user's own) and returns a `TextDataset`.
"""

from collections.abc import Callable
from pathlib import Path

from securealign.data.datasets import TextDataset
from securealign.data.files import STDIN, load_texts
from securealign.errors import InputError, did_you_mean
from securealign.extensions import catalogue

GROUP = "securealign.datasets"

Loader = Callable[[Path | None], TextDataset]


def builtin_names() -> tuple[str, ...]:
    """Return the names of the data sets that installed packages provide, sorted."""
    return tuple(sorted(catalogue(GROUP)))


def load_dataset(
    spec: str,
    *,
    text_field: str = "text",
    label_field: str | None = None,
    limit: int | None = None,
    cache: Path | None = None,
) -> TextDataset:
    """Return the data set that `spec` names: one of `builtin_names`, a file (see `load_texts`), or "-".

    A named set is fetched on first use into `cache`; "-" is standard input. Raises `InputError` for an unknown name or
    an unusable file and `AssetError` when fetching fails.
    """
    if spec == STDIN:
        return load_texts(spec, text_field=text_field, label_field=label_field, limit=limit)
    named: dict[str, Loader] = catalogue(GROUP)
    if spec in named:
        dataset = named[spec](cache)
        return dataset if limit is None else dataset.take(limit)
    if Path(spec).exists():
        return load_texts(spec, text_field=text_field, label_field=label_field, limit=limit)
    raise InputError(
        f"{spec!r} is neither a file nor a built-in data set.",
        hint=f"{did_you_mean(spec, named)}Give a path that exists, or one of: {', '.join(sorted(named))}.",
    )
