"""Broken data sets, one kind of damage each, and the exact words for it."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcnn_dist.data.layouts import LAYOUTS, Source
from rcnn_dist.data.validate import Checks, Problem, validate
from rcnn_dist.errors import DataError

IDS = {"trainval": ("a", "b", "c"), "test": ("t", "u")}
SIZE = (64, 48)


def picture(seed, form="JPEG", **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize(SIZE).save(stream, form, **options)
    return stream.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(2, exif=exif)


def box(xmin=11, ymin=11, xmax=40, ymax=30, name="dog", more=""):
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax}.items())
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def xml(*objects, size="<size><width>64</width><height>48</height></size>"):
    return f"<annotation>{size}{''.join(objects)}</annotation>"


class Voc:
    """A sound set of five images with a dog and a cat each, and ways to damage it."""

    def __init__(self, root):
        self.root = root
        for seed, (image_set, image_id) in enumerate((s, i) for s, ids in IDS.items() for i in ids):
            self.image(image_id, picture(seed))
            self.annotation(image_id, xml(box(), box(name="cat", xmin=2)))
            self.ids(image_set, "".join(f"{i}\n" for i in IDS[image_set]))

    def write(self, path, content):
        path = self.root / "VOC2007" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def image(self, image_id, data):
        self.write(f"JPEGImages/{image_id}.jpg", data)

    def annotation(self, image_id, text):
        self.write(f"Annotations/{image_id}.xml", text)

    def ids(self, image_set, text):
        self.write(f"ImageSets/Main/{image_set}.txt", text)

    def remove(self, path):
        (self.root / "VOC2007" / path).unlink()

    def annotate_all(self, image_set, *objects):
        for image_id in IDS[image_set]:
            self.annotation(image_id, xml(*objects))


DIFFICULT = "<difficult>1</difficult>"
B = "{root}/VOC2007/Annotations/b.xml"
LISTS = "{root}/VOC2007/ImageSets/Main"


def b_error(kind, message):
    return [("error", kind, "trainval", "b", message)]


def b_warning(kind, message):
    return [("warning", kind, "trainval", "b", message)]


# name -> (damage to a sound VOC set, what is told, what differs in Checks)
VOC_CASES = {
    "nothing": (lambda v: None, []),
    "no such file": (lambda v: v.remove("JPEGImages/b.jpg"), b_error("image unreadable", "no such file: {root}/VOC2007/JPEGImages/b.jpg")),
    "empty file": (lambda v: v.image("b", b""), b_error("image unreadable", "empty file")),
    "cut short": (lambda v: v.image("b", picture(1)[:700]), b_error("image unreadable", "truncated JPEG")),
    "header only": (lambda v: v.image("b", picture(1)[:10]), b_error("image unreadable", "truncated JPEG")),
    "text": (lambda v: v.image("b", b"hello\n"), b_error("image unreadable", "not an image, the bytes look like text")),
    "web page": (
        lambda v: v.image("b", b"<!DOCTYPE html><p>404"),
        b_error("image unreadable", "not an image, the bytes look like an HTML page"),
    ),
    "LFS pointer": (
        lambda v: v.image("b", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        b_error("image unreadable", "not an image, the bytes look like a Git LFS pointer, the file itself was not fetched"),
    ),
    "PDF": (lambda v: v.image("b", b"%PDF-1.4 ..."), b_error("image unreadable", "not an image, the bytes look like a PDF")),
    "AVIF": (
        lambda v: v.image("b", b"\0\0\0\x1cftypavif" + bytes(20)),
        b_error("image unreadable", "not an image, the bytes look like an AVIF image"),
    ),
    "zeros": (lambda v: v.image("b", bytes(500)), b_error("image unreadable", "not an image, the bytes look like zeros")),
    "too large": (
        lambda v: v.image("b", picture(1)),
        [
            ("error", "image unreadable", s, i, "too many pixels: 64 x 48 = 3,072 over the limit of 3,000")
            for s, ids in IDS.items()
            for i in ids
        ],
        {"max_pixels": 3000},
    ),
    "folder in place of a file": (
        lambda v: (v.remove("JPEGImages/b.jpg"), (v.root / "VOC2007/JPEGImages/b.jpg").mkdir()),
        b_error("image unreadable", "cannot be read: Is a directory: {root}/VOC2007/JPEGImages/b.jpg"),
    ),
    "turned by EXIF": (
        lambda v: v.image("b", turned()),
        b_warning("orientation", "EXIF says it is turned, which is ignored: if its boxes were drawn upright, set data.exif_rotation"),
    ),
    "same bytes twice": (lambda v: v.image("b", picture(0)), b_warning("duplicate", "the same bytes as a")),
    "size that lies": (
        lambda v: v.annotation("b", xml(box(), size="<size><width>640</width><height>480</height></size>")),
        b_warning("size", "the annotation says 640 x 480 pixels, the image has 64 x 48"),
    ),
    "size of zero": (
        lambda v: v.annotation("b", xml(box(), size="<size><width>0</width><height>0</height></size>")),
        b_warning("size", "the annotation says 0 x 0 pixels, the image has 64 x 48"),
    ),
    "XML cut short": (
        lambda v: v.annotation("b", "<annotation><object>"),
        b_error("annotation", B + " is no XML that can be read: no element found: line 1, column 20"),
    ),
    "XML with a DTD": (
        lambda v: v.annotation("b", "<!DOCTYPE a><annotation/>"),
        b_error("annotation", B + " is no XML that can be read: DTDForbidden(name='a', system_id=None, public_id=None)"),
    ),
    "empty XML": (
        lambda v: v.annotation("b", ""),
        b_error("annotation", B + " is no XML that can be read: no element found: line 1, column 0"),
    ),
    "other XML": (
        lambda v: v.annotation("b", "<svg/>"),
        b_error("annotation", B + " is no VOC annotation: it starts with <svg>, <annotation> is wanted"),
    ),
    "object without name": (lambda v: v.annotation("b", xml(box(name=" "))), b_error("annotation", B + ", object 1: it has no name")),
    "object without box": (
        lambda v: v.annotation("b", xml(box(), "<object><name>cat</name></object>")),
        b_error("annotation", B + ", object 2 (cat): it has no bndbox"),
    ),
    "inverted box": (lambda v: v.annotation("b", xml(box(50))), b_error("annotation", B + ", object 1 (dog): xmin 50 lies beyond xmax 40")),
    "corner that is no number": (
        lambda v: v.annotation("b", xml(box("left"))),
        b_error("annotation", B + ", object 1 (dog): xmin is 'left', a number is wanted"),
    ),
    "corner that is NaN": (
        lambda v: v.annotation("b", xml(box(ymax="nan"))),
        b_error("annotation", B + ", object 1 (dog): ymax is 'nan', a number is wanted"),
    ),
    "flag that is none": (
        lambda v: v.annotation("b", xml(box(more="<difficult>maybe</difficult>"))),
        b_error("annotation", B + ", object 1 (dog): difficult is 'maybe', 0 or 1 is wanted"),
    ),
    "box outside": (
        lambda v: v.annotation("b", xml(box(), box(101, 11, 140, 30))),
        b_error("box outside", "object 2 (dog): box 100 10 140 30 lies outside the image of 64 x 48"),
    ),
    "box across the border": (
        lambda v: v.annotation("b", xml(box(0, 11, 65, 30))),
        b_warning("box cut", "object 1 (dog): box -1 10 65 30 reaches beyond the image of 64 x 48 and is cut"),
    ),
    "box of one pixel": (
        lambda v: v.annotation("b", xml(box(11, 11, 11, 30))),
        b_warning("box thin", "object 1 (dog): box 10 10 11 30 is less than 2 pixels wide or high in the image"),
    ),
    "box repeated": (
        lambda v: v.annotation("b", xml(box(), box(name="cat"), box())),
        b_warning("box repeated", "objects 1 and 3 (dog) have the same box"),
    ),
    "no annotation": (lambda v: v.remove("Annotations/b.xml"), b_warning("annotation missing", "it counts as an image without objects")),
    "test image without annotation": (
        lambda v: v.remove("Annotations/u.xml"),
        [("warning", "annotation missing", "test", "u", "what is found in it counts as wrong")],
    ),
    "test set without annotations": (
        lambda v: [v.remove(f"Annotations/{i}.xml") for i in IDS["test"]],
        [("warning", "annotation missing", "test", "", "no image is annotated: no AP can be computed")],
    ),
    "no objects at all": (
        lambda v: v.annotate_all("trainval"),
        [
            ("error", "class", "trainval", "", "no object in its annotations: nothing to train on"),
            ("warning", "class", "test", "cat", "not in trainval: it will not be found"),
            ("warning", "class", "test", "dog", "not in trainval: it will not be found"),
        ],
    ),
    "configured class without objects": (
        lambda v: None,
        [
            ("error", "class", "trainval", "unicorn", "no object of this class"),
            ("warning", "class", "trainval", "cat", "annotated, but not in data.classes"),
        ],
        {"classes": ("dog", "unicorn")},
    ),
    "class that is difficult throughout": (
        lambda v: v.annotate_all("trainval", box(), box(name="cat", more=DIFFICULT)),
        [("warning", "class", "trainval", "cat", "all its objects are difficult")],
    ),
    "class that the test set lacks": (
        lambda v: v.annotate_all("test", box(), box(name="cat", more=DIFFICULT)),
        [("warning", "class", "test", "cat", "no object of this class that counts: no AP for it")],
    ),
    "class of the test set alone": (
        lambda v: v.annotate_all("test", box(), box(name="cat", xmin=2), box(name="zebra")),
        [("warning", "class", "test", "zebra", "not in trainval: it will not be found")],
    ),
    "two spellings": (
        lambda v: v.annotation("b", xml(box(name="Dog"))),
        [
            ("warning", "class", "trainval", "dog", "it differs from 'Dog' only in case or spaces"),
            ("warning", "class", "test", "Dog", "no object of this class that counts: no AP for it"),
        ],
    ),
    "image in both sets": (lambda v: v.ids("test", "t\nu\nb\n"), [("error", "leak", "test", "b", "it is in trainval too")]),
    "same bytes in both sets": (lambda v: v.image("u", picture(1)), [("error", "leak", "test", "u", "the same bytes as b of trainval")]),
    "id twice": (
        lambda v: v.ids("test", "t\nu\nt\n"),
        [("error", "image set", "test", "", LISTS + "/test.txt lists t twice, lines 1 and 3; remove one")],
    ),
    "no list": (
        lambda v: v.remove("ImageSets/Main/test.txt"),
        [("error", "image set", "test", "", f"no split 'test': {LISTS}/test.txt does not exist; the folder has trainval.txt")],
    ),
    "empty list": (lambda v: v.ids("test", "\n"), [("error", "image set", "test", "", "it is empty")]),
    "list that is no text": (
        lambda v: v.ids("test", b"gr\xf6sse\n"),
        [
            (
                "error", "image set", "test", "",
                LISTS + "/test.txt is not UTF-8 text: 'utf-8' codec can't decode byte 0xf6 in position 2: invalid start byte; "
                "save it as UTF-8",
            )
        ],
    ),
    "id that leaves its folder": (
        lambda v: v.ids("test", "../secret\n"),
        [
            (
                "error", "image set", "test", "",
                LISTS + "/test.txt, line 1: image id '../secret' cannot be used: '..' must start with a letter, a digit or one of "
                '_+=@,() and hold only those, dots and hyphens, with "/" between folders; rename it',
            )
        ],
    ),
}  # fmt: skip


def check(dataset, image_sets=tuple(IDS), threads=2, **changed):
    checks = Checks(**({"max_pixels": 10**6, "exif_rotation": False, "classes": None, "trains": True} | changed))
    return validate(dataset, image_sets, checks, threads, lambda place, total: None)


def told(root, problems):
    return [(p.severity, p.kind, p.image_set, p.subject, p.message.replace(str(root), "{root}")) for p in problems]


@pytest.mark.parametrize("name", VOC_CASES)
def test_a_damaged_voc_set_is_told_in_these_words(name, tmp_path):
    damage, expected, *changed = VOC_CASES[name]
    voc = Voc(tmp_path)
    damage(voc)
    dataset = LAYOUTS["voc"].open(Source(str(tmp_path), tuple(IDS), "VOC2007", ""))
    _, problems = check(dataset, **(changed[0] if changed else {}))
    assert told(tmp_path, problems) == expected


def coco(tmp_path, **changed):
    image = {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}
    entry = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 20]}
    for key, value in changed.items():
        (image if key in image else entry)[key] = value
    photos(tmp_path, a=picture(0), b=picture(1))
    images = [image, {"id": 7, "file_name": "b.jpg", "width": 64, "height": 48}]
    sound = {"id": 6, "image_id": 7, "category_id": 1, "bbox": [10, 10, 30, 20]}
    content = {"images": images, "annotations": [entry, sound], "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "all.json").write_text(json.dumps(content))


def csv(tmp_path, line):
    photos(tmp_path, a=picture(0), b=picture(1))
    (tmp_path / "all.csv").write_text(f"image,x1,y1,x2,y2,class\n{line}\n")


def photos(tmp_path, **files):
    for name, data in files.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)


def error(kind, subject, message):
    return [("error", kind, "all", subject, message)]


# name -> (layout, damage, what is told)
OTHER_CASES = {
    "sound COCO": ("coco", coco, []),
    "COCO size that lies": (
        "coco",
        lambda p: coco(p, width=640),
        [("warning", "size", "all", "a.jpg", "the annotation says 640 x 48 pixels, the image has 64 x 48")],
    ),
    "COCO box without area": (
        "coco",
        lambda p: coco(p, bbox=[10, 10, 0, 20]),
        error("annotation", "a.jpg", "{root}/all.json, annotation 5 (dog): bbox is 0 wide and 20 high, it must have an area"),
    ),
    "COCO category that is not listed": (
        "coco",
        lambda p: coco(p, category_id=2),
        error("annotation", "a.jpg", "{root}/all.json, annotation 5: no category has the id 2"),
    ),
    "COCO mask without box": (
        "coco",
        lambda p: coco(p, bbox=None),
        error("annotation", "a.jpg", "{root}/all.json, annotation 5 (dog): it has no bbox; write the box of its segmentation there"),
    ),
    "COCO image that is not listed": (
        "coco",
        lambda p: coco(p, image_id=2),
        error("image set", "", "{root}/all.json, annotation 5: no image has the id 2"),
    ),
    "COCO without file": (
        "coco",
        lambda p: None,
        error("image set", "", "no split 'all': {root} has none of annotations/instances_all.json, all/_annotations.coco.json, all.json"),
    ),
    "sound CSV": ("csv", lambda p: csv(p, "a.jpg,10,10,40,30,dog"), []),
    "CSV of pixels that are width and height": (
        "csv",
        lambda p: csv(p, "a.jpg,40,20,30,10,dog\nb.jpg,10,10,40,30,dog"),
        error("annotation", "a.jpg", "{root}/all.csv, line 2 (dog): x1 40 is not less than x2 30"),
    ),
    "CSV of shares in place of pixels": (
        "csv",
        lambda p: csv(p, "a.jpg,0.1,0.2,0.5,0.9,dog"),
        [("warning", "box thin", "all", "a.jpg", "object 1 (dog): box 0.1 0.2 0.5 0.9 is less than 2 pixels wide or high in the image")],
    ),
    "CSV line too short": ("csv", lambda p: csv(p, "a.jpg,1,2"), error("image set", "", "{root}/all.csv, line 2: 3 values for 6 columns")),
    "CSV without images": ("csv", lambda p: csv(p, ""), error("image set", "", "it is empty")),
    "sound folder": ("folder", lambda p: photos(p, a=picture(0), b=turned()), []),
    "folder with a text": (
        "folder",
        lambda p: photos(p, a=picture(0), b=b"hello"),
        error("image unreadable", "b.jpg", "not an image, the bytes look like text"),
    ),
    "folder with a copy": (
        "folder",
        lambda p: photos(p, a=picture(0), b=picture(0)),
        [("warning", "duplicate", "all", "b.jpg", "the same bytes as a.jpg")],
    ),
}


@pytest.mark.parametrize("name", OTHER_CASES)
def test_other_layouts_are_told_in_these_words(name, tmp_path):
    layout, damage, expected = OTHER_CASES[name]
    damage(tmp_path)
    _, problems = check(LAYOUTS[layout].open(Source(str(tmp_path), ("all",), "", "url")), ("all",), trains=layout != "folder")
    assert told(tmp_path, problems) == expected


def test_forty_kinds_of_damage_and_more_have_their_own_words():
    told = [*(case[1] for case in VOC_CASES.values()), *(case[2] for case in OTHER_CASES.values())]
    assert len({message for found in told for *_, message in found}) >= 40


def test_counts_and_any_number_of_threads(tmp_path):
    voc = Voc(tmp_path)
    voc.image("b", b"")
    dataset = LAYOUTS["voc"].open(Source(str(tmp_path), tuple(IDS), "VOC2007", ""))
    sets, problems = check(dataset)
    assert [(s.name, len(s.ids), s.unannotated, s.objects) for s in sets] == [
        ("trainval", 3, [], {"dog": 3, "cat": 3}),
        ("test", 2, [], {"dog": 2, "cat": 2}),
    ]
    for threads in (1, 5):
        assert check(dataset, threads=threads) == (sets, problems)
    assert problems == [Problem("error", "image unreadable", "trainval", "b", "empty file")]


def test_a_root_without_a_set_is_an_error_of_the_layout(tmp_path):
    with pytest.raises(DataError, match="no VOC data set at"):
        LAYOUTS["voc"].open(Source(str(Path(tmp_path) / "none"), tuple(IDS), "VOC2007", ""))
