"""Images that are prepared apart from the predictor: by a light object, anywhere, with the same results."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from wsl import Predictor, Source
from wsl.errors import BadImageError, UserError


def test_a_preparer_is_small_and_has_no_model(predictor):
    data = pickle.dumps(predictor.preparer)
    assert len(data) < 2000
    assert b"torch" not in data
    assert len(pickle.dumps(predictor)) > 10 * len(data)


ELSEWHERE = """
import pickle, sys
preparer, source = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps(preparer(source)))
assert "torch" not in sys.modules
"""


def test_another_process_prepares_an_image_without_torch(predictor, photos, encoded, assert_same):
    source = Source(encoded(photos[0]), "a", classes=("pig",))
    given = pickle.dumps((predictor.preparer, source))
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    prepared, ours = pickle.loads(done.stdout), predictor.prepare(source)  # noqa: S301 - our own bytes
    assert np.array_equal(prepared.pixels, ours.pixels)
    assert (prepared.geometry, prepared.id, prepared.classes) == (ours.geometry, "a", ("pig",))
    assert_same(predictor(prepared), predictor(source))


def test_a_preparer_refuses_what_its_predictor_refuses(predictor):
    with pytest.raises(UserError, match="knows no class 'dgo'; did you mean 'dog'"):
        predictor.preparer(Source(b"", classes=["dgo"]))
    with pytest.raises(BadImageError, match=r"^a: empty"):
        predictor.preparer(Source(b"", "a"))


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_prepared_images_pass_through_a_stream(predictor, photos, assert_same, workers):
    expected = predictor([Source(photo, f"p{number}") for number, photo in enumerate(photos)])
    given = [predictor.prepare(photo, id=f"p{number}") for number, photo in enumerate(photos)]
    given[1:5:2] = [Source(photos[number], f"p{number}") for number in (1, 3)]
    for found in (list(predictor.stream(iter(given), workers=workers)), predictor(given)):
        assert [one.id for one in found] == [one.id for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


def test_prepared_images_and_ones_that_cannot_be_read(predictor, photos, assert_same):
    given = [photos[0], b"", photos[2]]
    prepared = [predictor.prepare(photos[0]), *given[1:]]
    expected, found = (predictor(images, errors="return") for images in (given, prepared))
    assert isinstance(found[1], BadImageError)
    assert str(found[1]) == str(expected[1]) == "1: empty (0 bytes), expected an image"
    assert found[2].id == "2"
    for place in (0, 2):
        assert_same(found[place], expected[place])
    assert len(list(predictor.stream(prepared))) == 2
    maps, expected = (list(predictor.class_maps(images)) for images in (prepared, given))
    assert torch.equal(maps[0], expected[0])
    assert isinstance(maps[1], BadImageError)


def test_one_prepared_image_is_one_image(predictor, photos, assert_same):
    prepared = predictor.prepare(photos[0], classes=("pig",))
    for found in (predictor(prepared), *predictor.stream(prepared), *predictor.stream([prepared])):
        assert_same(found, predictor(Source(photos[0], classes=["pig"])))


def test_a_prepared_image_may_leave_the_original_behind(predictor, photos):
    prepared = dataclasses.replace(predictor.prepare(photos[0], id="a.png"), image=None)
    found = predictor(prepared)
    assert found.image == found.path
    assert found.path.name == "a.png"


def test_an_image_that_was_prepared_for_another_size_is_refused(predictor, tinynet, photos):
    other = Predictor(tinynet, image_size=96, device="cpu")
    told = r"a: prepared pixels of shape \(96, 96, 3\), expected \(64, 64, 3\)"
    prepared = other.prepare(photos[0], id="a")
    with pytest.raises(UserError, match=told):
        predictor([prepared, photos[1]])
    for take in (predictor, lambda image: predictor.predict([image]), lambda image: predictor.images([image])):
        with pytest.raises(UserError, match=told):
            take(prepared)
