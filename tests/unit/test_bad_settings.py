"""Configurations and weights that cannot be used: each has its own message."""

import os
import struct

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from rcnn_dist.config import parse_config
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks import NetworkParams, build_network

_YAML = "bad.yaml cannot be read as YAML: "
_OVERRIDE = ": expected section.key=value, for example --set data.root=/data/VOCdevkit"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: [1", _YAML + "while parsing a flow sequence"),
        ("!!python/object/apply:os.system [echo]", _YAML + "could not determine a constructor for the tag"),
        ("- a", "bad.yaml: expected sections such as 'data:', found list"),
        ("text", "bad.yaml: expected sections such as 'data:', found str"),
        ("data: 3", "bad.yaml: data: Input should be a dictionary or an instance of DataSection, found 3"),
        ("runn: {}", "bad.yaml: unknown key 'runn'; did you mean 'run'?"),
        ("data: {rot: x}", "bad.yaml: unknown key 'data.rot'; did you mean 'root'?"),
        ("network: {name: 3}", "bad.yaml: network.name: Input should be a valid string, found 3"),
        ("mining: {wave_images: many}", "bad.yaml: mining.wave_images: Input should be a valid integer"),
        ("mining: {wave_images: 0}", "bad.yaml: mining.wave_images is 0, 1 or more is wanted"),
        ("run: {shard_images: 0}", "bad.yaml: run.shard_images is 0, 1 or more is wanted"),
        ("extract: {max_proposals: -1}", "bad.yaml: extract.max_proposals is -1, 1 or more is wanted"),
        ("warp: {context_padding: -3}", "bad.yaml: warp.context_padding is -3, 0 or more is wanted"),
        ("classify: {cost: .nan}", "bad.yaml: classify.cost is nan, a number above 0 is wanted"),
        ("classify: {tolerance: .inf}", "bad.yaml: classify.tolerance is inf, a number above 0 is wanted"),
        ("detect: {nms_threshold: 7}", "bad.yaml: detect.nms_threshold is 7.0, a number from 0 to 1 is wanted"),
        ("extract: {splits: [val]}", "bad.yaml: extract.splits.0: Input should be 'train' or 'test', found 'val'"),
        ("extract: {layers: [fc7]}", "bad.yaml: regress.layer is 'pool5', which extract.layers ['fc7'] does not store; add it there"),
        ("proposals: {source: precomputed}", "bad.yaml: proposals.precomputed.files is empty"),
        ("data: {test: null}", "bad.yaml: the stage detect needs test images: set data.test, or run.stages without it"),
        ("data: {classes: []}", "bad.yaml: data.classes: Tuple should have at least 1 item"),
        ("run: {stages: [train, fly]}", "bad.yaml: run.stages.1: Input should be 'propose', "),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_by_its_key(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "bad.yaml")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.root", "--set 'data.root'" + _OVERRIDE),
        ("=3", "--set '=3'" + _OVERRIDE),
        ("data.root=[", "--set 'data.root=[': the value is not YAML: while parsing a flow node"),
        ("data=3", "bad.yaml: data: Input should be a dictionary or an instance of DataSection, found 3"),
    ],
)
def test_an_override_that_cannot_be_used_is_refused_by_its_text(override, message):
    with pytest.raises(ConfigError) as caught:
        parse_config("", "bad.yaml", [override])
    assert str(caught.value).startswith(message)


class Code:
    """What runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def weights(kind, tmp_path):
    """The path of a file that is not the weights of `tiny`, and the end of its message."""
    good = {key: tensor.numpy() for key, tensor in build_network(NetworkParams()).state_dict().items()}
    data, first = save(good), "pool5.0.weight"
    other = {key: value for key, value in good.items() if key != first}
    contents = {
        "empty": (b"", "header too small"),
        "text": (b"the weights of a network, honestly", "header too large"),
        "cut off": (data[: len(data) // 2], "incomplete metadata, file not fully covered"),
        "a header longer than the file": (struct.pack("<Q", 2**60) + data[8:], "header too large"),
        "a tensor too few": (
            save(other),
            f"{first} (32, 3, 5, 5) is missing; it has fc6.0.bias, fc6.0.weight, fc7.0.bias, fc7.0.weight, ...",
        ),
        "a tensor too many": (save(good | {"extra": np.zeros(3, np.float32)}), "extra (3,) is not in the network"),
        "another shape": (save(other | {first: np.zeros(3, np.float32)}), f"{first} has the shape (3,), expected (32, 3, 5, 5)"),
        "whole numbers": (save(other | {first: good[first].astype(np.int64)}), f"{first} is torch.int64, a kind of float is expected"),
        "not finite": (save(other | {first: np.full_like(good[first], np.nan)}), f"{first} has values that are not finite"),
    }
    if kind == "missing":
        return tmp_path / "none.safetensors", "No such file or directory: " + str(tmp_path / "none.safetensors")
    path = tmp_path / "bad.safetensors"
    path.write_bytes(contents[kind][0])
    return path, contents[kind][1]


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "empty",
        "text",
        "cut off",
        "a header longer than the file",
        "a tensor too few",
        "a tensor too many",
        "another shape",
        "whole numbers",
        "not finite",
    ],
)
def test_weights_that_cannot_be_used_are_refused_by_their_path(kind, tmp_path):
    path, reason = weights(kind, tmp_path)
    with pytest.raises(ConfigError) as caught:
        build_network(NetworkParams(finetuned=str(path)))
    assert str(caught.value).startswith(f"network tiny: the weights {path} do not fit or cannot be read: ")
    assert str(caught.value).endswith(reason)


def test_weights_that_hold_code_are_refused_and_the_code_does_not_run(tmp_path):
    path, proof = tmp_path / "weights.pth", tmp_path / "it-ran"
    torch.save({"pool5.0.weight": Code(str(proof))}, path)
    with pytest.raises(ConfigError, match="it is damaged, or holds more than tensors; save its state dict as .safetensors"):
        build_network(NetworkParams(finetuned=str(path)))
    assert not proof.exists()
    torch.load(path, weights_only=False)
    assert proof.exists(), "the file is what it is taken for"
