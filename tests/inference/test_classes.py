"""Which classes are localized: picked by probability, fixed for the predictor, or known for the image."""

import numpy as np
import pytest
import torch

import wsl
from wsl import Predictor, Source, UserError


def of(model, **settings):
    return Predictor(model, device="cpu", precision="fp32", **settings)


def by_score(found):
    return sorted(found.scores, key=found.scores.get, reverse=True)


def consistent(found):
    """Maps, points and boxes are of the same classes."""
    assert list(found.maps) == list(found.points)
    assert set(found.boxes.labels) <= set(found.maps)
    return list(found.maps)


@pytest.mark.parametrize("top_k", [1, 2, 4, 9, None])
def test_the_most_probable_classes_are_localized_best_first(tinynet, photos, top_k):
    for found in of(tinynet, top_k=top_k)(photos):
        assert consistent(found) == by_score(found)[:top_k]
        assert list(found.scores) == by_score(found)


def test_no_class_below_the_score_threshold_is_localized(tinynet, photos):
    everything = of(tinynet, top_k=None)(photos)
    threshold = float(np.median([score for found in everything for score in found.scores.values()]))
    counts = set()
    for found in of(tinynet, top_k=None, score_threshold=threshold)(photos):
        assert consistent(found) == [name for name in by_score(found) if found.scores[name] >= threshold]
        counts.add(len(found.maps))
    assert len(counts) > 1
    for found in of(tinynet, top_k=2, score_threshold=threshold)(photos):
        assert consistent(found) == [name for name in by_score(found)[:2] if found.scores[name] >= threshold]


@pytest.mark.parametrize("top_k", [1, None])
def test_an_image_in_which_nothing_is_probable_has_scores_only(tinynet, photos, top_k):
    found = of(tinynet, top_k=top_k, score_threshold=1.0)(photos[0])
    assert consistent(found) == []
    assert len(found.boxes) == 0
    assert len(found.scores) == 4


def test_fixed_classes_are_localized_in_every_image_in_their_order(tinynet, photos, assert_same):
    everything = of(tinynet, top_k=None)(photos)
    for found, whole in zip(of(tinynet, classes=("pig", "cat"))(photos), everything, strict=True):
        assert consistent(found) == ["pig", "cat"]
        for label in found.maps:
            np.testing.assert_allclose(found.maps[label], whole.maps[label], rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(found.boxes.of(label).xyxy, whole.boxes.of(label).xyxy)
            assert found.points[label] == whole.points[label]


def test_a_class_that_is_named_twice_is_localized_once(tinynet, photos):
    found = of(tinynet, classes=("dog", "cat", "dog"))(photos[0])
    assert consistent(found) == ["dog", "cat"]
    assert sorted(found.boxes.labels) == ["cat", "dog"]
    found = of(tinynet)(Source(photos[0], classes=("dog", "dog", "cow")))
    assert consistent(found) == ["dog", "cow"]


def test_known_classes_of_an_image_take_the_place_of_the_pick(tinynet, photos, assert_same):
    known = [("pig",), None, (), ("dog", "pig", "cat"), None, ["cow"]]
    sources = [Source(photo, classes=classes) for photo, classes in zip(photos, known, strict=True)]
    predictor = of(tinynet, top_k=2, score_threshold=0.3)
    together = predictor(sources)
    for found, classes, alone in zip(together, known, predictor(photos), strict=True):
        assert consistent(found) == (list(alone.maps) if classes is None else list(classes))
    for found, source in zip(together, sources, strict=True):
        assert_same(found, predictor(source), tolerance=1e-4)


def test_known_classes_go_beside_fixed_ones(tinynet, photos):
    predictor = of(tinynet, classes=("cat", "dog"))
    found = predictor([photos[0], Source(photos[1], classes=("pig",)), Source(photos[2], classes=())])
    assert [consistent(one) for one in found] == [["cat", "dog"], ["pig"], []]


def test_known_classes_are_localized_however_improbable(tinynet, photos):
    predictor = of(tinynet, score_threshold=1.0)
    assert consistent(predictor(Source(photos[0], classes=("cow", "cat")))) == ["cow", "cat"]
    assert consistent(predictor.predict([predictor.prepare(photos[0], classes=("pig",))])[0]) == ["pig"]


def test_prepare_may_name_the_classes_of_a_source_again(predictor, photos):
    prepared = predictor.prepare(Source(photos[0], "a", classes=("cat",)), id="b", classes=("dog",))
    (found,) = predictor.predict([prepared])
    assert (found.id, consistent(found)) == ("b", ["dog"])


@pytest.mark.parametrize("errors", ["raise", "skip", "return"])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_unknown_class_is_the_callers_mistake_and_never_skipped(predictor, photos, errors, workers, no_thread_stays):
    sources = [photos[0], Source(photos[1], classes=("dgo",))]
    with pytest.raises(UserError, match=r"the model knows no class 'dgo'; did you mean 'dog'. it knows cat, dog, cow"):
        list(predictor.stream(sources, errors=errors, workers=workers))


def test_an_unknown_fixed_class_is_refused_before_anything_runs(tinynet):
    with pytest.raises(UserError, match="no class 'hourse'; it knows cat, dog, cow, pig"):
        of(tinynet, classes=("hourse",))


@pytest.mark.parametrize("classes", ["dog", "cat"])
def test_one_name_in_the_place_of_a_list_is_refused(tinynet, photos, classes):
    message = f"classes is '{classes}', expected a list of names"
    with pytest.raises(UserError, match=message):
        of(tinynet, classes=classes)
    with pytest.raises(UserError, match=message):
        of(tinynet)(Source(photos[0], classes=classes))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 0}, "top.k.*expected 1 or more"),
        ({"score_threshold": 1.5}, "score.threshold is 1.5"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"box_rule": "biggest"}, "biggest"),
        ({"refine": "sharpen"}, "refine is 'sharpen', expected"),
        ({"image_size": 0}, "image.size"),
        ({"batch_size": 0}, "batch.size is 0"),
        ({"device": "toaster"}, "device 'toaster' is not available"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
    ],
)
def test_settings_out_of_range_are_refused(tinynet, settings, message):
    with pytest.raises(UserError, match=message):
        Predictor(tinynet, **{"device": "cpu", **settings})


@pytest.mark.parametrize("most", [1, 3, None])
def test_only_the_best_scores_are_given_and_those_of_the_classes_asked_for(tinynet, photos, most):
    everything = of(tinynet, max_scores=None)(photos[0])
    last = by_score(everything)[-1]
    found = of(tinynet, max_scores=most, classes=(last,))(photos[0])
    assert list(found.scores) == list(dict.fromkeys([*by_score(everything)[:most], last]))
    assert found.scores[last] == everything.scores[last]
    assert consistent(found) == [last]
    assert len(found.boxes.scores) == 1


@pytest.mark.parametrize(
    ("classes", "advice"),
    [([1], "classes holds 1, expected names"), (["1"], "number 1 is 'dog'"), (["Dog"], "did you mean 'dog'")],
)
def test_a_class_by_number_or_in_another_spelling_is_answered_with_its_name(tinynet, classes, advice):
    with pytest.raises(UserError, match=advice) as error:
        of(tinynet, classes=classes)
    assert "dog" in str(error.value)


@pytest.mark.parametrize("label", [1, ["cat", "dog"]])
def test_an_overlay_is_of_one_class_by_name(tinynet, photos, label):
    found = of(tinynet)(photos[0])
    for draw in (found.overlay, found.heatmap):
        with pytest.raises(UserError, match="expected the name of one class"):
            draw(label)


@pytest.mark.parametrize("model", ["resnet50", torch.nn.Conv2d(3, 2, 1)])
def test_what_is_no_localizer_is_answered_with_how_to_get_one(model):
    for use in (of, lambda model: wsl.localize(model, "photos")):
        with pytest.raises(UserError, match=r"expected .*wsl\.Localizer\.from_classifier"):
            use(model)
