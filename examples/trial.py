"""Both parties on this machine, for the examples: a provider of news topics as a process, and a client's folder.

The provider's private training texts are R8 news and its encoder is WordLlama; the client's encoder is GloVe. Texts and
models come from the built-in assets: they are fetched once, and then read from the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import securealign
from securealign import LinearHead
from securealign.data import TextDataset, load_dataset
from securealign.models import open_encoder
from securealign.pki.certificates import create_certificates

#: Where what all examples share is kept: made by the first one.
HOME = Path(os.environ.get("SECUREALIGN_EXAMPLES") or Path(__file__).parents[1] / "runs" / "examples")
PUBLIC, TRAINING, PRIVATE = 1000, 1500, 200
DESKS = ("companies", "markets")

PROVIDER = """
[server]
address = "127.0.0.1:0"
certificates = "certs/provider"
[spaces.news]
texts = "public.jsonl"
embeddings = "public.npy"
[heads.topics]          # eight topics; answers with logits
folder = "topics"
output = "logits"
[heads.desks]           # companies or markets; answers with a label or none
folder = "desks"
output = "label"
abstain_below = {abstain_below:.2f}
"""
CLIENT = """
[provider]
address = "{address}"
certificates = "certs/client"
head = "topics"
[encoder]
name = "glove"
[public]
texts = "public.jsonl"
"""
# A provider that ends when its standard input does, and so with the example, however that ends.
PROGRAM = """
import os, signal, threading
threading.Thread(target=lambda: (os.read(0, 1), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
from securealign.provider.__main__ import main
main()
"""


@dataclass(frozen=True)
class Trial:
    """A provider that serves at `address`, and the client's `folder`: client.toml, certificates, public texts."""

    folder: Path
    address: str

    @property
    def config(self) -> Path:
        """The client's configuration file; its map is made already."""
        return self.folder / "client.toml"

    def news(self, count: int = PRIVATE) -> tuple[list[str], list[str]]:
        """Return the client's private texts, and their true topics, which nobody is sent."""
        data = load_dataset(str(self.folder / "private.jsonl")).take(count)
        return list(data.texts), topics(data)


def desk(topic: str) -> str:
    """Return the class of the second head that a topic belongs to."""
    return "companies" if topic in {"acq", "earn"} else "markets"


def topics(data: TextDataset) -> list[str]:
    """Return the name of each text's class."""
    return [data.class_names[label] for label in data.labels or ()]


@contextmanager
def start() -> Iterator[Trial]:
    """Yield a copy of the trial, so that every example begins with the same budgets; the provider ends with it."""
    # Another version of this module makes another trial.
    made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    if not (kept := HOME / f"trial-{securealign.__version__}-{made_by}").exists():
        print("The trial is prepared, which is done once.", file=sys.stderr)
        prepare(kept)
    with tempfile.TemporaryDirectory(prefix="securealign-") as temporary:
        folder = Path(temporary) / "trial"
        shutil.copytree(kept, folder)
        with provider(folder) as trial:
            yield trial


@contextmanager
def provider(folder: Path) -> Iterator[Trial]:
    """Make certificates, start the provider of a folder on a free port, and stop it in the end."""
    create_certificates(folder / "certs", days=1)
    command = [sys.executable, "-c", PROGRAM, "--config", str(folder / "provider.toml"), "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            events = map(json.loads, process.stdout or ())
            for event in events:
                if event.get("event") == "listening":
                    break
                if "error" in event and "event" not in event:
                    raise RuntimeError(f"The provider did not start: {event['message']}")
            trial = Trial(folder, f"127.0.0.1:{event['port']}")
            trial.config.write_text(CLIENT.format(address=trial.address), encoding="utf-8")
            yield trial
        finally:
            process.communicate()  # closes its input, and reads what it prints in the end


def prepare(kept: Path) -> None:
    """Fit the provider's head, choose public and private texts, and align once."""
    HOME.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=HOME))
    encoder = open_encoder("wordllama")
    training = load_dataset("r8/train").shuffled(0).take(TRAINING)
    vectors = encoder.encode(training.texts)
    head = LinearHead.fit(vectors, training.labels or (), training.class_names, inverse_penalty=1.0)
    head.save_pretrained(folder / "topics")
    desks = [DESKS.index(desk(topic)) for topic in topics(training)]
    head = LinearHead.fit(vectors, desks, DESKS, inverse_penalty=1.0)
    head.save_pretrained(folder / "desks")
    public = load_dataset("public/general").take(PUBLIC)
    np.save(folder / "public.npy", encoder.encode(public.texts))
    write_texts(folder / "public.jsonl", public.texts)
    private = load_dataset("r8/test").shuffled(0).take(PRIVATE)
    write_texts(folder / "private.jsonl", private.texts, topics(private))
    # A text whose largest logit is lower than that of 98 in 100 of the provider's own gets no label.
    abstain_below = float(np.quantile(head.logits(vectors).max(axis=1), 0.02))
    (folder / "provider.toml").write_text(PROVIDER.format(abstain_below=abstain_below), encoding="utf-8")
    with provider(folder) as trial, securealign.connect(trial.config) as client:
        client.align()
    shutil.rmtree(folder / "certs")
    try:
        folder.rename(kept)
    except OSError:  # another example was faster
        shutil.rmtree(folder)


def write_texts(file: Path, texts: Sequence[str], labels: Sequence[str] = ()) -> None:
    """Write texts as JSONL, with their labels if there are any."""
    rows = [{"text": text} for text in texts] if not labels else []
    rows += [{"text": text, "label": label} for text, label in zip(texts, labels, strict=False)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
