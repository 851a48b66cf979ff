"""What every windowed pooling keeps, whatever it computes; a new one is tested here by its line in DOWNSAMPLINGS."""

import copy
import io

import pytest
import torch
from torch.export import Dim

import heads
from heads import DOWNSAMPLINGS
from heads.downsampling import Downsampling, MedianPool2d
from heads.spec import parse_spec

WINDOW = "kernel_size=3, stride=2, padding=1"
SPECS = [
    *(f"{name}({WINDOW})" for name in DOWNSAMPLINGS),
    "softpool2d(kernel_size=(3, 2), stride=(2, 1))",
    "softpool2d(kernel_size=3, stride=2, padding=1, ceil_mode=True)",
    "softpool2d(kernel_size=3, stride=2, padding=1, count_include_pad=True)",
    "softpool2d(kernel_size=3, stride=2, padding=1, dilation=2, ceil_mode=True, count_include_pad=True)",
    "softpool1d(kernel_size=4, stride=3, padding=2, ceil_mode=True)",
    "softpool3d(kernel_size=(1, 2, 2))",
    "stochasticpool2d(kernel_size=2, probability=softmax)",
    "stochasticpool2d(kernel_size=3, stride=1, ceil_mode=True)",
    "mixedpool2d(kernel_size=3, stride=2, padding=1, lam=0.25)",
    "mixedpool2d(kernel_size=2, mode=learned)",
    "mixedpool2d(kernel_size=2, mode=random, draw=channel)",
    "medianpool2d(kernel_size=2)",
    "medianpool2d(kernel_size=3, stride=2, ceil_mode=True)",
    "powerpool2d(kernel_size=2, p=1)",
    "powerpool2d(kernel_size=3, stride=2, padding=1, p=inf)",
    "powerpool2d(kernel_size=3, stride=2, padding=1, p=0.1, count_include_pad=True)",
    "powerpool2d(kernel_size=2, learnable=True)",
    "adapool2d(kernel_size=2, beta=1, learnable=False)",
    "adapool2d(kernel_size=3, stride=2, padding=1, beta=0.25, ceil_mode=True, count_include_pad=True)",
    "avgpool2d(kernel_size=3, stride=2, padding=1, dilation=2)",
    "avgpool2d(kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=True)",
]
# Compiling and exporting take seconds, the more the larger the window: the smallest of each kind, and what is special.
TRACED = [
    *(f"{name}(kernel_size=2, stride=1, padding=1)" for name in DOWNSAMPLINGS if name != "softpool3d"),
    "softpool3d(kernel_size=(1, 2, 1))",
    "softpool2d(kernel_size=(1, 3), stride=2, padding=(0, 1), dilation=2, ceil_mode=True, count_include_pad=True)",
    "stochasticpool2d(kernel_size=2, probability=softmax)",
    "medianpool2d(kernel_size=2, ceil_mode=True)",
    "powerpool2d(kernel_size=2, learnable=True)",
]
# Graphs of these, and of all in make long: a choice, a sort behind padding, and three dimensions.
GRAPHS = ("stochasticpool2d(kernel_size=2, probability=softmax)", "medianpool2d(kernel_size=2, ceil_mode=True)",
          "softpool3d(kernel_size=(1, 2, 1))")  # fmt: skip
SMOOTH = ("softpool", "powerpool", "adapool", "avgpool")


@pytest.fixture(params=SPECS)
def spec(request):
    return request.param


@pytest.fixture
def pooling(spec):
    return heads.create_downsampling(spec).eval()


def random_maps(pooling, batch=2, sizes=(8, 7, 6), dtype=torch.float32, seed=0):
    """Positive for the poolings that ask for it, of the pooling's dimensions."""
    shape = (*(() if batch is None else (batch,)), 3, *sizes[: pooling.dims])
    maps = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return maps.abs() + 0.01 if takes_positive(pooling) else maps


def takes_positive(pooling):
    return type(pooling).__name__.startswith(("Power", "Stochastic"))


def test_it_agrees_with_the_slow_reference(pooling, spec, reference):
    name, arguments = parse_spec(spec)
    window = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad")
    shape = {key.removesuffix("_size"): arguments.pop(key) for key in window if key in arguments}
    arguments.pop("learnable", None)
    slow = getattr(reference.windows, name[:-2])
    maps = random_maps(pooling, dtype=torch.float64)
    tolerance = 1e-7 if list(pooling.parameters()) else 1e-12  # a learnt weight is a float32
    for scaled in (maps, 30 * maps) if not takes_positive(pooling) else (maps, maps.round(), 30 * maps):
        result = pooling(scaled)
        for image, found in zip(scaled.flatten(0, 1), result.flatten(0, 1), strict=True):
            values, size = reference.windows.pooled(image.numpy(), lambda values: slow(values, **arguments), **shape)
            assert found.shape == size
            expected = torch.tensor(list(values.values()), dtype=torch.float64).reshape(size)
            torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_shapes_without_batch_and_of_none(pooling):
    maps = random_maps(pooling)
    torch.testing.assert_close(pooling(maps[1]), pooling(maps)[1])
    assert pooling(maps[:0]).shape == (0, *pooling(maps).shape[1:])
    empty = maps[:0].requires_grad_()
    pooling(empty).sum().backward()
    assert empty.grad.shape == empty.shape


def test_the_memory_layout_does_not_matter(pooling):
    maps = random_maps(pooling)
    expected = pooling(maps)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    layouts = [maps, maps.repeat_interleave(2, -1)[..., ::2], maps.transpose(0, 1).contiguous().transpose(0, 1)]
    if pooling.dims == 2:
        layouts.append(maps.to(memory_format=torch.channels_last))
    if pooling.dims == 2 and not isinstance(pooling, MedianPool2d):
        assert pooling(layouts[-1]).is_contiguous(memory_format=torch.channels_last)
    gradients = []
    for layout in layouts:
        leaf = layout.detach().requires_grad_()
        result = pooling(leaf)
        torch.testing.assert_close(result, expected)
        (result * weights).sum().backward()
        gradients.append(leaf.grad)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0])


def test_maps_are_left_as_they_were(pooling):
    maps = random_maps(pooling)
    before = maps.clone()
    pooling(maps)
    assert torch.equal(maps, before)


def test_the_gradient_is_the_derivative(pooling):
    maps = random_maps(pooling, batch=1, sizes=(4, 5, 3), dtype=torch.float64)[:, :1].requires_grad_()
    pooling = pooling.double()
    assert torch.autograd.gradcheck(pooling, (maps,))
    for name, parameter in pooling.named_parameters():

        def of_the_parameter(value, name=name):
            return torch.func.functional_call(pooling, {name: value}, maps.detach())

        assert torch.autograd.gradcheck(of_the_parameter, (parameter,))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.startswith(SMOOTH)])
@pytest.mark.quick("spec", lambda spec: "3d" not in spec and "count_include" not in spec)
def test_the_second_derivative_is_one(spec):
    pooling = heads.create_downsampling(spec).eval().double()
    maps = random_maps(pooling, batch=None, sizes=(3, 4, 2), dtype=torch.float64)[:1].requires_grad_()
    assert torch.autograd.gradgradcheck(pooling, (maps,), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.quick("spec", SPECS[: len(DOWNSAMPLINGS)])
def test_low_precision_is_rounded_once(pooling, dtype):
    maps = random_maps(pooling, sizes=(8, 9, 6)).to(dtype).requires_grad_()
    exact = maps.detach().double().requires_grad_()
    result, expected = pooling(maps), pooling.double()(exact)
    assert result.dtype == dtype
    unit = torch.finfo(dtype).eps
    # Two poolings of torch's in half precision, mixed, are rounded each; single precision has no wider one to sum in.
    tolerance = 2 * unit if dtype != torch.float32 else 8 * unit
    torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)
    result.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(maps.grad.double(), exact.grad, rtol=16 * unit, atol=16 * unit)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.quick("spec", SPECS[: len(DOWNSAMPLINGS)])
def test_extreme_and_constant_maps_stay_finite(pooling, dtype):
    signs = random_maps(pooling).sign()
    maps = [1e4 * signs, torch.full_like(signs, 1e4), torch.zeros_like(signs)]
    if not takes_positive(pooling) or "softmax" in repr(pooling):
        maps += [torch.full_like(signs, -1e4), 1e4 * random_maps(pooling).round()]
    for extreme in maps:
        leaf = extreme.to(dtype).requires_grad_()
        result = pooling(leaf)
        result.sum().backward()
        assert result.isfinite().all()
        assert leaf.grad.isfinite().all()
        assert leaf.grad.dtype == dtype


def test_a_constant_stays_what_it_is(pooling):
    if getattr(pooling, "count_include_pad", False) and any(pooling.window.padding):
        return  # zeros around it count
    maps = torch.full_like(random_maps(pooling), 0.1)
    torch.testing.assert_close(pooling(maps), torch.full_like(pooling(maps), 0.1), rtol=1e-6, atol=0)


def test_vmap_is_the_batch(pooling):
    maps = random_maps(pooling)
    torch.testing.assert_close(torch.func.vmap(pooling)(maps), pooling(maps))
    each = torch.func.vmap(torch.func.grad(lambda image: pooling(image).square().sum()))(maps)
    whole = maps.clone().requires_grad_()
    pooling(whole).square().sum().backward()
    torch.testing.assert_close(each, whole.grad)


@pytest.mark.parametrize("spec", TRACED)
@pytest.mark.quick("spec", GRAPHS)
def test_it_compiles_to_one_graph(pooling):
    torch.compiler.reset()
    compiled = torch.compile(pooling, fullgraph=True, backend="eager")
    maps, twin = random_maps(pooling).requires_grad_(), random_maps(pooling).requires_grad_()
    result, expected = compiled(maps), pooling(twin)
    torch.testing.assert_close(result, expected)
    result.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(maps.grad, twin.grad)


@pytest.mark.parametrize("spec", TRACED)
@pytest.mark.quick("spec", GRAPHS)
def test_it_exports_for_batches_and_maps_of_any_size(pooling):
    names = ("height", "width", "depth")[: pooling.dims]
    sizes = {0: Dim("batch"), **{axis: Dim(name, min=5, max=99) for axis, name in enumerate(names, 2)}}
    program = torch.export.export(pooling, (random_maps(pooling),), dynamic_shapes=(sizes,)).module()
    for batch, shape in ((2, (8, 7, 6)), (1, (12, 9, 5)), (5, (5, 6, 7))):
        maps = random_maps(pooling, batch, shape)
        torch.testing.assert_close(program(maps), pooling(maps))


def test_its_repr_makes_it_again(pooling, spec):
    again = heads.create_downsampling(repr(pooling)).eval()
    assert isinstance(again, Downsampling)
    assert type(again) is type(pooling) is DOWNSAMPLINGS[parse_spec(spec)[0]]
    assert repr(again) == repr(pooling)
    assert repr(pooling).partition("(")[0] == type(pooling).__name__.lower()
    maps = random_maps(pooling)
    assert torch.equal(again(maps), pooling(maps))


def test_copies_and_restored_states_compute_the_same(pooling, spec):
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.add_(0.25)
    restored = heads.create_downsampling(spec).eval()
    restored.load_state_dict(pooling.state_dict())
    maps = random_maps(pooling)
    assert torch.equal(copy.deepcopy(pooling)(maps), pooling(maps))
    assert torch.equal(restored(maps), pooling(maps))


def test_the_function_twin_has_the_same_arguments(pooling, spec):
    name, arguments = parse_spec(spec)
    arguments.pop("learnable", None)
    if arguments.get("mode") == "learned":
        del arguments["mode"]
    maps = random_maps(pooling)
    torch.testing.assert_close(getattr(heads.downsampling, name)(maps, **arguments), pooling(maps))


@pytest.mark.parametrize("spec", TRACED)
@pytest.mark.quick("spec", [GRAPHS[1]])
def test_onnxruntime_gives_the_same_numbers(pooling):
    onnxruntime = pytest.importorskip("onnxruntime")
    maps = random_maps(pooling)
    file = io.BytesIO()
    torch.onnx.export(pooling, (maps,), dynamo=True, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: maps.numpy()})
    torch.testing.assert_close(torch.from_numpy(result), pooling(maps).detach(), rtol=1e-5, atol=1e-5)
