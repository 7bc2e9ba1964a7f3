import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rcnn_dist.data.images import decode_image, image_size, read_file, read_image
from rcnn_dist.errors import BadImageError
from rcnn_dist.store import files

COLOUR = (200, 120, 40)
LOSSLESS = ["BMP", "PNG", "PPM", "TIFF"]
FORMATS = [*LOSSLESS, "GIF", "JPEG", "WEBP"]


def encoded(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def picture(width=50, height=40):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_with_size(width, height):
    """A PNG whose header promises pixels that are not there."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = struct.pack(">I", 1000) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + pixels


def colour_of(data):
    pixels = decode_image(data)
    assert pixels.shape[2] == 3 and (pixels == pixels[0, 0]).all()
    return pixels[0, 0].tolist()


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_lossless_formats_give_the_pixels_that_were_written(file_format):
    pixels = decode_image(encoded(Image.fromarray(picture()), file_format))
    assert pixels.dtype == np.uint8 and pixels.flags.writeable
    np.testing.assert_array_equal(pixels, picture())


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_keeps_size_and_colour(file_format):
    data = encoded(Image.new("RGB", (31, 17), COLOUR), file_format)
    assert image_size(data) == (31, 17)
    pixels = decode_image(data)
    assert pixels.shape == (17, 31, 3)
    np.testing.assert_allclose(pixels, np.broadcast_to(COLOUR, pixels.shape), atol=6)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_single_pixel_is_an_image(file_format):
    assert decode_image(encoded(Image.new("RGB", (1, 1), COLOUR), file_format)).shape == (1, 1, 3)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_grey_is_replicated(file_format):
    assert colour_of(encoded(Image.new("L", (8, 8), 77), file_format)) == [77, 77, 77]


def test_bilevel_is_black_and_white():
    assert decode_image(encoded(Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1"))).tolist() == [[[0] * 3, [255] * 3]]


def test_16_bit_grey_png_keeps_its_high_byte():
    values = np.array([[0, 255, 256, 0x1234, 65535]], dtype=np.uint16)
    pixels = decode_image(encoded(Image.fromarray(values)))
    assert pixels[0].tolist() == [[0] * 3, [0] * 3, [1] * 3, [0x12] * 3, [255] * 3]


def test_32_bit_integers_are_taken_as_16_bit_and_clipped():
    values = np.array([[-5, 0x1234, 70000]], dtype=np.int32)
    assert decode_image(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 0x12, 255]


def test_floats_are_0_to_255_and_clipped():
    values = np.array([[-1.0, 76.6, 300.0, np.nan]], dtype=np.float32)
    assert decode_image(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 77, 255, 0]


def test_a_palette_gives_its_colours():
    image = Image.new("RGB", (4, 4), COLOUR).quantize(4)
    assert image.mode == "P"
    assert colour_of(encoded(image)) == list(COLOUR)


def test_a_palette_with_a_transparent_entry_is_shown_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 120, 40])
    image.putpixel((1, 0), 1)
    assert decode_image(encoded(image, transparency=0)).tolist() == [[[255] * 3, list(COLOUR)]]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("RGBA", (0, 100, 200, 0), [255, 255, 255]), ("RGBA", (0, 100, 200, 255), [0, 100, 200]), ("LA", (55, 51), [215, 215, 215])],
)
def test_alpha_is_shown_on_white(mode, value, expected):
    assert colour_of(encoded(Image.new(mode, (3, 3), value))) == expected


def test_a_transparent_colour_of_rgb_is_shown_on_white():
    assert colour_of(encoded(Image.new("RGB", (3, 3), COLOUR), transparency=COLOUR)) == [255, 255, 255]


def cmyk_jpeg(ink):
    """Pillow writes what Adobe's programs do: inverted samples and an Adobe marker."""
    data = encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100)
    assert b"Adobe" in data
    return data


def test_adobe_cmyk_jpeg():
    np.testing.assert_allclose(colour_of(cmyk_jpeg((55, 135, 215, 0))), COLOUR, atol=2)
    np.testing.assert_allclose(colour_of(cmyk_jpeg((0, 0, 0, 155))), (100, 100, 100), atol=2)


def test_adobe_ycck_jpeg():
    y, cb, cr = Image.new("RGB", (1, 1), tuple(255 - value for value in COLOUR)).convert("YCbCr").getpixel((0, 0))
    data = bytearray(cmyk_jpeg((255 - y, 255 - cb, 255 - cr, 0)))
    data[data.index(b"Adobe") + 11] = 2  # the marker's transform byte: 0 CMYK, 2 YCCK
    np.testing.assert_allclose(colour_of(bytes(data)), COLOUR, atol=3)


def turned(file_format):
    """An image file that says: the top of the picture is at the right of these pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(picture(50, 40)), file_format, exif=exif)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_ignored_unless_asked_for(file_format):
    as_stored = decode_image(encoded(Image.fromarray(picture(50, 40)), file_format))
    np.testing.assert_array_equal(decode_image(turned(file_format)), as_stored)
    np.testing.assert_array_equal(decode_image(turned(file_format), exif=True), np.rot90(as_stored, k=-1))
    assert image_size(turned(file_format)) == (50, 40)


@pytest.mark.parametrize("exif", [False, True])
def test_the_orientation_of_tiff_is_part_of_the_format(exif):
    np.testing.assert_array_equal(decode_image(turned("TIFF"), exif=exif), np.rot90(picture(50, 40), k=-1))
    assert image_size(turned("TIFF")) == (40, 50)


def test_without_orientation_asking_for_exif_changes_nothing():
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(picture())), exif=True), picture())


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (6, 6), COLOUR), Image.new("RGB", (6, 6), "black")]
    assert colour_of(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == list(COLOUR)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"a shopping list\n", "not an image, the bytes look like text"),
        ("größe ".encode() * 200, "not an image, the bytes look like text"),
        (b"\n <!DOCTYPE html><html>404</html>", "not an image, the bytes look like an HTML page"),
        (b"%PDF-1.7\n%\xe2", "not an image, the bytes look like a PDF"),
        (b"<?xml version='1.0'?><annotation/>", "not an image, the bytes look like XML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image, the bytes look like an SVG drawing"),
        (b"PK\x03\x04rest", "not an image, the bytes look like a zip archive"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image, the bytes look like PostScript"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\0\0\0\x20ftypheic", "not an image, the bytes look like an HEIC image"),
        (b"\0\0\0\x20ftypisom", "not an image, the bytes look like a video"),
        (b"\0" * 4096, "not an image, the bytes look like zeros"),
        (b"\x01\x02\x03\xff", "first bytes 01 02 03 ff"),
    ],
)
def test_bytes_that_are_no_image_are_named(data, reason):
    for function in (decode_image, image_size):
        with pytest.raises(BadImageError) as caught:
            function(data)
        assert reason in str(caught.value) and len(str(caught.value)) < 150


@pytest.mark.parametrize("file_format", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_truncated_files(file_format, share):
    data = encoded(Image.fromarray(picture()), file_format)
    with pytest.raises(BadImageError, match=f"^truncated {file_format}$"):
        decode_image(data[: int(share * len(data))])


def test_a_file_that_ends_in_its_header_has_no_size():
    with pytest.raises(BadImageError, match="truncated JPEG"):
        image_size(encoded(Image.fromarray(picture()), "JPEG")[:30])


def test_damage_is_named():
    data = bytearray(encoded(Image.fromarray(picture())))
    data[20] ^= 0xFF
    with pytest.raises(BadImageError, match=r"^damaged or unsupported PNG: broken PNG file"):
        decode_image(bytes(data))


@pytest.mark.parametrize("file_format", FORMATS)
def test_damaged_bytes_give_pixels_or_a_bad_image_error(file_format):
    data = encoded(Image.fromarray(picture()), file_format)
    rng = np.random.default_rng(1)
    raised = 0
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, min(len(data), 120), 4):
            damaged[position] = rng.integers(0, 256)
        try:
            assert decode_image(bytes(damaged), max_pixels=10**6).shape[2] == 3
        except BadImageError as error:
            raised += 1
            assert "\n" not in str(error)
    assert raised > 0


@pytest.mark.parametrize("size", [(100_000, 100_000), (20_000, 15_000), (9_000, 9_000)])
def test_too_many_pixels_are_refused_from_the_header(size, recwarn):
    width, height = size
    with pytest.raises(BadImageError) as caught:
        decode_image(png_with_size(width, height))
    assert str(caught.value) == f"too many pixels: {width} x {height} = {width * height:,} over the limit of 80,000,000"
    assert image_size(png_with_size(width, height)) == size
    assert not recwarn.list


def test_the_limit_itself_is_allowed():
    data = encoded(Image.fromarray(picture(50, 40)))
    assert decode_image(data, max_pixels=2000).shape == (40, 50, 3)
    with pytest.raises(BadImageError, match="50 x 40 = 2,000 over the limit of 1,999"):
        decode_image(data, max_pixels=1999)


def test_real_photographs(shared_dir):
    paths = sorted((shared_dir / "data" / "fruit" / "VOC2007" / "JPEGImages").glob("*_77.jpg"))
    assert paths
    for path in paths:
        with Image.open(path) as image:
            np.testing.assert_array_equal(decode_image(path.read_bytes()), np.asarray(image.convert("RGB")))
            assert image_size(path.read_bytes()) == image.size


def test_a_file_is_read_where_it_lies(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    assert read_image(str(tmp_path / "a.png")).shape == (4, 5, 3)
    files.write_bytes("memory://images/a.png", (tmp_path / "a.png").read_bytes())
    assert read_image("memory://images/a.png").shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{folder}/none.jpg", "no such file"),
        ("memory://images/none.jpg", "no such file"),
        ("{folder}", "cannot be read: Is a directory"),
        ("nowhere://x/y.jpg", "cannot be read: Protocol not known: nowhere"),
    ],
)
def test_what_cannot_be_read_is_told_in_short(tmp_path, monkeypatch, url, message):
    with pytest.raises(BadImageError) as caught:
        read_file(url.format(folder=tmp_path))
    assert str(caught.value) == message


def test_what_storage_fails_to_give_is_asked_for_again_and_then_given_up(tmp_path, monkeypatch):
    asked, failures = [], 3

    def busy(url, operation):
        asked.append(url)
        if len(asked) <= failures:
            raise OSError(5, "503\n busy")
        return b"1"

    monkeypatch.setattr(files, "WAITS_S", (0, 0, 0, 0))
    monkeypatch.setattr(files, "_perform", busy)
    assert read_file("memory://images/a.jpg") == b"1" and len(asked) == 4
    failures = 99
    with pytest.raises(BadImageError, match="cannot be read: 503 busy"):
        read_file("memory://images/a.jpg")
    assert len(asked) == 4 + 5
