"""Storage for the finished rounds of a decoder or detector, from which an interrupted training continues."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from wsl.files import replacing
from wsl.models.weights import write_tensors

log = logging.getLogger("wsl")


class KeptRounds:
    """The weights of a ``part`` of a run (decoder, detector) after each of its rounds, in the run's folder ``last/``.

    A training continues from stored rounds only if they have the same `identity`, the data and settings that they were
    trained with.
    """

    def __init__(self, run: Path, part: str, rounds: int, identity: Any) -> None:
        self._run, self._part, self._rounds = run, part, rounds
        self._identity = hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def keep(self, number: int, module: nn.Module) -> None:
        """Store the weights after a round."""
        state = {name: tensor.cpu().contiguous() for name, tensor in module.state_dict().items()}
        with replacing(self._path(number)) as temporary:
            write_tensors(temporary, state, {"identity": self._identity})

    def resume(self, add: Callable[[], nn.Module]) -> range:
        """The rounds that are left; `add` creates the part, which gets the weights of the last finished round."""
        done, state = self.last()
        if done:
            part = add()
            part.load_state_dict(state)
            part.eval()
        return range(done + 1, self._rounds + 1)

    def last(self) -> tuple[int, dict[str, torch.Tensor]]:
        """The last finished round and its weights; 0 and an empty dictionary if there is none."""
        for number in range(self._rounds, 0, -1):
            try:
                with safe_open(self._path(number), framework="pt") as file:
                    state = {name: file.get_tensor(name) for name in list(file.keys())}
                    same = (file.metadata() or {}).get("identity") == self._identity
            except (SafetensorError, OSError):  # missing or incomplete
                continue
            if same:
                log.info("%s: continuing after round %d", self._part, number)
                return number, state
        return 0, {}

    def remove(self) -> None:
        """Remove all stored rounds."""
        for number in range(1, self._rounds + 1):
            self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._run / "last" / f"{self._part}-{number}.safetensors"
