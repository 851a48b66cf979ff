"""A forward pass of a transformer that keeps the attention of its blocks for gradients."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from wsl.cam.attention import AttentionMode
from wsl.cam.differentiable import differentiable, ordinary
from wsl.cam.forward import Score
from wsl.cam.taps import open_output
from wsl.errors import UserError

_NO_END = "the layers after the blocks cannot be run on each block's output: use another method"


class Attentions(NamedTuple):
    """Scores (N, K) of a batch and the attention probabilities (N, heads, T, T) of each block, in one graph."""

    scores: torch.Tensor
    probabilities: list[torch.Tensor]

    def gradients(self, classes: torch.Tensor) -> list[torch.Tensor]:
        """Gradients (J, N, heads, T, T) of the scores of classes (N, J) with respect to each block's attention."""
        return _gradients(self.scores.gather(1, classes), self.probabilities)


class BlockScores(NamedTuple):
    """Scores (N, K), the scores of each block (blocks, N, K), and the attention (N, heads, T, T) of each block.

    A block's score is the output of the network's final layers for the block's output, with all tokens replaced by
    their mean. It can be differentiated only with respect to the attention of that block.
    """

    scores: torch.Tensor
    of_blocks: torch.Tensor
    probabilities: list[torch.Tensor]

    def gradients(self, classes: torch.Tensor) -> list[torch.Tensor]:
        """Gradients (J, N, heads, T, T) of the blocks' own scores of classes (N, J) with respect to their attention."""
        picked = self.of_blocks.gather(2, classes.expand(len(self.of_blocks), -1, -1))
        return _gradients(picked.sum(0), self.probabilities)


class Transformer:
    """A network that this object owns, and its blocks of global self-attention.

    Raises:
        UserError: the network has no such blocks.
    """

    def __init__(self, net: nn.Module, score: Score, blocks: Sequence[str]) -> None:
        if not blocks:
            raise UserError(
                "the network has no blocks of self-attention over all of its tokens: expected a vision "
                "transformer (ViT, DeiT, DINOv2, BEiT, …) or another method, such as layercam"
            )
        self._score, self._blocks = score, tuple(blocks)
        self._local = threading.local()
        for number, block in enumerate(blocks):
            module = net.get_submodule(block)
            module.register_forward_pre_hook(self._before)
            module.register_forward_hook(lambda m, _, out, number=number: self._after(number, out))

    def attentions(self, images: torch.Tensor) -> Attentions:
        """Run the network, with the attention of every block in the graph."""
        found: list[torch.Tensor] = []
        with differentiable(images.device), self._catching(found):
            scores = self._score(ordinary(images))
        return Attentions(scores, found)

    def block_scores(self, images: torch.Tensor) -> BlockScores:
        """Run the network, and its final layers also on the output of each block.

        Raises:
            UserError: the final layers do not accept a larger batch.
        """
        found: list[torch.Tensor] = []
        count, size = len(self._blocks), len(images)
        with differentiable(images.device), self._catching(found):
            self._local.means = []
            try:
                scores = self._score(ordinary(images))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # only the final layers get a batch of another size
                raise UserError(_NO_END) from error
            finally:
                del self._local.means
            if len(scores) != size * (count + 1):
                raise UserError(_NO_END)
            return BlockScores(scores[:size], scores[size:].view(count, size, -1), found)

    @contextmanager
    def _catching(self, found: list[torch.Tensor]) -> Iterator[None]:
        self._local.inside = False

        def see(probabilities: torch.Tensor) -> None:
            if self._local.inside:
                found.append(probabilities)

        with AttentionMode(see):
            yield

    def _before(self, _: nn.Module, inputs: tuple[Any, ...]) -> Any:
        self._local.inside = True
        if getattr(self._local, "means", None) is None:
            return None
        return (inputs[0].detach(), *inputs[1:])

    def _after(self, number: int, output: Any) -> Any:
        self._local.inside = False
        means: list[torch.Tensor] | None = getattr(self._local, "means", None)
        if means is None:
            return None
        tokens, put_back = open_output(output)
        assert tokens is not None
        means.append(tokens.mean(1, keepdim=True).expand_as(tokens))
        return put_back(torch.cat([tokens, *means])) if number == len(self._blocks) - 1 else None


def _gradients(targets: torch.Tensor, probabilities: list[torch.Tensor]) -> list[torch.Tensor]:
    """Gradients (J, ...) of J targets per image, (N, J)."""
    found = [torch.autograd.grad(one.sum(), probabilities, retain_graph=True) for one in targets.unbind(1)]
    return [torch.stack(of_block) for of_block in zip(*found, strict=True)]
