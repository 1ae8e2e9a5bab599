"""A provider that can invite, and a client that can join, in two folders."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from typer.testing import CliRunner

from securealign.alignment.head import LinearHead
from securealign.cli import app
from securealign.he.entropy import SystemEntropy
from securealign.pki.authority import Authority
from securealign.pki.certificates import create_certificates
from securealign.pki.chains import now_utc
from securealign.pki.enrolment import Enrolment
from securealign.pki.invitations import Invitation

ROWS, DIM_A, DIM_B = 60, 6, 4
ADDRESS = "provider.example.org:50051"
TEXTS = tuple(f"public text {index}" for index in range(ROWS))
PROVIDER = """
[server]
address = "127.0.0.1:0"
certificates = "certs/provider"
[public]
texts = "public.jsonl"
embeddings = "public.npy"
[head]
folder = "topics"
"""


def write_texts(file: Path, texts=TEXTS) -> Path:
    """Write public texts as JSONL and return the file."""
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return file


def make_provider(folder: Path) -> Path:
    """Make a provider's folder with its authority, texts, embeddings and head, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    z_b = rng.normal(size=(ROWS, DIM_B))
    np.save(folder / "public.npy", z_b @ rng.normal(size=(DIM_B, DIM_A)))
    np.save(folder / "public_b.npy", z_b)
    np.save(folder / "private_b.npy", rng.normal(size=(5, DIM_B)))
    LinearHead(rng.normal(size=(DIM_A, 2)), np.zeros(2), ("low", "high")).save_pretrained(folder / "topics")
    create_certificates(folder / "certs", days=30)
    write_texts(folder / "public.jsonl")
    (folder / "provider.toml").write_text(PROVIDER, encoding="utf-8")
    return folder


def template(**changes):
    """Return what an invitation of this provider says beside identifier, name and end."""
    return partial(Invitation, **{"address": ADDRESS, "suites": ("lwe",), "heads": ("topics",), **changes})


def enrolment(certificates: Path, clock=now_utc) -> Enrolment:
    """Return the invitations of an authority."""
    return Enrolment(Authority(certificates, clock=clock), SystemEntropy(), clock=clock)


def run(*arguments):
    """Run a command of securealign with --json; returns exit code and result."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return SimpleNamespace(code=done.exit_code, value=json.loads(done.stdout) if done.stdout else None)
