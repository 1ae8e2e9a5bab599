"""Run files: what happened in a run as JSON Lines, with times, types, sizes and digests of messages, never contents.

`writing` writes them, of sessions that ran in one process (`simulated`) and of one end of a session over a network
(`measured`); `reading` reads them as the checked `records`; `checking` replays one against the protocol.
"""
