"""An append-only log of what a party did, whose entries are chained by hashes."""
