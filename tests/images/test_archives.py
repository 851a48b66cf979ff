"""Images in tars and zips: found, read, and refused where the archive is damaged."""

import io
import tarfile
import zipfile

import cv2
import numpy as np
import pytest

from wsl.errors import BadImageError, UserError
from wsl.images import find_images, read_image
from wsl.images.archives import archive_members, is_image_file, read_member
from wsl.images.sources import require_files


def picture(value):
    return cv2.imencode(".png", np.full((4, 6, 3), value, np.uint8))[1].tobytes()


def pack(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in files.items():
                file.writestr(name, data)
        return path
    with tarfile.open(path, "w") as file:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


FILES = {
    "b/2.png": picture(2),
    "a.png": picture(1),
    "notes.txt": b"none",
    "__MACOSX/._a.png": b"x",
    "b/.hidden.png": b"",
}


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_an_archive_is_a_folder_of_images(tmp_path, suffix):
    archive = pack(tmp_path / f"photos{suffix}", FILES)
    found = list(find_images([str(archive)]))
    assert [path.relative_to(archive).as_posix() for path in found] == ["a.png", "b/2.png"]
    assert [read_image(path)[0, 0, 0] for path in found] == [1, 2]
    assert list(find_images([str(tmp_path / "*")])) == found
    assert list(find_images([str(archive / "b/2.png")])) == [archive / "b/2.png"]
    require_files(found, "a list")
    with pytest.raises(BadImageError, match=r"lost\.png: no such file in photos"):
        read_image(archive / "lost.png")
    assert not is_image_file(archive / "lost.png")


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_no_member_leads_out_of_its_archive(tmp_path, suffix):
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(7))
    names = (secret.as_posix(), "../secret.png", f"C:{secret.as_posix()}", "//host/secret.png", "a.png")
    archive = pack(tmp_path / f"photos{suffix}", {name: picture(1) for name in names})
    for name in archive_members(archive):
        path = archive / name
        assert path.is_relative_to(archive)
        assert ".." not in path.parts
        assert read_image(path)[0, 0, 0] == 1
    assert "a.png" in archive_members(archive)


def test_an_archive_that_changed_is_read_again(tmp_path):
    archive = pack(tmp_path / "a.tar", {"a.png": picture(1)})
    assert archive_members(archive) == ("a.png",)
    pack(archive, {"b.png": picture(1), "c.png": picture(1)})
    assert archive_members(archive) == ("b.png", "c.png")


def test_an_archive_that_ends_early(tmp_path):
    archive = pack(tmp_path / "a.tar", {"a.png": picture(1), "b.png": bytes(9000)})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: 512 + 512 + 512 + 4000])
    with pytest.raises((UserError, BadImageError), match=r"a\.tar.*(cut off|ends in the middle)"):
        read_member(archive, "b.png")
    archive.write_bytes(b"not a tar at all" * 100)
    with pytest.raises(UserError, match=r"a\.tar: not an archive, or cut off"):
        archive_members(archive)


def test_a_zip_whose_header_lies_about_the_size(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.png": bytes(1 << 20)})
    raw = archive.read_bytes()
    lying = raw.replace((1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lying != raw
    archive.write_bytes(lying)
    with pytest.raises(BadImageError, match=r"a\.zip/a\.png: (cannot be read|a\.zip ends)"):
        read_member(archive, "a.png")


def test_a_compressed_tar_says_what_to_do(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    with pytest.raises(UserError, match="compressed archive, which cannot be read in parts: decompress it"):
        find_images([str(tmp_path / "a.tar.gz")])
