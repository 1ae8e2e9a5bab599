"""What the messages of each kind are, in words for people who do not know the protocol."""

from __future__ import annotations

from securealign.protocol import messages
from securealign.protocol.messages import Key

#: By the kind of a message: its name, and what is in it.
KINDS = {
    "TrainingHello": ("opening of an alignment", "versions, suites, shape, digest of the public texts"),
    "InferenceHello": ("opening of a session", "versions, suites, the head's name, a random number"),
    "TrainingAccept": ("acceptance of an alignment", "suite, d_A, name of the space"),
    "InferenceAccept": ("acceptance of a session", "suite, number of classes, budget, digest of the head"),
    "KeyChunk": ("key material", "public to the provider; the secret key stays here"),
    "RowBatch": ("encrypted embeddings of public texts", "readable with the key of this machine alone"),
    "UploadAck": ("receipts", "how much arrived"),
    "DurableAck": ("receipts", "how much is recorded"),
    "Finish": ("end of an upload", "no content"),
    "ResultChunk": ("encrypted result of the alignment", "readable here alone"),
    "Prepare": ("requests to prepare queries", "how many, and a random number"),
    "PoolChunk": ("prepared queries", "computed by the provider before a query is there; readable here alone"),
    "ChoicesChunk": ("encrypted choices", "random bits that hide the next answers; the provider cannot read them"),
    "TablesChunk": ("encrypted tables", "each gives one label, and no logit"),
    "Query": ("encrypted queries", "mapped embeddings of texts; readable with the key of this machine alone"),
    "Answer": ("encrypted answers", "readable here alone"),
    "Confirm": ("comparison of transcripts", "a digest of all messages"),
    "Resume": ("resumption of a session", "how much arrived before the connection broke"),
    "Resumed": ("resumption of a session", "how much arrived before the connection broke"),
    "Abort": ("end of a session", "an error code"),
    "ListingRequest": ("questions about the offer", "the head's name, if one is named"),
    "Listing": ("lists of the offer", "heads, spaces, and what is left of budgets"),
}


def words(kind: str, *, encrypted: bool = True) -> tuple[str, str]:
    """Return the name and the content of the messages of a kind; the kind itself for one that has no words."""
    name, content = KINDS.get(kind, (kind, ""))
    if not encrypted and getattr(getattr(messages, kind, None), "key", Key.NONE) is Key.CLIENT:
        return name.replace("encrypted ", ""), "in clear: this suite encrypts nothing"
    return name, content
