"""Images named one by one: a text file of paths and URLs, or a column of a Parquet table."""

from collections.abc import Iterable

from rcnn_dist.data.paths import ALL, PathDataset, folder_of, last_name, refuse_split
from rcnn_dist.errors import DataError
from rcnn_dist.store import files, tables


class ListFileDataset(PathDataset):
    """The images of a UTF-8 text file with one path or fsspec URL per line; blank lines do not count, paths start at the file's folder."""

    def __init__(self, root: str) -> None:
        super().__init__(last_name(root), folder_of(root), [ALL])
        self._url = root

    def paths(self, split: str) -> list[str]:
        refuse_split("list", split)
        try:
            lines = files.read_text(self._url).splitlines()
        except (FileNotFoundError, IsADirectoryError):
            raise DataError(f"no list {self._url}: give a text file with one path or URL per line") from None
        return _distinct(((f"line {number}", line.strip()) for number, line in enumerate(lines, start=1) if line.strip()), self._url)


class ParquetDataset(PathDataset):
    """The images whose paths or fsspec URLs a text column of a Parquet file, or of a folder of them, holds; paths start at its folder."""

    def __init__(self, root: str, column: str) -> None:
        super().__init__(last_name(root), root if files.is_folder(root) else folder_of(root), [ALL])
        self._url = root
        self._column = column

    def paths(self, split: str) -> list[str]:
        refuse_split("parquet", split)
        texts = tables.read_texts(self._url, self._column)
        empty = next((row for row, text in enumerate(texts) if not text), None)
        if empty is not None:
            raise DataError(f"{self._url}, row {empty}: column '{self._column}' is empty; give a path or URL, or remove the row")
        return _distinct(((f"row {row}", str(text)) for row, text in enumerate(texts)), self._url)


def _distinct(entries: Iterable[tuple[str, str]], source: str) -> list[str]:
    """The paths of (place, path) pairs.

    Raises:
        DataError: a path comes twice, or there is none.
    """
    first: dict[str, str] = {}
    for place, path in entries:
        if path in first:
            raise DataError(f"{source} lists {path} twice, {first[path]} and {place}; remove one")
        first[path] = place
    if not first:
        raise DataError(f"{source} lists no image")
    return list(first)
