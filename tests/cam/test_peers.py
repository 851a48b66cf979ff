"""Agreement with captum, pytorch-grad-cam and TorchCAM; where they differ, what differs and who is right.

Five networks with random weights, on small images. Each library is skipped where it is absent.
"""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from wsl.cam.ablationcam import ablationcam
from wsl.cam.eigencam import eigencam
from wsl.cam.eigengradcam import eigengradcam
from wsl.cam.finercam import finer_targets
from wsl.cam.fullgrad import fullgrad
from wsl.cam.fuse import fuse
from wsl.cam.gradcam import gradcam
from wsl.cam.gradcampp import gradcampp
from wsl.cam.hirescam import hirescam
from wsl.cam.layercam import layercam, scale_shallow
from wsl.cam.legrad import legrad
from wsl.cam.minmax import minmax
from wsl.cam.refinecam import refinecam
from wsl.cam.scorecam import scorecam
from wsl.cam.xgradcam import xgradcam

LAYERS = {
    "resnet18": "layer4",
    "mobilenet_v2": "features",
    "squeezenet1_1": "features",
    "vgg11": "features",
    "densenet121": "features.denseblock4",  # the only one of the five with negative activations
}
NOT_NEGATIVE = [name for name in LAYERS if name != "densenet121"]
CLASSES = [1, 5]
NAMES = {
    "gradcam": ("GradCAM", gradcam),
    "hirescam": ("HiResCAM", hirescam),
    "layercam": ("LayerCAM", layercam),
    "xgradcam": ("XGradCAM", xgradcam),
    "eigengradcam": ("EigenGradCAM", eigengradcam),
    "eigencam": ("EigenCAM", lambda activations, gradients: eigencam(activations)),
}


@pytest.fixture(scope="module")
def grad_cam():
    return pytest.importorskip("pytorch_grad_cam", reason="pytorch-grad-cam is not installed")


@pytest.fixture(scope="module")
def torchcam():
    return pytest.importorskip("torchcam.methods", reason="TorchCAM is not installed")


@pytest.fixture(scope="module")
def captum():
    return pytest.importorskip("captum.attr", reason="captum is not installed")


class Case:
    """A network, images, and the activations and gradients of its layer for one class an image."""

    def __init__(self, name, side=(64, 96)):
        torch.manual_seed(0)
        # Maps of random networks have little contrast, and normalising them makes much of a rounding error.
        self.network = getattr(models, name)(weights=None).double()
        self.images = torch.randn(2, 3, *side, dtype=torch.float64)
        with torch.no_grad():
            self.network.train()(
                torch.randn(8, 3, *side, dtype=torch.float64)
            )  # otherwise mobilenet's scores are of size 1e-9
        self.network.eval()
        self.name = LAYERS[name]
        self.layer = self.network.get_submodule(self.name)
        self.activations, self.gradients, self.scores = tapped(self.network, self.layer, self.images, CLASSES)

    def peer(self, grad_cam, name):
        return run(grad_cam, getattr(grad_cam, name), self.network, [self.layer], self.images, CLASSES)

    def torchcam(self, method, layer=None):
        with method(self.network, layer or self.name) as cam:
            (maps,) = cam(CLASSES, self.network(self.images))
        return maps


CASES = {}


@pytest.fixture
def case(request):
    name = getattr(request, "param", "resnet18")
    if name not in CASES:
        CASES[name] = Case(name)
    return CASES[name]


def tapped(network, layer, images, classes):
    """Activations before whatever overwrites them, gradients, and scores."""
    kept = []

    def keep(module, inputs, output):
        kept.append(output)
        return output * 1

    handle = layer.register_forward_hook(keep)
    scores = network(images)
    handle.remove()
    (gradients,) = torch.autograd.grad(scores.gather(1, torch.tensor(classes)[:, None]).sum(), kept)
    return kept[0].detach(), gradients, scores.detach()


def run(grad_cam, method, network, layers, images, classes, **options):
    targets = [grad_cam.utils.model_targets.ClassifierOutputTarget(index) for index in classes]
    with method(model=network, target_layers=layers, **options) as cam:
        return cam(input_tensor=images.clone(), targets=targets)


def as_grad_cam(maps, size=(96, 64)):
    """Its pipeline: rectified, normalised, resized, averaged over one layer, normalised."""
    return stretched(stretched(np.maximum(maps.numpy(), 0), size))


def stretched(maps, size=None):
    result = []
    for one in maps:
        one = one - one.min()
        one = np.float32(one / (1e-7 + one.max()))
        result.append(one if size is None else cv2.resize(one, size))
    return np.stack(result)


def as_torchcam(maps):
    maps = maps.relu() - maps.relu().amin((1, 2), keepdim=True)
    return maps / (maps.amax((1, 2), keepdim=True) + 1e-8)


@pytest.mark.parametrize("case", LAYERS, indirect=True)
def test_captum_agrees_on_gradcam(case, captum):
    """Without ReLU, its default."""
    theirs = captum.LayerGradCam(case.network, case.layer).attribute(case.images, torch.tensor(CLASSES))
    ours = gradcam(case.activations, case.gradients, relu=False)
    torch.testing.assert_close(ours, theirs[:, 0].detach(), rtol=1e-5, atol=1e-5 * float(ours.abs().max()))


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "layercam"])
@pytest.mark.parametrize("case", LAYERS, indirect=True)
def test_grad_cam_agrees(case, name, grad_cam):
    theirs, ours = NAMES[name]
    maps = as_grad_cam(ours(case.activations, case.gradients))
    np.testing.assert_allclose(maps, case.peer(grad_cam, theirs), atol=1e-5)


@pytest.mark.parametrize("name", ["gradcam", "layercam"])
@pytest.mark.parametrize("case", LAYERS, indirect=True)
def test_torchcam_agrees(case, name, torchcam):
    theirs, ours = NAMES[name]
    expected = case.torchcam(getattr(torchcam, theirs))
    torch.testing.assert_close(as_torchcam(ours(case.activations, case.gradients)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", NOT_NEGATIVE, indirect=True)
def test_both_agree_on_xgradcam_where_activations_are_not_negative(case, grad_cam, torchcam):
    ours = xgradcam(case.activations, case.gradients)
    np.testing.assert_allclose(as_grad_cam(ours), case.peer(grad_cam, "XGradCAM"), atol=1e-5)
    torch.testing.assert_close(as_torchcam(ours), case.torchcam(torchcam.XGradCAM), rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["densenet121"], indirect=True)
def test_their_xgradcam_is_no_mean_of_gradients_where_activations_are_negative(case, grad_cam, torchcam):
    """Sums of both signs cancel in the denominator. A mean, as ours, stays in the range of what it is a mean of."""
    activations, gradients = case.activations, case.gradients
    highest = gradients.abs().amax((2, 3))
    theirs = grad_cam.XGradCAM.get_cam_weights(None, None, None, None, activations.numpy(), gradients.numpy())
    assert (torch.tensor(theirs).abs() > 10 * highest).any()
    totals = activations.sum((2, 3)) + 1e-8
    expected = torch.einsum("nc,nchw->nhw", (gradients * activations).sum((2, 3)) / totals, activations)
    torch.testing.assert_close(case.torchcam(torchcam.XGradCAM), as_torchcam(expected), rtol=0, atol=1e-3)
    sizes = activations.abs()
    ours = (gradients * sizes).sum((2, 3)) / sizes.sum((2, 3))
    assert (ours.abs() <= 1.0001 * highest).all()
    expected = torch.einsum("nc,nchw->nhw", ours, activations)
    torch.testing.assert_close(xgradcam(activations, gradients, relu=False), expected)


@pytest.mark.parametrize("name", ["eigencam", "eigengradcam"])
@pytest.mark.parametrize("case", LAYERS, indirect=True)
def test_grad_cam_agrees_on_principal_components_up_to_their_sign(case, name, grad_cam):
    theirs, ours = NAMES[name]
    maps = ours(case.activations, case.gradients)
    for one, expected in zip(maps, case.peer(grad_cam, theirs), strict=True):
        errors = [np.abs(as_grad_cam(sign * one[None])[0] - expected).max() for sign in (1, -1)]
        assert min(errors) < 1e-5


def test_the_sign_of_their_principal_component_is_arbitrary(grad_cam):
    """A bright object before a flat background: theirs is negative there in some of these images, ours in none."""
    signs = []
    for seed in range(32):
        activations = 0.1 * torch.randn(1, 6, 5, 5, generator=torch.Generator().manual_seed(seed))
        activations[0, :, 2, 3] += 3 * torch.randn(6, generator=torch.Generator().manual_seed(100 + seed))
        theirs = grad_cam.utils.svd_on_activations.get_2d_projection(activations.numpy())
        signs.append(theirs[0, 2, 3] > 0)
        assert eigencam(activations)[0, 2, 3] > 0
        torch.testing.assert_close(eigencam(activations).abs(), torch.tensor(theirs).abs(), rtol=1e-3, atol=1e-5)
    assert set(signs) == {True, False}


@pytest.mark.parametrize("case", NOT_NEGATIVE, indirect=True)
def test_their_gradcampp_depends_on_the_unit_of_the_activations(case, grad_cam):
    """The same network with activations in another unit has the same map: theirs only without its 1e-6."""

    def theirs(unit):
        activations, gradients = case.activations.double() / unit, case.gradients.double() * unit
        weights = grad_cam.GradCAMPlusPlus.get_cam_weights(
            None, None, None, None, activations.numpy(), gradients.numpy()
        )
        return minmax(torch.einsum("nc,nchw->nhw", torch.tensor(weights), activations))

    ours = minmax(gradcampp(case.activations.double(), case.gradients.double()))
    torch.testing.assert_close(minmax(gradcampp(case.activations.double() / 1e5, case.gradients.double() * 1e5)), ours)
    torch.testing.assert_close(theirs(1e5), ours, rtol=0, atol=1e-5)
    assert (theirs(1) - ours).abs().max() > 1e-3
    np.testing.assert_allclose(as_grad_cam(theirs(1)), case.peer(grad_cam, "GradCAMPlusPlus"), atol=1e-4)


@pytest.mark.parametrize("case", NOT_NEGATIVE, indirect=True)
def test_the_gradcampp_of_torchcam_never_divides(case, torchcam, reference):
    """Its in-place division is of a copy: weights are sums of g^2 [g]+. Ours are those of the paper's equation 19."""
    activations, gradients = case.activations, case.gradients
    undivided = torch.einsum("nc,nchw->nhw", (gradients**2 * gradients.relu()).sum((2, 3)), activations)
    theirs = case.torchcam(torchcam.GradCAMpp)
    torch.testing.assert_close(theirs, as_torchcam(undivided), rtol=0, atol=1e-4)
    ours = gradcampp(activations.double(), gradients.double())
    for image in range(2):
        expected = reference.cams.gradcampp(activations[image].tolist(), gradients[image].tolist())
        torch.testing.assert_close(ours[image], torch.tensor(expected).double())
    assert (as_torchcam(ours) - theirs).abs().max() > 1e-2


def test_an_activation_in_place_reaches_what_they_have_kept(grad_cam, torchcam):
    """DenseNet rectifies the output of its last normalisation in place, after the hooks have kept it.

    On a CPU pytorch-grad-cam multiplies rectified activations with the gradients of those before; on a GPU it has made
    a copy by then. TorchCAM has both of the rectified ones.
    """
    case = CASES.setdefault("densenet121", Case("densenet121"))
    network, layer = case.network, case.network.features.norm5
    activations, gradients, _ = tapped(network, layer, case.images, CLASSES)
    assert activations.min() < 0
    theirs = run(grad_cam, grad_cam.HiResCAM, network, [layer], case.images, CLASSES)
    np.testing.assert_allclose(as_grad_cam(hirescam(activations.relu(), gradients)), theirs, atol=1e-5)
    kept = case.torchcam(torchcam.GradCAM, "features.norm5")
    after = network.classifier.weight[CLASSES].detach()
    torch.testing.assert_close(
        kept, as_torchcam(torch.einsum("nc,nchw->nhw", after, activations.relu())), rtol=0, atol=1e-5
    )
    assert (as_torchcam(gradcam(activations, gradients)) - kept).abs().max() > 1e-2


def test_three_definitions_of_scorecam(grad_cam, torchcam, reference):
    """Ours is that of the authors' code. pytorch-grad-cam aligns corners, and both take softmaxes over channels."""
    case = Case("resnet18", side=(24, 32))
    network, layer, image = case.network, case.network.layer1, case.images[:1]
    activations = tapped(network, layer, image, CLASSES[:1])[0]

    @torch.no_grad()
    def score(x):
        return network(x)

    def follows(**options):
        cells = reference.cams.scorecam(score, image[0], activations[0].tolist(), CLASSES[0], **options)
        return torch.tensor([cells], dtype=torch.float64)

    ours = scorecam(score, image, activations, torch.tensor([CLASSES[:1]]))[:, 0]
    torch.testing.assert_close(ours, follows())
    theirs = run(grad_cam, grad_cam.ScoreCAM, network, [layer], image, CLASSES[:1])
    expected = as_grad_cam(follows(align_corners=True, across_channels=True), (32, 24))
    np.testing.assert_allclose(expected, theirs, atol=1e-5)
    for maps in (ours, follows(across_channels=True)):  # each of the two makes a difference
        assert np.abs(as_grad_cam(maps, (32, 24)) - theirs).max() > 1e-4
    masks = F.interpolate(minmax(activations), (24, 32), mode="bilinear", align_corners=False)
    raw = score(image * masks[0, :, None])[:, CLASSES[0]]
    with torchcam.ScoreCAM(network, "layer1") as cam:
        network(image)
        (theirs,) = cam(CLASSES[:1])
    expected = as_torchcam(torch.einsum("c,nchw->nhw", raw.softmax(0), activations))
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-5)
    assert (as_torchcam(ours) - theirs).abs().max() > 1e-3


@pytest.mark.parametrize("case", ["resnet18", "mobilenet_v2"], indirect=True)
def test_their_ablationcam_of_a_negative_score_is_upside_down(case, grad_cam):
    """It divides the drop by the score; for positive scores that changes nothing."""
    last = case.network.fc if hasattr(case.network, "fc") else case.network.classifier
    network = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last).eval()
    scores = network(case.activations).detach()
    assert (scores.amin(1) < 0).all()
    for classes, sign in ((scores.argmax(1), 1), (scores.argmin(1), -1)):
        ours = ablationcam(lambda changed, _: network(changed), case.activations, classes[:, None], scores, relu=False)
        theirs = run(grad_cam, grad_cam.AblationCAM, network, [network[0]], case.activations, classes.tolist())
        np.testing.assert_allclose(as_grad_cam(sign * ours[:, 0], (3, 2)), theirs, atol=1e-4)


def test_their_ablation_fills_grow_with_the_rows_of_a_batch(grad_cam):
    """Where activations are negative, each row is filled with the lowest fill so far minus 1e7. Ours is zero."""
    activations = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    layer = grad_cam.ablation_layer.AblationLayer()
    layer.indices = np.arange(4)
    layer.set_next_batch(0, activations, 4)
    theirs = layer(None)
    fills = [float(theirs[row, row].mean()) for row in range(4)]
    np.testing.assert_allclose(fills, [-1e7, -2e7, -3e7, -4e7], rtol=1e-6)
    seen = []

    def head(changed, rows):
        seen.extend(float(changed[row, row].abs().max()) for row in range(4))
        return changed.sum((2, 3))

    ablationcam(head, activations, torch.tensor([[0]]), activations.sum((2, 3)))
    assert seen == [0, 0, 0, 0]


class TwoBiases(nn.Module):
    """One channel adds much at the left of the image, the other a thousandth of it at the right."""

    def __init__(self, order=("first", "second")):
        super().__init__()
        for name in order:
            self.add_module(name, nn.Conv2d(2, 2, 1))
        nn.init.zeros_(self.first.bias)
        self.second.bias.data = torch.tensor([1.0, 1e-3])
        for layer in (self.first, self.second):
            layer.weight.data = torch.eye(2)[:, :, None, None]
        places = torch.zeros(1, 2, 8, 8)
        places[0, 0, 4, 1] = places[0, 1, 4, 6] = 1
        self.register_buffer("places", places)

    def forward(self, images):
        return (self.second(self.first(images)) * self.places).sum((1, 2, 3)).unsqueeze(1)


def test_their_fullgrad_normalises_each_channel(grad_cam):
    """A bias of a thousandth counts as much as the largest: the authors' code, as ours, normalises a layer at once."""
    network, images = TwoBiases().eval(), torch.zeros(1, 2, 8, 8)
    theirs = run(grad_cam, grad_cam.FullGrad, network, [], images, [0])
    assert theirs[0, 4, 1] == pytest.approx(theirs[0, 4, 6], rel=1e-3)
    ours = fullgrad(network, images, torch.tensor([[0]]))[0, 0]
    assert float(ours[4, 6]) == pytest.approx(1e-3 * float(ours[4, 1]), rel=1e-5)


def test_their_fullgrad_pairs_biases_by_registration(grad_cam):
    """Two networks that compute the same have the same map, whichever layer was made first: ours, not theirs."""
    images = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    networks = [TwoBiases(order).eval() for order in (("first", "second"), ("second", "first"))]
    for network in networks:
        network.second.weight.data *= 3
        network.first.bias.data = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(networks[0](images), networks[1](images))
    ours = [fullgrad(network, images, torch.tensor([[0]])) for network in networks]
    torch.testing.assert_close(ours[0], ours[1])
    full = grad_cam.FullGrad
    order = [[float(bias[1]) for bias in full(network, []).bias_data] for network in networks]
    assert order[0] == pytest.approx([1, 1e-3])
    assert order[1] == pytest.approx([1e-3, 1])  # the gradients of the layers come as they were called, both times


def test_torchcam_agrees_on_finercam(torchcam, case):
    """With the plain mean of the references and 0.6 of it."""
    scores = case.network(case.images)
    with torchcam.FinerCAM(case.network, "layer4", base_method=torchcam.GradCAM) as cam:
        (expected,) = cam(CLASSES, case.network(case.images))
    kept = []
    handle = case.layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    scores = case.network(case.images)
    handle.remove()
    targets = finer_targets(scores, torch.tensor(CLASSES)[:, None], alpha=0.6, weights="uniform")
    (gradients,) = torch.autograd.grad(targets.sum(), kept)
    torch.testing.assert_close(as_torchcam(gradcam(kept[0].detach(), gradients)), expected, rtol=0, atol=1e-5)


def test_their_finer_weights_are_differentiated(grad_cam):
    """The same value as ours; its gradient pushes references apart whose difference is no part of the target."""
    scores = torch.tensor([[2.0, 1.5, 1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    theirs = grad_cam.utils.model_targets.FinerWeightedTarget(0, [1, 2], 1.0)(scores[0])
    ours = finer_targets(scores, torch.tensor([[0]]), references=2)[0, 0]
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    (theirs,), (ours,) = (torch.autograd.grad(target, scores)[0] for target in (theirs, ours))
    shares = scores[0, 1:3].softmax(0).detach()
    torch.testing.assert_close(ours, torch.tensor([1, -shares[0], -shares[1], 0], dtype=torch.float64))
    extra = shares[0] * shares[1] * 0.5  # p_1 p_2 (y_2 - y_1), with the other sign for the other
    assert float(theirs[1] - ours[1]) == pytest.approx(-float(extra), rel=1e-6)
    assert float(theirs[2] - ours[2]) == pytest.approx(float(extra), rel=1e-6)


def test_in_a_tie_their_finercam_maps_another_class(grad_cam):
    network = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.register_parameter("device", nn.Parameter(torch.zeros(1)))
    images = torch.zeros(1, 3, 4, 4)
    images[0, 0, 0, 0] = images[0, 1, 3, 3] = 1  # classes 0 and 1 have one score, at opposite corners
    images[0, 2] = -1
    images.requires_grad_()
    with grad_cam.FinerCAM(network, [network[0]]) as cam:
        theirs = cam(images, target_idx=1)[0]
    assert theirs[0, 0] > theirs[3, 3]
    scores = network(images)
    (gradients,) = torch.autograd.grad(finer_targets(scores, torch.tensor([[1]])).sum(), images)
    ours = gradcam(images.detach(), gradients, relu=False)[0]
    assert ours[3, 3] > ours[0, 0]


def test_torchcam_agrees_on_refinecam(torchcam, case):
    names = ["layer4.0", "layer4.1"]
    with torchcam.RefineCAM(case.network, names, base_method=torchcam.LayerCAM) as cam:
        (expected,) = cam(CLASSES, case.network(case.images))
    layers = [tapped(case.network, case.network.get_submodule(name), case.images, CLASSES)[:2] for name in names]
    ours = refinecam([layercam(*layer) for layer in layers])
    torch.testing.assert_close(minmax(ours), expected, rtol=0, atol=1e-5)


def test_torchcam_scales_deep_layers_too(torchcam):
    """The paper's tanh is for shallow layers, and of their share of the maximum."""
    deep, shallow = (torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    theirs = torchcam.LayerCAM.fuse_cams([deep, shallow])
    torch.testing.assert_close(theirs, torch.tanh(2 * torch.maximum(deep, shallow)))
    ours = fuse([deep, scale_shallow(shallow)])
    expected = torch.maximum(deep, torch.tanh(2 * shallow / shallow.amax((1, 2), keepdim=True)))
    torch.testing.assert_close(ours, expected)


def test_torchcam_agrees_on_legrad_up_to_the_number_of_blocks(torchcam):
    torch.manual_seed(0)
    network = models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=6
    ).eval()
    nn.init.normal_(network.heads.head.weight)
    images = torch.randn(2, 3, 32, 32)
    blocks = [f"encoder.layers.encoder_layer_{index}" for index in range(3)]
    with torchcam.LeGrad(network, blocks) as cam:
        network(images)
        attentions, scores = list(cam.hook_attn), list(cam.hook_a)
        (expected,) = cam(CLASSES, normalized=False, retain_graph=True)
    chosen = torch.tensor(CLASSES)[:, None]
    gradients = [
        torch.autograd.grad(score.gather(1, chosen).sum(), attention, retain_graph=True)[0]
        for score, attention in zip(scores, attentions, strict=True)
    ]
    ours = legrad(gradients)[:, 1:].unflatten(1, (4, 4))
    torch.testing.assert_close(ours / 3, expected)
