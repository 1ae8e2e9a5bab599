"""An append-only log of what a party did, whose entries are chained by hashes.

An edit, a deletion, an insertion or another order anywhere in the file breaks the chain. Two things do not, and need a
chain value kept outside the machine (`Head`): cutting entries off the end, and writing the whole chain anew, which
anybody can who may write the file. Entries hold names, counts and digests; never contents.
"""

from securealign.ops.audit.entries import AuditError, Entry, Head, Verified, entries, verify
from securealign.ops.audit.log import AuditLog

__all__ = ["AuditError", "AuditLog", "Entry", "Head", "Verified", "entries", "verify"]
