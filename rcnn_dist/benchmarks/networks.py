"""Forward throughput of T-Net and O-Net, in turn with torchvision's models of the same cost and with their own products alone."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from rcnn_dist.features.extract import choose_device
from rcnn_dist.features.networks import NetworkParams, build_network
from rcnn_dist.features.networks.base import Network

_LAYER = "fc7"
_PAIRS = {  # ours, and the model of about as many multiplications: 720 and 714 million, 15.5 billion each
    "tnet": NetworkParams("torchvision:alexnet", taps={_LAYER: "classifier.5"}, pool="flatten"),
    "onet": NetworkParams("torchvision:vgg16", taps={_LAYER: "classifier.4"}, pool="flatten"),
}
_PLAIN = "plain products"
_FORWARDS_PER_ROUND = {"cpu": 1, "cuda": 10}  # a GPU is given its next batch while it computes, as extraction does


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One convolution or fully connected layer of a network."""

    layer: nn.Conv2d | nn.Linear
    input_shape: tuple[int, ...]  # of one region
    multiplications: int  # for one region


def run(batch_size: int | None, rounds: int, threads: int | None, compiled: bool) -> dict[str, Any]:
    """Regions per second of every network and arithmetic, up to layer fc7, of the fastest round and of the median one.

    Both sides hold their weights and pixels channels last, which is the faster order for both. On a CPU the seconds of the process are
    counted beside those of the clock: they do not see what else the machine does. `share_of_plain` is the best rate of ours divided by
    that of the network's products alone.

    Args:
        batch_size: None: 256 regions on a GPU, 16 on a CPU.
        compiled: also through torch.compile, which a GPU is given in any case.
    """
    device = choose_device()
    on_gpu = device.type == "cuda"
    batch_size = batch_size or (256 if on_gpu else 16)
    if threads:
        torch.set_num_threads(threads)
    figures = []
    for name, other in _PAIRS.items():
        products = find_products(build_network(NetworkParams(name)))
        multiplications = sum(product.multiplications for product in products)
        for precision in ("float32", "bfloat16"):
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            sides = {
                "ours": _forward(NetworkParams(name), batch_size, dtype, device, False),
                "torchvision": _forward(other, batch_size, dtype, device, False),
                _PLAIN: plain_products(products, batch_size, dtype, device),
            }
            if compiled or on_gpu:
                sides["ours compiled"] = _forward(NetworkParams(name), batch_size, dtype, device, True)
            speeds = _race(sides, batch_size, rounds, device)
            shares = {side: speeds[side]["best"] / speeds[_PLAIN]["best"] for side in sides if side.startswith("ours")}
            row = {"network": name, "beside": other.name, "precision": precision, "multiplications": multiplications}
            figures.append(row | {"regions_per_s": speeds, "share_of_plain": shares})
    about = {"device": _device_name(device), "threads": torch.get_num_threads(), "batch_size": batch_size, "rounds": rounds}
    return about | {"figures": figures}


def lines(figures: dict[str, Any]) -> list[str]:
    """The figures as a table."""
    head = f"{figures['device']}, {figures['threads']} threads, batches of {figures['batch_size']}, {figures['rounds']} rounds; regions/s"
    out = [head, f"{'':6}{'':10}{'':16}{'best':>10}{'median':>10}{'per CPU second':>16}{'of plain products':>19}"]
    for row in figures["figures"]:
        for side, speed in row["regions_per_s"].items():
            label = row["beside"].partition(":")[2] if side == "torchvision" else side
            share = f"{row['share_of_plain'][side]:19.2f}" if side in row["share_of_plain"] else ""
            rates = f"{speed['best']:10.1f}{speed['median']:10.1f}{speed['per_cpu_second']:16.1f}"
            out.append(f"{row['network']:6}{row['precision']:10}{label:16}{rates}{share}")
    return out


def find_products(network: Network) -> list[Product]:
    """The convolutions and fully connected layers that a forward to fc7 passes, in its order."""
    found: list[Product] = []

    def note(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(Product(layer, tuple(inputs[0].shape[1:]), output.numel() * layer.weight[0].numel()))

    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.inference_mode():
        network(torch.zeros(1, 3, network.input_size, network.input_size), (_LAYER,))
    for hook in hooks:
        hook.remove()
    return found


def plain_products(products: list[Product], batch_size: int, dtype: torch.dtype, device: torch.device) -> Callable[[], None]:
    """The products of a network one after the other, each on random values of its input's size: no bias, nothing between them."""
    numbers = torch.randn(batch_size * max(math.prod(p.input_shape) for p in products), device=device, dtype=dtype)
    weights, inputs = [], []
    for product in products:
        weight = product.layer.weight.detach().to(device, dtype)
        values = numbers[: batch_size * math.prod(product.input_shape)]
        if isinstance(product.layer, nn.Conv2d):
            channels, height, width = product.input_shape
            weights.append(weight.to(memory_format=torch.channels_last))
            inputs.append(values.view(batch_size, height, width, channels).permute(0, 3, 1, 2))  # channels last
        else:
            weights.append(weight)
            inputs.append(values.view(batch_size, -1))

    @torch.inference_mode()
    def forward() -> None:
        for product, weight, values in zip(products, weights, inputs, strict=True):
            layer = product.layer
            if isinstance(layer, nn.Conv2d):
                conv2d(values, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
            else:
                linear(values, weight)

    return forward


def _forward(params: NetworkParams, batch_size: int, dtype: torch.dtype, device: torch.device, compiled: bool) -> Callable[[], None]:
    """A forward of one batch of random pixels, as the extractor does it."""
    network: Any = build_network(params).to(device, dtype).to(memory_format=torch.channels_last)
    side = network.input_size
    if compiled:
        network = torch.compile(network)
    elif device.type == "cpu":
        network.prepare_for_cpu(batch_size)  # what torch.compile cannot read
    pixels = torch.randn(batch_size, 3, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward() -> None:
        network(pixels, (_LAYER,))

    return forward


def _race(sides: dict[str, Callable[[], None]], batch_size: int, rounds: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Rounds in turn, so that what disturbs one side disturbs the other."""
    clock: dict[str, list[float]] = {side: [] for side in sides}
    process: dict[str, list[float]] = {side: [] for side in sides}
    forwards = _FORWARDS_PER_ROUND[device.type]
    for number in range(rounds + 1):
        for side, forward in sides.items():
            start, start_of_process = time.perf_counter(), time.process_time()
            for _ in range(forwards):
                forward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first is to warm up
                clock[side].append(time.perf_counter() - start)
                process[side].append(time.process_time() - start_of_process)
    regions = batch_size * forwards
    return {
        side: {
            "best": regions / min(clock[side]),
            "median": regions / sorted(clock[side])[rounds // 2],
            "per_cpu_second": regions / min(process[side]),
        }
        for side in sides
    }


def _device_name(device: torch.device) -> str:
    return f"{device}, {torch.cuda.get_device_name()}" if device.type == "cuda" else str(device)
