"""One architecture of every family of torchvision and timm, with random weights, and what becomes of it.

``python tests/models/families.py [NAME ...]`` writes the table wsl/models/FAMILIES.md, or these rows of it.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import nn
from torchvision import models as torchvision_models

from wsl.errors import UserError
from wsl.models import Backbone, CamLocalizer, LazyOutput, Localizer
from wsl.models.any_network import find_scores
from wsl.models.classifiers import create_classifier
from wsl.models.grid import Grid
from wsl.models.layer_output import LayerOutput

PAGE = Path(__file__).parents[2] / "wsl" / "models" / "FAMILIES.md"

# The architecture of fewest parameters of each of timm's modules (timm 1.0.31), with a classifier if one has; those for
# timm's own tests are left out.
SMALLEST = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "mobileone_s1",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "convnext_zepto_rms",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "mobilenetv2_035",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_336",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "mambaout_femto",
    "maxxvit": "maxvit_pico_rw_256",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "nf_regnet_b0",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "resnet10t",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "vit_tiny_patch16_224",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "vit_srelpos_small_patch16_224",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}

_COLUMNS = ("family", "name", "method", "why", "layer", "map", "cells look at")
_HEAD = """# Families

What `Localizer.from_classifier(NAME)` makes of every classifier of torchvision, and of the smallest architecture of
every module of timm, with a classifier where the module has one. Written by `python tests/models/families.py`, from
networks with random weights; `make families` checks each row: maps are finite, scores are the classifier's own, and the
gradient of each cell is centred where the table says.

- **method** is the [CAM method](../cam/README.md) that "auto" takes. `cam`: scores are the mean of class maps, so that
  maps are exact. `legrad`: scores are those of a class token, which gets its evidence by attention. `layercam`:
  everything else.
- **layer** is the one that is read, by its name in `named_modules`.
- **map** is (rows x columns) at the classifier's own input size.
- **cells look at** says where the centre of cell i lies in pixels of the input. "equal parts" means that the cells
  divide the input into equal parts, so that a map can be resized to its image. In all other rows a resized map would
  be displaced; the toolkit [corrects for it](../maps/README.md#where-the-cells-of-a-map-lie).

"""


class Opened:
    """Images, a classifier with the scores that it gives them, and the model that was made of it."""

    def __init__(
        self, images: torch.Tensor, net: nn.Module, scores: torch.Tensor, model: Localizer | CamLocalizer
    ) -> None:
        self.images, self.net, self.scores, self.model = images, net, scores, model

    def rounding(self) -> float:
        """How far the classifier's own scores are from those in double precision, on this processor."""
        with torch.no_grad():
            exact = find_scores(copy.deepcopy(self.net).double()(self.images.double()))
        return float((exact - self.scores).abs().max())

    @cached_property
    def output(self) -> LazyOutput:
        return self.model.for_inference(torch.device("cpu"), torch.float32)(self.images)


class Row(NamedTuple):
    family: str
    name: str
    method: str
    why: str
    layer: str = ""
    map: str = ""
    cells: str = ""

    def __str__(self) -> str:
        return f"| {' | '.join(cell.replace('|', '/') for cell in self)} |"


def list_names() -> list[str]:
    """Every name of torchvision, and one of every module of timm, if it is there."""
    timm = [f"timm/{name}" for name in SMALLEST.values()] if importlib.util.find_spec("timm") else []
    return [*torchvision_models.list_models(module=torchvision_models), *timm]


def open_family(name: str) -> Opened:
    """The model that an architecture's name stands for, with random weights in the place of pretrained ones.

    Raises:
        UserError: there is none.
    """
    torch.manual_seed(0)
    built = create_classifier(name, "none")
    side = built.preprocessing.image_size
    # Large structures as in photographs: of noise, deep layers see the same everywhere.
    coarse, fine = (torch.randn((2, 3, one, one), generator=torch.Generator().manual_seed(1)) for one in (5, side))
    images = nn.functional.interpolate(coarse, (side, side), mode="bilinear") + 0.3 * fine
    make_lively(built.net, images)
    with torch.no_grad():
        scores = find_scores(built.net(images))
    with patch("wsl.models.from_classifier.create_classifier", return_value=built):
        return Opened(images, built.net, scores, Localizer.from_classifier(name, "none"))


@torch.no_grad()
def make_lively(net: nn.Module, images: torch.Tensor) -> None:
    """Make scores depend on the images: nothing is left at zero, nothing explodes; in evaluation afterwards."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in net.named_parameters():
        if parameter.numel() > 1 and parameter.abs().max() < 1e-2 and "bias" not in name:
            if parameter.squeeze().ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5)
            else:  # the scale of a branch
                parameter.fill_(0.5)
    net.eval()

    def calibrate(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        # The running statistics become those of these images, where there is more than one value an image.
        norm.train(inputs[0].numel() > 2 * len(images) * inputs[0].shape[1])

    hooks = []
    for norm in net.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = 1.0
            hooks.append(norm.register_forward_pre_hook(calibrate))
    if hooks:
        net(images)
    for hook in hooks:
        hook.remove()
    net.eval()


def measure_grid(opened: Opened, centre: Any) -> tuple[float, float, float]:
    """Pixels from the left edge at which a cell lies, by the grid and by the gradient, and the cells' distance.

    `centre` is that of tests/reference/gradient_centres.py. The image is wide where the network takes it, so that its
    edges are far.
    """
    model, own = opened.model, opened.images.shape[-1]
    body = model.backbone if isinstance(model, Localizer) else _read_layer(model, own)
    for height, width in ((96, 800), (own, own)):
        try:
            with torch.no_grad():
                cell = body.eval()(torch.zeros(1, 3, height, width)).shape[-1] // 2
            grid = body.grids((height, width)).map
        except (UserError, RuntimeError, AssertionError, ValueError):
            if width == own:
                raise
            continue
        if grid is not None:  # which takes two rows
            break
    assert grid is not None
    return grid.start + cell * grid.stride, centre(body, height, width, cell), grid.stride


def _read_layer(model: CamLocalizer, side: int) -> Backbone:
    return Backbone(LayerOutput(model.net, model.layers[-1], side=side), "")


def find_row(name: str, opened: Opened | None = None) -> Row:
    """What the table says of an architecture."""
    try:
        opened = opened or open_family(name)
    except UserError as error:
        return Row(find_family(name), name, "none", str(error))
    model, output = opened.model, opened.output
    rows, columns = output.maps_of(output.scores.argmax(1, keepdim=True)).shape[-2:]
    cells = _cells(output.grid, opened.images.shape[-1], columns)
    return Row(find_family(name), name, *_method(model), f"{rows} x {columns}", cells)


def find_family(name: str) -> str:
    """The module that an architecture is defined in."""
    if name.startswith("timm/"):
        return next(module for module, one in SMALLEST.items() if one == name.removeprefix("timm/"))
    return torchvision_models.get_model_builder(name).__module__.rpartition(".")[2]


def _method(model: Localizer | CamLocalizer) -> tuple[str, str, str]:
    """Method, why, and layer."""
    if isinstance(model, Localizer):
        between = "" if model.recipe.norm_eps is None else "a layer norm and "
        layer = f"`{model.recipe.layer}`" if model.recipe.layer else "what is pooled"
        return "cam", f"pooling, then {between}a linear layer", layer
    if model.method == "legrad":
        return "legrad", "a class token", f"attention of {len(model.inside.blocks)} blocks"
    why = (
        "a class token, in no form that LeGrad reads"
        if model.inside.by_class_token
        else "more than pooling and a linear layer"
    )
    return model.method, why, f"`{model.layers[-1]}`"


def _cells(grid: Grid | None, side: int, columns: int) -> str:
    if grid is None:
        return "equal parts (not followed)"
    if abs(grid.stride * columns - side) < 1 and abs(grid.start - grid.stride / 2) < 0.5:
        return "equal parts"
    return f"{grid.start:g} + {grid.stride:g} i"


def read_rows() -> dict[str, Row]:
    """The rows of the page by name."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.is_file() else []
    rows = [Row(*(cell.strip() for cell in line.strip("| ").split(" | "))) for line in lines if line.startswith("| ")]
    return {row.name: row for row in rows[2:]}


def write(names: list[str]) -> None:
    """Write the rows of these names into the page, and leave the others."""
    for name in names:
        put(find_row(name))


def put(row: Row) -> None:
    """Write one row into the page."""
    print(row, flush=True)
    rows = read_rows() | {row.name: row}
    lines = [f"| {' | '.join(_COLUMNS)} |", "| --- " * len(_COLUMNS) + "|"]
    lines += [str(rows[name]) for name in list_names() if name in rows]
    PAGE.write_text(_HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(sys.argv[1:] or list_names())
