import numpy as np
import torch

from rcnn_dist.features.foreground import keep_foreground


def test_what_lies_outside_is_the_mean_and_padding_is_empty():
    batch = torch.arange(3 * 3 * 2 * 2, dtype=torch.float32).reshape(3, 3, 2, 2) + 1
    inside = np.array([[[True, False], [False, True]], [[True, True], [True, True]]])
    found = keep_foreground(batch, inside)
    assert (found[0][:, 0, 0] == batch[0][:, 0, 0]).all()
    assert (found[0][:, 0, 1] == 0).all()
    assert (found[1] == batch[1]).all()
    assert (found[2] == 0).all()
