"""What outlives the process: sessions, ledgers and blobs, in one folder."""
