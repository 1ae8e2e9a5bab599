"""Texts with or without labels: files of the user, named built-in sets, digests, and the assets they are read from.

`load_dataset` is the way in, and `load_public` for the texts that both parties hold. A new source of data (a hub id,
another corpus) is a reader in `readers.py` and a row in the table of `builtin.py`; a new format of files is a parser
and a row in the table of `files.py`; nothing else changes.
"""

from securealign.data.datasets import TextDataset
from securealign.data.digest import dataset_digest
from securealign.data.files import load_texts
from securealign.data.public import PublicTexts, load_public, unique_rows
from securealign.lab.assets.datasets import builtin_names, load_dataset

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
