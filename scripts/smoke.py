"""Use an installed securealign as two new parties would: every step is a command, a process or a public function.

usage: PYTHON -I scripts/smoke.py VERSION    (PYTHON of the environment to check; works in a temporary folder)
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import securealign
from securealign import align_in_process, classify_in_process

ROWS, DIM_A, DIM_B, QUERIES = 200, 24, 16, 20
PROGRAMS = Path(sys.executable).parent


def require(condition: bool, problem: str) -> None:
    """End the program with a message if the condition does not hold."""
    if not condition:
        sys.exit(f"smoke test: {problem}")


def run(*command: str) -> str:
    """Run a program of the environment and return its standard output."""
    done = subprocess.run([str(PROGRAMS / command[0]), *command[1:]], capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def edit(file: Path, *changes: tuple[str, str]) -> None:
    """Replace parts of a configuration, each of which must be there."""
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        require(old in text, f"{file.name} does not hold {old!r}")
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def write_data(folder: Path) -> None:
    """Write public and labelled texts, and embeddings of which the client's determine the provider's."""
    rng = np.random.default_rng(0)
    client = rng.normal(size=(ROWS + QUERIES, DIM_B)).astype(np.float32)
    provider = (client @ rng.normal(size=(DIM_B, DIM_A))).astype(np.float32)
    np.save(folder / "public_a.npy", provider[:ROWS])
    np.save(folder / "public_b.npy", client[:ROWS])
    np.save(folder / "private_b.npy", client[ROWS:])
    records = [{"text": f"text {row}", "label": ("low", "high")[int(provider[row, 0] > 0)]} for row in range(ROWS)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "public.jsonl").write_text(lines, encoding="utf-8")
    run("securealign", "head", "fit", "--data", f"{folder}/public.jsonl", "--embeddings", f"{folder}/public_a.npy",
        "--output", f"{folder}/head")  # fmt: skip


def pair(folder: Path) -> None:
    """Write the provider's file, and invite a client; files with embeddings take the place of encoders."""
    certs = f"{folder}/certs"
    run("securealign", "certs", "init", certs, "--without-client")
    run("securealign", "init", "provider", str(folder))
    edit(folder / "provider.toml", ('encoder = "minilm"\nmax_tokens = 128\n', 'embeddings = "public_a.npy"\n'),
         ("127.0.0.1:50051", "127.0.0.1:0"))  # fmt: skip
    run("securealign", "invite", "acme", "--config", f"{folder}/provider.toml", "--address", "127.0.0.1:50051",
        "--with-texts", "--output", f"{folder}/acme.invite")  # fmt: skip
    client = f"{folder}/acme"
    run("securealign", "join", f"{folder}/acme.invite", "--folder", client, "--embeddings", f"{folder}/public_b.npy")
    run("securealign", "certs", "sign", f"{client}/acme.request", "--certs", certs, "--output", f"{folder}/acme.cert")
    run("securealign", "join", "--certificate", f"{folder}/acme.cert", "--folder", client)
    require("acme" in run("securealign", "certs", "show", certs), "certs show does not list acme")


@contextmanager
def provider_process(folder: Path) -> Iterator[int]:
    """Start the provider and yield its port; stop it in the end."""
    command = [str(PROGRAMS / "securealign-provider"), "--config", f"{folder}/provider.toml", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            events = (json.loads(line) for line in process.stdout or ())
            port = next((event["port"] for event in events if event["event"] == "listening"), None)
            require(port is not None, "the provider ended before it listened")
            yield int(port or 0)
        finally:
            process.terminate()
        for _ in events:
            pass
    require(process.returncode == 0, f"the provider ended with {process.returncode}")


def between_two_processes(folder: Path) -> None:
    """Align and classify over a connection on this machine."""
    with provider_process(folder) as port:
        config = ("--config", f"{folder}/acme/client.toml", "--set", f"provider.address=127.0.0.1:{port}")
        run("securealign-client", "align", *config)
        answers = run("securealign-client", "classify", *config, "--embeddings", f"{folder}/private_b.npy")
    require(len(answers.splitlines()) == QUERIES, f"{len(answers.splitlines())} labels of {QUERIES}")


def in_one_process(folder: Path) -> None:
    """Align and classify with both parties in this process."""
    client, provider = np.load(folder / "public_b.npy"), np.load(folder / "public_a.npy")
    aligned = align_in_process(provider, client, suite="lwe")
    mapped = aligned.alignment.apply(np.load(folder / "private_b.npy"))
    weight, bias = np.eye(DIM_A, 3), np.zeros(3)
    answer = classify_in_process(weight, bias, mapped, suite="lwe")
    expected = np.argmax(mapped @ weight + bias, axis=1)
    require(bool(np.array_equal(np.asarray(answer.labels), expected)), "encrypted labels differ from those in clear")


def main() -> None:
    """Run every step."""
    version = sys.argv[1]
    require(securealign.__version__ == version, f"the package says {securealign.__version__}, not {version}")
    require(version in run("securealign", "--version"), f"securealign --version does not say {version}")
    commands = run("securealign", "--help")
    for command in ("doctor", "simulate", "experiment"):
        require(command in commands, f"securealign --help does not list {command}")
    require("lwe" in run("securealign", "suites"), "suites does not list lwe")
    require(importlib.util.find_spec("torch") is None, "torch is installed, so its absence is not tested")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        pair(folder)
        between_two_processes(folder)
        in_one_process(folder)


if __name__ == "__main__":
    main()
