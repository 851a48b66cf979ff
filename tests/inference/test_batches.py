"""An image gets the same result in any batch, and refined maps lie on a finer grid over the same image."""

import numpy as np
import pytest
import torch

from wsl import Predictor, Source, UserError
from wsl.config import Preprocessing
from wsl.config.shared import BOX_DEFAULTS
from wsl.images import fit
from wsl.inference import network
from wsl.maps import peak
from wsl.maps.refine import REFINEMENTS, Refinement
from wsl.models import Localizer, OnnxLocalizer

# Batches of other sizes sum in another order: scores and maps of order one differ in their last digits.
ROUNDING = 1e-4


QUICK = [("tinynet", "letterbox", "pamr"), ("tinynet", "warp", "none"), ("resnet18", "letterbox", "affinity")]


def of(model, **settings):
    return Predictor(model, **{"top_k": 2, "threshold": 0.5, "device": "cpu", "precision": "fp32", **settings})


def many(photos, count=32):
    """As many images, none like another."""
    return [np.roll(photos[number % len(photos)], number, axis=1) for number in range(count)]


@pytest.mark.parametrize("resize", ["warp", "letterbox"])
@pytest.mark.parametrize(
    ("name", "refine"),
    [("tinynet", "none"), ("resnet18", "none"), ("resnet18", "affinity"), ("tinynet", "pamr"), ("tinynet", "guided")],
)
@pytest.mark.quick("name, resize, refine", QUICK)
def test_batches_of_1_and_of_32_agree(new_model, photos, assert_same, name, refine, resize):
    model = new_model(name, preprocessing={"resize": resize})
    # Letterboxed, the others have maps of one row or column, along which pixels are equally high.
    photos = [photo for photo in photos if max(photo.shape) < 2 * min(photo.shape[:2])]
    images = many(photos)
    one, batch = of(model, refine=refine, batch_size=1), of(model, refine=refine, batch_size=32)
    together = batch.predict([batch.prepare(image) for image in images])
    for image, alone, found, listed in zip(images, one(images), together, batch(images), strict=True):
        assert_same(found, alone, tolerance=ROUNDING)
        assert_same(listed, alone, tolerance=ROUNDING)
        assert found.size == image.shape[1::-1]


def test_a_mixed_list_keeps_its_order(predictor, photos, tmp_path, encoded, assert_same):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(photos[1]))
    planes = torch.from_numpy(photos[3]).permute(2, 0, 1)
    mixed = [photos[0], path, encoded(photos[2]), planes, planes / 255, Source(photos[4], "e"), str(path)] * 3
    order = [0, 1, 2, 3, 3, 4, 1] * 3
    for found, number in zip(predictor(mixed), order, strict=True):
        assert_same(found, predictor(photos[number]), tolerance=ROUNDING)


def test_predict_gives_one_result_an_input_and_none_for_none(predictor, photos):
    assert predictor.predict([]) == []
    prepared = predictor.prepare(photos[0])
    assert [found.id for found in predictor.predict([prepared] * 3)] == ["0"] * 3


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_lower_precision_changes_little(tinynet, photos, precision):
    exact, rounded = of(tinynet, top_k=None)(photos), of(tinynet, top_k=None, precision=precision)(photos)
    for one, other in zip(exact, rounded, strict=True):
        for label, score in one.scores.items():
            assert other.scores[label] == pytest.approx(score, abs=0.05)


@pytest.mark.parametrize(("name", "expected"), [("tinynet", "none"), ("resnet18", "affinity")])
def test_auto_refines_where_there_are_two_levels_of_features(new_model, name, expected):
    model = new_model(name)
    predictor = of(model, refine="auto", threshold=None)
    assert predictor.refine == expected
    assert predictor.boxes.threshold == {"none": 0.2, "affinity": 0.5}[expected]


def test_an_onnx_model_is_not_refined_and_says_why(tinynet, onnx, photos, assert_same):
    exported = OnnxLocalizer(onnx)
    assert of(exported, refine="auto").refine == "none"
    with pytest.raises(UserError, match=r"refine is 'affinity', but this model shows no intermediate features"):
        of(exported, refine="affinity")
    for found, expected in zip(of(exported)(photos), of(tinynet, refine="none")(photos), strict=True):
        assert_same(found, expected, tolerance=1e-3)
    for found, expected in zip(of(exported, refine="pamr")(photos), of(tinynet, refine="pamr")(photos), strict=True):
        assert_same(found, expected, tolerance=1e-3)


@pytest.fixture(scope="module")
def swin() -> Localizer:
    """A model that shows no intermediate features."""
    return Localizer("swin_t", 2, weights="none", preprocessing=Preprocessing(image_size=64))


@pytest.mark.parametrize("name", [name for name, one in REFINEMENTS.items() if not one.decoded])
@pytest.mark.quick("name", ["affinity", "pamr"])
def test_a_model_without_intermediate_features_can_be_refined_by_the_image_alone(name, photos, swin):
    model = swin
    assert model.levels == 0
    if REFINEMENTS[name].reads_features:
        with pytest.raises(UserError, match=r"expected none, one that reads the image alone \(.*pamr.*\), or"):
            of(model, refine=name)
    else:
        found = of(model, refine=name, threshold=None)
        assert found.boxes.threshold == BOX_DEFAULTS[name].threshold
        assert all(np.isfinite(one).all() for one in found(photos[0]).maps.values())


@pytest.mark.parametrize("tta", [(), ("flip",)])
@pytest.mark.parametrize("resize", ["warp", "letterbox"])
def test_a_refinement_sees_the_image_in_its_own_colours_and_nothing_beside_it(photos, monkeypatch, resize, tta):
    """RGB in [0, 1] of the pixels that the network sees, without the padding."""
    seen = []

    def look(maps, image, features):
        seen.append(image)
        assert features == []
        return maps

    monkeypatch.setattr(network, "REFINEMENTS", {"pamr": Refinement(look, reads_image=True, reads_features=False)})
    preprocessing = Preprocessing(image_size=64, resize=resize, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))
    model = Localizer("tinynet", 2, weights="none", preprocessing=preprocessing)
    for photo in photos:
        of(model, refine="pamr", tta=tta)(photo)
        pixels, geometry = fit(photo, preprocessing)
        left, top, right, bottom = (round(edge) for edge in geometry.content)
        expected = pixels[top:bottom, left:right].astype(np.float32) / 255
        np.testing.assert_allclose(seen.pop()[0].permute(1, 2, 0), expected, atol=1e-6)


@pytest.mark.parametrize("resize", ["warp", "letterbox"])
@pytest.mark.quick("resize", ["letterbox"])
def test_refined_maps_are_finer_and_points_stay_those_of_the_raw_maps(new_model, photos, resize):
    model = new_model("resnet18", preprocessing={"resize": resize})
    raw, refined = of(model, refine="none")(photos), of(model, refine="affinity")(photos)
    for before, after, photo in zip(raw, refined, photos, strict=True):
        assert list(after.scores.items()) == list(before.scores.items())
        assert after.points == before.points
        for label, score_map in after.maps.items():
            assert score_map.dtype == np.float32
            assert np.isfinite(score_map).all()
            assert score_map.size > before.maps[label].size
            # The cells are square on the network's input: on the whole image, or on its letterboxed part.
            height, width = (64, 64) if resize == "warp" else (64 * side / max(photo.shape) for side in photo.shape[:2])
            assert score_map.shape == (max(1, round(height / 4)), max(1, round(width / 4)))
            left, top, right, bottom = after.boxes.of(label).xyxy[0]
            assert 0 <= left < right <= after.size[0]
            assert 0 <= top < bottom <= after.size[1]


def test_a_letterboxed_images_maps_cover_the_image_and_not_its_padding(new_model, photos):
    """A bright spot stays where it is in the image, whatever its aspect ratio."""
    model = new_model("tinynet", preprocessing={"resize": "letterbox"})
    for found, photo in zip(of(model)(photos), photos, strict=True):
        height, width = (max(1, round(8 * side / max(photo.shape))) for side in photo.shape[:2])
        for score_map in found.maps.values():
            assert score_map.shape == (height, width)


@pytest.mark.parametrize("size", [64, 96, 160])
def test_another_image_size_gives_finer_maps_of_the_same_classes(tinynet, photos, size):
    found = of(tinynet, image_size=size, classes=("dog",))(photos[0])
    assert found.maps["dog"].shape == (size // 8, size // 8)
    assert found.size == (67, 45)


def test_points_are_the_maxima_of_the_maps_inside_the_image(predictor, photos):
    for found in predictor(photos):
        for label, (x, y) in found.points.items():
            heat = found.heatmap(label)
            assert heat[int(y), int(x)] > 0.95
            assert 0 <= x < found.size[0]
            assert 0 <= y < found.size[1]


def test_the_point_of_a_map_of_one_row_lies_in_the_middle_of_the_images_height():
    assert peak([[1, 3, 2]], (130, 33)) == (65, 16)


def test_a_localization_owns_its_maps(predictor, photos, assert_same):
    one, other = predictor.predict([predictor.prepare(photo) for photo in photos[:2]])
    for score_map in one.maps.values():
        score_map[:] = 0
    assert_same(other, predictor(photos[1]), tolerance=ROUNDING)
