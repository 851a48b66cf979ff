"""DICOM files as a viewer shows them."""

import io

import numpy as np
import pytest

from wsl.errors import BadImageError
from wsl.images import decode_image, find_images, image_size, read_image

pydicom = pytest.importorskip("pydicom")


def dicom(pixels, **fields):
    """The bytes of a file with 16-bit grey values (or 8-bit RGB)."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    pixels = np.asarray(pixels)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=["a"])
    bits = 8 * pixels.dtype.itemsize
    about = {
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 3 if pixels.ndim == 3 else 1,
        "PhotometricInterpretation": "RGB" if pixels.ndim == 3 else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
        **({"PlanarConfiguration": 0} if pixels.ndim == 3 else {}),
        **fields,
    }
    for name, value in about.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


GREY = np.array([[0, 1000, 2000], [3000, 4000, 4000]], np.uint16)


def test_without_a_window_the_range_is_shown():
    image = decode_image(dicom(GREY))
    assert image.shape == (2, 3, 3)
    assert image[..., 0].tolist() == [[0, 64, 128], [191, 255, 255]]


def test_small_values_of_monochrome1_are_white():
    image = decode_image(dicom(GREY, PhotometricInterpretation="MONOCHROME1"))
    assert image[..., 1].tolist() == [[255, 191, 128], [64, 0, 0]]


def test_values_are_rescaled_and_shown_through_the_first_window():
    """A slope of 2 and an intercept of -1000 give -1000 to 7000; the window shows 1000 to 3000."""
    fields = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": [2000, 9], "WindowWidth": [2000, 9]}
    image = decode_image(dicom(GREY, **fields))
    values = np.array([-1000, 1000, 3000, 5000, 7000, 7000], float)
    # PS3.3 C.11.2.1.2.1
    shown = np.clip((values - 1999.5) / 1999 + 0.5, 0, 1)
    assert image[..., 2].ravel().tolist() == np.rint(255 * shown).tolist()


def test_signed_values_and_colours():
    assert decode_image(dicom(np.array([[-5, 5]], np.int16)))[0, :, 0].tolist() == [0, 255]
    colours = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    assert np.array_equal(decode_image(dicom(colours)), colours)


def test_files_are_found_and_measured(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom(GREY))
    (file,) = find_images([str(tmp_path)])
    assert image_size(file) == (3, 2)
    assert read_image(file).shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dicom(GREY, NumberOfFrames=3), "a DICOM file of 3 frames, expected one picture"),
        (dicom(GREY)[:-4], "damaged or truncated image"),
        (dicom(GREY)[:200], "damaged or truncated|without a picture"),
        (dicom(GREY, Rows=60000, Columns=60000), "60000 x 60000 pixels by its header, expected at most"),
    ],
)
def test_a_damaged_file_is_a_bad_image(data, message):
    with pytest.raises(BadImageError, match=message):
        decode_image(data)
