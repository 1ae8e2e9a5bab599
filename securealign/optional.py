"""Optional packages, imported when they are first needed."""

import importlib
from typing import Any

from securealign.errors import DependencyError


def require(module: str, purpose: str, *, extra: str = "models") -> Any:  # noqa: ANN401 - what the optional packages export has no types here
    """Return the module, imported; raises `DependencyError` that names the `extra` to install for this purpose."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"{purpose} needs {module.partition('.')[0]}, which cannot be imported ({error}).",
            hint=f"Run: pip install 'securealign[{extra}]'",
        ) from error
