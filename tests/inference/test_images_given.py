"""An image is found to hold the same, whatever it is given as: a path, bytes, a file, an array, Pillow's, a tensor."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import wsl
from wsl import Predictor, Source

KINDS = {
    "path": lambda file, image: file,
    "str": lambda file, image: str(file),
    "bytes": lambda file, image: file.read_bytes(),
    "bytearray": lambda file, image: bytearray(file.read_bytes()),
    "memoryview": lambda file, image: memoryview(file.read_bytes()),
    "file in memory": lambda file, image: io.BytesIO(file.read_bytes()),
    "array": lambda file, image: image,
    "view of an array": lambda file, image: image[:, ::-1][:, ::-1],
    "read-only array": lambda file, image: np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape),
    "Pillow": lambda file, image: Image.fromarray(image),
    "opened Pillow": lambda file, image: Image.open(io.BytesIO(file.read_bytes())),
    "uint8 tensor": lambda file, image: torch.from_numpy(image).permute(2, 0, 1),
    "float tensor": lambda file, image: torch.from_numpy(image).permute(2, 0, 1) / 255,
    "double tensor": lambda file, image: torch.from_numpy(image).permute(2, 0, 1).double() / 255,
    "tensor with gradient": lambda file, image: (torch.from_numpy(image).permute(2, 0, 1) / 255).requires_grad_(),
    "tensor in channels-last": lambda file, image: (
        torch.from_numpy(image).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)[0]
    ),
}


@pytest.fixture
def file(tmp_path, photos, encoded) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(photos[0]))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_gives_the_same_localization(predictor, photos, file, assert_same, kind):
    before = photos[0].copy()
    found = predictor(KINDS[kind](file, photos[0]))
    assert_same(found, predictor(file))
    assert np.array_equal(photos[0], before)
    assert found.id == ("photo" if kind in ("path", "str") else "0")


def test_an_open_file_gives_the_same_and_stays_open(predictor, file, assert_same):
    with file.open("rb") as opened:
        assert_same(predictor(opened), predictor(file))
        assert not opened.closed


def test_a_jpeg_gives_the_same_from_its_path_and_its_bytes(predictor, photos, tmp_path, encoded, assert_same):
    data = encoded(photos[5], "JPEG", quality=90)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    assert_same(predictor(data), predictor(path))
    assert_same(predictor(io.BytesIO(data)), predictor(path))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_pillow_image_gives_the_same_as_its_file(predictor, photos, tmp_path, assert_same, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(photos[0]).save(path, exif=exif)
    with Image.open(path) as image:
        found = predictor(image)
    assert found.size == ((67, 45) if orientation <= 4 else (45, 67))
    assert_same(found, predictor(path))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_a_pillow_image_of_another_mode_gives_the_same_as_its_rgb(predictor, photos, assert_same, mode):
    image = Image.fromarray(photos[0]).convert(mode)
    assert_same(predictor(image), predictor(np.asarray(image.convert("RGB"))))


def test_a_source_names_an_image_and_renames_a_file(predictor, photos, file):
    assert predictor(Source(photos[0], "camera 2/7")).id == "camera 2/7"
    renamed = predictor(Source(file, "front"))
    assert (renamed.id, renamed.path, renamed.image) == ("front", file, file)
    (prepared,) = predictor.predict([predictor.prepare(photos[0], id="frame.0001")])
    assert (prepared.id, prepared.to_json()["id"]) == ("frame.0001", "frame.0001")


def test_a_list_numbers_the_images_that_have_no_name(predictor, photos, file):
    found = predictor([photos[0], file, Source(photos[1], "second"), photos[2]])
    assert [one.id for one in found] == ["0", "photo", "second", "3"]


def test_a_localization_shows_the_image_that_was_given(predictor, photos, file):
    expected = predictor(file).overlay()
    for kind in ("bytes", "file in memory", "array", "Pillow", "float tensor"):
        assert np.array_equal(predictor(KINDS[kind](file, photos[0])).overlay(), expected), kind


def test_open_files_may_be_closed_once_the_next_image_is_asked_for(predictor, photos, file, assert_same):
    def opened():
        for _ in range(20):
            with file.open("rb") as image:
                yield image

    stream = predictor.stream(opened())
    for found in stream:
        assert_same(found, predictor(file), tolerance=1e-5)
    assert stream.skipped == 0


def test_what_was_made_of_an_open_file_can_be_sent_elsewhere(predictor, file, assert_same):
    with file.open("rb") as opened:
        prepared = predictor.prepare(opened)
    sent = pickle.loads(pickle.dumps(prepared))  # noqa: S301 - our own bytes
    (found,) = predictor.predict([sent])
    assert_same(found, predictor(file))
    assert np.array_equal(pickle.loads(pickle.dumps(found)).overlay(), predictor(file).overlay())  # noqa: S301 - as above


@pytest.mark.parametrize("given", ["folder", "glob", "file", "list", "array", "bytes", "Source", "generator", "tuple"])
def test_localize_takes_folders_globs_lists_generators_and_single_images(tinynet, photos, tmp_path, encoded, given):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(photos[number]))
    sources, expected = {
        "folder": (tmp_path, [0, 1, 2]),
        "glob": (str(tmp_path / "[02].png"), [0, 2]),
        "file": (tmp_path / "1.png", [1]),
        "list": ([photos[1], tmp_path / "0.png", encoded(photos[2])], [1, 0, 2]),
        "array": (photos[0], [0]),
        "bytes": (encoded(photos[1]), [1]),
        "Source": (Source(photos[2], classes=("cow",)), [2]),
        "generator": ((photo for photo in photos[:3]), [0, 1, 2]),
        "tuple": ((photos[1], str(tmp_path)), [1, 0, 1, 2]),
    }[given]
    found = list(wsl.localize(tinynet, sources, device="cpu"))
    assert [one.size for one in found] == [photos[number].shape[1::-1] for number in expected]
    if given == "Source":
        assert list(found[0].maps) == ["cow"]


@pytest.mark.parametrize("image", ["Pillow", "tensor", "file"])
def test_localize_takes_one_image_of_any_kind(tinynet, photos, encoded, image):
    single = {
        "Pillow": Image.fromarray(photos[0]),
        "tensor": torch.from_numpy(photos[0]).permute(2, 0, 1),
        "file": io.BytesIO(encoded(photos[0])),
    }[image]
    (found,) = wsl.localize(tinynet, single, device="cpu")
    assert found.size == (67, 45)


def test_localize_takes_batches_of_arrays_and_tensors_as_their_images(tinynet, photos):
    batch = np.stack([photos[2]] * 3)
    for sources in (batch, torch.from_numpy(batch).permute(0, 3, 1, 2)):
        assert [found.id for found in wsl.localize(tinynet, sources, device="cpu")] == ["0", "1", "2"]


def test_localize_refuses_a_folder_without_images_before_it_runs(tinynet, tmp_path):
    with pytest.raises(wsl.UserError, match="no image in it"):
        wsl.localize(tinynet, tmp_path, device="cpu")
    with pytest.raises(wsl.UserError, match="unknown setting 'topk': did you mean 'top_k'"):
        wsl.localize(tinynet, tmp_path, topk=2)


@pytest.mark.parametrize(
    ("called", "near"),
    [
        (lambda model: wsl.Predictor(model, topk=2), "unknown setting 'topk': did you mean 'top_k'"),
        (lambda model: wsl.Predictor(model, qqqq=2), "unknown setting 'qqqq': expected one of model, top_k, classes, "),
        (lambda model: wsl.Localizer("tinynet", poling="gap"), "unknown setting 'poling': did you mean 'pooling'"),
        (lambda model: wsl.Localizer.from_classifier("resnet18", layer="layer4"), "did you mean 'layers'"),
        (lambda model: wsl.cam(model, None, methods="layercam"), "did you mean 'method'"),
    ],
)
def test_what_is_called_in_python_suggests_the_nearest_setting(called, near, tinynet):
    with pytest.raises(wsl.UserError, match=near):
        called(tinynet)


def test_predictors_that_differ_in_settings_share_a_model(tinynet, photos):
    one = Predictor(tinynet, top_k=1, device="cpu")(photos[0])
    two = Predictor(tinynet, top_k=2, device="cpu", threshold=0.7)(photos[0])
    assert len(one.maps) == 1
    assert len(two.maps) == 2
    assert next(iter(one.maps)) == next(iter(two.maps))


def test_a_call_takes_several_images_as_a_list(tinynet, photos):
    batch = np.stack([photos[2]] * 2)
    for images in (batch, torch.from_numpy(batch).permute(0, 3, 1, 2)):
        with pytest.raises(wsl.BadImageError, match=r"for several images give a list, list\(images\)"):
            Predictor(tinynet, device="cpu")(images)
