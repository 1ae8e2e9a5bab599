"""What one fit needs on the client's side, besides the session that carries it."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.privacy import PrivateProblem
from securealign.alignment.secure import ClientProblem
from securealign.client.config import AlignmentSection
from securealign.commands import Progress
from securealign.matrices import FloatMatrix
from securealign.protocol.context import ClientContext, Event
from securealign.protocol.training.client import TrainingClient
from securealign.transport.meter import Listener, Meter

#: What a map's manifest says of its fit; estimates are missing under differential privacy.
_FIT = ("map", "ridge", "penalty", "r2", "r2_unseen", "relatedness")


class Training:
    """What one fit needs on this side: the problem, what it costs, and how the provider's answer becomes a map."""

    def __init__(
        self,
        embeddings: npt.NDArray[np.floating],
        digest: bytes,
        section: AlignmentSection,
        uploading: Progress,
        listener: Listener,
        *,
        space_name: str = "",
    ) -> None:
        self._space_name = space_name
        self.meter = Meter(counted="client", listener=listener)
        self.digest = digest
        self._uploading = uploading
        with self.meter.timed("client", "solve"):
            self._problem = ClientProblem(embeddings, section.ridge, section.map)
            # Under noise no penalty can be chosen from the product, so rows are made under one that is fixed.
            fixed = ClientProblem(embeddings, section.ridge, fixed=True) if section.accept_noise else None
            self._private = PrivateProblem(fixed) if fixed is not None else None

    def client(self, context: ClientContext) -> TrainingClient:
        """Return the machine of a session, which shows the progress of its upload."""
        count = self.meter.observer("client")

        def observe(event: Event) -> None:
            count(event)
            self._uploading(*client.progress)

        client = TrainingClient(
            replace(context, observer=observe),
            self._problem.rows,
            self.digest,
            private_rows=self._private.rows if self._private is not None else None,
            space_name=self._space_name,
        )
        return client

    def solve(self, client: TrainingClient, product: FloatMatrix) -> AlignmentMap:
        """Return the map from the decrypted product."""
        with self.meter.timed("client", "solve"):
            if client.privacy is not None and self._private is not None:
                return self._private.solve(product)
            return self._problem.solve(product, client.total_squares)

    def figures(self, client: TrainingClient, solved: AlignmentMap, folder: Path) -> dict[str, Any]:
        """Return what the fit was and what it cost."""
        return {
            "alignment": str(folder),
            "suite": client.suite_name,
            "rows": self._problem.rows.shape[0],
            "d_a": solved.weight.shape[1],
            "d_b": solved.weight.shape[0],
            **{name: solved.metadata.get(name) for name in _FIT},
            "space": client.space.hex(),
            "privacy": asdict(client.privacy) if client.privacy is not None else None,
            "pid": os.getpid(),
            "stats": self.meter.stats().as_dict(),
        }
