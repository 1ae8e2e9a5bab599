"""The one type in which texts travel between loaders, encoders and the parties."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from securealign.errors import ConfigurationError, InputError


@dataclass(frozen=True, kw_only=True, repr=False)
class TextDataset:
    """Texts in a fixed order, with class numbers if there are any.

    `labels[i]` is an index into `class_names`; without labels, `class_names` is empty. Raises `InputError` on
    construction when the parts do not fit together.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[int, ...] | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that texts, labels and class names fit together."""
        if not self.texts:
            raise InputError(f"The data set {self.name!r} holds no texts.", hint="Give at least one text.")
        for row, text in enumerate(self.texts):
            self._check_text(row, text)
        self._check_labels()

    def _check_text(self, row: int, text: str) -> None:
        if not isinstance(text, str):
            raise InputError(
                f"Row {row} of {self.name!r} is {type(text).__name__}, not text.", hint="Convert every row to str."
            )
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            # A lone surrogate has no UTF-8 form, so it could be neither digested nor tokenised.
            raise InputError(
                f"Row {row} of {self.name!r} holds a lone surrogate.", hint="Repair the source's encoding."
            ) from None

    def _check_labels(self) -> None:
        if self.labels is None:
            if self.class_names:
                raise InputError(
                    f"{self.name!r} has class names but no labels.", hint="Give both or neither of the two."
                )
            return
        if len(self.labels) != len(self.texts):
            raise InputError(
                f"{self.name!r} has {len(self.texts)} texts and {len(self.labels)} labels.",
                hint="Give exactly one label for every text.",
            )
        if len(set(self.class_names)) != len(self.class_names):
            raise InputError(f"{self.name!r} names a class twice.", hint="Make the class names distinct.")
        for row, label in enumerate(self.labels):
            if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(self.class_names):
                raise InputError(
                    f"Row {row} of {self.name!r} has a label that is no index into its "
                    f"{len(self.class_names)} class names.",
                    hint="Number the classes from 0 and name each of them.",
                )

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    def __repr__(self) -> str:
        """Return name and sizes alone: texts are private to their party and must not reach a log."""
        return f"TextDataset(name={self.name!r}, texts={len(self.texts)}, classes={len(self.class_names)})"

    def subset(self, indices: Iterable[int]) -> TextDataset:
        """Return the rows at `indices`, in that order, with all class names; raises `InputError` if one is outside."""
        rows = [int(index) for index in indices]
        outside = next((row for row in rows if not 0 <= row < len(self.texts)), None)
        if outside is not None:
            raise InputError(
                f"Row {outside} is outside {self.name!r}, which has {len(self.texts)} rows.",
                hint=f"Use rows 0 to {len(self.texts) - 1}.",
            )
        labels = None if self.labels is None else tuple(self.labels[row] for row in rows)
        texts = tuple(self.texts[row] for row in rows)
        return TextDataset(name=self.name, texts=texts, labels=labels, class_names=self.class_names)

    def shuffled(self, seed: int) -> TextDataset:
        """Return all rows in an order that depends on `seed` and the number of rows alone."""

        # NumPy may change what its generators draw between releases, and two parties need the same order for years.
        def rank(row: int) -> bytes:
            return hashlib.sha256(f"securealign/shuffle/v1/{seed}/{row}".encode()).digest()

        return self.subset(sorted(range(len(self.texts)), key=rank))

    def take(self, count: int) -> TextDataset:
        """Return the first `count` rows, or all of them when there are fewer."""
        if count < 1:
            raise ConfigurationError(f"Cannot take {count} texts.", hint="Ask for at least one text.")
        return self.subset(range(min(count, len(self.texts))))
