"""What several tests share: seeded randomness and parameter sets that are fast because they protect nothing."""
