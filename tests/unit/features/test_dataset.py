from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rcnn_dist.features.dataset import RegionDataset


class Shards:
    """Part "k" holds k batches."""

    parts = ("3", "0", "1", "2", "2")

    def read(self, part):
        for index in range(int(part)):
            features = np.full((2, 3), 10 * int(part) + index, np.float16)
            features.setflags(write=False)
            yield {"image_id": [part, part], "features": features}


def test_without_workers_batches_come_in_order_as_tensors():
    batches = list(RegionDataset(Shards()))
    assert [batch["features"][0, 0].item() for batch in batches] == [30, 31, 32, 10, 20, 21, 20, 21]
    assert batches[0]["features"].dtype == torch.float16
    assert batches[0]["image_id"] == ["3", "3"]
    assert len({batch["features"].data_ptr() for batch in batches}) == len(batches), "each batch has memory of its own"


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_workers_share_the_shards_and_none_is_read_twice(workers):
    loader = DataLoader(RegionDataset(Shards()), batch_size=None, num_workers=workers)
    assert Counter(batch["features"][0, 0].item() for batch in loader) == Counter([30, 31, 32, 10, 20, 21, 20, 21])
