"""The finished rounds of a part that is trained in several, kept in the run so that a stopped training goes on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from wsl.files import replacing

log = logging.getLogger("wsl")


class KeptRounds:
    """Weights of a run's ``part`` (decoder, detector) after each of its rounds, in the run's folder ``last/``.

    Rounds follow each other when they have the same `identity`: what they were trained on and how.
    """

    def __init__(self, run: Path, part: str, rounds: int, identity: Any) -> None:
        self._run, self._part, self._rounds = run, part, rounds
        self._identity = hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def keep(self, number: int, module: nn.Module) -> None:
        """Keep the weights after a round."""
        state = {name: tensor.cpu().contiguous() for name, tensor in module.state_dict().items()}
        with replacing(self._path(number)) as temporary:
            save_file(state, temporary, metadata={"identity": self._identity})

    def resume(self, add: Callable[[], nn.Module]) -> range:
        """The rounds that are left; ``add`` makes the part that has the weights of the last one that is finished."""
        done, state = self.last()
        if done:
            part = add()
            part.load_state_dict(state)
            part.eval()
        return range(done + 1, self._rounds + 1)

    def last(self) -> tuple[int, dict[str, torch.Tensor]]:
        """The last round that was finished and its weights; 0 and nothing where none was."""
        for number in range(self._rounds, 0, -1):
            try:
                with safe_open(self._path(number), framework="pt") as file:
                    state = {name: file.get_tensor(name) for name in list(file.keys())}
                    same = (file.metadata() or {}).get("identity") == self._identity
            except (SafetensorError, OSError):  # there is none, or half of one
                continue
            if same:
                log.info("%s: going on after round %d", self._part, number)
                return number, state
        return 0, {}

    def remove(self) -> None:
        """Remove all rounds."""
        for number in range(1, self._rounds + 1):
            self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._run / "last" / f"{self._part}-{number}.safetensors"
