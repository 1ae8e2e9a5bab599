"""Encryption suites: one interface, a registry that can say why a suite is unavailable, and the suites themselves."""
