import io

import numpy as np
import pytest
from scipy.io import savemat

from rcnn_dist.errors import BadImageError, DataError
from rcnn_dist.proposals.precomputed import fit_to_image, read_mat


def cells(values, shape=None):
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape or (len(values), 1))


def mat(**variables):
    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


def authors_file(boxes, images):
    """As in selective_search_data: ids in a column, boxes in a row, y1 x1 y2 x2 from 1, last pixel included."""
    return mat(images=cells(images), boxes=cells(boxes, (1, -1)))


def test_the_authors_boxes_come_into_our_frame():
    first = np.array([[1.0, 1.0, 10.0, 20.0], [3.0, 5.5, 9.25, 18.0]])
    found = read_mat(authors_file([first, np.empty((0, 4)), np.array([[2, 1, 3, 2]], np.uint16)], ["000005", "000007", "2008_000009"]), "a")
    assert list(found) == ["000005", "000007", "2008_000009"]
    np.testing.assert_array_equal(found["000005"], [[0, 0, 20, 10], [4.5, 2, 18, 9.25]])
    assert found["000007"].shape == (0, 4)
    np.testing.assert_array_equal(found["2008_000009"], [[0, 1, 2, 3]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.mat cannot be read as a MATLAB file"),
        (b"nonsense" * 40, "a.mat cannot be read as a MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400), "a.mat is a MATLAB 7.3 file: save it again"),
        (mat(other=1.0), "'images' and 'boxes', found neither"),
        (mat(images=cells(["a"]), boxes=np.ones((1, 4))), "'images' and 'boxes', found"),
        (mat(images=cells(["a", "b"]), boxes=cells([np.ones((1, 4))])), "two cell arrays of one length"),
        (mat(images=cells(["a", "a"]), boxes=cells([np.ones((1, 4))] * 2)), "image a comes twice"),
        (mat(images=cells(["a"]), boxes=cells([np.ones((4, 3))])), r"the boxes of image a are float64 \(4, 3\)"),
        (mat(images=cells(["a"]), boxes=cells(["text"])), "the boxes of image a are"),
    ],
)
def test_other_files_are_refused_by_name(data, message):
    with pytest.raises(DataError, match=message):
        read_mat(data, "a.mat")


def test_boxes_are_clipped_and_those_of_another_image_refused():
    found = fit_to_image(np.array([[-0.5, 0, 10, 8], [2, 2, 30, 7.5]]), 20, 8)
    np.testing.assert_array_equal(found, [[0, 0, 10, 8], [2, 2, 20, 7.5]])
    assert fit_to_image(np.empty((0, 4)), 20, 8).shape == (0, 4)
    for wrong in ([20, 0, 25, 8], [5, 5, 5, 8], [0, 0, np.nan, 8], [8, 0, 4, 8]):
        with pytest.raises(BadImageError, match=r"precomputed box 1 is .* no part of an image of 20 x 8 pixels"):
            fit_to_image(np.array([[0, 0, 5, 5], wrong], float), 20, 8)
