"""What a provider allows: its rules, and the accounts of each peer's queries, columns, privacy, rate and memory."""
