"""Names of classes: a list on the command line, a file, or a file beside that of the head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from securealign.alignment.scikit import ClassNames
from securealign.errors import InputError
from securealign.heads.found import invalid

#: What a configuration of transformers calls its names.
_BY_NUMBER = "id2label"


def parse_names(text: str) -> ClassNames:
    """Return the names in a file of JSON or of lines that `text` names, or else between its commas.

    Raises `InputError` for a file that cannot be read or holds no names.
    """
    path = Path(text)
    if path.suffix.lower() == ".json":
        names = _names_in(path)
        if names is None:
            raise _no_names(path)
        return names
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise _no_names(path) from error
    return [name.strip() for name in text.split(",")]


def names_beside(path: Path) -> ClassNames | None:
    """Return the names in a JSON file of the same name, in classes.json or in config.json beside a head, if any."""
    own = path.with_suffix(".json")
    for file in (own, path.with_name("classes.json"), path.with_name("config.json")):
        if file.is_file():
            names = _names_in(file)
            if names is not None:
                return names
    return None


def _names_in(path: Path) -> ClassNames | None:
    """Return the list or mapping of names in a file of JSON, None where it holds something else."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise invalid(path, f"is no JSON: {error}", "Write a list of class names.") from error
    if isinstance(content, dict) and _BY_NUMBER in content:
        content = content[_BY_NUMBER]
    elif path.name == "config.json":
        return None
    values = content.values() if isinstance(content, dict) else content
    if not isinstance(content, dict | list) or not all(isinstance(name, str | int) for name in values):
        raise _no_names(path)
    return content if isinstance(content, dict) else list(map(str, content))


def _no_names(path: Path) -> InputError:
    return invalid(path, "holds no class names", 'Write a list of them, or {"id2label": {"0": "name", ...}}.')
