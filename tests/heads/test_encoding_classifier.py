"""The linear layer on an encoder, specs of encoders, ONNX, and what is refused."""

import copy

import pytest
import torch

import heads
from heads import (
    ENCODERS,
    NECKS,
    POOLINGS,
    MapClassifier,
    VectorClassifier,
    create_encoder,
    create_neck,
    names_encoder,
)
from heads.encoding import SPP, Bilinear, CompactBilinear, NetVLAD, SPPBlock, bilinear, spp, sppblock


def random_features(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_scores_are_a_linear_function_of_the_vector():
    head = VectorClassifier(8, 5, encoder="netvlad(clusters=3)")
    features = random_features(2, 8, 7, 6)
    torch.testing.assert_close(head(features), head.encoder(features) @ head.linear.weight.T + head.linear.bias)
    torch.testing.assert_close(head(features[1]), head(features)[1])
    assert head(features[:0]).shape == (0, 5)
    assert not head.linear.bias.any()
    assert "(encoder): netvlad(clusters=3)" in repr(head)


def test_the_encoder_may_be_a_module_and_may_take_two_sources():
    head = VectorClassifier(8, 5, encoder=Bilinear(8, other_channels=4))
    features, other = random_features(2, 8, 7, 6), random_features(2, 4, 7, 6, seed=1)
    torch.testing.assert_close(head(features, other), head.linear(bilinear(features, other)))
    with pytest.raises(ValueError, match="an encoder of 8 channels for features of 9: expected as many"):
        VectorClassifier(9, 5, encoder=Bilinear(8))


def test_one_bin_of_averages_makes_it_the_classifier_of_a_map_head():
    maps = heads.MapClassifier(8, 5, pooling="gap")
    vector = VectorClassifier(8, 5, encoder="spp(levels=(1,), kind=average)")
    with torch.no_grad():
        vector.linear.weight.copy_(maps.conv.weight.flatten(1))
    features = random_features(2, 8, 7, 6)
    torch.testing.assert_close(vector(features), maps(features).scores)


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_copies_and_restored_states_compute_the_same(encoder):
    head, restored = VectorClassifier(8, 5, encoder), VectorClassifier(8, 5, encoder)
    restored.load_state_dict(head.state_dict())
    features = random_features(2, 8, 7, 6)
    for twin in (restored, copy.deepcopy(head)):
        assert torch.equal(twin(features), head(features))


def test_names_of_encoders_and_poolings_are_one_list():
    assert not set(ENCODERS) & set(POOLINGS)
    assert heads.list_encoders() == list(ENCODERS) == ["spp", "netvlad", "bilinear", "compactbilinear"]
    assert all(names_encoder(name) for name in ENCODERS)
    assert not any(names_encoder(name) for name in POOLINGS)
    with pytest.raises(TypeError):
        ENCODERS["mine"] = SPP
    twins = set(heads.encoding.__all__) - {"Encoder", "SPPBlock", "sppblock", "signed_sqrt"}
    assert twins == set(ENCODERS) | {kind.__name__ for kind in ENCODERS.values()}


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("spp", "spp(levels=(4, 2, 1))"),
        ("spp(levels=[2])", "spp(levels=(2,))"),
        ("spp(edges='floor_ceil')", "spp(levels=(4, 2, 1))"),
        ("netvlad", "netvlad(clusters=64)"),
        ("netvlad(ghosts=2, normalise_input=false)", "netvlad(clusters=64, ghosts=2, normalise_input=False)"),
        ("bilinear(signed_sqrt=True)", "bilinear"),
        ("compactbilinear", "compactbilinear(dim=8192)"),
    ],
)
def test_other_ways_to_write_a_spec(spec, canonical):
    assert repr(create_encoder(spec, 8)) == canonical
    assert repr(create_encoder(canonical, 8)) == canonical


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("netvladd", "unknown encoder 'netvladd': did you mean 'netvlad'?"),
        ("gap", "unknown encoder 'gap': expected one of spp, netvlad"),
        ("netvlad(k=3)", "encoder 'netvlad' has no argument 'k': expected one of clusters"),
        ("netvlad(in_channels=3)", "encoder 'netvlad' has no argument 'in_channels': expected one of clusters"),
        ("netvlad(clusters=0)", "encoder 'netvlad(clusters=0)': clusters is 0, expected 1 or more"),
        ("netvlad(clusters=1.5)", "encoder 'netvlad(clusters=1.5)': clusters is 1.5, expected an integer of 1 or more"),
        ("netvlad(ghosts=-1)", "encoder 'netvlad(ghosts=-1)': ghosts is -1, expected 0 or more: try ghosts=0"),
        ("netvlad(ghosts=true)", "encoder 'netvlad(ghosts=true)': ghosts is True, expected an integer"),
        ("netvlad(normalise_input=1)", "encoder 'netvlad(normalise_input=1)': normalise_input is 1, expected True or"),
        (
            "spp(levels=4)",
            "encoder 'spp(levels=4)': levels is 4, expected the sides of the grids: try levels=(4, 2, 1)",
        ),
        ("spp(levels=())", "encoder 'spp(levels=())': levels is empty, expected the sides of the grids: try levels="),
        ("spp(levels=(4, 0))", "encoder 'spp(levels=(4, 0))': a level is 0, expected 1 or more"),
        ("spp(levels=all)", "encoder 'spp(levels=all)': levels is 'all', expected the sides of the grids"),
        ("spp(kind=mean)", "encoder 'spp(kind=mean)': kind is 'mean', expected 'max' or 'average'"),
        ("spp(edges=ceil)", "encoder 'spp(edges=ceil)': edges is 'ceil', expected 'floor_ceil' or 'round'"),
        ("bilinear(l2=none)", "encoder 'bilinear(l2=none)': l2 is None, expected True or False"),
        ("bilinear(other_channels=0)", "encoder 'bilinear(other_channels=0)': other_channels is 0, expected 1 or more"),
        ("compactbilinear(dim=-4)", "encoder 'compactbilinear(dim=-4)': dim is -4, expected 1 or more"),
        ("compactbilinear(seed=-1)", "encoder 'compactbilinear(seed=-1)': seed is -1, expected 0 or more"),
        ("compactbilinear(seed=a)", "encoder 'compactbilinear(seed=a)': seed is 'a', expected an integer of 0 or more"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below, literally
        create_encoder(spec, 8)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_neither_is_compared_with_both():
    with pytest.raises(ValueError, match=r"unknown pooling or encoder 'netvld': did you mean 'netvlad'\?"):
        names_encoder("netvld")
    with pytest.raises(ValueError, match=r"unknown pooling or encoder 'gapp': did you mean 'gap'\?"):
        names_encoder("gapp")
    with pytest.raises(ValueError, match=r"expected one of gmp, gap, .*compactbilinear"):
        names_encoder("transformer")


def test_sources_that_do_not_fit_are_refused():
    features, other = random_features(2, 8, 7, 6), random_features(2, 4, 7, 6)
    with pytest.raises(TypeError, match=r"two sources for an encoder of one source: other_channels says .* is None"):
        Bilinear(8)(features, other)
    with pytest.raises(TypeError, match=r"one source for an encoder of two sources: other_channels says .* is 4"):
        CompactBilinear(8, other_channels=4)(features)
    with pytest.raises(ValueError, match=r"other have shape \(2, 8, 7, 6\), expected 4 channels"):
        Bilinear(8, other_channels=4)(features, features)
    with pytest.raises(ValueError, match=r"other has shape \(2, 4, 6, 7\) beside .*as many images and locations"):
        bilinear(features, other.mT)


def test_functions_and_blocks_refuse_the_same():
    with pytest.raises(ValueError, match=r"a kernel is 4, expected an odd side.*: try 5"):
        SPPBlock(kernels=(4,))
    with pytest.raises(ValueError, match="kernels is empty"):
        sppblock(random_features(3, 7, 7), ())
    with pytest.raises(TypeError, match="kernels is 5, expected the sides"):
        SPPBlock(kernels=5)
    with pytest.raises(TypeError, match=r"features are torch.bool"):
        spp(torch.ones(3, 7, 7, dtype=torch.bool))
    with pytest.raises(TypeError, match="a level is 'a', expected an integer"):
        spp(random_features(3, 7, 7), ("a",))


def test_a_neck_stands_before_either_head():
    features = random_features(2, 8, 7, 6)
    for make in (MapClassifier, VectorClassifier):
        head = make(8, 5, neck="sppblock(kernels=(3, 5))")
        assert repr(head.neck) == "sppblock(kernels=(3, 5))"
        behind = make(24, 5)
        behind.load_state_dict(head.state_dict())
        torch.testing.assert_close(head(features), behind(sppblock(features, (3, 5))), rtol=0, atol=0)
        with pytest.raises(
            ValueError, match=r"features have shape \(2, 24, 7, 6\), expected 8 channels: build the head"
        ):
            head(sppblock(features, (3, 5)))


def test_windows_of_one_location_are_a_neck_that_only_repeats():
    plain, necked = MapClassifier(8, 5, pooling="gap"), MapClassifier(8, 5, pooling="gap", neck=SPPBlock(kernels=(1,)))
    with torch.no_grad():
        necked.conv.weight.copy_(plain.conv.weight.repeat(1, 2, 1, 1) / 2)
    features = random_features(2, 8, 7, 6)
    torch.testing.assert_close(necked(features), plain(features))


def test_attention_reads_the_features_past_the_neck():
    head = MapClassifier(8, 5, pooling="attention(hidden=4)", neck="sppblock(kernels=(3,))")
    assert head(random_features(2, 8, 7, 6)).scores.shape == (2, 5)
    assert head.pooling.channels == head.conv.in_channels == 16


def test_a_netvlad_starts_past_the_neck():
    head = VectorClassifier(8, 5, encoder="netvlad(clusters=3)", neck="sppblock(kernels=(3,))")
    alone = create_encoder("netvlad(clusters=3)", 16)
    features = random_features(4, 8, 7, 6)
    head.initialise([features], generator=torch.Generator().manual_seed(0))
    alone.initialise([sppblock(features, (3,))], generator=torch.Generator().manual_seed(0))
    assert torch.equal(head.encoder(sppblock(features, (3,))), alone(sppblock(features, (3,))))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sppblok", "unknown neck 'sppblok': did you mean 'sppblock'"),
        ("sppblock(levels=(1,))", "neck 'sppblock' has no argument 'levels': did you mean 'kernels'"),
        ("sppblock(kernels=(4,))", "a kernel is 4, expected an odd side"),
        ("sppblock(", r"the neck is 'sppblock\(', expected a name with its arguments"),
    ],
)
def test_necks_that_are_none_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        create_neck(spec)
    with pytest.raises(ValueError, match=message):
        MapClassifier(8, 5, neck=spec)


def test_necks_are_specs_in_one_list():
    assert heads.list_necks() == list(NECKS) == ["sppblock"]
    assert not set(NECKS) & {*ENCODERS, *POOLINGS}
    for spec in ("sppblock(kernels=(5, 9, 13))", "sppblock(kernels=(3,))"):
        assert repr(create_neck(spec)) == spec


def test_a_netvlad_starts_from_data_within_the_classifier():
    head = VectorClassifier(8, 5, encoder=NetVLAD(8, clusters=4))
    head.encoder.initialise(random_features(10, 8, 7, 6))
    loss = torch.nn.functional.cross_entropy(head(random_features(10, 8, 7, 6)), torch.arange(10) % 5)
    loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in head.parameters())
