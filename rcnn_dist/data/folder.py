"""A folder of images, without annotations."""

from rcnn_dist.data.images import ENDINGS
from rcnn_dist.data.paths import PathDataset, last_name, refuse_split
from rcnn_dist.errors import DataError
from rcnn_dist.store import files


class FolderDataset(PathDataset):
    """Every image at any depth below a folder at any fsspec URL, by path; which files are images is told by their endings.

    Hidden files and folders, and links to folders, are passed over.
    """

    def __init__(self, root: str) -> None:
        super().__init__(last_name(root), root, ["all"])

    def paths(self, split: str) -> list[str]:
        refuse_split("folder", split)
        names = files.list_tree(self._base)
        images = [name for name in names if name.lower().endswith(ENDINGS) and not any(part.startswith(".") for part in name.split("/"))]
        if not images:
            found = f"none of its {len(names)} files ends in" if names else "there is no such folder, or it is empty; looked for"
            raise DataError(f"no image in {self._base}: {found} {', '.join(ENDINGS)}")
        return images
