"""What an operator runs and reads: checks, audit log, health, metrics."""
