"""Carrying frames between parties, in process or as gRPC streams under mutual TLS; no protocol rule lives here."""
