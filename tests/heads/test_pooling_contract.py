"""What every pooling keeps, whatever it computes; a new pooling is tested here by its line in POOLINGS."""

import copy

import pytest
import torch
from torch.export import Dim

import heads
from heads import POOLINGS
from heads.spec import parse_spec

VARIANTS = [
    "kmax(k=5)",
    "kmax(k=0.3)",
    "kmax(k=0.3, rounding=round)",
    "kmax(k=all)",
    "lse(beta=4)",
    "lse(beta=0.01)",
    "lse(beta=4, learnable=True)",
    "lse(beta=4, learnable=True, classes=3)",
    "weldon(k_max=0.2, k_min=3)",
    "weldon(k_max=4, k_min=0)",
    "weldon(k_max=0.2, reduction=mean)",
    "wildcat(k_max=0.2, k_min=0.2, alpha=0.7)",
    "mixed(lam=0.2, mode=learned)",
    "mixed(lam=0.3, mode=random)",
    "gem(p=1.5, learnable=True, classes=3)",
    "gem(p=2, of=probabilities)",
    "gem(p=1.5, learnable=True, classes=3, of=probabilities)",
    "softpool(beta=0.3)",
    "stochastic(probability=softmax)",
    "csra(heads=4, lam=0.5)",
    "csra(heads=(0.5, 99), lam=0.3)",
    "exp(of=probabilities)",
    "linear(of=values)",
]
# Cat and adaptive give no score a map: test_pooling_grids. Attention has no size by itself.
OTHERS = {"cat", "adaptive", "attention"}
SPECS = [*(name for name in POOLINGS if name not in OTHERS), "attention(hidden=4, channels=3)", *VARIANTS]

# Graphs of what computes in another way than the rest, and of all in make long.
GRAPHS = ("gap", "kmax(k=0.3, rounding=round)", "lse(beta=4, learnable=True, classes=3)", "weldon(k_max=4, k_min=0)")
GRAPHS += ("median", "csra(heads=(0.5, 99), lam=0.3)")
# Of properties that a pooling has whatever its settings: one variant a way of computing.
QUICK = {*SPECS} - {*VARIANTS} | {"kmax(k=0.3, rounding=round)", "lse(beta=4, learnable=True, classes=3)"}
QUICK |= {"weldon(k_max=4, k_min=0)", "csra(heads=(0.5, 99), lam=0.3)"}
QUICK |= {"gem(p=1.5, learnable=True, classes=3, of=probabilities)", "mixed(lam=0.2, mode=learned)"}

# The weights of their locations do not sum to one, so the score may leave the map's range.
UNBOUNDED = ("weldon", "weldon(k_max=0.2, k_min=3)", "wildcat(k_max=0.2, k_min=0.2, alpha=0.7)", "csra", "gndp")

# Of these the second derivative is more than zero almost everywhere.
SMOOTH = ("lse", "gem", "softpool", "stochastic", "attention", "csra(heads=1", "pcam", "exp", "linear")

# The exactness of what is learnt is that of its float32 parameter, and attention is a network of float32.
LEARNT = ("learn", "attention")


def is_unbounded(spec):
    return spec in UNBOUNDED or spec.startswith("csra")


def is_learnt(spec):
    return any(word in spec for word in LEARNT)


@pytest.fixture(params=SPECS)
def spec(request):
    return request.param


@pytest.fixture
def pooling(spec):
    return create(spec)


def create(spec):
    torch.manual_seed(0)
    return heads.create_pooling(spec).eval()


def random_maps(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def fit(spec):
    """Makes maps those that the pooling is meant for."""
    positive = spec in ("stochastic", "linear(of=values)") or ("gem" in spec and "of=" not in spec)
    return torch.abs if positive else lambda maps: maps


@pytest.mark.parametrize(
    "shape", [(2, 3, 7, 6), (3, 7, 6), (2, 3, 1, 1), (3, 1, 5), (0, 3, 7, 6), (2, 3, 1, 9), (1, 3, 64, 64)]
)
@pytest.mark.quick("spec", QUICK)
def test_it_removes_the_two_spatial_dimensions(pooling, fit, shape):
    assert pooling(fit(random_maps(*shape))).shape == shape[:-2]


def arguments_of(spec):
    """Those that a pooling's function takes too."""
    _, arguments = parse_spec(spec)
    return {name: value for name, value in arguments.items() if name not in ("learnable", "classes", "mode")}


def test_it_agrees_with_the_slow_reference(pooling, spec, fit, reference):
    name, arguments = parse_spec(spec)[0], arguments_of(spec)
    if name == "attention":
        pytest.skip("its reference needs its network: test_pooling_attention")
    spread = fit(random_maps(2, 3, 7, 6, dtype=torch.float64))
    wide = fit(random_maps(1, 3, 64, 64, dtype=torch.float64))
    for maps in (spread, spread.round(), 10 * spread, spread[..., :1, :2], spread[..., :1, :1], wide):
        slow = getattr(reference.poolings, name)
        expected = [[slow(plane.flatten().tolist(), **arguments) for plane in x] for x in maps]
        tolerance = 1e-6 if is_learnt(spec) else 1e-12  # the learnt logarithm is a float32
        torch.testing.assert_close(pooling(maps), maps.new_tensor(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.quick("spec", QUICK)
def test_images_are_pooled_alone(pooling, fit):
    maps = fit(random_maps(2, 3, 7, 6))
    torch.testing.assert_close(pooling(maps), torch.stack([pooling(image) for image in maps]))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "channels" not in spec and "classes" not in spec])
def test_classes_are_pooled_alone(pooling, fit):
    maps = fit(random_maps(2, 3, 7, 6))
    alone = torch.stack([torch.cat([pooling(maps[i, j : j + 1]) for j in range(3)]) for i in range(2)])
    torch.testing.assert_close(pooling(maps), alone)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.quick("spec", QUICK)
def test_it_keeps_the_dtype_and_accumulates_above_half_precision(pooling, dtype):
    maps = (3 + random_maps(1, 3, 40, 40)).abs().to(dtype)
    scores = pooling(maps)
    assert scores.dtype == dtype
    tolerance = max(torch.finfo(dtype).eps, 2e-6 if dtype == torch.float32 else 1e-12)
    torch.testing.assert_close(scores.double(), pooling(maps.double()), rtol=tolerance, atol=0)


@pytest.mark.quick("spec", QUICK)
def test_the_gradient_is_the_derivative(pooling, spec, fit):
    maps = fit(random_maps(1, 3, 3, 4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(pooling.double(), (maps,))
    if spec.startswith(SMOOTH):
        assert torch.autograd.gradgradcheck(pooling, (maps.detach()[..., :2, :2].requires_grad_(),))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if is_learnt(spec)])
def test_the_gradient_of_what_is_learnt_is_the_derivative(pooling, fit):
    pooling.double()
    maps = fit(random_maps(1, 3, 2, 3, dtype=torch.float64))
    names = [name for name, _ in pooling.named_parameters()]

    def scores(*values):
        return torch.func.functional_call(pooling, dict(zip(names, values, strict=True)), (maps,))

    parameters = tuple(parameter.detach().requires_grad_() for parameter in pooling.parameters())
    assert torch.autograd.gradcheck(scores, parameters)
    assert torch.autograd.gradgradcheck(scores, parameters)


def test_the_order_of_locations_does_not_matter(pooling, spec, fit):
    maps = fit(random_maps(2, 3, 7, 6, dtype=torch.float64))
    shuffled = maps.flatten(-2)[..., torch.randperm(42, generator=torch.Generator().manual_seed(1))].unflatten(
        -1, (6, 7)
    )
    tolerance = 1e-6 if "attention" in spec else 1e-12
    torch.testing.assert_close(pooling(shuffled), pooling(maps), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if not is_unbounded(spec)])
def test_the_score_lies_within_the_map(pooling, fit):
    maps = fit(random_maps(2, 3, 7, 6, dtype=torch.float64))
    scores = pooling(maps)
    assert (scores >= maps.amin((-2, -1))).all()
    assert (scores <= maps.amax((-2, -1))).all()
    constant = fit(torch.full((3, 5, 5), -3.25))
    torch.testing.assert_close(pooling(constant), constant[:, 0, 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.quick("spec", QUICK)
def test_scores_and_gradients_of_extreme_maps_are_finite(pooling, fit, dtype):
    signs = random_maps(1, 3, 6, 6).sign()
    for extreme in (1e4 * signs, torch.full_like(signs, 1e4), torch.full_like(signs, -1e4), torch.zeros_like(signs)):
        maps = fit(extreme).to(dtype).requires_grad_()
        scores = pooling(maps)
        scores.sum().backward()
        assert scores.isfinite().all()
        assert maps.grad.isfinite().all()
        assert maps.grad.dtype == dtype


@pytest.mark.quick("spec", QUICK)
def test_the_memory_layout_does_not_matter(pooling, fit):
    maps = fit(random_maps(2, 3, 7, 6))
    expected = pooling(maps)
    torch.testing.assert_close(pooling(maps.to(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(pooling(maps.transpose(-2, -1)), expected)
    every_other = maps.repeat(1, 1, 1, 2)[..., ::2]
    torch.testing.assert_close(pooling(every_other.flip(-1)), pooling(every_other))
    torch.testing.assert_close(pooling(maps[:1].expand(2, 3, 7, 6))[1], expected[0])


@pytest.mark.quick("spec", QUICK)
def test_maps_are_left_as_they_were(pooling, fit):
    maps = fit(random_maps(2, 3, 7, 6))
    before = maps.clone()
    pooling(maps)
    pooling.weights(maps)
    assert torch.equal(maps, before)


@pytest.mark.quick("spec", QUICK)
def test_vmap_is_the_batch(pooling, fit):
    maps = fit(random_maps(2, 3, 7, 6))
    torch.testing.assert_close(torch.func.vmap(pooling)(maps), pooling(maps))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.quick("spec", GRAPHS)
def test_it_compiles_to_one_graph_of_any_size(pooling, fit):
    torch.compiler.reset()
    compiled = torch.compile(pooling, fullgraph=True, backend="eager", dynamic=True)
    for shape in ((2, 3, 7, 6), (3, 3, 9, 5)):
        maps, twin = (fit(random_maps(*shape)).requires_grad_() for _ in range(2))
        torch.testing.assert_close(compiled(maps), pooling(twin))
        compiled(maps).sum().backward()
        pooling(twin).sum().backward()
        torch.testing.assert_close(maps.grad, twin.grad)


# All of them are exported at once in test_pooling_programs.
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.quick("spec", ["gmp", "lse(beta=4, learnable=True, classes=3)", "weldon(k_max=4, k_min=0)"])
def test_it_exports_for_batches_and_maps_of_any_size(pooling, fit):
    sizes = {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}
    program = torch.export.export(pooling, (fit(random_maps(2, 3, 7, 6)),), dynamic_shapes=(sizes,)).module()
    for shape in ((2, 3, 7, 6), (1, 3, 14, 9), (5, 3, 2, 2), (1, 3, 1, 1)):
        maps = fit(random_maps(*shape))
        torch.testing.assert_close(program(maps), pooling(maps))


def test_its_repr_makes_it_again(pooling, spec, fit):
    again = create(repr(pooling))
    assert type(again) is type(pooling) is POOLINGS[parse_spec(spec)[0]]
    assert repr(again) == repr(pooling)
    maps = fit(random_maps(2, 3, 7, 6))
    assert torch.equal(again(maps), pooling(maps))


def test_its_name_is_its_class_in_lower_case(pooling, spec):
    assert repr(pooling).partition("(")[0] == type(pooling).__name__.lower() == parse_spec(spec)[0]


def test_copies_and_restored_states_compute_the_same(pooling, spec, fit):
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.add_(0.25)
    restored = heads.create_pooling(spec).eval()
    restored.load_state_dict(pooling.state_dict())
    maps = fit(random_maps(2, 3, 7, 6))
    assert torch.equal(copy.deepcopy(pooling)(maps), pooling(maps))
    assert torch.equal(restored(maps), pooling(maps))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "attention" not in spec])
def test_the_function_twin_has_the_same_arguments(pooling, spec, fit):
    name, arguments = parse_spec(spec)[0], arguments_of(spec)
    maps = fit(random_maps(2, 3, 7, 6))
    torch.testing.assert_close(getattr(heads.pooling, name)(maps, **arguments), pooling(maps))


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        (torch.ones(7, 7), ValueError, r"maps have shape \(7, 7\), expected \(N, C, H, W\) or \(C, H, W\)"),
        (torch.ones(1, 1, 1, 7, 7), ValueError, r"maps have shape \(1, 1, 1, 7, 7\), expected"),
        (torch.ones(2, 3, 0, 7), ValueError, r"\(2, 3, 0, 7\) without any location, expected H >= 1 and W >= 1"),
        (torch.ones(3, 7, 0), ValueError, r"\(3, 7, 0\) without any location"),
        (torch.ones(3, 7, 7, dtype=torch.int64), TypeError, r"maps are torch.int64, expected .* maps.float\(\)"),
        (torch.ones(3, 7, 7, dtype=torch.bool), TypeError, r"maps are torch.bool"),
        ([[[1.0]]], TypeError, r"maps are a list, expected a tensor"),
    ],
)
@pytest.mark.quick("spec", QUICK)
def test_other_maps_are_refused(pooling, maps, error, message):
    with pytest.raises(error, match=message):
        pooling(maps)
    with pytest.raises(error, match=message):
        pooling.weights(maps)
