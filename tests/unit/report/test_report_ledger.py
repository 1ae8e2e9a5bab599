"""What each side saw, the words of a run, and comparisons."""

from __future__ import annotations

import html
import json
import re

import pytest
from support.runs import CKKS, LAN, LWE, PLAINTEXT, RESULTS, Recording, classify, small, train

from securealign.harness.report import comparison, words
from securealign.harness.report.page import render
from securealign.harness.runs.reading import read_run


def made(folder, *, suite=LWE, training=None, inference=None, results=RESULTS):
    recording = Recording(LAN)
    if training is not None:
        train(recording, suite, **training)
    if inference is not None:
        classify(recording, suite, **inference)
    recording.result(**results)
    return read_run(recording.write(folder / "run.jsonl"))


def plain(markup):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", markup)).split())


class Shown:
    """What a page shows of one run: its facts, its warnings, and for each session what both sides saw."""

    def __init__(self, run):
        page = render([run])
        self.facts = {plain(name): plain(value) for name, value in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)}
        self.warnings = [plain(found) for found in re.findall(r'<p class="warning">(.*?)</p>', page, re.DOTALL)]
        self.sessions = [
            {side: View(cards[side]) for side in cards}
            for cards in (
                dict(re.findall(r'<section class="card (\w+)">(.*?)</section>', each, re.DOTALL))
                for each in page.split('class="session"')[1:]
            )
        ]
        self.scales = page.count('class="limit"')


class View:
    """A card of the ledger: figures and notes by what was seen, and what is never seen."""

    def __init__(self, card):
        rows = re.findall(r'<dt>(.*?)(?:<small>(.*?)</small>)?</dt><dd>.*?data-value="(.*?)".*?</dd>', card)
        self.figures = {
            plain(what): json.loads(value) if re.fullmatch(r"[\d.e-]+", value) else value for what, _, value in rows
        }
        self.notes = {plain(what): plain(note) for what, note, _ in rows}
        self.never = plain(re.search(r"</strong>(.*?)</p>", card).group(1))


def test_training_shows_sizes_to_the_provider_and_the_product_to_the_client(tmp_path):
    run = made(tmp_path, training={"rows": 500, "dim_a": 20, "dim_b": 30})
    (saw,) = Shown(run).sessions
    provider, client = saw["provider"].figures, saw["client"].figures
    assert provider["public texts, N"] == 500
    assert provider["dimension of the client's encoder, d_B"] == 30
    assert provider["bytes from the client"] == run.sessions[0].stats.bytes_up
    assert client["numbers of the product Z_Aᵀ [Z_B 1]"] == 20 * 31
    assert client["share of Z_A that follows from the product"] == 0.93
    assert client["texts for each column of [Z_B 1]"] == 500 / 31
    assert "labels" in saw["provider"].never
    assert "head" in saw["client"].never


def test_a_session_of_labels_shows_labels_and_no_logits(tmp_path):
    labels, logits = (
        Shown(made(tmp_path, inference={"queries": 70, "labels": labels})).sessions[0]["client"]
        for labels in (True, False)
    )
    assert labels.figures["labels"] == 70
    assert labels.figures["bits that the answers can carry"] == 280
    assert not {"logits", "queries that determine the head exactly"} & set(labels.figures)
    assert "its labels, its logits" in labels.never
    assert {"logits", "queries that determine the head exactly"} <= set(logits.figures)
    assert "its logits" in logits.never


def test_too_few_texts_are_said_to_give_everything_away(tmp_path):
    run = made(tmp_path, training={"rows": 31, "dim_a": 20, "dim_b": 30})
    client = Shown(run).sessions[0]["client"]
    assert "gives Z_A away" in client.notes["texts for each column of [Z_B 1]"]


@pytest.mark.parametrize(
    ("queries", "says"), [(64, "321 short of them"), (384, "1 short"), (385, "can compute"), (1000, "2.60 times")]
)
def test_inference_says_how_far_the_session_is_from_the_head(tmp_path, queries, says):
    run = made(tmp_path, inference={"queries": queries})
    (saw,) = Shown(run).sessions
    client = saw["client"].figures
    assert client["logits"] == queries * 10
    assert client["bits that the answers can carry"] == queries * 180
    assert client["queries that determine the head exactly"] == 385
    assert says in saw["client"].notes["queries that determine the head exactly"]
    assert saw["provider"].figures["queries, m"] == queries


def test_a_suite_that_does_not_hide_the_head_is_not_said_to(tmp_path):
    hidden, revealed = (Shown(made(tmp_path, suite=suite, inference={"queries": 2})) for suite in (LWE, CKKS))
    assert "the head" in hidden.sessions[0]["client"].never
    assert "the head" not in revealed.sessions[0]["client"].never
    assert hidden.warnings == []
    assert "does not hide" in revealed.warnings[0]


def test_a_suite_that_encrypts_nothing_hides_nothing(tmp_path):
    shown = Shown(made(tmp_path, suite=PLAINTEXT, training={}, inference={"queries": 2}))
    for warning, saw in zip(shown.warnings, shown.sessions, strict=True):
        assert "encrypts nothing" in warning
        provider = saw["provider"]
        assert "in clear" in provider.notes.values()
        assert "labels" not in provider.never
        assert "embeddings" not in provider.never


def test_what_is_not_recorded_is_said_not_to_be(tmp_path):
    recording = Recording(LAN)
    for kind in ("training", "inference"):
        recording.begin(kind, LWE)
        recording.end()
    run = read_run(recording.write(tmp_path / "run.jsonl"))
    shown = Shown(run)
    assert shown.scales == 0
    for saw in shown.sessions:
        assert "" in [*saw["provider"].figures.values(), *saw["client"].figures.values()]
    assert [words.session_title(session) for session in run.sessions] == ["Training", "Inference"]


def test_a_session_that_failed_and_totals_that_contradict_are_warned_of(tmp_path):
    path = small(tmp_path / "run.jsonl")
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    end = next(event for event in events if event["event"] == "end")
    end.update(state="aborted", error="CONNECTION_LOST")
    end["stats"]["bytes_up"] += 1
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    said = Shown(read_run(path)).warnings
    assert len(said) == 2
    assert "did not come to its end" in said[0]
    assert "do not add up" in said[1]


def test_runs_are_compared_with_the_first(tmp_path):
    first = read_run(small(tmp_path / "a.jsonl", scale=1.0))
    second = read_run(small(tmp_path / "b.jsonl", scale=2.0))
    rows = {row.name: row.cells for row in comparison.rows([first, second], "training")}
    one, two = rows["Payload to the provider"]
    assert one.ratio is None
    assert two.ratio.value == two.figure.value / one.figure.value == pytest.approx(2, rel=1e-4)
    assert comparison.different_work([first, second], "training") == []
    bars = comparison.bars([first, second], "training", comparison.TIMES)
    assert [bar.name for bar in bars] == ["1 lwe over wan", "2 lwe over wan"]
    for bar, run in zip(bars, (first, second), strict=True):
        assert bar.total == pytest.approx(run.sessions[0].stats.total_seconds)
    (agreement, *_) = comparison.result_rows([first, second])
    assert [cell.figure.text for cell in agreement.cells] == ["100.0%", "100.0%"]


def test_runs_that_did_other_work_are_said_to(tmp_path):
    few, many = (read_run(small(tmp_path / f"{n}.jsonl", queries=n)) for n in (3, 5))
    (row,) = comparison.different_work([few, many], "inference")
    assert [cell.figure.text for cell in row.cells] == ["3", "5"]


def test_what_a_run_does_not_have_is_not_compared(tmp_path):
    whole = read_run(small(tmp_path / "a.jsonl"))
    half = made(tmp_path, training={}, results={"note": "text"})
    assert all(row.cells[1] is None for row in comparison.rows([whole, half], "inference"))
    assert len(comparison.bars([whole, half], "inference", comparison.BYTES)) == 1
    reversed_rows = comparison.rows([half, whole], "inference")
    assert all(row.cells[0] is None and row.cells[1].ratio is None for row in reversed_rows)
    assert all(row.cells[1] is None for row in comparison.result_rows([whole, half]))


def test_network_clock_and_factors_in_words(tmp_path):
    recording = Recording(LAN, side="client")
    train(recording)
    recording.events[0].update(network={**LAN, "up_mbit": None}, provider_factor=4.0, started="2026-11-25T18:06:05Z")
    run = read_run(recording.write(tmp_path / "run.jsonl"))
    said = Shown(run).facts
    assert said["Encryption"] == "lwe with the parameters lwe-128, 128 bits, none claimed against quantum computers"
    assert "profile lan: round trip 0.5 ms" in said["Network"]
    assert "unlimited to the provider" in said["Network"]
    assert said["Clock"].endswith("compute of the provider times 4")
    assert said["Recorded"].startswith("the client's side alone")
    assert said["Started"] == "2026-11-25 18:06:05 UTC"
    assert words.lead(run) == "Client and provider aligned their encoders."
