"""The page: numbers as in the file, nothing of a file is markup, nothing from outside, and a bounded size."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from support.runs import CKKS, LAN, LWE, Recording, classify, figure, small, train, typical
from typer.testing import CliRunner

from securealign.cli import app
from securealign.errors import ConfigurationError, ExitCode
from securealign.harness.report import page
from securealign.harness.report.page import render
from securealign.harness.runs.reading import read_run

MEGABYTE = 1_000_000
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=y>"


class Elements(HTMLParser):
    """Collects (tag, attributes) of a page, and the ends that it lacks or has too many of."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def figures(elements):
    return [(a["data-figure"], a["data-value"]) for _, a in elements if "data-figure" in a]


def test_every_named_number_is_that_of_the_file(tmp_path):
    paths = [small(tmp_path / "a.jsonl"), small(tmp_path / "b.jsonl", suite=CKKS, network=LAN)]
    parsed = Elements(render([read_run(path) for path in paths]))
    assert parsed.open == []
    shown = figures(parsed.elements)
    assert len(shown) > 200
    for name, value in shown:
        assert value == figure(paths, name), name


def test_all_totals_phases_types_and_results_of_the_file_are_shown(tmp_path):
    path = small(tmp_path / "a.jsonl")
    names = {name for name, _ in figures(Elements(render([read_run(path)])).elements)}
    run = read_run(path)
    for number, session in enumerate(run.sessions):
        base = f"runs.0.sessions.{number}"
        for phase in session.stats.phases:
            for each in ("bytes_up", "bytes_down", "wire_up", "wire_down", "client_seconds", "provider_seconds"):
                assert f"{base}.stats.phases.{phase}.{each}" in names
        for index in range(len(session.stats.messages)):
            assert {f"{base}.stats.messages.{index}.{each}" for each in ("count", "bytes", "wire_bytes")} <= names
        assert {f"{base}.facts.{fact}" for fact in session.about.facts} <= names
    assert {f"runs.0.results.{name}" for name in run.results} <= names


def test_ids_are_unique_and_every_reference_is_to_one(tmp_path):
    path = small(tmp_path / "a.jsonl")
    elements = Elements(render([read_run(path), read_run(path)])).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= set(ids)
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
        for value in attributes.values():
            assert set(re.findall(r"url\(#(.+?)\)", value or "")) <= set(ids)


def test_a_hostile_file_stays_text(tmp_path):
    recording = Recording({**LAN, "name": HOSTILE, "source": HOSTILE})
    recording.events[0].update(command=HOSTILE, securealign=HOSTILE)
    suite = {**CKKS, "suite": HOSTILE, "parameter_set": HOSTILE}
    recording.begin("inference", suite, **{HOSTILE: HOSTILE})
    recording.send("up", HOSTILE, "online", 10)
    recording.end(HOSTILE, HOSTILE)
    recording.result(**{HOSTILE: HOSTILE})
    path = recording.write(tmp_path / "<script>x.jsonl")
    text = render([read_run(path), read_run(path)])
    parsed = Elements(text)
    assert parsed.open == []
    assert not {"script", "img", "iframe", "object"} & {tag for tag, _ in parsed.elements}
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;" in text


def test_the_page_forbids_requests_and_needs_none(tmp_path):
    text = render([read_run(small(tmp_path / "a.jsonl"))])
    elements = Elements(text).elements
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert f"'sha256-{digest}'" in policy
    assert not re.search(r"url\((?!#)|@import", style)
    for _, attributes in elements:
        assert "style" not in attributes
        assert "src" not in attributes
        assert re.match(r"#|data:,$", attributes.get("href", "#"))


def test_the_same_runs_give_the_same_page(tmp_path):
    path = small(tmp_path / "a.jsonl")
    assert render([read_run(path)]) == render([read_run(path)])


def test_a_thousand_queries_fit(tmp_path):
    path = typical(tmp_path / "a.jsonl", queries=1000)
    text = render([read_run(path)])
    assert len(text.encode()) < 0.3 * MEGABYTE
    assert len(Elements(text).elements) < 3000


def test_a_thousand_pools_of_one_query_fit(tmp_path):
    recording = Recording(LAN)
    classify(recording, queries=1000, pool_slots=1)
    text = render([read_run(recording.write(tmp_path / "a.jsonl"))])
    assert "offline, online \N{MULTIPLICATION SIGN}1,000" in text
    assert len(text.encode()) < 0.3 * MEGABYTE


def test_the_most_runs_fit_and_more_are_refused(tmp_path):
    run = read_run(typical(tmp_path / "a.jsonl", queries=200))
    assert len(render([run] * page.MAX_RUNS).encode()) < 2 * MEGABYTE
    with pytest.raises(ConfigurationError, match="at most 16 runs"):
        render([run] * (page.MAX_RUNS + 1))


def test_sessions_beyond_those_drawn_are_listed_and_beyond_that_counted(tmp_path):
    recording = Recording(LAN)
    for _ in range(page.MAX_DRAWN + page.MAX_LISTED + 7):
        recording.begin("inference", LWE, queries=1)
        recording.send("up", "Query", "online", 10)
        recording.end()
    text = render([read_run(recording.write(tmp_path / "a.jsonl"))])
    assert "Further sessions" in text
    assert re.search(r'data-value="7">7</span> more sessions', text)
    assert len(text.encode()) < 2 * MEGABYTE


def test_sessions_without_anything_are_drawn(tmp_path):
    recording = Recording(LAN)
    recording.begin("training", LWE)
    recording.end("aborted", "PEER_UNREACHABLE")
    text = render([read_run(recording.write(tmp_path / "a.jsonl"))])
    assert "No bytes travelled" in text
    assert "holds no results" in text
    assert "PEER_UNREACHABLE" in text


def test_one_side_alone_does_not_say_what_the_other_computed(tmp_path):
    recording = Recording(None, side="client", clock="measured")
    train(recording)
    path = recording.write(tmp_path / "a.jsonl")
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    events[-1]["stats"]["provider_seconds"] = 0.0
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    text = render([read_run(path)])
    assert "not recorded" in text
    assert "The client waits for the other side" in text
    assert "On the way to the provider" not in text


def test_what_a_simulation_records_can_be_reported(tmp_path):
    path = tmp_path / "run.jsonl"
    shapes = ["--samples", "40", "--dim-a", "6", "--dim-b", "5", "--classes", "3", "--queries", "4"]
    done = CliRunner().invoke(
        app, ["simulate", "--suite", "plaintext", "--network", "wan", *shapes, "--record", str(path)]
    )
    assert done.exit_code == ExitCode.OK
    text = render([read_run(path)])
    assert "Training, 40 public texts, 5 to 6 dimensions" in text
    assert "Inference, 4 queries" in text
    assert "encrypts nothing" in text
    assert "do not add up" not in text
    for name, value in figures(Elements(text).elements):
        assert value == figure([path], name), name


def report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_the_command_writes_a_page(tmp_path):
    path, output = small(tmp_path / "a.jsonl"), tmp_path / "new" / "page.html"
    done = report(path, "-o", output)
    assert done.exit_code == ExitCode.OK
    assert "1 run" in done.stdout
    assert output.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_command_says_what_it_wrote_as_json(tmp_path):
    path, output = small(tmp_path / "a.jsonl"), tmp_path / "page.html"
    done = report(path, path, "-o", output, "--json")
    assert json.loads(done.stdout) == {
        "file": str(output),
        "bytes": output.stat().st_size,
        "runs": [str(path), str(path)],
    }


def test_a_run_is_never_overwritten_and_a_broken_one_leaves_the_old_page(tmp_path):
    path, output = small(tmp_path / "a.jsonl"), tmp_path / "page.html"
    refused = report(path, "-o", path, "--json")
    assert refused.exit_code == ExitCode.USAGE
    assert "name of a page" in json.loads(refused.stdout)["message"]
    output.write_text("old", encoding="utf-8")
    path.write_text("{}\n", encoding="utf-8")
    refused = report(path, "-o", output)
    assert refused.exit_code == ExitCode.INPUT
    assert "FILE_INVALID" in refused.stderr
    assert "line 1" in refused.stderr
    assert output.read_text(encoding="utf-8") == "old"
    assert report(tmp_path / "nowhere.jsonl", "-o", output).exit_code == ExitCode.INPUT
