"""What the measurements depend on besides the code."""

from __future__ import annotations

import os
import platform

import numpy as np

from securealign import __version__

#: Facts about this machine and its libraries, by name; "cpus" are the processors that this process may use.
Environment = dict[str, int | str]


def environment() -> Environment:
    """Return the facts of this process."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        "securealign": __version__,
    }
