"""What torch can compute on."""

import torch


def describe_gpus() -> list[str]:
    """Name, memory and compute capability of every CUDA device."""
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, compute capability {gpu.major}.{gpu.minor}" for gpu in found]
