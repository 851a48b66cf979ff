"""A network with a CAM method and layers, which makes maps for any classes of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from wsl.cam.differentiable import differentiable
from wsl.cam.forward import Activations, Network, Score
from wsl.cam.fuse import fuse
from wsl.cam.layouts import find_layout, likely_layout
from wsl.cam.layouts import to_map as to_channels_first
from wsl.cam.methods import Method
from wsl.cam.minmax import minmax
from wsl.cam.transformer import Transformer
from wsl.errors import UserError
from wsl.resampling import interpolate

# Number of gradient values held at once, 4 bytes each; further classes are computed in another part.
_HELD = 1 << 26


class Explained(NamedTuple):
    """Detached scores (N, K) of a batch, and a function from classes (N, J) to their maps (N, J, h, w).

    ``layer`` is the layer whose grid the maps use; None if the cells cover equal parts of the image.
    """

    scores: torch.Tensor
    maps_of: Callable[[torch.Tensor], torch.Tensor]
    layer: str | None = None


class Inside(NamedTuple):
    """The layers and attention blocks of a network.

    ``layers`` are the layers to read maps from, ``blocks`` those of global self-attention, ``prefix`` is the number of
    class and register tokens, and ``by_class_token`` says whether the scores are computed from the first token.
    """

    layers: Sequence[str]
    blocks: Sequence[str] = ()
    prefix: int = 0
    by_class_token: bool = False


Places = Callable[[tuple[int, int]], Mapping[str, tuple[float, float] | None]]
"""For images (height, width), the stride of the cells of each layer's map and the centre of the first cell."""


class Explainer:
    """Maps by a CAM method, computed with a network that this object owns.

    `score` runs `net` and gives the scores (N, K) of images; `probabilities` turns scores into probabilities.

    Raises:
        UserError: the network lacks what the method reads.

    >>> from wsl.cam.methods import parse_method
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> explainer = Explainer(net.requires_grad_(False), net, parse_method("layercam")[1], Inside(["0"]))
    >>> explainer(torch.randn(2, 3, 8, 8)).maps_of(torch.tensor([[0, 1], [1, 0]])).shape
    torch.Size([2, 2, 6, 6])
    """

    def __init__(
        self,
        net: nn.Module,
        score: Score,
        method: Method,
        inside: Inside,
        *,
        probabilities: Callable[[torch.Tensor], torch.Tensor] = lambda scores: scores.softmax(-1),
        places: Places = lambda size: {},
    ) -> None:
        self._net, self._score, self._method = net, score, method
        self._inside, self._probabilities, self._places = inside, probabilities, places
        self._network = Network(net, score, inside.layers, prefix=inside.prefix)
        self._transformer: Transformer | None = None
        if method.by_attention:
            self._transformer = Transformer(net, score, inside.blocks)

    def __call__(self, images: torch.Tensor) -> Explained:
        """Scores of images (N, 3, H, W), and lazy float32 maps.

        Raises:
            UserError: a layer did not run, or gives neither maps nor tokens.
        """
        if self._method.reads == "network":
            explained = self._from_network(images)
        elif self._transformer is not None:
            explained = self._from_attention(images, self._transformer)
        else:
            explained = self._from_layers(images)

        def maps_of(classes: torch.Tensor) -> torch.Tensor:
            with differentiable(images.device):
                return explained.maps_of(classes.clone())

        return explained._replace(maps_of=maps_of)

    def _from_layers(self, images: torch.Tensor) -> Explained:
        found = self._network(images)
        size = (images.shape[-2], images.shape[-1])
        finest = max(range(len(found.maps)), key=lambda number: found.maps[number][0, 0].numel())
        make = {
            "gradients": self._weigh_gradients,
            "activations": self._weigh_activations,
            "changed layer": self._change_layers,
            "masked images": self._mask_images,
            "shape": self._take_shapes,
        }[self._method.reads]

        def maps_of(classes: torch.Tensor) -> torch.Tensor:
            cells = sum(one.numel() for one in found.maps)
            parts = torch.split(classes, max(1, _HELD // max(cells, 1)), dim=1)
            return torch.cat([self._join(make(found, part), size, finest) for part in parts], 1)

        return Explained(found.scores.detach(), maps_of, self._inside.layers[finest])

    def _weigh_gradients(self, found: Activations, classes: torch.Tensor) -> list[torch.Tensor]:
        targets = self._method.targets
        wanted = found.scores.gather(1, classes) if targets is None else targets(found.scores, classes)
        gradients = found.gradients(wanted)
        with torch.no_grad():
            return [
                self._method.weigh(maps, gradient).movedim(0, 1)
                for maps, gradient in zip(found.maps, gradients, strict=True)
            ]

    def _weigh_activations(self, found: Activations, classes: torch.Tensor) -> list[torch.Tensor]:
        made = [self._method.weigh(maps) for maps in found.maps]
        return [maps[:, None].expand(-1, classes.shape[1], -1, -1) for maps in made]

    def _take_shapes(self, found: Activations, classes: torch.Tensor) -> list[torch.Tensor]:
        height, width = found.maps[0].shape[-2:]
        return [self._method.weigh(found.images, classes, (height, width))] * len(found.maps)

    def _change_layers(self, found: Activations, classes: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad():
            return [
                self._method.weigh(found.score_from(layer), maps, classes, found.scores.detach())
                for layer, maps in enumerate(found.maps)
            ]

    def _mask_images(self, found: Activations, classes: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad():
            return [self._method.weigh(self._ask, found.images, maps, classes, softmax=False) for maps in found.maps]

    def _ask(self, images: torch.Tensor) -> torch.Tensor:
        return self._probabilities(self._score(images))

    def _join(self, maps: list[torch.Tensor], size: tuple[int, int], finest: int) -> torch.Tensor:
        """The maps of several layers fused into one, on the grid of the finest."""
        if len(maps) == 1:
            return maps[0].float()
        places = self._places(size)
        grids = [places.get(layer) for layer in self._inside.layers]
        cells = maps[finest].shape[-2:]
        moved = [_moved(one.float(), grid, cells, grids[finest], size) for one, grid in zip(maps, grids, strict=True)]
        return fuse([minmax(one) for one in moved], self._method.fuse)

    def _from_attention(self, images: torch.Tensor, transformer: Transformer) -> Explained:
        run = transformer.block_scores if self._method.reads == "block gradients" else transformer.attentions
        found = run(images)

        def maps_of(classes: torch.Tensor) -> torch.Tensor:
            gradients = [] if self._method.reads == "attention" else found.gradients(classes)
            with torch.no_grad():
                tokens = self._weigh_attention(found.probabilities, gradients)
                tokens = tokens[:, None].expand(-1, classes.shape[1], -1) if tokens.ndim == 2 else tokens.movedim(0, 1)
                return self._placed(tokens, images)

        return Explained(found.scores.detach(), maps_of, self._inside.blocks[-1])

    def _weigh_attention(self, probabilities: list[torch.Tensor], gradients: list[torch.Tensor]) -> torch.Tensor:
        if self._method.reads == "block gradients":
            return self._method.weigh(gradients)
        token = 0 if self._inside.by_class_token else None
        if self._method.reads == "attention":
            return self._method.weigh(probabilities, token=token)
        return self._method.weigh(probabilities, gradients, token=token)

    def _placed(self, tokens: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Relevance of tokens (N, J, T) as maps (N, J, h, w), without class and register tokens."""
        height, width = images.shape[-2:]
        layout = find_layout((1, tokens.shape[-1], 1), (height, width), prefix=self._inside.prefix)
        if layout is None:
            raise UserError(f"{tokens.shape[-1]} tokens are not a grid of patches of images of {height} x {width}")
        return to_channels_first(tokens[..., None], layout).squeeze(-3).float()

    def _from_network(self, images: torch.Tensor) -> Explained:
        net, size = _Scored(self._net, self._score), (images.shape[-2], images.shape[-1])
        with torch.no_grad():
            scores = self._score(images)

        def to_map(term: torch.Tensor) -> torch.Tensor | None:
            layout = likely_layout(term.shape, size, self._inside.prefix)
            return None if layout is None else to_channels_first(term, layout)

        return Explained(scores, lambda classes: self._method.weigh(net, images, classes, to_map=to_map))


class _Scored(nn.Module):
    """A network whose output is its scores."""

    def __init__(self, net: nn.Module, score: Score) -> None:
        super().__init__()
        self.net, self._score = net, score

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._score(images)


def _moved(
    maps: torch.Tensor,
    grid: tuple[float, float] | None,
    cells: Sequence[int],
    finest: tuple[float, float] | None,
    size: tuple[int, int],
) -> torch.Tensor:
    """The maps of a layer resampled at the cells of another, by their positions in the image."""
    for axis, (side, old, new) in enumerate(zip(size, maps.shape[-2:], cells, strict=True)):
        stride, start = grid or (side / old, side / old / 2)
        new_stride, new_start = finest or (side / new, side / new / 2)
        first = (new_start - new_stride / 2 - start) / stride + 0.5
        matrix = interpolate(old, first, first + new * new_stride / stride, new).on(maps.device)
        maps = matrix @ maps if axis == 0 else maps @ matrix.mT
    return maps
