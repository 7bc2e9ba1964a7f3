"""Which image ids are safe to become part of a path, a URL and a line of a text file, and how any path or URL becomes one."""

import hashlib
import re
from urllib.parse import unquote

from rcnn_dist.errors import DataError

_LONGEST = 255  # of a file name on common file systems
_PART = re.compile(r"[A-Za-z0-9_+=@,()][A-Za-z0-9_+=@,().-]*")
_PLAIN = re.compile(r"[A-Za-z0-9_+@,().-]")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+]*)://(.*)", re.DOTALL)
_URL_ID = re.compile(r"([A-Za-z][A-Za-z0-9+]*)=/(.*)")
_CUT = "=-"  # before the hash of a path that was too long; no other id holds it


def check_id(image_id: str, what: str = "image id") -> None:
    """Passes an id of one or more parts joined by "/", such as `000005` or `n01440764/n01440764_18`.

    A part holds ASCII letters, digits and `_ + = @ , ( ) . -` and starts with neither "." nor "-": so no id is absolute, leaves its
    folder, is hidden, reads as a command's option, or means something to a URL.

    Raises:
        DataError: any other id; the message names it.
    """
    if len(image_id) > _LONGEST:
        raise DataError(f"{what} {image_id[:40]!r}... has {len(image_id)} characters, {_LONGEST} are allowed")
    for part in image_id.split("/"):
        if not _PART.fullmatch(part):
            raise DataError(
                f"{what} {image_id!r} cannot be used: {part!r} must start with a letter, a digit or one of _+=@,() and hold only those, "
                'dots and hyphens, with "/" between folders; rename it'
            )


def id_of(path: str) -> str:
    """A path or URL as an id that a person can read and `check_id` passes.

    Every byte that an id may not hold is written `=XX`, as are the equals sign and a dot or hyphen at the start of a part; an empty part
    is `=`, and `://` becomes `=/`: `a/IMG 1.jpg` -> `a/IMG=201.jpg`, `s3://bucket/a.jpg` -> `s3=/bucket/a.jpg`. What is then too long
    keeps its start and ends with a hash.
    Law: distinct paths have distinct ids, and path_of(id_of(path)) == path unless the id was cut.
    """
    found = _URL.fullmatch(path)
    scheme, rest = found.groups() if found else ("", path)
    parts = "/".join(_escape(part) for part in rest.split("/"))
    image_id = f"{scheme}=/{parts}" if scheme else parts
    if len(image_id) <= _LONGEST:
        return image_id
    digest = hashlib.sha256(_bytes(path)).hexdigest()[:32]
    return image_id[: _LONGEST - len(digest) - len(_CUT)].rstrip("/") + _CUT + digest


def path_of(image_id: str) -> str | None:
    """The path or URL of an id that `id_of` made; None where it was cut, so that only a list of all paths can tell."""
    if _CUT in image_id:
        return None
    found = _URL_ID.fullmatch(image_id)
    scheme, rest = found.groups() if found else ("", image_id)
    parts = "/".join("" if part == "=" else unquote(part.replace("=", "%"), errors="surrogateescape") for part in rest.split("/"))
    return f"{scheme}://{parts}" if scheme else parts


def _escape(part: str) -> str:
    """One part of a path with the bytes escaped that an id may not hold there."""
    if not part:
        return "="
    if "=" not in part and _PART.fullmatch(part):
        return part
    escaped = "".join(char if _PLAIN.fullmatch(char) else "".join(f"={byte:02X}" for byte in _bytes(char)) for char in part)
    return f"={ord(part[0]):02X}{escaped[1:]}" if part[0] in ".-" else escaped


def _bytes(text: str) -> bytes:
    """UTF-8; a file name that is none keeps its own bytes."""
    return text.encode(errors="surrogateescape")
