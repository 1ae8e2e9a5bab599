"""The folders of both parties, and their programs as processes, as an operator has them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from securealign.alignment.head import LinearHead
from securealign.pki.certificates import create_certificates

from .peers import embeddings, settled


def write_texts(folder: Path, count: int) -> None:
    """Write the file of public texts."""
    lines = "".join(json.dumps({"text": f"public text {index}"}) + "\n" for index in range(count))
    (folder / "public.jsonl").write_text(lines, encoding="utf-8")


def make_site(folder: Path, settings: dict[str, str], shape: tuple[int, int, int], classes: tuple[str, ...]) -> Path:
    """Make a folder with what both parties have, and their configurations by file name; returns it.

    `shape` is (N, d_A, d_B); the provider's embeddings are a linear image of the client's, and noise.
    """
    rows, dim_a, dim_b = shape
    rng = np.random.default_rng(0)
    write_texts(folder, rows)
    z_b = embeddings(rows, dim_b, 1)
    np.save(folder / "public_b.npy", z_b)
    np.save(folder / "public_a.npy", z_b @ rng.normal(size=(dim_b, dim_a)) + 0.1 * rng.normal(size=(rows, dim_a)))
    np.save(folder / "private.npy", embeddings(20, dim_b, 2))
    head = LinearHead(rng.normal(size=(dim_a, len(classes))), rng.normal(size=len(classes)), classes)
    head.save_pretrained(folder / "head")
    create_certificates(folder / "certs", days=1)
    for name, content in settings.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def provider_command(config: Path, *arguments: str) -> list[str]:
    """Return the command line of a provider that logs as JSON."""
    return [sys.executable, "-m", "securealign.provider", "--config", str(config), "--json", *arguments]


@contextmanager
def provider_process(config: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run a provider; yields the process and the line in which it says where it listens."""
    command = provider_command(config, *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process, settled(process)
        finally:
            process.kill()


def run_client(config: Path, port: int, command: str, *arguments: str, **options: Any) -> Any:
    """Run a client to its end."""
    address = f"provider.address=127.0.0.1:{port}"
    program = [sys.executable, "-m", "securealign.client", command, "--config", str(config), "--set", address]
    return subprocess.run([*program, *arguments], capture_output=True, text=True, check=False, **options)
