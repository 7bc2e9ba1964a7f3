import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rcnn_dist.data.dataset import Objects, clip_to_image
from rcnn_dist.data.images import decode_image, image_size
from rcnn_dist.data.voc import VocDataset, parse_annotation, write_annotation
from rcnn_dist.errors import BadAnnotationError, BadImageError, DataError
from rcnn_dist.store import files

DOG = "<object><name>dog</name><bndbox><xmin>8</xmin><ymin>15</ymin><xmax>331</xmax><ymax>349</ymax></bndbox></object>"


def annotation(*objects):
    return f"<annotation><size><width>0</width></size>{''.join(objects)}</annotation>".encode()


def with_box(xmin="1", ymin="2", xmax="3", ymax="4", name="cat", more=""):
    corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def parsed(*objects):
    return parse_annotation(annotation(*objects), "a.xml")


@pytest.fixture
def root(tmp_path):
    """Three images in trainval, one of them without annotation; one in test."""
    voc = tmp_path / "VOC2007"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (voc / folder).mkdir(parents=True)
    (voc / "ImageSets/Main/trainval.txt").write_text("b 1\n\na -1\n  c  \n")
    (voc / "ImageSets/Main/test.txt").write_text("t\n")
    (voc / "ImageSets/Main/dog_test.txt").write_text("t 1\n")
    (voc / "Annotations/a.xml").write_bytes(annotation(DOG, with_box()))
    (voc / "Annotations/b.xml").write_bytes(annotation())
    (voc / "Annotations/t.xml").write_bytes(annotation(with_box(name="zebra")))
    return tmp_path


def test_corners_become_half_open():
    objects = parsed(DOG)
    assert objects.boxes.tolist() == [[7, 14, 331, 349]] and objects.boxes.dtype == np.float64
    assert objects.classes == ("dog",)
    assert objects.difficult.tolist() == objects.truncated.tolist() == [False]


def test_a_box_of_one_pixel():
    assert parsed(with_box(5, 6, 5, 6)).boxes.tolist() == [[4, 5, 5, 6]]


def test_floats_and_spaces_in_corners():
    assert parsed(with_box("12.0", " 7.5\n", "20", "1e1")).boxes.tolist() == [[11, 6.5, 20, 10]]


def test_flags():
    objects = parsed(
        with_box(more="<difficult>1</difficult><truncated>0</truncated>"), with_box(more="<truncated> 1 </truncated><difficult/>")
    )
    assert objects.difficult.tolist() == [True, False] and objects.truncated.tolist() == [False, True]


def test_parts_of_an_object_are_not_objects():
    part = "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    assert parsed(with_box(more=part)).classes == ("cat",) and parsed(with_box(more=part)).boxes.tolist() == [[0, 1, 3, 4]]


def test_no_objects():
    objects = parsed()
    assert objects.boxes.shape == (0, 4) and objects.classes == () and objects.difficult.shape == objects.truncated.shape == (0,)


def test_what_is_parsed_cannot_be_changed():
    for array in (parsed(DOG).boxes, parsed(DOG).difficult, parsed(DOG).truncated):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (with_box(xmin="9", xmax="3"), r"object 2 \(cat\): xmin 9 lies beyond xmax 3"),
        (with_box(ymin="4.5", ymax="4"), r"object 2 \(cat\): ymin 4.5 lies beyond ymax 4"),
        (with_box(xmin="left"), r"object 2 \(cat\): xmin is 'left', a number is wanted"),
        (with_box(ymax="nan"), r"object 2 \(cat\): ymax is 'nan', a number is wanted"),
        (with_box(xmax="inf"), r"object 2 \(cat\): xmax is 'inf', a number is wanted"),
        (with_box(xmax=""), r"object 2 \(cat\): xmax is '', a number is wanted"),
        ("<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>", r"object 2 \(cat\): ymin is '', a number is wanted"),
        ("<object><name>cat</name></object>", r"object 2 \(cat\): it has no bndbox"),
        (with_box(name=" "), "object 2: it has no name"),
        ("<object></object>", "object 2: it has no name"),
        (with_box(more="<difficult>maybe</difficult>"), r"object 2 \(cat\): difficult is 'maybe', 0 or 1 is wanted"),
    ],
)
def test_bad_objects_are_named(bad, reason):
    with pytest.raises(BadAnnotationError, match=f"^a.xml, {reason}$"):
        parsed(DOG, bad)


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>'
MARTIAN = b'<?xml version="1.0" encoding="martian"?><annotation/>'
EXTERNAL = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>'


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0", b"plain text", b"<annotation><object>", b"\xff\xd8\xff", BOMB, EXTERNAL, b"<!DOCTYPE annotation><annotation/>", MARTIAN],
)
def test_bytes_that_are_no_safe_xml_are_refused(data):
    with pytest.raises(BadAnnotationError, match=r"^a.xml is no XML that can be read: "):
        parse_annotation(data, "a.xml")


def test_another_kind_of_xml_is_refused():
    with pytest.raises(BadAnnotationError, match=r"a.xml is no VOC annotation: it starts with <html>, <annotation> is wanted"):
        parse_annotation(b"<html/>", "a.xml")


quarter_pixel = st.integers(-4000, 4000).map(lambda quarters: quarters / 4)
box = st.tuples(quarter_pixel, quarter_pixel, st.integers(4, 2000), st.integers(4, 2000)).map(
    lambda b: (b[0], b[1], b[0] + b[2] / 4, b[1] + b[3] / 4)
)
name = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(box, name, st.booleans(), st.booleans()), max_size=4))
def test_what_is_written_is_read_again(rows):
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4)
    flags = np.array([row[2:] for row in rows], dtype=np.bool_).reshape(-1, 2).T
    written = Objects(boxes, tuple(row[1] for row in rows), flags[0], flags[1])
    read = parse_annotation(write_annotation("000001", 500, 375, written), "a.xml")
    assert read.classes == written.classes
    for field in ("boxes", "difficult", "truncated"):
        np.testing.assert_array_equal(getattr(read, field), getattr(written, field))


def test_written_corners_are_one_based_and_inclusive():
    data = write_annotation("x", 9, 9, Objects(np.array([[0.0, 1.0, 3.0, 4.0]]), ("cat",), np.array([True]), np.array([False])))
    assert b"<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>" in data


def test_ids_keep_their_order_and_lose_other_columns(root):
    assert VocDataset(str(root)).image_ids("trainval") == ("b", "a", "c")


def test_objects_of_a_split(root):
    dataset = VocDataset(str(root))
    assert dataset.name == "VOC2007"
    assert dataset.objects("a").classes == ("dog", "cat")
    assert dataset.objects("b").classes == ()
    assert dataset.objects("c") is None


def test_an_annotation_is_parsed_once(root):
    dataset = VocDataset(str(root))
    assert dataset.objects("a") is dataset.objects("a")


def test_a_bad_annotation_is_named_by_its_file(root):
    (root / "VOC2007/Annotations/a.xml").write_text("<annotation")
    with pytest.raises(BadAnnotationError, match=r"VOC2007/Annotations/a.xml is no XML"):
        VocDataset(str(root)).objects("a")


@pytest.mark.parametrize("lines", ["a\nb\na\n", "a 1\n\na -1\n"])
def test_an_id_twice_is_refused(root, lines):
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_text(lines)
    with pytest.raises(DataError, match=r"trainval.txt lists a twice, lines 1 and 3; remove one"):
        VocDataset(str(root)).image_ids("trainval")


def test_a_dangerous_id_is_refused_with_its_place(root):
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_text("a\n../../etc/passwd\n")
    with pytest.raises(DataError, match=r"trainval.txt, line 2: image id '../../etc/passwd' cannot be used"):
        VocDataset(str(root)).image_ids("trainval")


@pytest.mark.parametrize("method", ["image_url", "objects"])
def test_no_method_leaves_the_folder(root, method):
    with pytest.raises(DataError, match="cannot be used"):
        getattr(VocDataset(str(root)), method)("../a")


def test_lists_in_other_encodings(root):
    path = root / "VOC2007/ImageSets/Main/trainval.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    assert VocDataset(str(root)).image_ids("trainval") == ("a", "b")
    path.write_bytes("a\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"trainval.txt is not UTF-8 text"):
        VocDataset(str(root)).image_ids("trainval")


def test_an_unknown_split_names_those_there_are(root):
    with pytest.raises(DataError, match=r"no split 'val'.*val.txt does not exist; the folder has test.txt, trainval.txt"):
        VocDataset(str(root)).image_ids("val")
    with pytest.raises(DataError, match=r"split '../x' cannot be used"):
        VocDataset(str(root)).image_ids("../x")


def test_an_empty_list_has_no_images(root):
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_text("\n")
    dataset = VocDataset(str(root))
    assert dataset.image_ids("trainval") == ()


def test_a_folder_without_voc_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError) as caught:
        VocDataset(str(tmp_path), "VOC2012")
    for part in (
        f"{tmp_path}/VOC2012/ImageSets/Main",
        f"{tmp_path}/VOCdevkit/VOC2012/ImageSets/Main",
        "give the folder that holds VOC2012/",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/"])
def test_the_devkit_folder_or_the_one_above_it(tmp_path, below):
    files.write_bytes(f"{tmp_path}/VOCdevkit/VOC2012/ImageSets/Main/val.txt", b"x\n")
    assert VocDataset(f"{tmp_path}/{below}", "VOC2012").image_ids("val") == ("x",)


def test_any_fsspec_url(root):
    for path in root.rglob("*.*"):
        files.write_bytes(f"memory://voc-test/{path.relative_to(root)}", path.read_bytes())
    remote, local = VocDataset("memory://voc-test"), VocDataset(str(root))
    assert remote.objects("a").classes == ("dog", "cat") and remote.objects("c") is None
    assert remote.fingerprint("trainval") == local.fingerprint("trainval")
    assert remote.image_url("a") == "memory://voc-test/VOC2007/JPEGImages/a.jpg"


def test_ids_in_subfolders(root):
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_text("n01/n01_1\n")
    files.write_bytes(str(root / "VOC2007/Annotations/n01/n01_1.xml"), annotation(DOG))
    dataset = VocDataset(str(root))
    assert dataset.image_url("n01/n01_1").endswith("JPEGImages/n01/n01_1.jpg")
    assert dataset.objects("n01/n01_1").classes == ("dog",)


@pytest.mark.parametrize("extension", [".jpg", ".jpeg", ".JPEG", ".JPG", ".png"])
def test_images_with_another_extension_are_found(root, extension):
    (root / f"VOC2007/JPEGImages/a{extension}").touch()
    assert VocDataset(str(root)).image_url("a") == f"{root}/VOC2007/JPEGImages/a{extension}"


def test_jpg_comes_first_and_stands_for_what_is_missing(root):
    dataset = VocDataset(str(root))
    (root / "VOC2007/JPEGImages/a.jpg").touch()
    (root / "VOC2007/JPEGImages/a.png").touch()
    assert dataset.image_url("a").endswith("a.jpg") and dataset.image_url("b").endswith("b.jpg")
    with pytest.raises(FileNotFoundError):
        files.read_bytes(dataset.image_url("b"))


def test_what_is_named_jpg_is_judged_by_its_bytes(root):
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4)).save(buffer, "PNG")
    (root / "VOC2007/JPEGImages/a.jpg").write_text("gone, see the wiki")
    (root / "VOC2007/JPEGImages/b.jpg").write_bytes(buffer.getvalue())
    dataset = VocDataset(str(root))
    with pytest.raises(BadImageError, match="text"):
        decode_image(files.read_bytes(dataset.image_url("a")))
    assert decode_image(files.read_bytes(dataset.image_url("b"))).shape == (4, 5, 3)


def test_the_fingerprint_follows_ids_and_annotations_only(root):
    def fingerprint(split="trainval"):
        return VocDataset(str(root)).fingerprint(split)

    first, seen = fingerprint(), {fingerprint(), fingerprint("test")}
    (root / "VOC2007/JPEGImages/a.jpg").write_text("pixels")
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_text("b\na\nc\n")
    assert fingerprint() == first and len(first) == 64
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_text("a\nb\nc\n")
    seen.add(fingerprint())
    (root / "VOC2007/Annotations/c.xml").write_bytes(b"")
    seen.add(fingerprint())
    (root / "VOC2007/Annotations/a.xml").write_bytes(annotation(DOG))
    seen.add(fingerprint())
    assert len(seen) == 5


def test_real_annotations(shared_dir):
    dataset = VocDataset(str(shared_dir / "data" / "fruit"))
    trainval, test = dataset.image_ids("trainval"), dataset.image_ids("test")
    assert (len(trainval), len(test)) == (240, 60) and not set(trainval) & set(test)
    objects = {image_id: dataset.objects(image_id) for image_id in (*trainval, *test)}
    assert sum(len(each.classes) for each in objects.values()) == 465 + 117
    assert {name for each in objects.values() for name in each.classes} == {"apple", "banana", "orange"}
    assert objects["apple_1"].boxes.tolist() == [[7, 14, 331, 349]]  # its XML says that the image is 0 x 0
    for image_id in test:
        assert clip_to_image(objects[image_id], *image_size(files.read_bytes(dataset.image_url(image_id))))[1] == 0
