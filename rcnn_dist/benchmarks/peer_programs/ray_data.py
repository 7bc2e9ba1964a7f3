"""The work of this package as a Ray Data pipeline, with this package's own search and extractor inside.

python -m rcnn_dist.benchmarks.peer_programs.ray_data IMAGES OUT REGIONS
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
import torch

from rcnn_dist.data.images import decode_image
from rcnn_dist.features.extract import Extractor, ExtractParams
from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.proposals.selective_search import selective_search

REGIONS = int(sys.argv[3])


def propose(row: dict[str, Any]) -> dict[str, Any]:
    image = decode_image(Path(row["path"]).read_bytes())
    return {**row, "image": image, "boxes": selective_search(image)[:REGIONS]}


class Extract:
    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.extractor = Extractor(
            build_network(NetworkParams(name="lite", input_size=160)), ExtractParams(("pooled",)), torch.device("cpu")
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        features = [self.extractor.extract(i, b)["pooled"] for i, b in zip(batch["image"], batch["boxes"], strict=True)]
        counts = [len(boxes) for boxes in batch["boxes"]]
        return {"path": np.repeat(batch["path"], counts), "box": np.concatenate(list(batch["boxes"])), "pooled": np.concatenate(features)}


def main(images: Path, out: Path) -> dict[str, int]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    rows = ray.data.from_items([{"path": str(path)} for path in sorted(images.iterdir())])
    features = rows.map(propose, num_cpus=0.5).map_batches(Extract, batch_size=4, concurrency=2, num_cpus=0.5)
    features.write_parquet(str(out))
    return {"regions": ray.data.read_parquet(str(out)).count()}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
