"""securealign suites: what each suite offers, and whether it can run here."""

import json
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from securealign.commands import AsJson
from securealign.he.interface import CovarianceShape, HeadShape
from securealign.he.registry import DEFAULT_SUITE, REGISTRY

#: The shape for which key sizes are printed: the usual dimension of text encoders, 20 classes, the default pool.
_TRAINING = CovarianceShape(rows=10_000, provider_dim=768, columns=769)
_INFERENCE = HeadShape(provider_dim=768, classes=20, slots=64)


def show(as_json: AsJson = False) -> None:
    """List the suites: whether each can run here, what it protects, at how many bits, and the size of its keys."""
    suites = [_describe(name) for name in REGISTRY]
    if as_json:
        typer.echo(json.dumps({"default": DEFAULT_SUITE, "suites": suites}))
        return
    console = Console()
    console.print(_table(suites))
    console.print(
        "\nKeys are what the client uploads once in a session: training at 768 to 768 dimensions, and queries of 768 "
        "dimensions to 20 classes.\n",
        style="dim",
    )
    for suite in suites:
        line = f"{suite['suite']}: {suite['summary']}"
        if not suite["available"]:
            line += f". Cannot run here: {suite['reason']}"
        console.print(line, markup=False, highlight=False)


def _describe(name: str) -> dict[str, Any]:
    entry = REGISTRY[name]
    reason = entry.unavailable()
    suite = entry.make()
    described: dict[str, Any] = {"suite": name, "available": not reason, "reason": reason, "summary": entry.summary}
    described |= asdict(suite.info)
    described["parameter_digest"] = suite.info.parameter_digest.hex()
    del described["name"]
    described["training_key_bytes"] = suite.covariance_sizes(_TRAINING).key
    described["inference_key_bytes"] = suite.head_sizes(_INFERENCE).key
    return described


def _table(suites: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("suite", "here", "bits", "quantum", "exact", "hides head", "offline", "keys, MB"):
        table.add_column(column, no_wrap=True, justify="right" if column == "keys, MB" else "left")
    for suite in suites:
        bits = (str(suite[kind] or "-") for kind in ("classical_bits", "quantum_bits"))
        flags = ("yes" if suite[flag] else "no" for flag in ("exact", "function_private", "offline_phase"))
        keys = f"{suite['training_key_bytes'] / 1e6:.1f} / {suite['inference_key_bytes'] / 1e6:.1f}"
        here = "yes" if suite["available"] else "no"
        table.add_row(suite["suite"], here, *bits, *flags, keys)
    return table
