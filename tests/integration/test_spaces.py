"""Maps belong to one provider's space: kept over restarts, read where only labels are served, refused elsewhere."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from support.peers import embeddings, stored_space
from support.sites import provider_command, provider_process, run_client, write_texts
from support.tiers import first_quick

from securealign.alignment import AlignmentMap, LinearHead
from securealign.errors import ExitCode
from securealign.pki.certificates import create_certificates

ROWS, DIM_A, DIM_B = 120, 10, 8
CLASSES = ("sports", "politics", "weather")

SERVER = """
[server]
address = "127.0.0.1:0"
certificates = "../certs/provider"
[policy]
suites = ["plaintext"]
[head]
folder = "head"
"""
PUBLIC = """
[public]
texts = "../public.jsonl"
embeddings = "public.npy"
"""
CLIENT = """
[provider]
certificates = "../certs/client"
suites = ["plaintext"]
[public]
texts = "../public.jsonl"
embeddings = "public.npy"
"""


def make_provider(folder, seed, z_b):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    np.save(folder / "public.npy", z_b @ rng.normal(size=(DIM_B, DIM_A)) + 0.1 * rng.normal(size=(ROWS, DIM_A)) + 5)
    LinearHead(rng.normal(size=(DIM_A, 3)), rng.normal(size=3), CLASSES).save_pretrained(folder / "head")
    (folder / "provider.toml").write_text(SERVER + PUBLIC, encoding="utf-8")
    (folder / "classify.toml").write_text(SERVER, encoding="utf-8")
    return folder


@pytest.fixture
def site(tmp_path):
    """Two providers with encoders of their own, and a client, over the same public texts."""
    write_texts(tmp_path, ROWS)
    create_certificates(tmp_path / "certs", days=1)
    z_b = embeddings(ROWS, DIM_B, 1)
    for seed, name in enumerate(("first", "second")):
        make_provider(tmp_path / name, seed, z_b)
    (tmp_path / "client").mkdir()
    np.save(tmp_path / "client" / "public.npy", z_b)
    np.save(tmp_path / "client" / "private.npy", embeddings(20, DIM_B, 2))
    (tmp_path / "client" / "client.toml").write_text(CLIENT, encoding="utf-8")
    return tmp_path


def command(folder, file="provider.toml", *arguments):
    return provider_command(folder / file, *arguments)


@contextmanager
def provider(folder, file="provider.toml"):
    """Run a provider; yields the line in which it says where it listens, and ends it as its operator does."""
    with provider_process(folder / file) as (process, listening):
        yield listening
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=600)


def client(site, port, name, *arguments):
    config = site / "client" / "client.toml"
    return run_client(config, port, name, "--json", *arguments, timeout=600)


def classify(site, port):
    return client(site, port, "classify", "--embeddings", str(site / "client" / "private.npy"))


def labels(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["label"] for line in done.stdout.splitlines()]


def expected(site, name):
    """The labels that a provider's head gives the map in clear."""
    folder = site / name
    saved = AlignmentMap.from_pretrained(site / "client" / "alignment")
    weight, bias = stored_space(folder).unfold(saved.weight, saved.bias)
    raw = np.load(site / "client" / "private.npy") @ weight + bias
    return LinearHead.from_pretrained(folder / "head").predict(raw)


@pytest.mark.thorough
def test_a_map_is_good_until_its_provider_or_its_encoder_is_another(site):
    with provider(site / "first") as listening:
        aligned = client(site, listening["port"], "align")
        assert aligned.returncode == 0, aligned.stderr
        before = labels(classify(site, listening["port"]))
        space = listening["space"]
    assert before == expected(site, "first")

    # The same provider after a restart, and as a process that has the head and the space and nothing else.
    for file in ("provider.toml", "classify.toml"):
        with provider(site / "first", file) as listening:
            assert listening["space"] == space
            assert labels(classify(site, listening["port"])) == before

    with provider(site / "second") as listening:
        refused = classify(site, listening["port"])
        assert refused.returncode == ExitCode.REFUSED == 4
        error = json.loads(refused.stdout)
        assert error["error"] == "SPACE_MISMATCH"
        assert "align again" in f"{error['message']} {error.get('hint', '')}"
        assert client(site, listening["port"], "align").returncode == 0
        assert labels(classify(site, listening["port"])) == expected_later(site, listening)

    # Another encoder over the same texts is another space, and the first one's comes back with it.
    original = site / "first" / "public.npy"
    shutil.copy(original, site / "kept.npy")
    np.save(original, np.load(original)[:, ::-1])
    with provider(site / "first") as listening:
        assert listening["space"] != space
    shutil.copy(site / "kept.npy", original)
    with provider(site / "first") as listening:
        assert listening["space"] == space


def expected_later(site, listening):
    """The labels by the second provider's head, whose space is on disk since it began to listen."""
    assert stored_space(site / "second").identifier.hex() == listening["space"]
    return expected(site, "second")


@pytest.mark.thorough
def test_a_process_that_only_classifies_needs_a_space(site):
    done = subprocess.run(
        command(site / "first", "classify.toml"), capture_output=True, text=True, check=False, timeout=600
    )
    # The provider has begun before it finds the fault.
    error = json.loads(done.stdout.splitlines()[-1])
    assert error["error"] == "FILE_INVALID"
    assert done.returncode == ExitCode.INPUT
    assert "There is no space in" in error["message"]
    assert "Start once with a section [public]" in error["hint"]


@pytest.mark.thorough
def test_a_folder_of_spaces_can_be_named(site):
    with provider(site / "first") as listening:
        space = listening["space"]
    shutil.move(site / "first" / "provider-state" / "spaces" / "default", site / "elsewhere")
    (site / "first" / "classify.toml").write_text(f'{SERVER}[space]\nfolder = "{site}/elsewhere"\n', encoding="utf-8")
    with provider(site / "first", "classify.toml") as listening:
        assert listening["space"] == space


@pytest.mark.thorough
def test_a_stored_space_that_was_altered_stops_the_provider_with_advice(site):
    with provider(site / "first"):
        pass
    (file,) = (site / "first").rglob("*.space")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    done = subprocess.run(command(site / "first"), capture_output=True, text=True, check=False, timeout=600)
    # The provider has begun before it finds the fault.
    error = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == ExitCode.INPUT
    assert str(file) in error["message"]
    assert "align again" in error["hint"]


@pytest.mark.parametrize("metadata", first_quick([{}, {"space": "short"}, {"space": None}]), ids=str)
def test_a_map_without_a_space_is_refused_before_texts_are_embedded(site, metadata):
    """Neither the texts nor an encoder are looked at: both would give other errors here."""
    AlignmentMap(embeddings(DIM_B, DIM_A), np.zeros(DIM_A), metadata).save_pretrained(site / "client" / "alignment")
    done = client(site, 1, "classify", "--input", str(site / "missing.jsonl"), "--set", "encoder.name=nowhere")
    error = json.loads(done.stdout)
    assert (done.returncode, error["error"]) == (ExitCode.REFUSED, "SPACE_MISMATCH")
    assert "does not say for which provider" in error["message"]
    assert "align' again" in error["hint"]


@pytest.mark.thorough
def test_public_embeddings_that_do_not_vary_stop_the_provider_with_advice(site):
    np.save(site / "first" / "public.npy", np.full((ROWS, DIM_A), 0.1))
    done = subprocess.run(command(site / "first"), capture_output=True, text=True, check=False, timeout=600)
    # The provider has begun before it finds the fault.
    error = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == ExitCode.INPUT
    assert "holds the same embedding in all its rows" in error["message"]
    assert error["hint"]


def grow(site, rows):
    """Let both parties hold `rows` public texts, the first of which are those of before."""
    write_texts(site, rows)
    z_b = embeddings(rows, DIM_B, 1)
    np.save(site / "client" / "public.npy", z_b)
    mixing = np.random.default_rng(0).normal(size=(DIM_B, DIM_A))
    np.save(site / "first" / "public.npy", z_b @ mixing + 5)


@pytest.mark.thorough
def test_a_client_is_refused_while_too_few_texts_are_new(site):
    # A session of nine columns over 120 rows is charged 21, so as many texts have to be new.
    for rows, refused in ((ROWS, False), (ROWS + 20, True), (ROWS + 21, False)):
        grow(site, rows)
        with provider(site / "first") as listening:
            aligned = client(site, listening["port"], "align")
        assert aligned.returncode == (ExitCode.REFUSED if refused else 0), aligned.stderr
        if refused:
            assert json.loads(aligned.stdout)["error"] == "RANK_BUDGET_EXHAUSTED"
    kept = list((site / "first" / "provider-state" / "rows").iterdir())
    assert len(kept) == 2
