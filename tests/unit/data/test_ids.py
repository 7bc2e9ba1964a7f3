import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.data.ids import check_id
from rcnn_dist.errors import DataError


@pytest.mark.parametrize("image_id", ["000005", "apple_77", "n01440764/n01440764_18", "a.b-c+d=e@f,(1)", "_x", "a" * 255])
def test_ids_that_can_be_used(image_id):
    check_id(image_id)


@pytest.mark.parametrize(
    "image_id",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "../a",
        "a//b",
        "a/",
        "a\\b",
        "a\0b",
        "a\nb",
        "a b",
        ".hidden",
        "a/.b",
        "-rf",
        "a/-b",
        "s3://b/a",
        "a:b",
        "a*",
        "a?",
        "a#b",
        "a%2e",
        "größe",
        "a\u202eb",
        "a\n",
        "~",
        "$HOME",
    ],
)
def test_ids_that_cannot_are_named(image_id):
    with pytest.raises(DataError) as caught:
        check_id(image_id)
    assert repr(image_id) in str(caught.value)


def test_an_id_that_is_too_long_is_named_by_its_start():
    with pytest.raises(DataError, match=r"a{40}.*has 256 characters, 255 are allowed"):
        check_id("a" * 256)


def test_the_subject_can_be_named():
    with pytest.raises(DataError, match=r"^split '../x' cannot be used"):
        check_id("../x", "split")


@given(st.text(alphabet=st.sampled_from("aZ0_-./\\ \0~:é"), max_size=12))
def test_what_passes_stays_in_its_folder(image_id):
    try:
        check_id(image_id)
    except DataError:
        return
    parts = image_id.split("/")
    assert all(part and part[0] not in ".-" and part.isascii() and part.isprintable() for part in parts)
    assert not set(image_id) & set("\\ \0~:")
