"""Folders of classes and listings as sets of labelled images."""

import pytest

from rcnn_dist.data.labelled_images import read_classes, read_labelled_images
from rcnn_dist.errors import DataError


@pytest.fixture
def root(tmp_path):
    for path in ("train/n02/b.JPEG", "train/n02/a.jpg", "train/n01/c.png", "train/n01/notes.txt", "val/x.JPEG", "val/y.JPEG"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    (tmp_path / "val.txt").write_text("y.JPEG 1\nx.JPEG 0\n")
    return str(tmp_path)


def test_folders_are_classes_in_the_order_of_their_names(root):
    classes = read_classes(root, "train")
    images = read_labelled_images(root, "train", classes)
    assert classes == ("n01", "n02")
    assert images.paths == ("n01/c.png", "n02/a.jpg", "n02/b.JPEG")
    assert images.labels.tolist() == [0, 1, 1]
    assert images.url(0).endswith("/train/n01/c.png")


def test_a_listing_comes_first(root):
    images = read_labelled_images(root, "val", ("n01", "n02"))
    assert images.paths == ("y.JPEG", "x.JPEG")
    assert images.labels.tolist() == [1, 0]


def test_the_digest_changes_with_names_and_labels(root):
    images = read_labelled_images(root, "train", ("n01", "n02"))
    assert images.digest() == read_labelled_images(root, "train", ("n01", "n02")).digest()
    assert images.digest() != read_labelled_images(root, "val", ("n01", "n02")).digest()


@pytest.mark.parametrize("line", ["x.JPEG", "x.JPEG two", "x.JPEG 2", "../x.JPEG 0", "/etc/x.JPEG 0"])
def test_a_bad_line_is_named(root, tmp_path, line):
    (tmp_path / "val.txt").write_text(f"y.JPEG 1\n{line}\n")
    with pytest.raises(DataError, match=r"val\.txt, line 2"):
        read_labelled_images(root, "val", ("n01", "n02"))


def test_what_is_missing_is_named(root, tmp_path):
    with pytest.raises(DataError, match="n02 is a class that the training images do not have"):
        read_labelled_images(root, "train", ("n01",))
    with pytest.raises(DataError, match="has no images"):
        read_labelled_images(root, "test", ("n01",))
    with pytest.raises(DataError, match="has no folders"):
        read_classes(str(tmp_path / "val"), "x")
