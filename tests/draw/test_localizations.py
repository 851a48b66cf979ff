"""A localization shows itself: heatmaps at the image's size, overlays, and HTML that a notebook can always show."""

import base64
import copy
import io
import pickle
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from wsl.boxes import Boxes
from wsl.draw import draw_boxes, overlay
from wsl.errors import BadImageError, UserError
from wsl.maps import heatmap
from wsl.results import Localization

RANDOM = np.random.default_rng(0)
PHOTO = RANDOM.integers(0, 256, (96, 128, 3), np.uint8)
MAPS = {"cat": RANDOM.random((6, 8), np.float32), "dog": RANDOM.random((6, 8), np.float32)}
BOXES = Boxes(xyxy=[[0, 0, 60, 50], [40, 30, 120, 90]], labels=["cat", "dog"], scores=[0.2, 0.7])


def localization(**changes) -> Localization:
    fields = {
        "path": "photo",
        "size": (128, 96),
        "scores": {"dog": 0.7, "cat": 0.2, "cow": 0.1},
        "boxes": BOXES,
        "maps": MAPS,
        "image": PHOTO,
    }
    return Localization(**{**fields, **changes})


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_a_heatmap_has_the_images_size_and_spans_zero_to_one():
    heat = localization().heatmap("cat")
    assert heat.shape == (96, 128)
    assert heat.dtype == np.float32
    assert (heat.min(), heat.max()) == (0, 1)
    assert np.array_equal(heat, heatmap(MAPS["cat"], (128, 96)))


def test_without_a_label_the_localized_class_of_highest_probability_is_shown():
    found = localization()
    assert np.array_equal(found.heatmap(), found.heatmap("dog"))
    expected = draw_boxes(overlay(PHOTO, MAPS["dog"]), BOXES)
    assert np.array_equal(found.overlay(), expected)


def test_an_overlay_of_a_class_shows_the_boxes_of_that_class_only():
    found = localization()
    assert np.array_equal(found.overlay("cat"), draw_boxes(overlay(PHOTO, MAPS["cat"]), BOXES.of("cat")))
    assert np.array_equal(found.overlay("cat", boxes=False, opacity=0.3), overlay(PHOTO, MAPS["cat"], opacity=0.3))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("dgo", "photo: 'dgo' was not localized; did you mean 'dog'?"),
        ("cow", r"'cow' was not localized; give classes=\['cow'\]"),
        ("zebra crossing", "expected a localized class. Localized: cat, dog"),
    ],
)
def test_a_class_that_was_not_localized_is_one_clear_line(label, message):
    for show in (localization().heatmap, localization().overlay):
        with pytest.raises(UserError, match=message) as raised:
            show(label)
        assert "\n" not in str(raised.value)


def test_a_localization_without_maps_says_where_to_get_some():
    for show in (localization(maps=None).heatmap, localization(maps=None).overlay):
        with pytest.raises(UserError, match=r"has no maps; expected .* wsl-localize wrote with --maps"):
            show()


def test_where_nothing_was_localized_there_is_no_heatmap_and_the_overlay_is_the_image():
    nothing = localization(maps={}, boxes=Boxes.empty())
    with pytest.raises(UserError, match="no class was localized"):
        nothing.heatmap()
    for boxes in (True, False):
        shown = nothing.overlay(boxes=boxes)
        assert np.array_equal(shown, PHOTO)
        assert not np.shares_memory(shown, PHOTO)


@pytest.mark.parametrize("kind", ["path", "bytes", "array", "Pillow", "tensor", "float tensor"])
def test_the_image_is_read_again_from_whatever_was_localized(tmp_path, kind):
    file = tmp_path / "photo.png"
    file.write_bytes(png(PHOTO))
    planes = torch.from_numpy(PHOTO).permute(2, 0, 1)
    image = {
        "path": file,
        "bytes": png(PHOTO),
        "array": PHOTO,
        "Pillow": Image.fromarray(PHOTO),
        "tensor": planes,
        "float tensor": planes / 255,
    }[kind]
    before = PHOTO.copy()
    assert np.array_equal(localization(image=image).overlay(), localization().overlay())
    assert np.array_equal(PHOTO, before)


def test_an_image_that_is_gone_can_be_given(tmp_path):
    gone = localization(path=tmp_path / "gone.png", image=None)
    with pytest.raises(BadImageError, match=r"gone.png: no such file; .*give it as image=\.\.\."):
        gone.overlay()
    assert np.array_equal(gone.overlay(image=PHOTO), localization().overlay())


def test_boxes_follow_a_resized_copy_of_the_image():
    small = cv2.resize(PHOTO, (43, 32), interpolation=cv2.INTER_AREA)
    shown = localization().overlay("dog", image=small)
    assert shown.shape == small.shape
    box = Boxes(xyxy=[[40 * 43 / 128, 10, 120 * 43 / 128, 30]], labels=["dog"], scores=[0.7])
    assert np.array_equal(shown, draw_boxes(overlay(small, MAPS["dog"]), box))


def test_another_image_is_refused():
    with pytest.raises(UserError, match=r"the image is 96 x 128 pixels, expected the one .*\(128 x 96\) or a resized"):
        localization().overlay(image=PHOTO.transpose(1, 0, 2))


def test_the_repr_is_one_short_line_without_arrays():
    found = localization(id="a\nb", scores={"dog": 0.7, "c\nat": 0.2, "cow": 0.05, "pig": 0.05})
    assert repr(found) == (
        r"Localization(id='a\nb', size=(128, 96), scores={'dog': 0.70, 'c\nat': 0.20, 'cow': 0.05, ...}, 2 boxes)"
    )
    one = localization(boxes=BOXES.of("dog"), scores={})
    assert repr(one) == "Localization(id='photo', size=(128, 96), scores={}, 1 box)"


def test_copies_and_pickles_show_the_same():
    found = localization()
    for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):  # noqa: S301 - our own bytes
        assert repr(again) == repr(found)
        assert np.array_equal(again.overlay(), found.overlay())
    assert found == found and found != localization()  # noqa: PT018
    assert len({found, localization()}) == 2


class Page(HTMLParser):
    """The images, the text and the open elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images: list[dict] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def embedded(page: Page) -> Image.Image:
    (image,) = page.images
    kind, data = image["src"].split(";base64,")
    assert kind in ("data:image/webp", "data:image/png")
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (image["width"], image["height"]) == tuple(map(str, picture.size))
    return picture


def test_a_notebook_gets_the_picture_the_classes_and_the_boxes():
    page = Page(localization()._repr_html_())
    assert not page.open
    assert embedded(page).size == (320, 240)
    for expected in ("photo", "0.700", "0.200", "0.100", "40", "30", "120", "90"):
        assert expected in page.text
    assert any("cat" in text for text in page.text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [((10, 10), (320, 320)), ((2000, 1500), (640, 480)), ((300, 1200), (160, 640)), ((3000, 1), (640, 1))],
)
def test_a_notebooks_picture_is_large_enough_to_read_and_small_enough_to_embed(size, shown):
    image = np.full((size[1], size[0], 3), 128, np.uint8)
    html = localization(image=image, size=size, boxes=BOXES.select([]))._repr_html_()
    assert embedded(Page(html)).size == shown
    assert len(html) < 300_000


def test_names_are_escaped():
    label = '<img src="x" onerror="alert(1)">&'
    boxes = Boxes(xyxy=[[0, 0, 1, 1]], labels=[label])
    path = '"><script>alert(1)</script>.jpg'
    page = Page(localization(path=path, scores={label: 1.0}, boxes=boxes, maps=None)._repr_html_())
    assert len(page.images) == 1
    assert not page.open
    assert sum(label in text for text in page.text) == 2


def test_a_name_that_is_not_unicode_is_shown():
    assert "a?" in localization(path="a\udcff.jpg")._repr_html_()


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "gone.jpg"},
        {"image": b"no image"},
        {"image": object()},
        {"size": (96, 128)},
        {"maps": None, "image": "gone.jpg"},
        {"maps": {}, "boxes": Boxes.empty(), "scores": {}, "image": "gone.jpg"},
    ],
)
def test_a_notebook_gets_the_text_where_the_image_is_gone_or_another(changes):
    page = Page(localization(**changes)._repr_html_())
    assert page.images == []
    assert "photo" in page.text


def test_a_notebook_gets_boxes_without_maps_and_an_image_without_boxes():
    assert embedded(Page(localization(maps=None)._repr_html_())).size == (320, 240)
    page = Page(localization(maps={}, boxes=Boxes.empty(), scores={})._repr_html_())
    assert embedded(page).size == (320, 240)
    assert "no boxes" in page.text


def test_many_boxes_are_counted_and_not_listed():
    boxes = Boxes(xyxy=[[0, 0, 10, 10]] * 14, labels=["dog"] * 14)
    page = Page(localization(boxes=boxes)._repr_html_())
    assert "and 4 more boxes" in page.text
