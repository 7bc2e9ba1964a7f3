"""What a user writes without this package: OpenCV's proposals, torchvision's transforms, a forward in batches, one .npy per image.

python -m rcnn_dist.benchmarks.peer_programs.plain_loop IMAGES OUT REGIONS
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from rcnn_dist.features.networks import NetworkParams, build_network

BATCH = 16


def main(images: Path, out: Path, regions: int) -> dict[str, float]:
    network = build_network(NetworkParams(name="lite", input_size=160)).eval()
    transform = transforms.Compose(
        [transforms.Resize((160, 160)), transforms.ToTensor(), transforms.Normalize([127 / 255] * 3, [128 / 255] * 3)]
    )
    seconds = dict.fromkeys(("propose", "crop", "forward", "write"), 0.0)
    count = 0
    for path in sorted(images.iterdir()):
        start = time.perf_counter()
        image = Image.open(path).convert("RGB")
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.asarray(image)[:, :, ::-1].copy())
        search.switchToSelectiveSearchFast()
        boxes = search.process()[:regions]
        proposed = time.perf_counter()
        crops = [transform(image.crop((x, y, x + w, y + h))) for x, y, w, h in boxes]
        cropped = time.perf_counter()
        with torch.inference_mode():
            rows = [network(torch.stack(crops[i : i + BATCH]), ("pooled",))["pooled"] for i in range(0, len(crops), BATCH)]
        forwarded = time.perf_counter()
        np.save(out / f"{path.stem}.npy", torch.cat(rows).half().numpy())
        written = time.perf_counter()
        for phase, begin, end in zip(seconds, (start, proposed, cropped, forwarded), (proposed, cropped, forwarded, written), strict=True):
            seconds[phase] += end - begin
        count += len(boxes)
    return {**seconds, "regions": count}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
