"""Files that people and tools read by their names: news fragments, hooks, templates."""

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
