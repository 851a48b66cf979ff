"""The class-wise mean, the head that puts the parts together, and the package's public face."""

import copy
import subprocess
import sys

import pytest
import torch
from torch.export import Dim

import heads
from heads import ClasswiseMean, HeadOutput, MapClassifier, classwise_mean
from heads.pooling import GAP, gap, gmp, weldon


def random_features(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def test_the_maps_of_a_class_are_neighbours(reference):
    maps = random_features(2, 12, 3, 4, dtype=torch.float64)
    expected = [reference.poolings.classwise_mean(image.flatten(1).tolist(), 3) for image in maps]
    torch.testing.assert_close(classwise_mean(maps, 3), torch.tensor(expected).double().reshape(2, 4, 3, 4))
    torch.testing.assert_close(classwise_mean(maps[0], 3), classwise_mean(maps, 3)[0])


def test_one_map_a_class_is_the_class_map():
    maps = random_features(2, 6, 3, 4)
    assert torch.equal(classwise_mean(maps, 1), maps)


@pytest.mark.parametrize("maps_per_class", [1, 2, 6])
def test_each_map_gets_its_share_of_the_gradient(maps_per_class):
    maps = random_features(2, 6, 3, 4).requires_grad_()
    classwise_mean(maps, maps_per_class).sum().backward()
    torch.testing.assert_close(maps.grad, torch.full_like(maps, 1 / maps_per_class))


def test_the_classwise_mean_keeps_dtype_layout_and_transforms():
    maps = random_features(2, 6, 3, 4)
    expected = classwise_mean(maps, 3)
    torch.testing.assert_close(classwise_mean(maps.to(memory_format=torch.channels_last), 3), expected)
    torch.testing.assert_close(torch.func.vmap(ClasswiseMean(3))(maps), expected)
    half = classwise_mean(maps.bfloat16(), 3)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, classwise_mean(maps.bfloat16().float(), 3).bfloat16())
    assert classwise_mean(maps[:0], 3).shape == (0, 2, 3, 4)
    assert torch.autograd.gradcheck(ClasswiseMean(3), (maps.double().requires_grad_(),))


def test_a_number_of_maps_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="7 maps are not 2 a class: expected a multiple of maps_per_class"):
        classwise_mean(torch.ones(7, 3, 4), 2)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=r"maps_per_class is .*, expected 1 or more"):
            ClasswiseMean(wrong)
    for wrong in (1.0, True, "2"):
        with pytest.raises(TypeError, match=r"maps_per_class is .*, expected an integer of 1 or more"):
            ClasswiseMean(wrong)


def test_the_head_returns_the_scores_of_the_maps_that_it_returns():
    head = MapClassifier(8, 5, pooling="weldon(k_max=0.2, k_min=0.2)", maps_per_class=3)
    features = random_features(2, 8, 7, 6)
    output = head(features)
    assert isinstance(output, HeadOutput)
    scores, maps = output
    assert scores.shape == (2, 5)
    assert maps.shape == (2, 5, 7, 6)
    torch.testing.assert_close(maps, classwise_mean(head.conv(features), 3))
    torch.testing.assert_close(scores, weldon(maps, 0.2, 0.2))
    torch.testing.assert_close(head.pooling(maps), scores)
    head.pooling = heads.create_pooling("gmp")
    torch.testing.assert_close(head(features).scores, gmp(maps))


def test_one_image_without_batch_dimension():
    head = MapClassifier(8, 5)
    features = random_features(2, 8, 7, 6)
    scores, maps = head(features[1])
    torch.testing.assert_close(scores, head(features).scores[1])
    torch.testing.assert_close(maps, head(features).maps[1])


def test_average_pooling_makes_it_the_linear_classifier_of_averaged_features():
    head = MapClassifier(8, 5, pooling="gap")
    linear = torch.nn.Linear(8, 5)
    with torch.no_grad():
        head.conv.weight.copy_(linear.weight[:, :, None, None])
        head.conv.bias.copy_(linear.bias)
    features = random_features(2, 8, 7, 6)
    torch.testing.assert_close(head(features).scores, linear(gap(features)))


def test_a_new_head_has_no_bias_and_its_own_pooling_module():
    pooling = GAP()
    head = MapClassifier(8, 5, pooling=pooling, maps_per_class=2)
    assert head.pooling is pooling
    assert not head.conv.bias.any()
    assert head.conv.weight.any()
    assert list(head.state_dict()) == ["conv.weight", "conv.bias"]
    assert "(pooling): gap" in repr(head)


def test_copies_and_restored_states_compute_the_same():
    head = MapClassifier(8, 5, pooling="lse(beta=4, learnable=True)", maps_per_class=2)
    restored = MapClassifier(8, 5, pooling="lse(beta=1, learnable=True)", maps_per_class=2)
    restored.load_state_dict(head.state_dict())
    features = random_features(2, 8, 7, 6)
    for twin in (restored, copy.deepcopy(head)):
        assert torch.equal(twin(features).scores, head(features).scores)


@pytest.mark.long
def test_it_compiles_and_exports_whole():
    head = MapClassifier(8, 5, pooling="wildcat(k_max=0.2, alpha=0.7)", maps_per_class=2)
    torch.compiler.reset()
    compiled = torch.compile(head, fullgraph=True, backend="eager")
    sizes = {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}
    exported = torch.export.export(head, (random_features(2, 8, 7, 6),), dynamic_shapes=(sizes,)).module()
    for features in (random_features(3, 8, 5, 4), random_features(1, 8, 14, 9)):
        torch.testing.assert_close(tuple(compiled(features)), tuple(head(features)))
        torch.testing.assert_close(tuple(exported(features)), tuple(head(features)))


def test_features_of_another_shape_are_refused():
    head = MapClassifier(8, 5)
    with pytest.raises(ValueError, match=r"features have shape \(2, 9, 7, 7\), expected 8 channels"):
        head(torch.ones(2, 9, 7, 7))
    with pytest.raises(ValueError, match=r"features have shape \(2, 8\), expected \(N, C, H, W\)"):
        head(torch.ones(2, 8))
    with pytest.raises(TypeError, match=r"features are torch.uint8, expected floating point numbers"):
        head(torch.ones(2, 8, 7, 7, dtype=torch.uint8))


def test_impossible_heads_are_refused():
    with pytest.raises(ValueError, match="num_classes is 0, expected 1 or more"):
        MapClassifier(8, 0)
    with pytest.raises(TypeError, match=r"in_channels is 8\.0, expected an integer"):
        MapClassifier(8.0, 5)
    with pytest.raises(ValueError, match=r"did you mean 'gap'\?"):
        MapClassifier(8, 5, pooling="gapp")
    with pytest.raises(TypeError, match=r"the pooling is <class .*, expected a string"):
        MapClassifier(8, 5, pooling=GAP)


def test_the_public_face():
    assert {name for name in vars(heads) if not name.startswith("_")} >= set(heads.__all__)
    assert set(heads.__all__) == {
        "ENCODERS",
        "NECKS",
        "DOWNSAMPLINGS",
        "POOLINGS",
        "AdversarialClassifier",
        "ClasswiseMean",
        "HeadOutput",
        "MapClassifier",
        "Replacement",
        "SpatialCalibration",
        "TokenClassifier",
        "VectorClassifier",
        "classwise_mean",
        "create_downsampling",
        "create_encoder",
        "create_neck",
        "create_pooling",
        "downsampling",
        "encoding",
        "list_downsamplings",
        "list_encoders",
        "list_necks",
        "list_poolings",
        "names_encoder",
        "pooling",
        "replace_pooling",
    }
    windowed = {name for name in heads.downsampling.__all__ if name != "Downsampling"}
    assert windowed == set(heads.DOWNSAMPLINGS) | {kind.__name__ for kind in heads.DOWNSAMPLINGS.values()}
    twins = {name for name in heads.pooling.__all__ if name != "Pooling"}
    assert twins == set(heads.POOLINGS) | {kind.__name__ for kind in heads.POOLINGS.values()}


@pytest.mark.long
def test_importing_and_using_heads_brings_nothing_beyond_torch():
    script = (
        "import sys, torch; before = {name.partition('.')[0] for name in sys.modules}; import heads;"
        "heads.pooling.lse(torch.ones(1, 2, 2));"
        "new = {name.partition('.')[0] for name in sys.modules} - before - sys.stdlib_module_names;"
        "print(sorted(new))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["['heads']"]
