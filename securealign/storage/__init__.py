"""What outlives the process: sessions, ledgers and blobs, in one folder.

    state/                0700
      sessions.db         SQLite with a write-ahead log: one row for each session, frame and counter
      blobs/              sealed files too large for a row, named by the SHA-256 of their bytes
      locks/              locks that end with their process

Everything but counters, names and times is sealed by AES-256-GCM under a key of the party's key store, and bound to its
place, so that one part cannot replace another. Storage on one machine cannot detect that the whole folder was replaced
by an older copy; the protocol detects it when the peer has recorded more.
"""
