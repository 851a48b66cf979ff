"""FullGrad: its parts add up to the score, its maps follow the definition, and the network stays as it was."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from wsl.cam.fullgrad import completeness, fullgrad
from wsl.errors import UserError

CLASSES = torch.tensor([[0, 3], [2, 2]])


def drawn(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_statistics(network):
    """A network whose batch normalisation and biases have something to say."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1)  # low enough for no ReLU6 to saturate
    return network.double().eval()


class Small(nn.Module):
    """Calls `again` twice, `unused` never, and its layers in another order than they are registered in."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(4, 5)
        self.unused = nn.Conv2d(4, 4, 1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Conv2d(3, 4, 3, stride=2, bias=False)

    def forward(self, images):
        x = F.relu(self.norm(self.first(images)), inplace=True)
        x = F.relu(self.again(x), inplace=True)
        return self.last(F.relu(self.again(x)).mean((2, 3)))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "densenet121", "vgg11_bn"])
@pytest.mark.quick("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_input_and_biases_make_up_the_score(name):
    torch.manual_seed(0)
    network = with_statistics(getattr(models, name)(weights=None))
    scores, inputs, biases = completeness(network, drawn(2, 3, 64, 72), CLASSES)
    assert float(biases.abs().min()) > 1e-3 * float(scores.abs().max())  # the test is not one of zeros
    torch.testing.assert_close(inputs + biases, scores, rtol=1e-6, atol=1e-9)


def test_a_layer_that_runs_twice_counts_twice_and_one_that_never_runs_not():
    network = with_statistics(Small())
    scores, inputs, biases = completeness(network, drawn(2, 3, 9, 11), CLASSES)
    torch.testing.assert_close(inputs + biases, scores)
    torch.testing.assert_close(scores, network(drawn(2, 3, 9, 11)).gather(1, CLASSES))


def test_an_activation_with_an_offset_leaves_a_remainder():
    """A ReLU6 that saturates is 6 whatever is below it: no gradient, and no bias to attribute it to."""
    weight = torch.ones(4, 3, 3, 3, dtype=torch.float64)
    images = torch.ones(2, 3, 9, 11, dtype=torch.float64)
    parts = completeness(lambda x: F.relu6(F.conv2d(x, weight)).mean((2, 3)), images, CLASSES)
    assert (parts.scores == 6).all()
    assert not (parts.inputs + parts.biases).any()


def test_functions_without_modules_count_too():
    weight, bias = drawn(4, 3, 3, 3), drawn(4, seed=1)

    def network(x):
        return F.conv2d(x, weight, bias=bias).relu().mean((2, 3))

    scores, inputs, biases = completeness(network, drawn(2, 3, 9, 11), CLASSES)
    torch.testing.assert_close(inputs + biases, scores)
    assert not torch.allclose(inputs, scores)


def small_terms(network, image, index):
    """The terms of the input and of each layer that has an extent, by hand, in the order of the calls."""
    x = image.clone().requires_grad_()
    z0 = network.first(x)
    z1 = network.norm(z0)
    z2 = network.again(z1.relu())
    z3 = network.again(z2.relu())
    score = network.last(z3.relu().mean((2, 3)))[0, index]
    gradients = torch.autograd.grad(score, [x, z1, z2, z3])
    norm, bias = network.norm, network.again.bias
    shift = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    factors = [x, *(each.view(-1, 1, 1) for each in (shift, bias, bias))]
    return [(factor * gradient)[0].tolist() for factor, gradient in zip(factors, gradients, strict=True)]


def test_maps_follow_the_definition(reference):
    network, images = with_statistics(Small()), drawn(2, 3, 9, 11)
    maps = fullgrad(network, images, CLASSES)
    assert maps.shape == (2, 2, 9, 11)
    for i in range(2):
        for j in range(2):
            expected = torch.zeros(9, 11, dtype=torch.float64)
            for terms in small_terms(network, images[i : i + 1], int(CLASSES[i, j])):
                small = reference.cams.magnitude(terms)
                expected += torch.tensor(reference.cams.bilinear(small, (9, 11)))
            torch.testing.assert_close(maps[i, j], expected)


def test_each_image_alone_is_as_in_the_batch():
    network, images = with_statistics(Small()), drawn(2, 3, 9, 11)
    maps = fullgrad(network, images, CLASSES)
    for i in range(2):
        torch.testing.assert_close(fullgrad(network, images[i : i + 1], CLASSES[i : i + 1]), maps[i : i + 1])


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_network_is_left_as_it_was(mode, frozen):
    network = with_statistics(Small()).requires_grad_(not frozen)
    images = drawn(2, 3, 9, 11)
    expected = fullgrad(network, images, CLASSES)
    network.last.weight.grad = torch.ones_like(network.last.weight)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with mode():
        maps = fullgrad(network, images.clone(), CLASSES)
    torch.testing.assert_close(maps, expected)
    assert not maps.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad is not frozen for parameter in network.parameters())
    assert [name for name, p in network.named_parameters() if p.grad is not None] == ["last.weight"]
    assert (network.last.weight.grad == 1).all()
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert not images.requires_grad


def test_it_works_under_autocast_in_inference_mode():
    """A rounding may switch a ReLU, and with it the gradient; the parts still make up the score of what was run."""
    network, images = with_statistics(Small()).float(), drawn(2, 3, 9, 11).float()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        network(images)  # leaves its rounded weights to those who come later
        maps = fullgrad(network, images, CLASSES)
        scores, inputs, biases = completeness(network, images, CLASSES)
    assert {each.dtype for each in (maps, scores, inputs, biases)} == {torch.float32}
    torch.testing.assert_close(inputs + biases, scores, rtol=0, atol=0.02 * float(scores.abs().max()))
    expected = fullgrad(network, images, CLASSES)
    assert (maps - expected).abs().mean() < 0.05 * expected.mean()


def test_an_exception_passes_and_nothing_stays_behind():
    network = with_statistics(Small())

    def fails(images):
        network(images)
        raise IndexError("of the network")

    with pytest.raises(IndexError, match="of the network"):
        fullgrad(fails, drawn(2, 3, 9, 11), CLASSES)
    with pytest.raises(RuntimeError, match="index 9 is out of bounds"):
        fullgrad(network, drawn(2, 3, 9, 11), CLASSES + 9 - CLASSES)
    assert torch.overrides._get_current_function_mode() is None


def test_linear_layers_over_channels_last_count():
    torch.manual_seed(0)
    linear, images = nn.Linear(3, 4).double(), drawn(2, 3, 8, 12)
    convolution = linear.weight[:, :, None, None]
    expected = fullgrad(lambda x: F.conv2d(x, convolution, linear.bias).relu().mean((2, 3)), images, CLASSES)
    maps = fullgrad(lambda x: linear(x.movedim(1, -1)).relu().mean((1, 2)), images, CLASSES)
    torch.testing.assert_close(maps, expected)


def test_layers_without_extent_are_left_out():
    """They would add a constant."""
    images, weight, bias = drawn(2, 3, 8, 12), drawn(5, 3, 1, 1), drawn(5, seed=1)

    def network(x, bias):
        return F.conv2d(x.mean((2, 3), keepdim=True), weight, bias).flatten(1)

    expected = fullgrad(lambda x: network(x, None), images, CLASSES)
    torch.testing.assert_close(fullgrad(lambda x: network(x, bias), images, CLASSES), expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_scripted_network_is_refused():
    """Its layers are not called from Python, so their biases would be left out silently."""
    images = drawn(2, 3, 9, 11)
    scripted = torch.jit.trace(with_statistics(Small()), images)
    with pytest.raises(UserError, match=r"TorchScript, .* pass the network that it was made from"):
        fullgrad(scripted, images, CLASSES)


def test_queries_and_keys_are_no_map():
    """Two heads of 96 tokens normalised in two channels are (N, 2, 96, 2), and look like a grid of 2 x 96 cells."""
    images, weight, bias = drawn(2, 3, 8, 12), drawn(2), drawn(2, seed=1)

    def network(x):
        tokens = x[:, :2].repeat(1, 2, 1, 1).flatten(2).unflatten(1, (2, 2)).transpose(2, 3)
        return F.layer_norm(tokens, (2,), weight, bias).relu().mean(2).flatten(1)

    biases = completeness(network, images, CLASSES).biases
    assert biases.abs().min() > 1e-3  # the bias takes part in the score
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf).gather(1, CLASSES[:, :1]).sum(), leaf)
    sizes = (images * gradient).abs()
    low, high = sizes.amin((1, 2, 3), keepdim=True), sizes.amax((1, 2, 3), keepdim=True)
    torch.testing.assert_close(fullgrad(network, images, CLASSES)[:, 0], ((sizes - low) / (high - low)).sum(1))


def test_tokens_count_once_they_have_a_layout():
    torch.manual_seed(0)
    linear = nn.Linear(3, 4).double()
    images = drawn(2, 3, 8, 12)

    def network(x):
        return linear(x.flatten(2).transpose(1, 2)).relu().mean(1)

    def to_map(tokens):
        return tokens.transpose(1, 2).unflatten(2, (8, 12))

    as_grid = fullgrad(lambda x: linear(x.movedim(1, -1)).relu().mean((1, 2)), images, CLASSES)
    torch.testing.assert_close(fullgrad(network, images, CLASSES, to_map=to_map), as_grid)
    left_out = fullgrad(network, images, CLASSES)
    torch.testing.assert_close(fullgrad(network, images, CLASSES, to_map=lambda _: None), left_out)
    assert not torch.allclose(left_out, as_grid)


def test_constant_and_black_images_give_finite_maps():
    network = with_statistics(Small())
    for value in (0.0, 1.0):
        assert fullgrad(network, torch.full((2, 3, 9, 11), value).double(), CLASSES).isfinite().all()
    nothing = fullgrad(lambda x: (0 * x).sum((2, 3)), drawn(2, 3, 9, 11), CLASSES % 3)
    assert not nothing.any()


def test_no_class_is_no_map():
    maps = fullgrad(with_statistics(Small()), drawn(2, 3, 9, 11), CLASSES[:, :0])
    assert maps.shape == (2, 0, 9, 11)


def test_training_mode_and_other_shapes_are_refused():
    network = with_statistics(Small())
    with pytest.raises(UserError, match=r"shapes \(2, 3, 9, 11\) and \(1, 2\), expected \(N, 3, H, W\) and \(N, J\)"):
        fullgrad(network, drawn(2, 3, 9, 11), CLASSES[:1])
    before = network.norm.running_mean.clone()
    with pytest.raises(UserError, match=r"statistics of the batch, .* call eval\(\) on the network first"):
        fullgrad(network.train(), drawn(2, 3, 9, 11), CLASSES)
    assert torch.equal(network.norm.running_mean, before)
