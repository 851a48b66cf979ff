"""Any classifier gives maps: whatever it is built of, whatever it gives, and it stays as it was."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import wsl
from wsl.config import Preprocessing
from wsl.errors import RunError, UserError
from wsl.models import CamLocalizer, Localizer

SMALL = Preprocessing(image_size=32)
CPU = torch.device("cpu")


class Net(nn.Module):
    """Two convolutions, and two linear layers behind a pooling: no class maps of its own."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1)
        self.act = nn.ReLU(inplace=inplace)
        self.hidden, self.last = nn.Linear(12, 16), nn.Linear(16, 4)

    def features(self, x):
        return self.act(self.conv2(self.act(self.conv1(x))))

    def forward(self, x):
        return self.last(self.hidden(self.features(x).mean((2, 3))).relu())


def build(kind=Net, **settings) -> nn.Module:
    torch.manual_seed(0)
    return kind(**settings).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def by_hand(net: Net, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """LayerCAM of the last activation, each image and class by itself."""
    rows = []
    for image, wanted in zip(images, classes, strict=True):
        features = net.features(image[None]).detach().requires_grad_()
        scores = net.last(net.hidden(features.mean((2, 3))).relu())[0]
        gradients = [torch.autograd.grad(scores[c], features, retain_graph=True)[0] for c in wanted.tolist()]
        rows.append(torch.cat([(g.relu() * features).sum(1) for g in gradients]))
    return torch.stack(rows).detach()


@pytest.mark.parametrize("inplace", [False, True])
def test_maps_of_other_classes_in_each_image_in_one_batch(images, inplace):
    net = build(inplace=inplace)
    model = CamLocalizer(net, preprocessing=SMALL)
    classes = torch.tensor([[0, 3], [2, 1], [1, 1]])
    output = model.for_inference(CPU, torch.float32)(images)
    torch.testing.assert_close(output.scores, net(images).detach())
    torch.testing.assert_close(output.maps_of(classes), by_hand(net, images, classes), rtol=1e-4, atol=1e-6)
    assert (model.method, model.layers) == ("layercam", ("act",))
    assert output.grid == (4.0, 0.5)


class Own(torch.autograd.Function):
    """ReLU by somebody who computes its gradient in NumPy."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return torch.from_numpy(gradient.numpy() * (x.numpy() > 0))  # of one pass alone


class Attending(Net):
    """With self-attention behind the last activation."""

    def forward(self, x):
        tokens = self.features(x).flatten(2).mT
        mixed = tokens + F.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.last(self.hidden(mixed.mean(1)).relu())


class Pooling(Net):
    def forward(self, x):
        x = F.max_pool2d(F.interpolate(self.features(x), scale_factor=2, mode="bilinear"), 2)
        return self.last(self.hidden(F.adaptive_max_pool2d(x, 1).flatten(1)).relu())


class Handwritten(Net):
    def forward(self, x):
        return self.last(Own.apply(self.hidden(self.features(x).mean((2, 3)))))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [Net, Attending, Pooling, Handwritten])
def test_many_classes_at_once_are_each_by_itself(images, kind):
    """Where passes back can be batched, and where they cannot."""
    model = CamLocalizer(build(kind), preprocessing=SMALL, layers=["conv1", "act"])
    many = wsl.cam(model, images, [0, 1, 2, 3, 1], method="gradcam")
    for place, one in enumerate([0, 1, 2, 3, 1]):
        torch.testing.assert_close(many[:, place : place + 1], wsl.cam(model, images, [one], method="gradcam"))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_any_mode_of_the_caller_gives_the_same(images, mode):
    model = CamLocalizer(build(), preprocessing=SMALL)
    expected = wsl.cam(copy.deepcopy(model), images, [0, 1])
    with mode():
        torch.testing.assert_close(wsl.cam(model, images.clone(), [0, 1]), expected)


def test_the_callers_module_stays_as_it_is(images):
    net = build().train()
    net.conv1.weight.requires_grad_(False)
    net(images).sum().backward()
    hooked = []
    net.conv2.register_forward_hook(lambda *_: hooked.append(1))

    def state():
        modules = [(m.training, list(m._forward_hooks), list(m._forward_pre_hooks)) for m in net.modules()]
        tensors = [(p.data_ptr(), p._version, p.requires_grad) for p in net.parameters()]
        grads = [None if p.grad is None else (p.grad.data_ptr(), p.grad._version) for p in net.parameters()]
        return modules, tensors, grads

    before = state()
    for method in ("gradcam", "fullgrad", "scorecam", "ablationcam", "eigencam"):
        wsl.cam(net, images, [1], method=method)
        assert state() == before
    with pytest.raises(UserError):
        wsl.cam(net, images, [99])
    assert state() == before


def test_an_exception_in_the_network_is_told_and_leaves_nothing_behind():
    class Fails(Net):
        def forward(self, x):
            if x.shape[-1] == 48:
                raise IndexError("a bug of the user's own")
            return super().forward(x)

    model = CamLocalizer(build(Fails), preprocessing=SMALL)
    with pytest.raises(IndexError, match="user's own"):
        wsl.cam(model, torch.zeros(1, 3, 48, 48))
    assert wsl.cam(model, torch.randn(1, 3, 32, 32)).shape == (1, 1, 8, 8)


class Tuple(Net):
    def forward(self, x):
        return super().forward(x), self.features(x)


class Dict(Net):
    def forward(self, x):
        return {"features": self.features(x), "logits": super().forward(x)}


class Object(Net):
    class Output:
        def __init__(self, logits):
            self.logits = logits

    def forward(self, x):
        return self.Output(super().forward(x))


class Odd(Net):
    def forward(self, x):
        return {"auxiliary": self.features(x).mean((2, 3)), "prediction": super().forward(x)}


class OneByOne(Net):
    def forward(self, x):
        return super().forward(x)[:, :, None, None]


@pytest.mark.parametrize("kind", [Tuple, Dict, Object, OneByOne])
def test_scores_are_found_in_what_a_module_gives(images, kind):
    expected = wsl.cam(build(), images, [2], method="gradcam")
    torch.testing.assert_close(wsl.cam(build(kind), images, [2], method="gradcam"), expected)


def test_an_output_can_be_named(images):
    net = build(Odd)
    model = Localizer.from_classifier(net, output="prediction", preprocessing=SMALL)
    torch.testing.assert_close(model(images).scores, build()(images))
    assert len(Localizer.from_classifier(net, preprocessing=SMALL).classes) == 12  # the first of two axes
    with pytest.raises(UserError, match=r"a dict of auxiliary, prediction and no 'logit', expected scores"):
        Localizer.from_classifier(net, output="logit", preprocessing=SMALL)


def test_a_module_that_takes_more_than_images(images):
    class Two(Net):
        def forward(self, x, scale):
            return super().forward(x) * scale

    net = build(Two)
    with pytest.raises(UserError, match=r"does not take images \(N, 3, 32, 32\).*as forward="):
        Localizer.from_classifier(net, preprocessing=SMALL)
    model = Localizer.from_classifier(net, forward=lambda module, x: module(x, 2.0), preprocessing=SMALL)
    torch.testing.assert_close(model(images).scores, build()(images) * 2)


def test_one_channel_is_one_clear_line():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UserError, match=r"does not take images \(N, 3, 224, 224\)"):
        Localizer.from_classifier(net)
    grey = Localizer.from_classifier(net, forward=lambda module, x: module(x.mean(1, keepdim=True)))
    assert grey(torch.randn(1, 3, 20, 20)).maps.shape == (1, 2, 18, 18)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_networks_that_cannot_be_explained_are_one_clear_line(images):
    perceptron = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(UserError, match="no layer of Sequential gives a map or tokens"):
        Localizer.from_classifier(perceptron, preprocessing=SMALL)
    scripted = torch.jit.trace(build(), images, check_trace=False)
    with pytest.raises(UserError, match="scripted module"):
        Localizer.from_classifier(scripted, preprocessing=SMALL)
    with pytest.raises(UserError, match=r"gives a tensor \(2, 12, 8, 8\), expected scores"):
        Localizer.from_classifier(nn.Sequential(build().conv1, build().conv2), preprocessing=SMALL)


class Keeps:
    """A hook as other libraries leave them behind: it holds the last output, with its graph."""

    def __call__(self, module, inputs, output):
        self.output = output


def test_hooks_that_hold_a_graph_are_no_hindrance(images):
    net = build()
    net.conv1.register_forward_hook(Keeps())
    net(images)
    expected = wsl.cam(build(), images, [1], method="layercam")
    torch.testing.assert_close(wsl.cam(net, images, [1], method="layercam"), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrappers_are_taken_off(images):
    expected = wsl.cam(build(), images, [1], method="layercam")
    for wrapped in (nn.DataParallel(build()), torch.compile(build())):
        torch.testing.assert_close(wsl.cam(wrapped, images, [1], method="layercam"), expected)


def test_frozen_and_half_precision_networks(images):
    expected = wsl.cam(build(), images, [1], method="layercam")
    frozen = build().requires_grad_(False)
    torch.testing.assert_close(wsl.cam(frozen, images, [1], method="layercam"), expected)
    half = wsl.cam(build().half(), images, [1], method="layercam")
    torch.testing.assert_close(half, expected, rtol=2e-2, atol=1e-3)


def test_a_network_with_its_own_no_grad(images):
    class Closed(Net):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    with pytest.raises(UserError, match=r"without gradients.*eigencam, scorecam or ablationcam"):
        wsl.cam(build(Closed), images, [1], method="gradcam", layers=["conv2"])
    assert wsl.cam(build(Closed), images, [1], method="eigencam", layers=["conv2"]).shape == (3, 1, 8, 8)


def test_layers_by_name(images):
    net = build()
    with pytest.raises(UserError, match=r"no layer 'conv3': did you mean 'conv"):
        wsl.cam(net, images, layers=["conv3"])
    with pytest.raises(UserError, match=r"layer 'last' gives \(1, 4\) for 1 images"):
        wsl.cam(net, images, layers=["last"])
    net.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(UserError, match="layer 'unused' did not run"):
        wsl.cam(net, images, layers=["unused"])
    with pytest.raises(UserError, match=re.escape("layers is 'conv2', expected a list of names: ['conv2']")):
        wsl.cam(net, images, layers="conv2")


def test_of_a_layer_that_runs_twice_the_last_run_counts(images):
    net = build()  # its activation runs behind both convolutions
    expected = by_hand(net, images, torch.tensor([[2]] * 3))
    torch.testing.assert_close(wsl.cam(net, images, [2], method="layercam", layers=["act"]), expected)


def test_several_layers_meet_where_they_lie(images):
    """A bright spot keeps its place when a coarse map is brought to the cells of a finer one."""
    net = build()
    fine, both = (
        wsl.cam(net, images, [0], method="layercam", layers=layers) for layers in (["conv1"], ["conv1", "conv2"])
    )
    assert fine.shape == both.shape == (3, 1, 16, 16)
    coarse = wsl.cam(net, images, [0], method="layercam", layers=["conv2"])

    def unit(maps):
        low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
        return (maps - low) / (high - low)

    # Cells 2 i of the fine layer lie where cells i of the coarse one do: both start at pixel 0.5.
    moved = unit(F.interpolate(coarse, (15, 15), mode="bilinear", align_corners=True))
    padded = F.pad(moved, (0, 1, 0, 1), mode="replicate")
    torch.testing.assert_close(both, torch.maximum(unit(fine), padded), rtol=1e-4, atol=1e-4)


def test_classes_are_checked(images):
    model = CamLocalizer(build(), classes=["cat", "dog", "cow", "pig"], preprocessing=SMALL)
    by_name = wsl.cam(model, images, classes=["dog", "pig"])
    torch.testing.assert_close(wsl.cam(model, images, classes=[[1, 3], ["dog", 3], [1, "pig"]]), by_name)
    torch.testing.assert_close(wsl.cam(model, images, torch.tensor([[1, 3]] * 3)), by_name)
    with pytest.raises(UserError, match="2 lists of classes for 3 images"):
        wsl.cam(model, images, [[0], [1]])
    with pytest.raises(UserError, match="class 4 is out of range: the model has 4 classes"):
        wsl.cam(model, images, [4])
    torch.testing.assert_close(wsl.cam(model, images, np.array([1, 3])), by_name)
    for odd in (1.5, True, None):
        with pytest.raises(UserError, match=f"classes holds {odd}, expected names or whole numbers"):
            wsl.cam(model, images, [odd])
    with pytest.raises(UserError, match=r"classes is 2, expected a list: \[2\]"):
        wsl.cam(model, images, np.int64(2))
    with pytest.raises(UserError, match="knows no class 'dgo'; did you mean 'dog'"):
        wsl.cam(model, images, ["dgo"])
    with pytest.raises(UserError, match="as many for every image"):
        wsl.cam(model, images, [[0], [1], [1, 2]])
    best = build()(images).argmax(1, keepdim=True)
    torch.testing.assert_close(wsl.cam(model, images), wsl.cam(model, images, best))


def test_another_arithmetic_gives_about_the_same(images):
    model = CamLocalizer(build(), preprocessing=SMALL)
    expected, found = (wsl.cam(model, images, [1], precision=precision) for precision in ("fp32", "bf16"))
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_scores_that_are_not_finite_are_an_error(images):
    net = build()
    with torch.no_grad():
        net.last.bias.fill_(float("nan"))
    with pytest.raises(RunError, match="scores of image 0 are not finite"):
        wsl.cam(net, images, [0], layers=["conv2"], method="gradcam")


def test_a_predictor_takes_it_and_can_be_pickled():
    model = CamLocalizer(build(), preprocessing=SMALL)
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    predictor = wsl.Predictor(model, top_k=2, device="cpu", precision="fp32")
    found = predictor(image)
    again = pickle.loads(pickle.dumps(predictor))(image)  # noqa: S301 - our own bytes
    assert found.scores == again.scores
    assert all(np.array_equal(found.maps[name], again.maps[name]) for name in found.maps)


def test_it_is_made_ready_once_and_again_when_a_weight_changes(images):
    model = CamLocalizer(build(), preprocessing=SMALL)
    ready = model.for_inference(CPU, torch.float32)
    assert model.for_inference(CPU, torch.float32) is ready
    assert copy.deepcopy(model).for_inference(CPU, torch.float32) is not ready
    with torch.no_grad():
        model.net.last.bias += 1
    torch.testing.assert_close(model.for_inference(CPU, torch.float32)(images).scores, model.net(images).detach())


METHODS = ["gradcam", "hirescam", "gradcampp", "xgradcam", "layercam", "eigencam", "eigengradcam", "finercam"]
OTHERS = ["refinecam", "fullgrad", "scorecam(channels=4)", "ablationcam", "random", "centre"]


@pytest.mark.parametrize("method", [*METHODS, *OTHERS])
def test_an_image_has_the_same_maps_alone_and_in_a_batch(images, method):
    model = CamLocalizer(build(), method=method, preprocessing=SMALL)
    together = wsl.cam(model, images, [0, 2])
    assert together.isfinite().all()
    for number, image in enumerate(images):
        torch.testing.assert_close(wsl.cam(model, image[None], [0, 2])[0], together[number], rtol=1e-3, atol=1e-5)


def test_for_pooling_and_a_linear_layer_the_gradient_methods_are_cam(images):
    """Grad-CAM = HiResCAM = XGrad-CAM = CAM / S, and LayerCAM is that of the positive weights."""
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
    )
    net = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    model = Localizer.from_classifier(net.eval())
    assert isinstance(model, Localizer)
    images = torch.randn(2, 3, 64, 64)
    own = wsl.cam(model, images, [3, 5])
    bias = model.head.conv.bias[[3, 5]].view(1, 2, 1, 1)
    expected = (own - bias) / (own.shape[2] * own.shape[3])
    for method in ("gradcam(relu=false)", "hirescam(relu=false)", "xgradcam(relu=false)"):
        torch.testing.assert_close(wsl.cam(model, images, [3, 5], method=method), expected, rtol=1e-3, atol=1e-6)
    features = model.backbone.eval()(images)
    weight = model.head.conv.weight[[3, 5]].relu().flatten(1)
    positive = torch.einsum("kc,nchw->nkhw", weight, features) / (own.shape[2] * own.shape[3])
    found = wsl.cam(model, images, [3, 5], method="layercam")
    torch.testing.assert_close(found, positive.detach(), rtol=1e-3, atol=1e-6)


def test_ablation_runs_what_follows_the_layer_alone_where_it_can(images):
    """The shortcut and the whole network give the same; beside a skip connection only the whole network is right."""

    class Residual(Net):
        def features(self, x):
            x = self.act(self.conv1(x))
            return x + torch.tanh(self.skipped(x))

        def __init__(self):
            super().__init__()
            self.skipped = nn.Conv2d(8, 8, 3, padding=1)
            self.hidden = nn.Linear(8, 16)

    net = build(Residual)
    maps = wsl.cam(net, images, [1], method="ablationcam(relu=false)", layers=["skipped"])
    activations = net.skipped(net.act(net.conv1(images)))
    before = net(images)[:, 1]
    weights = []
    for channel in range(8):
        hook = net.skipped.register_forward_hook(
            lambda m, i, out, channel=channel: out * (torch.arange(8) != channel).view(1, 8, 1, 1)
        )
        weights.append(before - net(images)[:, 1])
        hook.remove()
    expected = (torch.stack(weights, 1)[:, :, None, None] * activations).sum(1, keepdim=True)
    torch.testing.assert_close(maps, expected.detach(), rtol=1e-3, atol=1e-5)


def test_methods_of_attention_need_attention(images):
    with pytest.raises(UserError, match="no blocks of self-attention"):
        CamLocalizer(build(), method="legrad", preprocessing=SMALL)
    with pytest.raises(UserError, match="unknown CAM method 'layrcam': did you mean 'layercam'"):
        CamLocalizer(build(), method="layrcam", preprocessing=SMALL)
    with pytest.raises(UserError, match="scorecam has no argument 'chanels': did you mean 'channels'"):
        CamLocalizer(build(), method="scorecam(chanels=4)", preprocessing=SMALL)


def test_a_size_that_the_network_does_not_take():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 28 * 28, 2))  # one size only
    with pytest.raises(UserError, match=r"does not take images \(N, 3, 64, 64\)"):
        Localizer.from_classifier(net, preprocessing=Preprocessing(image_size=64))


def test_what_other_libraries_take_is_answered_with_what_is_expected_here(images):
    net = build()
    with pytest.raises(UserError, match="layers holds a Conv2d, expected names from named_modules, such as"):
        wsl.cam(net, images, [1], method="gradcam", layers=[net.conv2])
    with pytest.raises(UserError, match="the classes of a module have no names: expected numbers"):
        wsl.cam(net, images, ["cat"])
    with pytest.raises(UserError, match=r"add an axis with images\[None\]"):
        wsl.cam(net, images[0], [1])


@pytest.mark.parametrize("name", ["save", "push_to_hub"])
def test_it_has_no_file_and_says_what_to_keep(name):
    model = CamLocalizer(build(), preprocessing=Preprocessing(image_size=32))
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match=f"no {name}, .* open it with wsl.Localizer.from_classifier"):
        getattr(model, name)
    with pytest.raises(AttributeError, match="has no attribute 'sav'"):
        _ = model.sav
