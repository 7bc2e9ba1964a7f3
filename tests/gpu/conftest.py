import os

import pytest
import torch


@pytest.fixture
def device():
    """The CUDA device; RCNN_TEST_DEVICE=cpu tries the tests themselves where there is none."""
    name = os.environ.get("RCNN_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(name)
