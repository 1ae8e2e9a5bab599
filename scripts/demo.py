"""The demo: a news classifier of one organisation, the encoder and texts of another, two processes, real texts.

Plays three parts. As the provider it fits a head on its private news and serves it. As the client it aligns on public
texts, or uses the map of an earlier run that is still valid, and classifies private ones. As the referee, who sees both
sides, it compares with the same computation in clear.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from securealign import AlignmentMap, LinearHead
from securealign.alignment.secure import ClientProblem
from securealign.commands import progress
from securealign.data import TextDataset, load_dataset, load_public
from securealign.errors import SecurealignError
from securealign.files import write_atomically
from securealign.matrices import Rows
from securealign.models import open_encoder
from securealign.models.source import encode_cached
from securealign.provider.spaces import stored_space

PROVIDER_ENCODER, CLIENT_ENCODER, MAX_TOKENS = "minilm", "mpnet", 64
TRAINING_TEXTS, PUBLIC_TEXTS, PRIVATE_TEXTS, SHOT_TEXTS = 2500, 4000, 600, 384
SHOTS, SHOT_DRAWS = (64, 128), 3

console = Console(highlight=False)


def step(text: str) -> None:
    """Say what happens next."""
    console.print(f"[bold]·[/] {text}")


def tell(who: str, event: dict[str, Any]) -> None:
    """Print an event of a program: a warning, an error, or a step that may take long, such as a download."""
    if event.get("level") != "info":
        reason = event.get("reason") or event.get("message") or event.get("error", "")
        console.print(f"  {who}: {event['event']}: {reason}", style="red", markup=False)
    elif event["event"] == "library":
        console.print(f"  {event['message']}", style="dim", markup=False)


def run(*command: str) -> dict[str, Any]:
    """Run a program of this project with --json, print its events, and return its result, {} if it prints none."""
    result: dict[str, Any] = {}
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            printed: dict[str, Any] = json.loads(line)
            if "level" in printed:
                tell(command[0], printed)
            else:
                result = printed
    if process.returncode:
        console.print(f"{' '.join(command)} ended with exit code {process.returncode}.", style="red", markup=False)
        console.print(f"{result.get('message', '')} {result.get('hint', '')}", markup=False)
        sys.exit(process.returncode)
    return result


def write_settings(folder: Path) -> None:
    """Write the two configuration files."""
    (folder / "provider.toml").write_text(
        f"""[server]
address = "127.0.0.1:0"
certificates = "certs/provider"

[public]
texts = "public.jsonl"
encoder = "{PROVIDER_ENCODER}"
max_tokens = {MAX_TOKENS}

[head]
folder = "head"
""",
        encoding="utf-8",
    )
    (folder / "client.toml").write_text(
        f"""[provider]
certificates = "certs/client"

[encoder]
name = "{CLIENT_ENCODER}"
max_tokens = {MAX_TOKENS}

[public]
texts = "public.jsonl"

[alignment]
folder = "alignment"
""",
        encoding="utf-8",
    )


@contextmanager
def provider_process(folder: Path) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """Start the provider, yield its event "listening" and the process, and stop it in the end."""
    process = subprocess.Popen(
        ["securealign-provider", "--config", str(folder / "provider.toml"), "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield next_event(process, "listening"), process
    finally:
        process.terminate()
        process.wait()


def next_event(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """Return the next event of this name that a provider prints."""
    for line in process.stdout or ():
        event: dict[str, Any] = json.loads(line)
        if event.get("event") == name:
            return event
        tell("provider", event)
    sys.exit(f"The provider ended with exit code {process.wait()}.")


def embed(encoder: str, texts: Sequence[str], what: str) -> npt.NDArray[np.float32]:
    """Embed texts for the referee; those that a party has embedded come from the cache."""
    with progress(enabled=True) as bar:
        return encode_cached(open_encoder(encoder, max_tokens=MAX_TOKENS), texts, bar(f"embedding {what} ({encoder})"))


def accuracy(predicted: Sequence[str], expected: Sequence[str]) -> float:
    """Return the share of equal labels."""
    return float(np.mean([left == right for left, right in zip(predicted, expected, strict=True)]))


def few_shot_accuracy(
    shots: TextDataset, embeddings: npt.NDArray[np.float32], test: npt.NDArray[np.float32], expected: Sequence[str]
) -> dict[int, float]:
    """Return what a head of the client's own would reach from a few labelled texts, averaged over disjoint draws."""
    labels = np.asarray(shots.labels)
    reached = {}
    for count in SHOTS:
        scores = []
        for draw in range(SHOT_DRAWS):
            chosen = slice(draw * count, (draw + 1) * count)
            head = LinearHead.fit(embeddings[chosen], labels[chosen].tolist(), shots.class_names)
            scores.append(accuracy(head.predict(test), expected))
        reached[count] = float(np.mean(scores))
    return reached


def kept_training(folder: Path, space: str) -> dict[str, Any] | None:
    """Return the figures of an earlier alignment whose map leads from these texts into this space; None without one.

    Each alignment shows more of the provider's public embeddings, which the provider bounds.
    """
    figures = folder / "training.json"
    if not figures.exists() or not (folder / "alignment").exists():
        return None
    try:
        kept = AlignmentMap.from_pretrained(folder / "alignment").metadata
    except SecurealignError:
        return None
    encoder = open_encoder(CLIENT_ENCODER, max_tokens=MAX_TOKENS).fingerprint
    made_of = (load_public(str(folder / "public.jsonl")).digest.hex(), space, encoder)
    if made_of != (kept.get("dataset_digest"), kept.get("space"), kept.get("encoder")):
        return None
    earlier: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    return earlier


def align(folder: Path, config: Sequence[str], process: subprocess.Popen[str]) -> dict[str, Any]:
    """Align, and keep the figures of both parties for later runs."""
    aligned = run("securealign-client", "align", *config)
    training = {"aligned": aligned, "trained": next_event(process, "session done")}
    write_atomically(folder / "training.json", (json.dumps(training) + "\n").encode())
    return training


def main() -> None:
    """Run the demo in the folder named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    step(f"provider: fits a head on {TRAINING_TEXTS} private news texts (R8, encoder {PROVIDER_ENCODER})")
    run(
        "securealign", "head", "fit", "--data", "r8/train", "--encoder", PROVIDER_ENCODER, "--output", f"{folder}/head",
        "--max-tokens", str(MAX_TOKENS), "--samples", str(TRAINING_TEXTS),
    )  # fmt: skip
    step(f"both: agree on {PUBLIC_TEXTS} public texts (editorials, tweets, product reviews) and make certificates")
    run("securealign", "data", "export", "public/general", f"{folder}/public.jsonl", "--samples", str(PUBLIC_TEXTS))
    run(
        "securealign", "data", "export", "r8/test", f"{folder}/private.jsonl", "--samples", str(PRIVATE_TEXTS),
    )  # fmt: skip
    if not (folder / "certs").exists():
        run("securealign", "certs", "init", str(folder / "certs"))
    write_settings(folder)

    step(f"provider: embeds the public texts ({PROVIDER_ENCODER}) and starts to serve")
    with provider_process(folder) as (listening, process):
        here = f"provider.address=127.0.0.1:{listening['port']}"
        client = ("securealign-client",)
        config = ("--config", f"{folder}/client.toml", "--set", here)
        training = kept_training(folder, listening["space"])
        if training is None:
            step(f"client: embeds the public texts ({CLIENT_ENCODER}) and aligns under encryption")
            training = align(folder, config, process)
        else:
            step("client: uses the map of an earlier run, made on the same texts with the same provider")
        aligned, trained = training["aligned"], training["trained"]
        step(f"client: embeds {PRIVATE_TEXTS} private texts, and gets the label of each under encryption, one by one")
        run(
            *client, "classify", *config, "--input", f"{folder}/private.jsonl", "--batch", "1", "--cache",
            "--json", "--output", f"{folder}/labels.jsonl", "--overwrite", "--stats", f"{folder}/classify.json",
        )  # fmt: skip
        answered = next_event(process, "session done")

    step("referee: sees both sides, computes the same without encryption, and compares")
    classified = json.loads((folder / "classify.json").read_text(encoding="utf-8"))
    answers = [json.loads(line) for line in (folder / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = referee(folder, aligned, trained, classified, [answer["label"] for answer in answers])
    summary["pids"] = {
        "provider": listening["pid"],
        "client": aligned["pid"],
        "client_classify": classified["pid"],
    }
    summary["seconds"] = time.monotonic() - started
    write_atomically(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    show(folder, summary, answered["stats"]["phases"], classified["stats"]["phases"])


def referee(
    folder: Path, aligned: dict[str, Any], trained: dict[str, Any], classified: dict[str, Any], labels: list[str]
) -> dict[str, Any]:
    """Compare the encrypted run with the same computation in clear and return the summary."""
    texts = load_public(str(folder / "public.jsonl")).texts
    private = load_dataset(str(folder / "private.jsonl"))
    expected = [private.class_names[label] for label in private.labels or ()]
    head = LinearHead.from_pretrained(folder / "head")
    # The client's map leads into the provider's private coordinates, which the referee may see.
    private_map, space = AlignmentMap.from_pretrained(folder / "alignment"), stored_space(folder / "provider.toml")
    secret_map = AlignmentMap(*space.unfold(private_map.weight, private_map.bias))
    public_b = embed(CLIENT_ENCODER, texts, "public texts")
    public_a = embed(PROVIDER_ENCODER, texts, "public texts")
    problem = ClientProblem(public_b, "auto", private_map.metadata["map"])
    product = space.rows(Rows(public_a)).block(0, len(texts)).T @ problem.rows.block(0, len(texts))
    solved = problem.solve(product, space.total_squares)
    clear_map = AlignmentMap(*space.unfold(solved.weight, solved.bias))
    private_b = embed(CLIENT_ENCODER, private.texts, "private texts")
    in_clear = head.predict(secret_map.apply(private_b))
    shots = load_dataset("r8/train").shuffled(1).take(SHOT_TEXTS)
    few = few_shot_accuracy(shots, embed(CLIENT_ENCODER, shots.texts, "labelled texts"), private_b, expected)
    stats, online = aligned["stats"], classified["stats"]["phases"]["online"]
    difference = np.linalg.norm(secret_map.weight - clear_map.weight) / np.linalg.norm(clear_map.weight)
    return {
        "suite": aligned["suite"],
        "n_public": aligned["rows"],
        "d_a": aligned["d_a"],
        "d_b": aligned["d_b"],
        "classes": len(head.class_names),
        "accuracy": {
            "provider": accuracy(head.predict(embed(PROVIDER_ENCODER, private.texts, "private texts")), expected),
            "mapped_plain": accuracy(head.predict(clear_map.apply(private_b)), expected),
            "mapped_encrypted": accuracy(labels, expected),
            **{f"few_shot_{count}": reached for count, reached in few.items()},
        },
        "label_agreement": accuracy(labels, in_clear),
        "weight_relative_error": float(difference),
        "training": {
            "bytes_up": stats["bytes_up"],
            "bytes_down": stats["bytes_down"],
            "client_seconds": stats["client_seconds"],
            "provider_seconds": trained["stats"]["provider_seconds"],
            "total_seconds": stats["total_seconds"],
        },
        "inference": {
            "queries": classified["queries"],
            "output": classified["output"],
            "online_ms_median": classified["online_ms_median"],
            "online_ms_p95": classified["online_ms_p95"],
            "offline_ms_per_query": classified["offline_ms_per_query"],
            "bytes_up_per_query": online["bytes_up"] / classified["queries"],
            "bytes_down_per_query": online["bytes_down"] / classified["queries"],
        },
    }


def table(title: str, *columns: str) -> Table:
    """Return an empty table."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def show(folder: Path, summary: dict[str, Any], provider: dict[str, Any], client: dict[str, Any]) -> None:
    """Print the summary for a newcomer; the last two are the phases of inference as each party measured them."""
    reached, inference = summary["accuracy"], summary["inference"]
    console.print()
    scores = table(f"Of {inference['queries']} private news texts, how many get the right topic?", "", "share")
    scores.add_row("texts sent to the provider without protection", f"{reached['provider']:.1%}")
    scores.add_row("client's own encoder and the map, without encryption", f"{reached['mapped_plain']:.1%}")
    encrypted = f"[bold]{reached['mapped_encrypted']:.1%}[/]"
    scores.add_row("[bold]client's own encoder and the map, under encryption[/]", encrypted)
    for count in SHOTS:
        scores.add_row(f"client alone, with {count} labelled texts of its own", f"{reached[f'few_shot_{count}']:.1%}")
    console.print(scores)
    console.print(
        f"{summary['label_agreement']:.2%} of the labels are the same with and without encryption; the maps differ by "
        f"{summary['weight_relative_error']:.1e} of their norm.\n"
    )
    training = summary["training"]
    cost = table("What does it cost?", "", "client sends", "provider sends", "client computes", "provider computes")
    cost.add_row(
        f"align on {summary['n_public']} public texts",
        f"{training['bytes_up'] / 1e6:.1f} MB",
        f"{training['bytes_down'] / 1e6:.1f} MB",
        f"{training['client_seconds']:.2f} s",
        f"{training['provider_seconds']:.2f} s",
    )
    queries = inference["queries"]
    for name, label in (
        ("offline", "each query, ahead of time"),
        ("online", "each query, online"),
    ):
        phase = provider[name]
        cost.add_row(
            label,
            f"{phase['bytes_up'] / queries / 1e3:.1f} KB",
            f"{phase['bytes_down'] / queries / 1e3:.2f} KB",
            f"{client[name]['client_seconds'] / queries * 1e3:.2f} ms",
            f"{phase['provider_seconds'] / queries * 1e3:.2f} ms",
        )
    console.print(cost)
    console.print(
        f"From the embedding of a text to its label: {inference['online_ms_median']:.1f} ms (median; 95 % within "
        f"{inference['online_ms_p95']:.1f} ms), between two processes over mutual TLS.\n"
    )
    seen = table("What does each side learn of the other?", "", "learns", "does not learn")
    seen.columns[1].justify = seen.columns[2].justify = "left"
    seen.add_row(
        "provider",
        f"number of public texts and of queries, dimension {summary['d_b']}, ciphertexts",
        "texts, embeddings, queries, the map, the labels",
    )
    answers = "logits" if inference["output"] == "logits" else "labels alone"
    seen.add_row(
        "client",
        f"topic names, dimension {summary['d_a']}, the product of both public embeddings, {answers}",
        "the head, its training texts, the provider's encoder",
    )
    console.print(seen)
    pids = summary["pids"]
    console.print(
        f"\nThe provider was process {pids['provider']}, the client {pids['client']} and {pids['client_classify']}, "
        f"the suite {summary['suite']}. All took {summary['seconds']:.0f} s. Figures are in {folder}/summary.json."
    )


if __name__ == "__main__":
    main()
