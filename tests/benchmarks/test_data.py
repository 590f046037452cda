import numpy as np
import PIL.Image

from benchmarks import data
from datasets import cifar10, download


def test_pictures_differ_and_come_again_with_their_seed():
    pictures = data.shades(3, 8, 6, seed=1)
    assert pictures.shape == (3, 8, 6, 3)
    assert pictures.dtype == np.uint8
    assert np.ptp(pictures[0]) > 8
    assert (pictures[0] != pictures[1]).any()
    np.testing.assert_array_equal(pictures, data.shades(3, 8, 6, seed=1))


def test_the_archive_has_the_layout_of_the_official_one(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "ROWS", 300)  # instead of 10,000
    path = tmp_path / "archive.tar.gz"
    data.archive(path)
    names = []
    for name, content in cifar10.members(path):
        names.append(name)
        labels = np.frombuffer(content, np.uint8)[:: cifar10.ROW_BYTES]
        assert np.bincount(labels).tolist() == [30] * 10
    assert names == list(cifar10.MEMBERS)
    assert download.checked(str(path), None, cifar10.ARCHIVE) != cifar10.ARCHIVE.sha256


def test_photos_lie_in_one_folder_per_class(tmp_path):
    data.photos(tmp_path, 12)
    paths = sorted(tmp_path.glob("*/*.jpg"))
    assert len(paths) == 12
    assert len({path.parent for path in paths}) == data.PHOTO_FOLDERS
    with PIL.Image.open(paths[0]) as picture:
        assert (picture.format, picture.size) == ("JPEG", (500, 400))
