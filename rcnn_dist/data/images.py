"""Image files to pixels: every image becomes uint8 RGB or a BadImageError with one short reason."""

import io
import struct
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from rcnn_dist.arrays import Array, UInt8
from rcnn_dist.errors import BadImageError, RcnnError
from rcnn_dist.store import files

# Readers by the first bytes, not Image.open: it knows formats that start programs (EPS), and its own size limit hides the size.
_READERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"GIF8", GifImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    (b"P1", PpmImageFile),
    (b"P2", PpmImageFile),
    (b"P3", PpmImageFile),
    (b"P4", PpmImageFile),
    (b"P5", PpmImageFile),
    (b"P6", PpmImageFile),
)

# What the names of such files end in, in lower case.
ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")


_OTHER_FILES = (
    (b"version https://git-lfs", "a Git LFS pointer, the file itself was not fetched"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "XML"),
)
_ISO_BRANDS = {b"avif": "an AVIF image", b"heic": "an HEIC image", b"heix": "an HEIC image", b"mif1": "an HEIF image"}


def decode_image(data: bytes, max_pixels: int = 80_000_000, exif: bool = False) -> UInt8[Array, "H W 3"]:
    """The pixels of an image file, RGB; the first frame where there are several.

    BMP, GIF, JPEG, PNG, PPM, TIFF and WebP. Grey is replicated; 16-bit grey keeps its high byte; 32-bit integers are taken as 16-bit ones
    and floats as 0 to 255, both clipped. Transparency is shown on white. CMYK (Adobe's inverted kind and YCCK too) is converted without
    a colour profile. The orientation in EXIF is ignored, as PASCAL VOC does, unless `exif` is true; TIFF's own is part of that format
    and always applied.
    Law: shape[:2] == image_size(data)[::-1] where EXIF is ignored.

    Raises:
        BadImageError: the bytes are empty, no image, truncated, damaged, or have more than `max_pixels` pixels, which is read from the
            header before any pixel is decoded.

    Reference: fact sheet §2 (grey and CMYK images).
    """
    image = _open(data)
    width, height = image.size
    if width * height > max_pixels:
        raise BadImageError(f"too many pixels: {width} x {height} = {width * height:,} over the limit of {max_pixels:,}")
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow warns of metadata that no pixel depends on
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image) if exif else image)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make Pillow raise nearly anything
        raise _damaged(image, error) from error


def read_image(url: str, max_pixels: int = 80_000_000, exif: bool = False) -> UInt8[Array, "H W 3"]:
    """The pixels of an image file at any fsspec URL, as `decode_image` gives them.

    Raises:
        BadImageError: as read_file and decode_image.
    """
    return decode_image(read_file(url), max_pixels, exif)


def read_file(url: str) -> bytes:
    """The bytes of an image file at any fsspec URL.

    Raises:
        BadImageError: there is no such file, or storage does not give it however often it is asked.
    """
    try:
        return files.read_bytes(url)
    except FileNotFoundError as error:
        raise BadImageError("no such file") from error
    except MemoryError:
        raise
    except Exception as error:  # each file system has errors of its own
        cause = error.__cause__ if isinstance(error, RcnnError) and error.__cause__ else error
        raise BadImageError(f"cannot be read: {_short(getattr(cause, 'strerror', None) or cause)}") from error


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) from the header, no pixel decoded; EXIF orientation is ignored.

    Raises:
        BadImageError: the bytes are empty, no image, or end within the header.
    """
    return _open(data).size


def exif_orientation(data: bytes) -> int:
    """1 to 8 as EXIF counts orientations; 1, upright, where the file says nothing.

    Raises:
        BadImageError: as image_size.
    """
    try:
        return int(_open(data).getexif().get(ExifTags.Base.Orientation, 1))
    except BadImageError:
        raise
    except Exception:  # damaged metadata says nothing
        return 1


def _open(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise BadImageError("empty file")
    reader = next((reader for first_bytes, reader in _READERS if data.startswith(first_bytes)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        reader = WebPImageFile
    if reader is None:
        raise BadImageError(f"not an image, the bytes look like {_looks_like(data)}")
    try:
        with warnings.catch_warnings(action="ignore"):
            return reader(io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(reader, error) from error


def _looks_like(data: bytes) -> str:
    start = data[:512].lstrip().lower()
    for first_bytes, name in _OTHER_FILES:
        if start.startswith(first_bytes.lower()):
            return name
    if data[4:8] == b"ftyp":
        return _ISO_BRANDS.get(data[8:12], "a video")
    if not data.strip(b"\0"):
        return "zeros"
    try:
        text = data[:512].decode("utf-8", errors="strict" if len(data) <= 512 else "ignore")
    except UnicodeDecodeError:
        text = ""
    if text and all(char.isprintable() or char.isspace() for char in text):
        return "text"
    return f"none of BMP, GIF, JPEG, PNG, PPM, TIFF, WebP (first bytes {data[:8].hex(' ')})"


def _damaged(image: ImageFile.ImageFile | type[ImageFile.ImageFile], error: Exception) -> BadImageError:
    ended_early = isinstance(error.__cause__, EOFError | IndexError | struct.error) or "truncat" in str(error).lower()
    if ended_early:
        return BadImageError(f"truncated {image.format}")
    return BadImageError(f"damaged or unsupported {image.format}: {_short(error)}")


def _short(error: object) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _to_rgb(image: Image.Image) -> UInt8[Array, "H W 3"]:
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_rgb(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    return np.array(image.convert("RGB"))


def _grey_to_rgb(image: Image.Image) -> UInt8[Array, "H W 3"]:
    """Pillow's own conversion clips at 255, which turns most 16-bit pictures white."""
    values = np.asarray(image)
    if image.mode == "F":
        grey = np.rint(np.clip(np.nan_to_num(values), 0, 255)).astype(np.uint8)
    else:
        grey = (np.clip(values, 0, 65535).astype(np.uint16) >> 8).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
