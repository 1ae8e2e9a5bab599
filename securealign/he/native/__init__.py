"""Suites on native libraries, whose deserialisers are not trusted: each party's half runs in a worker process.

    frames      what passes between a party and its worker: numbers, bytes and matrices; never pickle
    worker      the party's end: starts, calls and ends a worker, and survives its death
    serve       the worker's end: one half of one job of one session, then nothing
    profile     what a library's suite promises, and the sizes of what it sends
    envelope    ciphertexts of varying length in blobs of one length
    results     numbers that a worker decrypted, without their scales
    covariance, head, suite
                the interface of all suites, made of calls to a worker

A worker sees one session only. It reads a peer's bytes only after their header, key, place and length were checked by
the party, and if they crash it, the session ends with a `CiphertextError` and nothing else does.
"""
