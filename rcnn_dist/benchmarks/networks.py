"""Forward throughput of T-Net and O-Net beside torchvision's models of the same cost, in turn, in one process."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rcnn_dist.features.extract import choose_device
from rcnn_dist.features.networks import NetworkParams, build_network

_LAYER = "fc7"
_PAIRS = {  # ours, and the model of about as many multiplications: 720 and 714 million, 15.5 billion each
    "tnet": NetworkParams("torchvision:alexnet", taps={_LAYER: "classifier.5"}, pool="flatten"),
    "onet": NetworkParams("torchvision:vgg16", taps={_LAYER: "classifier.4"}, pool="flatten"),
}


def run(batch_size: int, rounds: int, threads: int | None, compiled: bool) -> dict[str, Any]:
    """Regions per second of every network and arithmetic, up to layer fc7, of the fastest round and of the median one.

    Both sides hold their weights and pixels channels last, which is the faster order for both. On a CPU the seconds of the process are
    counted beside those of the clock: they do not see what else the machine does.
    """
    device = choose_device()
    if threads:
        torch.set_num_threads(threads)
    figures = []
    for name, other in _PAIRS.items():
        for precision in ("float32", "bfloat16"):
            sides = {"ours": _forward(NetworkParams(name), batch_size, precision, device, False)}
            sides["torchvision"] = _forward(other, batch_size, precision, device, False)
            if compiled:
                sides["ours compiled"] = _forward(NetworkParams(name), batch_size, precision, device, True)
            figures.append({"network": name, "beside": other.name, "precision": precision, **_race(sides, batch_size, rounds)})
    return {"device": str(device), "threads": torch.get_num_threads(), "batch_size": batch_size, "rounds": rounds, "figures": figures}


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as a table."""
    head = f"{figures['device']}, {figures['threads']} threads, batches of {figures['batch_size']}, {figures['rounds']} rounds; regions/s"
    out = [head, f"{'':6}{'':10}{'':16}{'best':>8}{'median':>8}{'per CPU second':>16}"]
    for row in figures["figures"]:
        for side, speed in row["regions_per_s"].items():
            label = row["beside"].partition(":")[2] if side == "torchvision" else side
            out.append(
                f"{row['network']:6}{row['precision']:10}{label:16}{speed['best']:8.1f}{speed['median']:8.1f}{speed['per_cpu_second']:16.1f}"
            )
    return out


def _forward(params: NetworkParams, batch_size: int, precision: str, device: torch.device, compiled: bool) -> Callable[[], Any]:
    """A forward of one batch of random pixels, as the extractor does it."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    network: Any = build_network(params).to(device, dtype).to(memory_format=torch.channels_last)
    side = network.input_size
    if device.type == "cpu":
        network.prepare_for_cpu(batch_size)
    if compiled:
        network = torch.compile(network)
    pixels: Tensor = torch.randn(batch_size, 3, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            network(pixels, (_LAYER,))
        if device.type == "cuda":
            torch.cuda.synchronize()

    return forward


def _race(sides: dict[str, Callable[[], Any]], batch_size: int, rounds: int) -> dict[str, Any]:
    """Rounds in turn, so that what disturbs one side disturbs the other."""
    clock: dict[str, list[float]] = {side: [] for side in sides}
    process: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, forward in sides.items():
            start, start_of_process = time.perf_counter(), time.process_time()
            forward()
            if number:  # the first is to warm up
                clock[side].append(time.perf_counter() - start)
                process[side].append(time.process_time() - start_of_process)
    speeds = {
        side: {
            "best": batch_size / min(clock[side]),
            "median": batch_size / sorted(clock[side])[rounds // 2],
            "per_cpu_second": batch_size / min(process[side]),
        }
        for side in sides
    }
    return {"regions_per_s": speeds}
