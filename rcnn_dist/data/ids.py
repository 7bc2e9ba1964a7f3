"""Which image ids are safe to become part of a path, a URL and a line of a text file."""

import re

from rcnn_dist.errors import DataError

_LONGEST = 255  # of a file name on common file systems
_PART = re.compile(r"[A-Za-z0-9_+=@,()][A-Za-z0-9_+=@,().-]*")


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
