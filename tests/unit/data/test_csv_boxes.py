import pytest

from rcnn_dist.data.csv_boxes import parse_boxes
from rcnn_dist.data.layouts import LAYOUTS, Source
from rcnn_dist.errors import BadAnnotationError, DataError

HEADER = "image,x1,y1,x2,y2,class\n"


def parsed(text):
    return parse_boxes(text.encode(), "t.csv")


def test_lines_become_objects_by_image():
    found = parsed("\ufeff" + HEADER + "b.jpg,1,2.5,30,40,dog\n\na/c d.jpg,,,,,\nb.jpg, 0 ,0,1,1,red panda\n")
    assert list(found) == ["b.jpg", "a/c d.jpg"]
    assert found["b.jpg"].boxes.tolist() == [[1, 2.5, 30, 40], [0, 0, 1, 1]]
    assert found["b.jpg"].classes == ("dog", "red panda")
    assert not found["b.jpg"].difficult.any() and not found["b.jpg"].truncated.any()
    assert found["a/c d.jpg"].boxes.shape == (0, 4)


def test_columns_by_name_in_any_order():
    found = parsed('class,difficult,image,y2,y1,x2,x1,note\n"dog, small",1,a.jpg,4,3,2,1,hello\ncat,,a.jpg,4,3,2,1,\n')
    assert found["a.jpg"].boxes.tolist() == [[1, 3, 2, 4]] * 2
    assert found["a.jpg"].classes == ("dog, small", "cat") and found["a.jpg"].difficult.tolist() == [True, False]


def test_a_header_alone_is_an_empty_set():
    assert parsed(HEADER) == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg,9,2,3,4,dog", r"t.csv, line 3 \(dog\): x1 9 is not less than x2 3"),
        ("a.jpg,1,4,3,4,dog", r"t.csv, line 3 \(dog\): y1 4 is not less than y2 4"),
        ("a.jpg,left,2,3,4,dog", r"t.csv, line 3 \(dog\): x1 is 'left', a number is wanted"),
        ("a.jpg,1,2,3,inf,dog", r"y2 is 'inf', a number is wanted"),
        ("a.jpg,1,2,,4,dog", r"x2 is '', a number is wanted"),
        ("a.jpg,1,2,3,4,", "t.csv, line 3: it has a box but no class"),
    ],
)
def test_a_bad_line_spoils_its_image_only(line, message):
    found = parsed(f"{HEADER}b.jpg,1,2,3,4,dog\n{line}\na.jpg,1,2,3,4,dog\n")
    assert len(found["b.jpg"].classes) == 1
    with pytest.raises(BadAnnotationError, match=message):
        raise found["a.jpg"]


def test_a_flag_that_is_none():
    with pytest.raises(BadAnnotationError, match=r"line 2 \(dog\): difficult is 'yes', 0 or 1 is wanted"):
        raise parsed("image,x1,y1,x2,y2,class,difficult\na.jpg,1,2,3,4,dog,yes\n")["a.jpg"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "t.csv is empty: a header image,x1,y1,x2,y2,class is wanted"),
        (b"a.jpg,1,2,3,4,dog\n", "t.csv, line 1: the header must name the column 'image' once"),
        (b"image,x1,y1,x2,y2\n", "the header must name the column 'class' once"),
        (b"image,image,x1,y1,x2,y2,class\n", "the header must name the column 'image' once"),
        (HEADER.encode() + b"a.jpg,1,2,3,4\n", "t.csv, line 2: 5 values for 6 columns"),
        (HEADER.encode() + b",1,2,3,4,dog\n", "t.csv, line 2: it names no image"),
        (HEADER.encode() + b'"a.jpg,1,2,3,4,dog\n', "t.csv, line 2: no CSV that can be read"),
        (HEADER.encode() + b"gr\xf6sse.jpg,1,2,3,4,dog\n", "t.csv is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named(data, message):
    with pytest.raises(DataError, match=message):
        parse_boxes(data, "t.csv")


def test_a_folder_with_tables(tmp_path):
    (tmp_path / "train.csv").write_text(f"{HEADER}a/x.jpg,1,2,3,4,dog\n")
    (tmp_path / "test.csv").write_text(f"{HEADER}a/y.jpg,9,2,3,4,dog\n")
    dataset = LAYOUTS["csv"].open(Source(str(tmp_path), ("train", "test"), "", ""))
    assert dataset.image_ids("train") == ("a/x.jpg",) and dataset.image_ids("test") == ("a/y.jpg",)
    assert dataset.image_url("a/x.jpg") == f"{tmp_path}/a/x.jpg"
    assert dataset.objects("a/x.jpg").classes == ("dog",) and dataset.objects("a/unknown.jpg") is None
    with pytest.raises(BadAnnotationError, match=r"test.csv, line 2"):
        dataset.objects("a/y.jpg")
    with pytest.raises(DataError, match=r"no split 'val': .*val.csv does not exist; the folder has test.csv, train.csv"):
        dataset.image_ids("val")
