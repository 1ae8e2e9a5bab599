"""Texts with or without labels: files of the user, named sets, and digests.

`load_dataset` returns a data set, and `load_public` the texts that both parties hold. A named set is added by an entry
point (`sources.py`), a format of files by a parser and a row in the table of `files.py`.
"""

from securealign.data.datasets import TextDataset
from securealign.data.digest import dataset_digest
from securealign.data.files import load_texts
from securealign.data.public import PublicTexts, load_public, unique_rows
from securealign.data.sources import builtin_names, load_dataset

__all__ = [
    "PublicTexts",
    "TextDataset",
    "builtin_names",
    "dataset_digest",
    "load_dataset",
    "load_public",
    "load_texts",
    "unique_rows",
]
