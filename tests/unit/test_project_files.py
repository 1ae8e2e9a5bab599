"""Files about the project: news fragments, hooks, forms, and documents that describe the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import securealign

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(securealign.__file__).parents[1]
if not (ROOT / "pyproject.toml").exists():
    pytest.skip("only the repository has these files", allow_module_level=True)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def misnamed(names):
    """Return the file names that towncrier would not take for a fragment of a known kind."""
    kinds = "|".join(kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"])
    return [name for name in names if not re.fullmatch(rf"\+[a-z0-9]+(-[a-z0-9]+)*\.({kinds})\.md", name)]


def test_news_fragments_have_a_subject_and_a_kind():
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    assert misnamed(path.name for path in fragments) == []
    wrong = ["good.feature.md", "+x.news.md", "+X.fix.md"]
    assert misnamed(["+good-name.feature.md", *wrong]) == wrong
    for path in fragments:
        assert path.read_text(encoding="utf-8").endswith(".\n"), path.name


def test_no_module_is_longer_than_one_person_reads_at_once():
    modules = [path for path in (ROOT / "securealign").rglob("*.py") if "wire/v1" not in path.as_posix()]
    long = {path.name: lines for path in modules if (lines := path.read_text(encoding="utf-8").count("\n")) > 400}
    assert long == {}


def test_every_kind_of_news_is_explained():
    explained = (ROOT / "changelog.d" / "README.md").read_text(encoding="utf-8")
    for kind in PROJECT["tool"]["towncrier"]["type"]:
        assert f"| `{kind['directory']}` |" in explained


def test_the_changelog_has_the_place_where_news_go():
    assert PROJECT["tool"]["towncrier"]["start_string"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_hooks_run_the_pinned_tools_of_the_environment():
    yaml = pytest.importorskip("yaml")
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    packages = {"lint-imports": "import-linter"}
    for hook in repository["hooks"]:
        program = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert hook["language"] == "system"
        assert f"\n{packages.get(program, program)}==" in pinned


@pytest.mark.parametrize("name", ["problem", "proposal"])
def test_forms_name_their_fields(name):
    yaml = pytest.importorskip("yaml")
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert form["name"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)


CONTRACTS = PROJECT["tool"]["importlinter"]["contracts"]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "changelog.d/README.md")


def table_of(document, heading):
    """Return the first cells of the first table after a heading or sentence."""
    rows = document[document.index(heading) :].split("| --- |", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [row.split("|")[1] for row in rows]


def test_the_layers_are_listed_as_they_are_checked():
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (layers,) = [contract["layers"] for contract in CONTRACTS if contract["name"] == "The product, top to bottom"]
    checked = [[name.removeprefix("securealign.") for name in re.split(r" [:|] ", layer)] for layer in layers]
    assert [re.findall(r"`([\w.]+)`", cell) for cell in table_of(document, "## Layers of the product")] == checked


def test_every_import_contract_is_explained():
    cells = table_of((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), "and the following contracts")
    explained = [name for cell in cells for name in cell.strip().split("; ")]
    assert sorted(explained) == sorted(contract["name"] for contract in CONTRACTS)


def test_entry_point_groups_are_explained():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [group for group in PROJECT["project"]["entry-points"] if f"`{group}`" not in contributing] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_paths_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []
    paths = re.findall(r"`([a-z_]+/[\w./]*)`", text)
    folders = (ROOT, ROOT / "securealign", *(ROOT / "securealign" / ring for ring in ("protocol", "he")))
    known = [path for path in paths if any((at / end).exists() for at in folders for end in (path, f"{path}.py"))]
    assert sorted({*paths} - {*known}) == []
