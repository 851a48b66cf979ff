"""What every encoder keeps, whatever it computes; a new encoder is tested here by its line in ENCODERS."""

import copy
import io

import pytest
import torch
from torch.export import Dim

import heads
from heads import ENCODERS
from heads.spec import parse_spec

CHANNELS = 6
VARIANTS = [
    "spp(levels=(3, 1), kind=average)",
    "spp(levels=(4, 3), edges=round)",
    "spp(levels=(2, 5), kind=average, edges=round)",
    "netvlad(clusters=3, ghosts=2)",
    "netvlad(clusters=1)",
    "netvlad(clusters=4, normalise_input=False)",
    "bilinear(signed_sqrt=False)",
    "bilinear(signed_sqrt=False, l2=False)",
    "bilinear(l2=False)",
    "compactbilinear(dim=16, seed=3)",
    "compactbilinear(dim=16, signed_sqrt=False, l2=False)",
    "bilinear(other_channels=4)",
    "compactbilinear(dim=16, other_channels=4)",
]
SMALLER = {"compactbilinear": "compactbilinear(dim=64)"}
SPECS = [*(SMALLER.get(name, name) for name in ENCODERS), *VARIANTS]
# One a way of computing: a graph takes seconds.
TRACED = ["spp(levels=(3,))", "spp(levels=(3,), kind=average, edges=round)", "netvlad(clusters=3, ghosts=2)"]
TRACED += ["bilinear(other_channels=4)", "compactbilinear(dim=16, signed_sqrt=False)"]
EXPORTED = [(2, 7, 6), (1, 14, 9), (5, 2, 2), (1, 1, 1)]  # the batches and sizes that an exported graph is given


@pytest.fixture(params=SPECS)
def spec(request):
    return request.param


@pytest.fixture
def encoder(spec):
    return create(spec)


def create(spec):
    torch.manual_seed(0)  # where NetVLAD's first centres lie
    return heads.create_encoder(spec, CHANNELS)


def random_features(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def sources(encoder, *shape, dtype=torch.float32):
    """Features of that shape before the channels' place, and a second source where the encoder takes one."""
    *batch, height, width = shape
    channels = [CHANNELS] + [encoder.other_channels] * (encoder.other_channels is not None)
    return tuple(random_features(*batch, c, height, width, dtype=dtype, seed=c) for c in channels)


@pytest.mark.parametrize("shape", [(2, 7, 6), (7, 6), (2, 1, 1), (1, 5), (0, 7, 6), (2, 1, 9), (1, 64, 64)])
@pytest.mark.quick("spec", SPECS[: len(ENCODERS)])
def test_it_gives_vectors_of_one_length(encoder, shape):
    vectors = encoder(*sources(encoder, *shape))
    assert vectors.shape == (*shape[:-2], encoder.out_features)
    assert vectors.isfinite().all()


def test_it_agrees_with_the_slow_reference(encoder, spec, reference):
    name, arguments = parse_spec(spec)
    unknown = ("clusters", "ghosts", "seed", "other_channels")
    arguments = {key: value for key, value in arguments.items() if key not in unknown}
    encoder = encoder.double()
    if name == "netvlad":
        arguments |= {key: getattr(encoder, key).tolist() for key in ("weight", "bias", "centres")}
    if name == "compactbilinear":
        arguments["places"] = encoder.places.tolist(), encoder.other_places.tolist()
        arguments["signs"] = encoder.signs.tolist(), encoder.other_signs.tolist()
    # Where nothing is summed, the slow Fourier transform leaves its rounding, and the root makes 1e-8 of it.
    tolerance = 1e-7 if name == "compactbilinear" else 1e-12
    for shape in ((2, 7, 6), (1, 3, 5), (2, 1, 1)):
        given = sources(encoder, *shape, dtype=torch.float64)
        rows = zip(*(source.tolist() for source in given), strict=True)
        slow = torch.tensor([getattr(reference.encoders, name)(*row, **arguments) for row in rows], dtype=torch.float64)
        torch.testing.assert_close(encoder(*given), slow, rtol=1e-10, atol=tolerance)


def test_images_are_encoded_alone(encoder):
    given = sources(encoder, 3, 7, 6)
    alone = torch.stack([encoder(*(source[i] for source in given)) for i in range(3)])
    torch.testing.assert_close(encoder(*given), alone)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 1.6e-2), (torch.float32, 2e-6)]
)
def test_it_keeps_the_dtype_and_accumulates_above_half_precision(encoder, dtype, tolerance):
    """Features in half precision are given exactly; parameters and the vector are rounded to the dtype."""
    given = tuple((3 + source).to(dtype) for source in sources(encoder, 1, 40, 40))
    encoder = encoder.to(dtype)
    vectors = encoder(*given)
    assert vectors.dtype == dtype
    exact = encoder.double()(*(source.double() for source in given))
    # Squared, since the root makes much of a rounding where products cancel.
    off = (vectors.double() * vectors.double().abs() - exact * exact.abs()).abs().max()
    # NetVLAD's residuals are differences of neighbours: the rounding of float32 counts more.
    assert off <= tolerance * exact.square().max() * (3 if "netvlad" in repr(encoder) else 1)


def test_the_gradient_and_its_gradient_are_the_derivatives(encoder):
    encoder = encoder.double()
    given = tuple(source.requires_grad_() for source in sources(encoder, 1, 2, 3, dtype=torch.float64))
    assert torch.autograd.gradcheck(encoder, given, eps=1e-7, atol=1e-5, fast_mode=True)
    assert torch.autograd.gradgradcheck(encoder, given, eps=1e-7, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_vectors_and_gradients_of_extreme_features_are_finite(encoder, spec, dtype):
    signs = random_features(1, CHANNELS, 6, 6).sign()
    bounded = "l2=False" not in spec
    for extreme in (1e4 * signs, torch.full_like(signs, 1e4), torch.full_like(signs, -1e4), torch.zeros_like(signs)):
        if not bounded and dtype == torch.float16:
            extreme = extreme / 100  # the product of two of 1e4 is above float16's largest number
        features = extreme.to(dtype).requires_grad_()
        other = () if encoder.other_channels is None else (features[:, : encoder.other_channels],)
        vectors = encoder(features, *other)
        vectors.float().mean().backward()
        assert vectors.isfinite().all()
        assert features.grad.isfinite().all()
        assert features.grad.dtype == dtype


def test_the_memory_layout_does_not_matter(encoder):
    given = sources(encoder, 2, 7, 6)
    expected = encoder(*given)
    torch.testing.assert_close(encoder(*(x.to(memory_format=torch.channels_last) for x in given)), expected)
    strided = [x.repeat_interleave(2, -1)[..., ::2] for x in given]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(encoder(*strided), expected)
    turned = [x.mT.contiguous().mT for x in given]
    assert not turned[0].is_contiguous()
    torch.testing.assert_close(encoder(*turned), expected)


def test_features_are_left_as_they_were(encoder):
    given = sources(encoder, 2, 7, 6)
    before = [source.clone() for source in given]
    encoder(*given)
    assert all(map(torch.equal, given, before))


def test_vmap_is_the_batch(encoder):
    given = sources(encoder, 2, 7, 6)
    torch.testing.assert_close(torch.func.vmap(encoder)(*given), encoder(*given))


@pytest.mark.parametrize("spec", TRACED)
@pytest.mark.quick("spec", [TRACED[4]])
def test_it_compiles_to_one_graph_of_any_size(encoder):
    torch.compiler.reset()
    compiled = torch.compile(encoder, fullgraph=True, backend="eager", dynamic=True)
    for shape in ((2, 7, 6), (3, 9, 5)):
        given, twins = ([x.requires_grad_() for x in sources(encoder, *shape)] for _ in range(2))
        torch.testing.assert_close(compiled(*given), encoder(*twins))
        compiled(*given).square().sum().backward()
        encoder(*twins).square().sum().backward()
        torch.testing.assert_close([x.grad for x in given], [x.grad for x in twins])


def exported(encoder):
    sizes = {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}
    given = sources(encoder, 2, 7, 6)
    return torch.export.export(encoder.eval(), given, dynamic_shapes=(sizes,) * len(given))


@pytest.mark.parametrize("spec", TRACED)
@pytest.mark.quick("spec", [TRACED[0], TRACED[4]])
def test_it_exports_for_batches_and_maps_of_any_size(encoder):
    program = exported(encoder).module()
    for shape in EXPORTED:
        given = sources(encoder, *shape)
        torch.testing.assert_close(program(*given), encoder(*given))


@pytest.mark.long
@pytest.mark.parametrize("spec", TRACED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the exporter's own code
def test_and_to_onnx(encoder):
    onnxruntime = pytest.importorskip("onnxruntime")
    program = exported(encoder)
    file = io.BytesIO()
    torch.onnx.export(program, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    for shape in EXPORTED:
        given = sources(encoder, *shape)
        inputs = {slot.name: source.numpy() for slot, source in zip(session.get_inputs(), given, strict=True)}
        (vectors,) = session.run(None, inputs)
        torch.testing.assert_close(torch.from_numpy(vectors), encoder(*given), rtol=1e-4, atol=1e-5)


def test_its_repr_makes_it_again(encoder, spec):
    again = create(repr(encoder))
    assert type(again) is type(encoder) is ENCODERS[parse_spec(spec)[0]]
    assert repr(again) == repr(encoder)
    assert again.out_features == encoder.out_features
    given = sources(encoder, 2, 7, 6)
    assert torch.equal(again(*given), encoder(*given))
    assert repr(encoder) == spec or "(" not in spec


def test_its_name_is_its_class_in_lower_case(encoder, spec):
    assert repr(encoder).partition("(")[0] == type(encoder).__name__.lower() == parse_spec(spec)[0]


def test_copies_and_restored_states_compute_the_same(encoder, spec):
    restored = create(spec)
    with torch.no_grad():
        for value in [*encoder.parameters(), *encoder.buffers()]:  # places are shuffled, too
            value.copy_(value.flip(0) if value.ndim else value)
    restored.load_state_dict(encoder.state_dict())
    given = sources(encoder, 2, 7, 6)
    assert torch.equal(copy.deepcopy(encoder)(*given), encoder(*given))
    assert torch.equal(restored(*given), encoder(*given))


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        (torch.ones(6, 7), ValueError, r"features have shape \(6, 7\), expected \(N, C, H, W\) or \(C, H, W\)"),
        (torch.ones(2, 6, 0, 7), ValueError, r"\(2, 6, 0, 7\) without any location, expected H >= 1 and W >= 1"),
        (torch.ones(2, 5, 7, 7), ValueError, r"features have shape \(2, 5, 7, 7\), expected 6 channels: build the enc"),
        (torch.ones(6, 7, 7, dtype=torch.int64), TypeError, r"features are torch.int64, .* features.float\(\)"),
        (torch.ones(6, 7, 7, dtype=torch.bool), TypeError, r"features are torch.bool"),
        ([[[1.0]]], TypeError, r"features are a list, expected a tensor"),
    ],
)
@pytest.mark.quick("spec", SPECS[: len(ENCODERS)])
def test_other_features_are_refused(encoder, features, error, message):
    with pytest.raises(error, match=message):
        encoder(features)


@pytest.mark.parametrize("channels", [0, -1])
def test_impossible_channels_are_refused(spec, channels):
    with pytest.raises(ValueError, match=rf"encoder .*in_channels is {channels}, expected 1 or more"):
        heads.create_encoder(spec, channels)
