"""securealign suites: what each suite offers here."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from securealign.cli.options import AsJson
from securealign.he.registry import DEFAULT_SUITE, REGISTRY, get_suite


def show(as_json: AsJson = False) -> None:
    """List the suites: whether each can run here, what it protects, and at how many bits."""
    rows = [_describe(name) for name in REGISTRY]
    if as_json:
        typer.echo(json.dumps({"default": DEFAULT_SUITE, "suites": rows}))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("suite", "security, bits", "hides the head", "offline phase", "about"):
        table.add_column(column)
    for row in rows:
        if not row["available"]:
            table.add_row(row["suite"], "-", "-", "-", f"unavailable: {row['reason']}")
            continue
        bits = f"{row['classical_bits']}, {row['quantum_bits']} quantum" if row["classical_bits"] else "none"
        flags = ("yes" if row[flag] else "no" for flag in ("function_private", "offline_phase"))
        table.add_row(row["suite"], bits, *flags, row["summary"])
    Console().print(table)


def _describe(name: str) -> dict[str, Any]:
    entry = REGISTRY[name]
    reason = entry.unavailable()
    described: dict[str, Any] = {"suite": name, "available": not reason, "reason": reason, "summary": entry.summary}
    if not reason:
        described |= asdict(get_suite(name).info)
        described["parameter_digest"] = described["parameter_digest"].hex()
        del described["name"]
    return described
