"""Texts with or without labels: files of the user, named built-in sets, digests, and the assets they are read from.

`load_dataset` is the way in. A new source of data (a hub id, another corpus) is a reader in `readers.py` and a row in
the table of `builtin.py`; nothing else changes.
"""

from securealign.data.builtin import builtin_names, load_dataset
from securealign.data.datasets import TextDataset
from securealign.data.digest import dataset_digest
from securealign.data.files import load_texts

__all__ = ["TextDataset", "builtin_names", "dataset_digest", "load_dataset", "load_texts"]
