"""What encoders are equal to: simpler poolings, torch's own layers, and each other."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.encoding import (
    Bilinear,
    CompactBilinear,
    NetVLAD,
    SPPBlock,
    bilinear,
    compactbilinear,
    netvlad,
    signed_sqrt,
    spp,
    sppblock,
)
from heads.pooling import gap, gmp


def random_features(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(a, b, **tolerance):
    torch.testing.assert_close(a, b, **tolerance)


# --- spatial pyramid --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edges", ["floor_ceil", "round"])
def test_one_bin_is_global_pooling(edges):
    features = random_features(2, 5, 7, 6)
    close(spp(features, (1,), edges=edges), gmp(features))
    close(spp(features, (1,), kind="average", edges=edges), gap(features))


@pytest.mark.parametrize("size", [(7, 6), (4, 4), (1, 3), (2, 13)])
@pytest.mark.parametrize("level", [1, 2, 4, 5])
def test_floor_and_ceil_are_torchs_adaptive_pooling(size, level):
    features = random_features(2, 5, *size)
    close(spp(features, (level,)), F.adaptive_max_pool2d(features, level).flatten(1))
    close(spp(features, (level,), kind="average"), F.adaptive_avg_pool2d(features, level).flatten(1))


def test_levels_stand_one_after_another():
    features = random_features(2, 5, 7, 6)
    close(spp(features, (4, 2, 1)), torch.cat([spp(features, (level,)) for level in (4, 2, 1)], 1))


@settings(max_examples=60)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 7))
def test_rounded_bins_part_the_map(height, width, level):
    """Every location lies in one bin, so that the bins' averages give the map's, weighted by their sizes."""
    features = random_features(3, height, width)
    averages = spp(features, (level,), kind="average", edges="round").unflatten(-1, (3, level, level)).sum(0)
    if min(height, width) < level:
        return  # some bins hold a row that is another's
    edges = [[round(i * size / level) for i in range(level + 1)] for size in (height, width)]
    sizes = [torch.tensor(e).diff().double() for e in edges]
    close((averages * sizes[0].unsqueeze(1) * sizes[1]).sum(), features.sum())


def test_the_two_rules_differ_where_a_bins_edge_is_no_whole_number():
    ramp = torch.arange(5.0).reshape(1, 1, 5)
    assert spp(ramp, (2,), edges="floor_ceil").tolist() == [2, 4, 2, 4]
    assert spp(ramp, (2,), edges="round").tolist() == [1, 4, 1, 4]  # 2.5 rounds to 2
    assert spp(torch.arange(4.0).reshape(1, 1, 4), (2,)).tolist() == [1, 3, 1, 3]


# --- the stride-1 form ------------------------------------------------------------------------------------------


def test_the_block_agrees_with_the_slow_reference(reference):
    features = random_features(2, 3, 7, 6)
    for kernels in ((5, 9, 13), (3,), (9, 5), (1, 3)):
        slow = [reference.encoders.sppblock(image, kernels) for image in features.tolist()]
        assert torch.equal(sppblock(features, kernels), torch.tensor(slow, dtype=torch.float64))


def test_the_block_is_torchs_max_pooling_beside_the_features():
    features = random_features(2, 3, 20, 17)
    windows = [F.max_pool2d(features, kernel, stride=1, padding=kernel // 2) for kernel in (5, 9, 13)]
    assert torch.equal(SPPBlock()(features), torch.cat([features, *windows], 1))
    assert torch.equal(SPPBlock()(features[0]), SPPBlock()(features)[0])
    assert SPPBlock().out_channels(3) == SPPBlock()(features).shape[1]
    assert repr(SPPBlock(kernels=[3, 5])) == "sppblock(kernels=(3, 5))"


def test_the_blocks_derivatives_and_transforms():
    features = random_features(2, 2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sppblock(x, (3, 5)), features, fast_mode=True)
    close(torch.func.vmap(SPPBlock())(features), SPPBlock()(features))
    program = torch.export.export(SPPBlock(), (features,)).module()
    close(program(features), SPPBlock()(features))


# --- bilinear ---------------------------------------------------------------------------------------------------


def test_bilinear_is_the_mean_outer_product():
    features = random_features(2, 5, 7, 6)
    columns = features.flatten(2)
    product = torch.einsum("nci,ndi->ncd", columns, columns) / 42
    plain = bilinear(features, signed_sqrt=False, l2=False)
    close(plain, product.flatten(1))
    close(plain.unflatten(1, (5, 5)).mT.flatten(1), plain)  # symmetric
    vector = bilinear(features)
    close(vector * vector.abs(), plain / plain.abs().sum(1, keepdim=True))  # undoes the root, and the norm after it
    close(vector.norm(dim=1), torch.ones(2).double())


def test_two_sources_meet_each_other():
    features, other = random_features(2, 5, 7, 6), random_features(2, 3, 7, 6, seed=1)
    plain = bilinear(features, other, signed_sqrt=False, l2=False)
    close(plain, torch.einsum("nchw,ndhw->ncd", features, other).flatten(1) / 42)
    assert torch.equal(bilinear(features, features), bilinear(features))
    swapped = bilinear(other, features, signed_sqrt=False, l2=False).unflatten(1, (3, 5))
    close(swapped.mT.flatten(1), plain)


def test_the_signed_root_is_odd_exact_and_of_bounded_slope():
    values = torch.tensor([4.0, -9.0, 0.25, 0.0, 1e-12, -1e-30], dtype=torch.float64, requires_grad=True)
    roots = signed_sqrt(values)
    close(roots[:3], torch.tensor([2.0, -3.0, 0.5]).double())
    assert roots[3] == 0
    assert 0 < roots[4] <= 1e-6
    close(signed_sqrt(-values), -roots)
    roots.sum().backward()
    assert values.grad.isfinite().all()
    steepest = (9 * torch.finfo(torch.float64).eps) ** -0.5
    assert values.grad.max() <= steepest * 1.001
    close(values.grad[3], torch.tensor(steepest).double())
    close(signed_sqrt(1e-3 * values), 1e-3**0.5 * roots)  # the line scales with the vector


# --- compact bilinear -------------------------------------------------------------------------------------------


def plain_sketch(seed, dim, channels=16):
    return CompactBilinear(channels, dim=dim, seed=seed, signed_sqrt=False, l2=False).double()


@pytest.mark.parametrize(("size", "dim"), [((5, 4), 256), ((1, 2), 64), ((1, 1), 7)])
def test_sketching_each_location_and_sketching_their_sum_are_one(size, dim):
    """The Tensor Sketch by FFT and the count sketch of the outer product, whichever of them is the cheaper."""
    features = random_features(2, 16, *size)
    encoder = plain_sketch(0, dim)
    columns = features.flatten(2).mT
    sketches = [
        torch.zeros(2, columns.shape[1], dim).double().index_add(-1, places, columns * signs)
        for places, signs in ((encoder.places, encoder.signs), (encoder.other_places, encoder.other_signs))
    ]
    spectrum = torch.fft.fft(sketches[0]) * torch.fft.fft(sketches[1])
    close(encoder(features), torch.fft.ifft(spectrum).real.mean(1))
    place = (encoder.places[:, None] + encoder.other_places) % dim
    sign = encoder.signs[:, None] * encoder.other_signs
    product = bilinear(features, signed_sqrt=False, l2=False) * sign.flatten()
    close(encoder(features), torch.zeros(2, dim).double().index_add(-1, place.flatten(), product))


def test_inner_products_of_sketches_are_those_of_outer_products_on_average():
    """The polynomial kernel of degree 2: the mean of 300 seeds within 4 standard errors, the spread ~ 1 / sqrt(dim)."""
    x, y = random_features(16, 3, 3), random_features(16, 3, 3, seed=1) + random_features(16, 3, 3)
    kernel = bilinear(x, signed_sqrt=False, l2=False) @ bilinear(y, signed_sqrt=False, l2=False)
    pairwise = torch.einsum("ci,cj->ij", x.flatten(1), y.flatten(1)).square().mean()
    close(kernel, pairwise)
    spread = {}
    for dim in (64, 1024):
        sketches = [plain_sketch(seed, dim) for seed in range(300)]
        products = torch.stack([sketch(x) @ sketch(y) for sketch in sketches])
        error = products.std() / len(products) ** 0.5
        assert (products.mean() - kernel).abs() < 4 * error
        spread[dim] = products.std()
    assert 2.5 < spread[64] / spread[1024] < 6.5  # sqrt(1024 / 64) is 4


def test_the_seed_decides_places_and_signs():
    assert torch.equal(CompactBilinear(16, 64).places, CompactBilinear(16, 64).places)
    a, b = CompactBilinear(16, 64), CompactBilinear(16, 64, seed=1)
    assert not torch.equal(a.places, b.places)
    assert not torch.equal(a.places, a.other_places)
    assert set(a.signs.tolist()) == {-1.0, 1.0}
    assert a.places.max() < 64
    state = torch.get_rng_state()
    CompactBilinear(16, 64, seed=7)
    assert torch.equal(torch.get_rng_state(), state)


def test_with_a_place_for_every_pair_the_sketch_is_the_outer_product():
    features = random_features(2, 3, 7, 6)
    places = torch.tensor([0, 3, 6]), torch.tensor([0, 1, 2])
    signs = torch.ones(3), torch.ones(3)
    close(compactbilinear(features, places=places, signs=signs, dim=9), bilinear(features))


# --- NetVLAD ----------------------------------------------------------------------------------------------------


def test_hard_assignments_make_it_vlad():
    """Each location counts for its nearest centre alone: VLAD of Jegou et al., with intra-normalisation."""
    features, centres = random_features(2, 5, 4, 4), random_features(3, 5, seed=1)
    alpha = 1e4
    vectors = netvlad(
        features, 2 * alpha * centres, -alpha * centres.square().sum(1), centres, normalise_input=False
    ).unflatten(1, (3, 5))
    for image, vector in zip(features.flatten(2).mT, vectors, strict=True):
        nearest = torch.cdist(image, centres).argmin(1)
        parts = torch.stack([(image[nearest == k] - centres[k]).sum(0) for k in range(3)])
        parts = F.normalize(parts, dim=1)
        close(vector, parts / parts.norm())


def test_ghosts_take_their_share_and_are_left_out():
    features, points = random_features(2, 5, 4, 4), random_features(4, 5, seed=1)
    weight, bias = 3 * points, -points.square().sum(1)
    haunted = netvlad(features, weight, bias, points[:2]).unflatten(1, (2, 5))
    whole = netvlad(features, weight, bias, points).unflatten(1, (4, 5))
    # The same parts, but for the norm of the whole.
    close(F.normalize(haunted, dim=2), F.normalize(whole[:, :2], dim=2))
    assert not torch.allclose(haunted.flatten(1), netvlad(features, weight[:2], bias[:2], points[:2]))


def test_descriptors_of_length_one_make_it_blind_to_contrast():
    features = random_features(2, 5, 4, 4)
    scaled = features * torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    encoder = NetVLAD(5, clusters=3).double()
    close(encoder(scaled), encoder(features))
    plain = NetVLAD(5, clusters=3, normalise_input=False).double()
    assert not torch.allclose(plain(scaled), plain(features))


def test_the_order_of_locations_does_not_matter_where_there_is_no_grid():
    features = random_features(2, 5, 6, 6)
    shuffled = features.flatten(2)[..., torch.randperm(36, generator=torch.Generator().manual_seed(0))].unflatten(
        -1, (4, 9)
    )
    for encoder in (NetVLAD(5, clusters=3), Bilinear(5), CompactBilinear(5, 32)):
        close(encoder.double()(shuffled), encoder(features))
