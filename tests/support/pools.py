"""The nonce with which tests ask for pools."""

NONCE = bytes(range(64, 96))
