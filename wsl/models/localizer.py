"""The model: a backbone, and a head that gives class scores together with class maps."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from heads import AdversarialClassifier, HeadOutput, MapClassifier, TokenClassifier, replace_pooling
from wsl.checkpoints import FILE_NAME, Recipe
from wsl.config import Padding, Preprocessing
from wsl.config.checks import checks_keywords
from wsl.errors import UserError
from wsl.models.backbone import Backbone, create_backbone
from wsl.models.class_attention import attended, check_class_token
from wsl.models.classifier_heads import NormedMapClassifier, RectifiedMapClassifier
from wsl.models.classifiers import create_classifier
from wsl.models.create_head import check_specs, create_head
from wsl.models.decoder import MapDecoder
from wsl.models.detector import BoxDetector
from wsl.models.gradient_head import GradientHead
from wsl.models.grid import Grid
from wsl.models.inference import InferenceLocalizer
from wsl.models.layer_output import LayerOutput
from wsl.models.padding import pad_as_tensorflow
from wsl.models.probe import LinearProbe
from wsl.models.protocol import class_names, to_probabilities
from wsl.models.ready import ReadyCopies
from wsl.models.timm_models import refuse_place

if TYPE_CHECKING:
    from wsl.models.cam_localizer import CamLocalizer


class Localizer(nn.Module):
    """A backbone and a pooling head: images to class scores and class activation maps.

    `backbone` is a torchvision name, ``timm/NAME``, ``tinynet``, or a module that gives feature maps. `pooling` is a
    spec string from `heads.list_poolings`, or from `heads.list_encoders`, with which maps are gradient maps in
    evaluation and empty in training. `head` is ``ts-cam`` or ``scm`` (`heads.TokenClassifier`) for a vision transformer
    with a class token, whose attention is multiplied with the maps in evaluation; or ``acol(threshold=0.7)``
    (`heads.AdversarialClassifier`) for any backbone. `downsampling` is one of `heads.list_downsamplings` and replaces
    the backbone's max and average pools (`heads.replace_pooling`); `neck` is one of `heads.list_necks`, between
    backbone and head. `weights` are those of the backbone: ``DEFAULT``, a local file, or ``none``; `padding`
    "tensorflow" is for weights trained in TensorFlow (`pad_as_tensorflow`). `multi_label` says whether scores become
    probabilities by sigmoids or by one softmax.

    Shape:
        (N, 3, H, W) normalised images to scores (N, K) and maps (N, K, h, w).

    Raises:
        UserError: a name is unknown, weights do not fit, or the backbone has no feature maps.

    >>> model = Localizer("tinynet", classes=["cat", "dog"], pooling="lse(beta=4)", weights="none").eval()
    >>> scores, maps = model(torch.zeros(1, 3, 64, 64))
    >>> scores.shape, maps.shape
    (torch.Size([1, 2]), torch.Size([1, 2, 8, 8]))
    """

    @checks_keywords
    def __init__(
        self,
        backbone: str | nn.Module = "resnet50",
        num_classes: int | None = None,
        *,
        pooling: str = "gap",
        head: str | None = None,
        neck: str | None = None,
        maps_per_class: int = 1,
        weights: str | None = "DEFAULT",
        output_stride: int | None = None,
        padding: Padding = "own",
        downsampling: str | None = None,
        classes: Sequence[str] = (),
        preprocessing: Preprocessing | None = None,
        multi_label: bool = True,
    ) -> None:
        super().__init__()
        self._ready: ReadyCopies[InferenceLocalizer] = ReadyCopies()
        if not classes and num_classes is None:
            raise UserError("neither classes nor num_classes given: expected the class names or their number")
        classes = class_names(classes, len(classes) if num_classes is None else num_classes)
        check_specs(pooling, head, neck, downsampling)  # now rather than after a download
        if isinstance(backbone, str):
            backbone = create_backbone(backbone, weights or "none", output_stride)
        elif not isinstance(backbone, Backbone):
            backbone = Backbone(backbone, "")
        if padding == "tensorflow":
            backbone = pad_as_tensorflow(backbone)
        if downsampling is not None:
            backbone = _downsample(backbone, downsampling)
        self.backbone = backbone
        self.head: MapClassifier | AdversarialClassifier | GradientHead = create_head(
            backbone.out_channels, len(classes), head=head, pooling=pooling, neck=neck, maps_per_class=maps_per_class
        ).to(backbone.device)
        self.decoder: MapDecoder | None = None
        self.detector: BoxDetector | None = None
        if head is not None and isinstance(self.head, TokenClassifier):
            check_class_token(backbone, head)
        self.probe: LinearProbe | None = None
        self.recipe = Recipe(
            backbone=backbone.name,
            pooling=pooling,
            head=head,
            classes=classes,
            preprocessing=preprocessing or Preprocessing(),
            neck=neck,
            maps_per_class=maps_per_class,
            output_stride=output_stride,
            padding=padding,
            downsampling=downsampling,
            multi_label=multi_label,
        )

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Localizer:
        """An untrained model with this recipe, into which a checkpoint can be loaded.

        Raises:
            UserError: a name in the recipe is unknown, or its backbone is a download location.
        """
        refuse_place(recipe.backbone)
        backbone: str | Backbone = recipe.backbone
        if recipe.layer:
            net = create_classifier(recipe.backbone, "none", num_classes=len(recipe.classes)).net
            side = recipe.preprocessing.image_size
            backbone = Backbone(LayerOutput(net, recipe.layer, side=side), recipe.backbone)
        model = cls(
            backbone,
            pooling=recipe.pooling,
            head=recipe.head,
            neck=recipe.neck,
            maps_per_class=recipe.maps_per_class,
            weights="none",
            output_stride=recipe.output_stride,
            padding=recipe.padding,
            downsampling=recipe.downsampling,
            classes=recipe.classes,
            preprocessing=recipe.preprocessing,
            multi_label=recipe.multi_label,
        )
        if recipe.rectified:
            model.rectify()
        if recipe.layer:
            model.read_layer(recipe.layer, recipe.norm_eps)
        if recipe.reactivated:
            model.add_reactivation()
        if recipe.decoder is not None:
            model.backbone.pyramid = recipe.decoder
            model.add_decoder()
        if recipe.detector:
            model.add_detector()
        if recipe.probe is not None:
            model.add_probe(recipe.probe)
        return model

    @classmethod
    @checks_keywords
    def from_classifier(
        cls,
        classifier: str | Path | nn.Module,
        weights: str | Path | None = "DEFAULT",
        *,
        method: str = "auto",
        layers: Sequence[str] = (),
        output_stride: int | None = None,
        classes: Sequence[str] = (),
        preprocessing: Preprocessing | None = None,
        output: str | int | None = None,
        forward: Callable[[Any, torch.Tensor], Any] | None = None,
    ) -> Localizer | CamLocalizer:
        """Any trained classifier as a localizer, without training: scores are unchanged, and class maps explain them.

        `classifier` is a torchvision name, ``timm/NAME``, ``hf/NAME``, the file of the weights of such a classifier
        (recognised by its tensors), or any module that gives scores of images; a module is copied. If the scores are
        the mean of class maps (global average pooling, an optional layer norm, and layers equivalent to one linear
        layer), the result is a `Localizer` with these maps (CAM, Zhou et al. 2016). Otherwise it is a `CamLocalizer`,
        which makes maps by a CAM method from gradients or attention.

        `method` "auto" makes this choice, "cam" requires the classifier's own class maps, and any other name in
        `wsl.cam.list_methods` selects that method. `layers` are the layers it reads. `weights` of a named classifier
        are ``DEFAULT``, a local file, or ``none``. `output_stride` dilates the last stages for finer maps. `output` and
        `forward` say how to get the scores of a module, see `CamLocalizer`.

        Raises:
            UserError: a name, method or layer is unknown, the network has no spatial layer, or, with "cam", its scores
                are not the mean of class maps; the message says what was found.

        >>> from torchvision.models import mobilenet_v3_small, resnet18
        >>> Localizer.from_classifier(resnet18()).head.pooling
        gap
        >>> Localizer.from_classifier(mobilenet_v3_small()).method
        'layercam'
        """
        # Imported here, because that module imports this one.
        from wsl.models.from_classifier import from_classifier

        return from_classifier(
            classifier,
            weights,
            method=method,
            layers=layers,
            output_stride=output_stride,
            classes=classes,
            preprocessing=preprocessing,
            output=output,
            forward=forward,
        )

    def save(self, path: str | Path) -> Path:
        """Write the model to a ``.safetensors`` file, or as ``model.safetensors`` into a folder, and return the path.

        `wsl.load` reads both. An existing file is replaced atomically.

        Raises:
            UserError: the backbone is a module without a name to rebuild it from.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Localizer("tinynet", 2, weights="none").save(folder).name
        'model.safetensors'
        """
        from wsl.models.checkpoint import save  # which imports this module

        path = Path(path)
        file = path if path.suffix == ".safetensors" else path / FILE_NAME
        file.parent.mkdir(parents=True, exist_ok=True)
        save(self, file)
        return file

    def push_to_hub(
        self, name: str, *, private: bool | None = None, revision: str | None = None, token: str | None = None
    ) -> str:
        """Upload the model to the Hugging Face hub as ``user/model``, and return the address for `wsl.load`.

        The repository gets ``model.safetensors`` and a README.md. It is created if it does not exist, as a private one
        with `private`. `revision` is the branch to write, by default the main one. `token` is by default that of the
        hub's client (``hf auth login``).

        Raises:
            UserError: the name is not that of a repository, huggingface_hub is not installed, or the model cannot be
                saved.
            RunError: the hub refused the upload, or cannot be reached.
        """
        from wsl.models.publish import push_to_hub  # which imports this module

        return push_to_hub(self, name, private=private, revision=revision, token=token)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""
        return self.recipe.classes

    def grid(self, size: tuple[int, int]) -> Grid | None:
        """The positions of the maps' cells in an input of (height, width); None if they are not known."""
        return self.backbone.grids(size).map

    @property
    def levels(self) -> int:
        """The number of levels of intermediate features that a refinement can read."""
        return len(self.backbone.taps)

    @property
    def decodes(self) -> bool:
        """Whether the model has a map decoder."""
        return self.decoder is not None

    @property
    def detects(self) -> bool:
        """Whether the model has a box detector beside its map decoder."""
        return self.detector is not None

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing that the images must have gone through."""
        return self.recipe.preprocessing

    def forward(self, images: torch.Tensor) -> HeadOutput:
        """Class scores (those of the probe if there is one) and class maps of a batch of normalised images."""
        features, attention = self.encode(images)
        output = self.classify(features, attention)
        return output if self.probe is None else output._replace(scores=self.probe(features))

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The backbone's features, and the attention of a class token if the head reads it."""
        if isinstance(self.head, TokenClassifier) and self.head.needs_attention:
            return attended(self.backbone, images)
        return self.backbone(images), None

    def classify(self, features: torch.Tensor, attention: torch.Tensor | None = None) -> HeadOutput:
        """The head's scores and class maps of features."""
        output: HeadOutput = self.head(features) if attention is None else self.head(features, attention)
        return output

    def for_inference(self, device: torch.device, dtype: torch.dtype) -> InferenceLocalizer:
        """A copy of the model prepared for inference on a device and in a precision; the model is not changed.

        The copy is cached until a weight changes. Changes through ``Tensor.data`` are not noticed: make them under
        `torch.no_grad` on the parameter itself. Neither are steps of fused optimizers: call
        `torch.autograd.graph.increment_version` on the parameters afterwards.

        >>> model = Localizer("tinynet", 20, pooling="netvlad(clusters=4)", weights="none")
        >>> output = model.for_inference(torch.device("cpu"), torch.float32)(torch.zeros(2, 3, 64, 64))
        >>> output.maps_of(torch.tensor([[3, 7], [0, 1]])).shape
        torch.Size([2, 2, 8, 8])
        """
        return self._ready.get(self, device, dtype, lambda: InferenceLocalizer(self, device, dtype))

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""
        return to_probabilities(scores, multi_label=self.recipe.multi_label)

    def rectify(self) -> None:
        """Insert a ReLU between the maps and the pooling."""
        self._replace_head(RectifiedMapClassifier(self.backbone.out_channels, len(self.classes), self.recipe.pooling))
        self.recipe = dataclasses.replace(self.recipe, rectified=True)

    def read_layer(self, layer: str, norm_eps: float | None) -> None:
        """Record that the backbone is a layer of a whole classifier, with or without a layer norm after the pooling."""
        if norm_eps is not None:
            head = NormedMapClassifier(self.backbone.out_channels, len(self.classes), self.recipe.pooling, norm_eps)
            self._replace_head(head)
        self.recipe = dataclasses.replace(self.recipe, layer=layer, norm_eps=norm_eps)

    def add_decoder(self) -> MapDecoder:
        """Give the model a new, untrained map decoder, replacing an existing one."""
        decoder = MapDecoder([shape[0] for shape in self.backbone.level_shapes()], len(self.classes))
        self.decoder = decoder.to(self.backbone.device)
        self.recipe = dataclasses.replace(self.recipe, decoder=self.backbone.pyramid)
        return decoder

    def add_detector(self) -> BoxDetector:
        """Give the model a new, untrained box detector, replacing an existing one."""
        detector = BoxDetector([shape[0] for shape in self.backbone.level_shapes()], len(self.classes))
        self.detector = detector.to(self.backbone.device)
        self.recipe = dataclasses.replace(self.recipe, detector=True)
        return detector

    def add_probe(self, posteriors: int = 0) -> LinearProbe:
        """Give the model a new, untrained linear probe for its scores; the maps remain those of the head."""
        probe = LinearProbe(self.backbone.out_channels, len(self.classes), posteriors)
        self.probe = probe.to(self.backbone.device)
        self.recipe = dataclasses.replace(self.recipe, probe=posteriors)
        return probe

    def add_reactivation(self) -> nn.Parameter:
        """Add the weights of a second classifier to the head, for its maps in evaluation (ReCAM), and return them.

        Raises:
            UserError: the head is not a single 1x1 convolution of the features.
        """
        if type(self.head) is not MapClassifier:
            raise UserError(f"head {self.recipe.head or self.recipe.pooling} has no maps of a 1x1 convolution")
        try:
            weight = self.head.add_reactivation()
        except ValueError as error:
            raise UserError(str(error)) from error
        self.recipe = dataclasses.replace(self.recipe, reactivated=True)
        return weight

    def _replace_head(self, head: MapClassifier) -> None:
        head.load_state_dict(self.head.state_dict(), strict=False)
        self.head = head.to(self.backbone.device)


def _downsample(backbone: Backbone, downsampling: str) -> Backbone:
    """The same backbone with other poolings inside."""
    net = copy.deepcopy(backbone.net)  # a copy, so that the caller's network is not changed
    try:
        replaced = replace_pooling(net, downsampling)
        downsampled = Backbone(net, backbone.name, backbone.dilated)
        # Some poolings refuse their inputs, such as negative values: better now than in the first step.
        noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            downsampled(noise)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    if not replaced:
        raise UserError(
            f"downsampling {downsampling!r}: {backbone.name or type(net).__name__} has no pooling layer of that kind, "
            "expected a backbone with some (resnet50, densenet121, vgg16, squeezenet1_1, …), or None"
        )
    return downsampled
