"""What the measurements depend on besides the code."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import numpy as np

from securealign import __version__


@dataclass(frozen=True)
class Environment:
    """Facts about this machine and its libraries."""

    #: Processors that this process may use.
    cpus: int
    machine: str
    system: str
    python: str
    numpy: str
    blas: str
    securealign: str


def environment() -> Environment:
    """Return the facts of this process."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return Environment(
        cpus=len(os.sched_getaffinity(0)),
        machine=platform.machine(),
        system=platform.system(),
        python=platform.python_version(),
        numpy=np.__version__,
        blas=f"{blas['name']} {blas['version']}",
        securealign=__version__,
    )
