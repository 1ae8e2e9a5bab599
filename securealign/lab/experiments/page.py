"""docs/results.md: the sections of all experiments, from their results alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from securealign.errors import InputError
from securealign.lab.experiments.findings import findings
from securealign.lab.experiments.result import Result, read_result

#: The experiments, in the order in which they are read.
EXPERIMENTS = ("similarity", "classification", "ood", "tokenizers", "generation", "membership", "leakage")

_INTRODUCTION = """# Results

What linear maps between encoders are worth, measured with models and data that anybody can have: the experiments of
Gorbett and Jana, "Secure Linear Alignment of Large Language Models" (later titled "Characterizing Linear Alignment
Across Language Models", arXiv 2603.18908), with their numbers beside ours. Their encoders are embedding services and
models of billions of parameters, ours have at most 270 million; their data sets are not in the package registries that
ours come from. So the numbers are not meant to be equal: what is compared is what the method does.

"Target <- source" is the provider's encoder <- the client's. Every number below, and every sentence that holds one, is
made from the files in [results/](results) by `securealign experiment page`; those are made by

    SECUREALIGN_ACCEPT_TERMS=gemma securealign experiment all --output docs/results

or by the command of each section. `gemma` is under the Gemma terms of use, which the variable accepts; without it all
else runs. The models are re-uploads by single authors, some of them quantised, pinned by hash in `securealign/data`."""


def page(results: Mapping[str, Result]) -> str:
    """Return the page of some results, by experiment."""
    sections = [_section_of(name)(results[name]) for name in EXPERIMENTS if name in results]
    sections = [text for text in (findings(results), *sections) if text]
    return "\n\n".join([_INTRODUCTION, _contents(sections), *sections]) + "\n"


def read_results(folder: Path) -> dict[str, Result]:
    """Return the results in a folder; raises `InputError` when there is none."""
    found = {name: read_result(path) for name in EXPERIMENTS if (path := folder / f"{name}.json").exists()}
    if not found:
        raise InputError(
            f"{folder} holds no result of an experiment.",
            hint=f"Make them by 'securealign experiment all --output {folder}'.",
        )
    return found


def _section_of(name: str) -> Callable[[Result], str]:
    section: Callable[[Result], str] = import_module(f"securealign.lab.experiments.{name}.section").section
    return section


def _contents(sections: list[str]) -> str:
    titles = [section.partition("\n")[0].removeprefix("## ") for section in sections]
    return "\n".join(f"* [{title}](#{_anchor(title)})" for title in titles)


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")
