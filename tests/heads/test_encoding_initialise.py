"""NetVLAD's start from data: centres by k-means, and assignments as sharp as the data's distances ask."""

import math

import pytest
import torch

from heads.encoding import SPP, NetVLAD
from heads.encoding._kmeans import kmeans, squared_distances


def clouds(count=40, seed=0):
    """Three clouds of points on the unit circle's surroundings, in a plane of eight dimensions, of 1 : 2 : 3 points."""
    generator = torch.Generator().manual_seed(seed)
    middles = torch.eye(8)[:3]
    sizes = (count, 2 * count, 3 * count)
    points = [m + 0.02 * torch.randn(n, 8, generator=generator) for m, n in zip(middles, sizes, strict=True)]
    shuffled = torch.cat(points)[torch.randperm(6 * count, generator=generator)]
    return shuffled, middles


def maps_of(points):
    """Points as feature maps (N, 8, 4, 5)."""
    return points.unflatten(0, (-1, 20)).mT.unflatten(-1, (4, 5))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_finds_the_clouds_the_largest_first(seed):
    points, middles = clouds()
    torch.testing.assert_close(kmeans(points, 3, generator(seed)), middles.flip(0), atol=0.02, rtol=0)


def test_kmeans_is_where_lloyds_rounds_end():
    points, _ = clouds(seed=1)
    centres = kmeans(points, 7, generator())
    nearest = squared_distances(points, centres).argmin(1)
    means = torch.stack([points[nearest == k].mean(0) for k in range(7)])
    torch.testing.assert_close(centres, means, atol=1e-5, rtol=0)
    counts = torch.bincount(nearest, minlength=7)
    assert (counts.diff() <= 0).all()
    assert counts.min() > 0


def test_kmeans_agrees_with_scikit_learn():
    from sklearn.cluster import KMeans

    points = torch.randn(300, 4, generator=generator())
    ours = min(
        float(squared_distances(points, kmeans(points, 5, generator(seed))).min(1).values.sum()) for seed in range(10)
    )
    theirs = KMeans(5, n_init=10, random_state=0).fit(points.numpy()).inertia_
    assert ours <= 1.01 * theirs


def test_kmeans_of_equal_points_ends():
    points = torch.ones(10, 3)
    assert torch.equal(kmeans(points, 4, generator()), torch.ones(4, 3))


def test_centres_lie_in_the_data_and_assignments_are_sharp():
    points, middles = clouds()
    encoder = NetVLAD(8, clusters=3)
    assert encoder.needs_fit()
    encoder.initialise([maps_of(points)], generator=generator())
    assert not encoder.needs_fit()
    torch.testing.assert_close(encoder.centres.detach(), middles.flip(0), atol=0.03, rtol=0)
    # weight @ x + bias is -alpha |x - c|^2 but for what all centres share
    directions = torch.nn.functional.normalize(points, dim=1)
    logits = directions @ encoder.weight.T + encoder.bias
    distances = torch.cdist(directions, encoder.centres).square()
    alpha = (encoder.weight.norm() / encoder.centres.norm()).item() / 2
    torch.testing.assert_close(logits.log_softmax(1), (-alpha * distances).log_softmax(1), atol=1e-3, rtol=1e-3)
    # The largest is 100 times the second, in the mean of the logarithm.
    best = logits.detach().topk(2).values
    assert float((best[:, 0] - best[:, 1]).mean()) == pytest.approx(math.log(100), rel=1e-3)


def test_ghosts_take_the_smallest_clusters():
    points, middles = clouds()
    encoder = NetVLAD(8, clusters=2, ghosts=1)
    encoder.initialise(maps_of(points), generator=generator())  # one batch, no list
    torch.testing.assert_close(encoder.centres.detach(), middles[[2, 1]], atol=0.03, rtol=0)
    assert encoder.weight.shape == (3, 8)
    assert encoder.weight[2].argmax() == 0


def test_the_same_generator_gives_the_same_centres_and_none_is_one_of_its_own():
    features = torch.rand(30, 8, 9, 9, generator=generator())
    made = []
    for seed in (0, 0, 1, None):
        encoder = NetVLAD(8, clusters=4)
        state = torch.get_rng_state()
        encoder.initialise([features], generator=None if seed is None else generator(seed))
        assert torch.equal(torch.get_rng_state(), state)
        made.append(encoder.centres.detach())
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[3])
    assert not torch.equal(made[0], made[2])


def test_a_loader_is_read_only_as_far_as_needed():
    def loader():
        for batch in range(1000):
            if batch == 20:
                raise AssertionError("20,000 descriptors were drawn before")
            yield torch.rand(20, 8, 9, 9, generator=generator(batch))

    NetVLAD(8, clusters=2).initialise(loader())


def test_the_start_is_part_of_the_state():
    encoder, restored = NetVLAD(8, clusters=3), NetVLAD(8, clusters=3)
    encoder.initialise(maps_of(clouds()[0]))
    restored.load_state_dict(encoder.state_dict())
    assert not restored.needs_fit()
    assert torch.equal(restored.weight, encoder.weight)


def test_unnormalised_descriptors_keep_their_length():
    points, middles = clouds()
    encoder = NetVLAD(8, clusters=3, normalise_input=False)
    encoder.initialise(maps_of(10 * points), generator=generator())
    torch.testing.assert_close(encoder.centres.detach(), 10 * middles.flip(0), atol=0.2, rtol=0)


def test_encoders_without_such_a_start_read_nothing():
    def nothing():
        raise AssertionError("read")
        yield

    encoder = SPP(8)
    assert not encoder.needs_fit()
    encoder.initialise(nothing())


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], r"no features, expected batches \(N, C, H, W\): is the loader empty"),
        ([torch.rand(1, 8, 1, 3)], r"3 descriptors for 4 clusters, expected more: give more or larger feature maps"),
        ([torch.rand(1, 7, 3, 3)], r"features have shape \(1, 7, 3, 3\), expected 8 channels"),
        ([torch.full((1, 8, 3, 3), torch.nan)], r"a feature is not finite"),
    ],
)
def test_data_that_cannot_be_used_is_refused(features, message):
    encoder = NetVLAD(8, clusters=3, ghosts=1)
    with pytest.raises(ValueError, match=message):
        encoder.initialise(features)
    assert encoder.needs_fit()
