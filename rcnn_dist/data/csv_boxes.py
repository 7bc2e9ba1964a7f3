"""A folder of images with one CSV file per split: one line per box."""

import csv
import hashlib
import io
import math

from rcnn_dist.data.annotated import AnnotatedDataset, Annotation, AnnotationFile, ParsedObject, collect_objects
from rcnn_dist.data.ids import check_id
from rcnn_dist.data.paths import last_name
from rcnn_dist.errors import BadAnnotationError, DataError
from rcnn_dist.store import files

_CORNERS = ("x1", "y1", "x2", "y2")
_COLUMNS = ("image", *_CORNERS, "class")
_FLAGS = {"": False, "0": False, "1": True}

Row = dict[str, str]


class CsvDataset(AnnotatedDataset):
    """The split `train` is `train.csv` below `root`; its column `image` holds paths below `root`."""

    def __init__(self, root: str, splits: tuple[str, ...]) -> None:
        super().__init__(last_name(root), root, splits)

    def read(self, split: str) -> AnnotationFile:
        check_id(split, "split")
        url = files.join(self._base, f"{split}.csv")
        try:
            data = files.read_bytes(url)
        except FileNotFoundError:
            raise DataError(
                f"no split {split!r}: {url} does not exist; the folder has {', '.join(_tables(self._base)) or 'no .csv'}"
            ) from None
        return AnnotationFile(parse_boxes(data, url), hashlib.sha256(data).hexdigest())


def _tables(folder: str) -> list[str]:
    return [name for name in files.list_names(folder) if name.endswith(".csv")]


def parse_boxes(data: bytes, source: str) -> dict[str, Annotation]:
    """Image path -> objects, in the order of the first line of each image; `source` names the file in errors.

    The header names the columns image, x1, y1, x2, y2, class, in any order; a column `difficult` (0 or 1) is read where there is one,
    others are passed over. Boxes are pixels, 0-based and half-open: x2 - x1 is the width. A line with an image alone is an image without
    objects.

    Raises:
        DataError: no UTF-8 text, a header without those columns, or a line without an image.
    """
    try:
        rows = list(_rows(data.decode("utf-8-sig"), source))
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8 text: {error}") from error
    found: dict[str, list[ParsedObject] | BadAnnotationError] = {}
    for line, row in rows:
        where = f"{source}, line {line}"
        if not row["image"]:
            raise DataError(f"{where}: it names no image")
        own = found.setdefault(row["image"], [])
        if isinstance(own, BadAnnotationError):
            continue
        try:
            own += _objects(row, where)
        except BadAnnotationError as error:
            found[row["image"]] = error
    return {image: own if isinstance(own, BadAnnotationError) else collect_objects(own) for image, own in found.items()}


def _rows(text: str, source: str) -> list[tuple[int, Row]]:
    """(line number, value by column) of every line that is not blank."""
    reader = csv.reader(io.StringIO(text), strict=True)
    header: list[str] | None = None
    rows: list[tuple[int, Row]] = []
    try:
        for values in reader:
            stripped = [value.strip() for value in values]
            if not any(stripped):
                continue
            if header is None:
                header = stripped
                _check_header(header, f"{source}, line {reader.line_num}")
            elif len(stripped) != len(header):
                raise DataError(f"{source}, line {reader.line_num}: {len(stripped)} values for {len(header)} columns")
            else:
                rows.append((reader.line_num, dict(zip(header, stripped, strict=True))))
    except csv.Error as error:
        raise DataError(f"{source}, line {reader.line_num}: no CSV that can be read: {error}") from error
    if header is None:
        raise DataError(f"{source} is empty: a header {','.join(_COLUMNS)} is wanted")
    return rows


def _check_header(header: list[str], where: str) -> None:
    missing = [column for column in _COLUMNS if header.count(column) != 1]
    if missing:
        raise DataError(f"{where}: the header must name the column '{missing[0]}' once: {','.join(_COLUMNS)} are wanted")


def _objects(row: Row, where: str) -> list[ParsedObject]:
    """The object of a line; none where only the image is given."""
    if not any(row[column] for column in _COLUMNS[1:]):
        return []
    name = row["class"]
    if not name:
        raise BadAnnotationError(f"{where}: it has a box but no class")
    x1, y1, x2, y2 = (_number(row[corner], corner, f"{where} ({name})") for corner in _CORNERS)
    for low, high, axis in ((x1, x2, "x"), (y1, y2, "y")):
        if low >= high:
            raise BadAnnotationError(f"{where} ({name}): {axis}1 {low:g} is not less than {axis}2 {high:g}")
    flag = row.get("difficult", "")
    if flag not in _FLAGS:
        raise BadAnnotationError(f"{where} ({name}): difficult is {flag!r}, 0 or 1 is wanted")
    return [ParsedObject((x1, y1, x2, y2), name, _FLAGS[flag])]


def _number(text: str, column: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadAnnotationError(f"{where}: {column} is {text!r}, a number is wanted")
    return value
