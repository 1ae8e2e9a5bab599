"""The digest by which two parties notice that their public texts differ."""

import hashlib
from collections.abc import Iterable

from securealign.errors import InputError

_DOMAIN = b"securealign/dataset-digest/v1\x00"
_LENGTH_BYTES = 8


def dataset_digest(texts: Iterable[str]) -> bytes:
    """Return 32 bytes that identify these texts in this order.

    SHA-256(domain || len(t_1) || t_1 || ... || len(t_n) || t_n || n), with texts in UTF-8 and numbers as 8 big-endian
    bytes. The count stands last so that a stream of unknown length can be digested. Raises `InputError` for a text with
    no UTF-8 form.
    """
    # No Unicode normalisation: texts that differ in code points are tokenised and embedded differently, so they are
    # different texts here.
    digest = hashlib.sha256(_DOMAIN)
    count = 0
    for text in texts:
        try:
            encoded = text.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"Text {count} holds a lone surrogate.", hint="Repair the source's encoding.") from None
        digest.update(len(encoded).to_bytes(_LENGTH_BYTES, "big"))
        digest.update(encoded)
        count += 1
    digest.update(count.to_bytes(_LENGTH_BYTES, "big"))
    return digest.digest()
