"""Images and annotations that cannot be used: each kind has its own failure row, and spoils nothing else."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rcnn_dist import driver


def encoded(width, height, kind):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def png_header(width, height):
    """A PNG that promises pixels and has none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + struct.pack(">I", 9) + b"IDAT"


NO_IMAGE = "not an image, the bytes look like "
JPEG, PNG, GIF = encoded(80, 64, "JPEG"), encoded(80, 64, "PNG"), encoded(80, 64, "GIF")
IMAGES = {
    "empty": (b"", "empty file"),
    "zeros": (bytes(500), NO_IMAGE + "zeros"),
    "text": (b"gone, see the wiki", NO_IMAGE + "text"),
    "html": (b"<!DOCTYPE html><p>404", NO_IMAGE + "an HTML page"),
    "xml": (b"<?xml version='1.0'?><Error/>", NO_IMAGE + "XML"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NO_IMAGE + "an SVG drawing"),
    "pdf": (b"%PDF-1.7\n", NO_IMAGE + "a PDF"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", NO_IMAGE + "PostScript"),
    "zip": (b"PK\x03\x04" + bytes(40), NO_IMAGE + "a zip archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), NO_IMAGE + "gzip data"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", NO_IMAGE + "a Git LFS pointer, the file itself was not fetched"),
    "avif": (b"\0\0\0\x20ftypavif" + bytes(40), NO_IMAGE + "an AVIF image"),
    "heic": (b"\0\0\0\x20ftypheic" + bytes(40), NO_IMAGE + "an HEIC image"),
    "video": (b"\0\0\0\x20ftypisom" + bytes(40), NO_IMAGE + "a video"),
    "noise": (
        b"\x93\x81\x07\xfe\xa0\xb1\xc2\xd3\xe4",
        NO_IMAGE + "none of BMP, GIF, JPEG, PNG, PPM, TIFF, WebP (first bytes 93 81 07 fe a0 b1 c2 d3)",
    ),
    "jpeg-cut": (JPEG[: len(JPEG) // 2], "truncated JPEG"),
    "jpeg-start": (JPEG[:3], "damaged or unsupported JPEG: "),
    "png-cut": (PNG[: len(PNG) // 2], "truncated PNG"),
    "png-checksum": (PNG[:60] + b"\0\0\0\0" + PNG[64:], "damaged or unsupported PNG: "),
    "gif-cut": (GIF[:20], "truncated GIF"),
    "bomb-png": (png_header(60_000, 60_000), "too many pixels: 60000 x 60000 = 3,600,000,000 over the limit of 80,000,000"),
    "bomb-gif": (GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:], "too many pixels: 65535 x 65535 = 4,294,836,225 over the limit of 80,000,000"),
    "missing": (None, "no such file"),
    "folder": (None, "cannot be read: Is a directory"),
}


def annotation(*objects):
    return f"<annotation>{''.join(objects)}</annotation>".encode()


def cat(xmin="1", ymin="2", xmax="30", ymax="40", more=""):
    corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>cat</name>{more}<bndbox>{corners}</bndbox></object>"


NO_XML = " is no XML that can be read: "
LAUGHS = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
ANNOTATIONS = {
    "x-empty": (b"", NO_XML),
    "x-binary": (b"\xff\xd8\xff", NO_XML),
    "x-cut": (annotation(cat())[:-30], NO_XML),
    "x-encoding": (b'<?xml version="1.0" encoding="martian"?><annotation/>', NO_XML),
    "x-bomb": (f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><annotation>&l9;</annotation>'.encode(), NO_XML + "DTDForbidden"),
    "x-quadratic": (
        b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 50_000 + b'">]><annotation>' + b"&a;" * 50_000 + b"</annotation>",
        NO_XML + "DTDForbidden",
    ),
    "x-external": (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>', NO_XML + "DTDForbidden"),
    "x-html": (b"<html/>", " is no VOC annotation: it starts with <html>, <annotation> is wanted"),
    "x-nameless": (annotation("<object/>"), ", object 1: it has no name"),
    "x-boxless": (annotation(cat(), "<object><name>cat</name></object>"), ", object 2 (cat): it has no bndbox"),
    "x-turned": (annotation(cat(xmin="31")), ", object 1 (cat): xmin 31 lies beyond xmax 30"),
    "x-nan": (annotation(cat(ymax="nan")), ", object 1 (cat): ymax is 'nan', a number is wanted"),
    "x-words": (annotation(cat(xmin="left")), ", object 1 (cat): xmin is 'left', a number is wanted"),
    "x-flag": (annotation(cat(more="<difficult>maybe</difficult>")), ", object 1 (cat): difficult is 'maybe', 0 or 1 is wanted"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A VOC layout whose good images stand between bad ones."""
    root = tmp_path_factory.mktemp("bad")
    voc = root / "VOC2007"
    for folder in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (voc / folder).mkdir(parents=True)
    for name, (data, _) in IMAGES.items():
        if data is not None:
            (voc / f"JPEGImages/{name}.jpg").write_bytes(data)
    (voc / "JPEGImages/folder.jpg").mkdir()
    for name in ("good-1", *ANNOTATIONS, "good-2", "test"):
        (voc / f"JPEGImages/{name}.jpg").write_bytes(JPEG)
        (voc / f"Annotations/{name}.xml").write_bytes(ANNOTATIONS.get(name, (annotation(cat()), ""))[0])
    names = ["good-1", *IMAGES, *ANNOTATIONS, "good-2"]
    (voc / "ImageSets/Main/trainval.txt").write_text("\n".join(names))
    (voc / "ImageSets/Main/test.txt").write_text("test\n")
    return root


@pytest.fixture
def config(small_config, root):
    return small_config(
        data={"root": str(root)}, run={"max_failed_images": 99}, proposals={"source": "sliding_window"}, extract={"max_proposals": 5}
    )


def failures(config, stage):
    rows = pq.read_table(f"{config.run.dir}/failures/{stage}-train.parquet").to_pylist()
    return {row["image_id"]: row["reason"] for row in rows}


def test_each_kind_of_bad_image_and_annotation_has_its_failure_row_and_spoils_no_other(config, root):
    driver.run_stages(config, ("propose", "extract"))
    of_images = failures(config, "propose")
    assert set(of_images) == set(IMAGES)
    for name, (_, reason) in IMAGES.items():
        assert of_images[name].startswith(reason), name
    of_annotations = failures(config, "extract")
    assert set(of_annotations) == {*IMAGES, *ANNOTATIONS}
    for name, (_, reason) in ANNOTATIONS.items():
        assert of_annotations[name].startswith(f"{root}/VOC2007/Annotations/{name}.xml{reason}"), name
    (features,) = Path(config.run.dir).glob("features/*/train")
    ids = pq.read_table(features, columns=["image_id"])["image_id"].to_pylist()
    assert ids == ["good-1"] * 6 + ["good-2"] * 6, "the object and five windows of each"
