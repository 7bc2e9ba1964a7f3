"""Caffe's files, written by an encoder of the tests' own: read back, imported, and forwarded against NumPy."""

import json
import struct
from copy import copy

import numpy as np
import pytest
import torch
import torchvision
from safetensors import safe_open
from typer.testing import CliRunner

from rcnn_dist.cli import app
from rcnn_dist.config import load_config
from rcnn_dist.driver import config_file, run_stages
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.caffe_import.model import read_caffe_model, read_mean_image
from rcnn_dist.features.caffe_import.wire import read_fields, read_varints
from rcnn_dist.features.networks import NetworkParams, build_network, network_identity, onet
from rcnn_dist.features.weight_import import _vgg_names, import_weights, network_shapes, verify_weights
from rcnn_dist.stages.run import Run

CAFFENET_ORDER = (
    "conv1",
    "relu1",
    "pool1",
    "norm1",
    "conv2",
    "relu2",
    "pool2",
    "norm2",
    "conv3",
    "conv4",
    "conv5",
    "pool5",
    "fc6",
    "fc7",
    "fc8",
)


def varint(value):
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number, value):
    """One field: a varint for an integer, 32 bits for a float, else length and bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(array, form="shape"):
    """A BlobProto: `shape` as since V2, `legacy` with four dimensions, `unpacked` with one field per number, or `double`."""
    array = np.asarray(array, np.float32)
    if form == "legacy":
        sizes = (1,) * (4 - array.ndim) + array.shape
        head = b"".join(field(number, size) for number, size in enumerate(sizes, 1))
    elif form == "unpacked":
        head = field(7, b"".join(field(1, size) for size in array.shape))
    else:
        head = field(7, field(1, b"".join(varint(size) for size in array.shape)))
    if form == "unpacked":
        return head + b"".join(field(5, float(value)) for value in array.ravel())
    return head + (field(8, array.astype("<f8").tobytes()) if form == "double" else field(5, array.tobytes()))


def layer(name, blobs, version):
    """A layer of NetParameter in one of the three forms that it has had."""
    if version == 0:
        inner = field(1, name) + field(2, "conv") + b"".join(field(50, data) for data in blobs)
        return field(2, field(1, inner) + field(2, "bottom") + field(3, "top"))
    if version == 1:
        return field(2, field(2, "bottom") + field(4, name) + field(5, 4) + b"".join(field(6, data) for data in blobs) + field(7, 1.0))
    return field(100, field(1, name) + field(2, "Convolution") + b"".join(field(7, data) for data in blobs) + field(10, 1))


def caffe_model(path, weights, names, version=2, form="shape"):
    """A .caffemodel of the layers `names`, with the blobs of `weights` (name.weight, name.bias) where they have some."""
    blobs = {name: [blob(weights[key], form) for key in (f"{name}.weight", f"{name}.bias") if key in weights] for name in names}
    path.write_bytes(field(1, "a network") + b"".join(layer(name, data, version) for name, data in blobs.items()))
    return str(path)


def random_weights(shapes, seed=0):
    """Such that values neither vanish nor explode on their way through the layers."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1)
        for name, shape in shapes.items()
    }


@pytest.fixture
def small_onet(monkeypatch):
    monkeypatch.setattr(onet, "BLOCKS", ((2, 2), (2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)))
    return random_weights(network_shapes("onet"))


ONET_ORDER = [*(f"conv{block}_{i}" for block, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)), "fc6", "fc7"]


# --- the wire


def test_fields_are_read_as_the_specification_writes_them():
    message = bytes([0x08, 0x96, 0x01, 0x12, 0x07]) + b"testing" + bytes([0x1D, 0, 0, 0x80, 0x3F])
    assert [(number, value if isinstance(value, int) else bytes(value)) for number, value in read_fields(memoryview(message))] == [
        (1, 150),
        (2, b"testing"),
        (3, struct.pack("<f", 1.0)),
    ]
    assert read_varints(memoryview(varint(3) + varint(270) + varint(86942))) == [3, 270, 86942]
    assert list(read_fields(memoryview(b""))) == []


@pytest.mark.parametrize("message", [b"\x08", b"\x12\x07test", b"\x0b", b"\x00\x01", b"\x08" + b"\xff" * 11, b"\x09\x01"])
def test_what_is_no_message_is_refused(message):
    with pytest.raises(ValueError):
        list(read_fields(memoryview(message)))


# --- models and means


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("form", ["shape", "legacy", "unpacked", "double"])
def test_layers_and_blobs_are_read_in_every_form(tmp_path, version, form):
    weights = {"conv1.weight": np.arange(24).reshape(2, 3, 2, 2) / 7, "conv1.bias": np.array([1.5, -2])}
    layers = read_caffe_model(caffe_model(tmp_path / "m", weights, ("data", "conv1", "relu1"), version, form))
    assert [(found.name, len(found.blobs)) for found in layers] == [("data", 0), ("conv1", 2), ("relu1", 0)]
    for found, name in zip(layers[1].blobs, weights, strict=True):
        expected = weights[name].astype(np.float32)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected.reshape(1, 1, 1, 2) if form == "legacy" and name == "conv1.bias" else expected)


@pytest.mark.parametrize("content", [b"", b"layer { name: 'conv1' }", b"\x12\x07test", field(2, field(4, "x") + field(6, field(1, 3)))])
def test_what_is_no_caffe_model_is_refused(tmp_path, content):
    (tmp_path / "m.caffemodel").write_bytes(content)
    with pytest.raises(ConfigError, match=r"m\.caffemodel"):
        read_caffe_model(str(tmp_path / "m.caffemodel"))


def test_mean_images_are_read_from_both_kinds_of_files(tmp_path):
    image = np.random.default_rng(0).uniform(90, 130, (6, 5, 3)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(blob(image.transpose(2, 0, 1), "legacy"))
    np.save(tmp_path / "planes.npy", image.transpose(2, 0, 1))
    np.save(tmp_path / "pixels.npy", image)
    for name in ("mean.binaryproto", "planes.npy", "pixels.npy"):
        np.testing.assert_array_equal(read_mean_image(str(tmp_path / name)), image)
    np.save(tmp_path / "grey.npy", image[:, :, 0])
    for name in ("grey.npy", "missing.npy"):
        with pytest.raises(ConfigError, match=name):
            read_mean_image(str(tmp_path / name))


# --- import


def test_tnet_of_a_caffe_model_computes_what_numpy_computes(tmp_path, caffe_forward):
    weights = random_weights(network_shapes("tnet"))
    mean = np.random.default_rng(1).uniform(90, 130, (256, 256, 3)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(blob(mean.transpose(2, 0, 1), "legacy"))
    source = caffe_model(tmp_path / "caffe_reference_imagenet_model", weights, CAFFENET_ORDER, 1, "legacy")
    out = str(tmp_path / "weights" / "tnet.safetensors")
    about = import_weights(source, "tnet", out, str(tmp_path / "mean.binaryproto"))
    assert about["source"]["file"] == "caffe_reference_imagenet_model"
    assert verify_weights(out) == []
    network = build_network(NetworkParams("tnet", weights=out))
    np.testing.assert_array_equal(network.preprocess.mean, mean[14:241, 14:241])
    batch = np.random.default_rng(2).uniform(-120, 130, (2, 3, 227, 227)).astype(np.float32)
    expected = caffe_forward("tnet", weights, batch)
    with torch.inference_mode():
        found = network(torch.from_numpy(batch), network.layers)
    for name, values in expected.items():
        assert np.abs(found[name].numpy() - values).max() < 1e-4 * np.abs(values).max()
        assert values.std() > 0.1 * values.mean() > 0


@pytest.mark.parametrize("source_kind", ["caffe", "torchvision", "timm", "own names"])
def test_onet_is_imported_from_every_program_with_its_pixels(tmp_path, small_onet, source_kind):
    layers = {name.rpartition(".")[0]: name for name in small_onet if name.endswith("weight")}
    features = [f"features.{place}" for place in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
    heads = {"torchvision": ["classifier.0", "classifier.3"], "timm": ["pre_logits.fc1", "pre_logits.fc2"]}
    source = str(tmp_path / "vgg16.pth")
    if source_kind == "caffe":
        source = caffe_model(tmp_path / "vgg.caffemodel", small_onet, [*ONET_ORDER, "fc8"])
    else:
        names = dict(zip(layers, features + heads[source_kind], strict=True)) if source_kind in heads else {name: name for name in layers}
        state = {f"{names[n]}.{part}": torch.from_numpy(small_onet[f"{n}.{part}"]) for n in layers for part in ("weight", "bias")}
        if source_kind == "timm":
            state["pre_logits.fc1.weight"] = state["pre_logits.fc1.weight"].reshape(4096, 2, 7, 7)
            state["pre_logits.fc2.weight"] = state["pre_logits.fc2.weight"].reshape(4096, 4096, 1, 1)
        torch.save({"state_dict": state | {"classifier.6.weight": torch.zeros(1000, 4096)}}, source)
    import_weights(source, "onet", str(tmp_path / "onet.safetensors"))
    network = build_network(NetworkParams("onet", weights=str(tmp_path / "onet.safetensors")))
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), small_onet[name])
    is_rgb = source_kind in heads
    assert network.preprocess.channel_order == ("rgb" if is_rgb else "bgr")
    np.testing.assert_allclose(network.preprocess.std, [58.395, 57.12, 57.375] if is_rgb else [1, 1, 1])
    np.testing.assert_allclose(network.preprocess.mean, [123.675, 116.28, 103.53] if is_rgb else [103.939, 116.779, 123.68])


def test_vgg16_of_torchvision_and_timm_has_the_tensors_that_are_looked_for():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        models = [torchvision.models.vgg16(), timm.create_model("vgg16")]
    for model in models:
        names = {}
        for key, tensor in model.state_dict().items():
            layer, _, part = key.rpartition(".")
            if layer in _vgg_names():
                names[f"{_vgg_names()[layer]}.{part}"] = tensor.flatten(1).shape if "fc" in layer and part == "weight" else tensor.shape
            else:
                assert key.startswith(("classifier.6.", "head.fc.")), key
        assert {name: tuple(shape) for name, shape in names.items()} == network_shapes("onet")


def test_the_same_source_gives_the_same_bytes_and_says_where_it_came_from(tmp_path, small_onet):
    source = caffe_model(tmp_path / "vgg.caffemodel", small_onet, ONET_ORDER)
    outs = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for out in outs:
        import_weights(source, "onet", str(out))
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("_tmp")] == []
    with safe_open(outs[0], framework="numpy") as file:
        about = json.loads(file.metadata()["rcnn_dist"])
    assert (about["network"], about["source"]["file"], about["source"]["format"]) == ("onet", "vgg.caffemodel", "caffe")
    assert len(about["source"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv2_1.weight": np.zeros((3, 2, 3, 3))}, r"conv2_1\.weight has the shape \(3, 2, 3, 3\), expected \(2, 2, 3, 3\)"),
        ({"fc6.weight": np.zeros((4096, 97))}, r"fc6\.weight has the shape \(4096, 97\), expected \(4096, 98\)"),
        ({"conv3_4.weight": np.zeros((2, 2, 3, 3))}, r"conv3_4\.weight \(2, 2, 3, 3\) is not in the network"),
        ({"conv1_2.weight": None, "conv1_2.bias": None}, r"conv1_2\.weight \(2, 2, 3, 3\) is missing"),
        ({"conv5_1.bias": np.array([1, np.nan])}, r"conv5_1\.bias has values that are not finite"),
    ],
)
def test_a_wrong_file_is_refused_with_the_first_layer_that_differs(tmp_path, small_onet, change, message):
    weights = {name: array for name, array in (small_onet | change).items() if array is not None}
    source = caffe_model(tmp_path / "wrong.caffemodel", weights, [*ONET_ORDER[:7], "conv3_4", *ONET_ORDER[7:]])
    with pytest.raises(ConfigError, match=rf"wrong\.caffemodel is not a file of onet's weights: {message}"):
        import_weights(source, "onet", str(tmp_path / "out.safetensors"))
    assert not (tmp_path / "out.safetensors").exists()


def test_alexnet_is_not_taken_for_caffenet(tmp_path):
    order = ("conv1", "relu1", "norm1", "pool1")
    source = caffe_model(tmp_path / "alexnet.caffemodel", {"conv1.bias": np.zeros(96)}, order)
    with pytest.raises(ConfigError, match="norm1 comes before pool1, as in AlexNet"):
        import_weights(source, "tnet", str(tmp_path / "out.safetensors"))
    with pytest.raises(ConfigError, match="can only be one of tnet and onet"):
        import_weights(source, "torchvision:alexnet", str(tmp_path / "out.safetensors"))


@pytest.mark.parametrize(
    ("source", "network", "mean", "message"),
    [
        ("nowhere.caffemodel", "tnet", None, "there is no file nowhere.caffemodel"),
        (__file__, "tnet", "nowhere.npy", "there is no file nowhere.npy"),
        (__file__, "lite", None, "network lite brings its weights"),
        (__file__, "tnett", None, "no network is called 'tnett'"),
        (__file__, "tnet", None, "cannot be read as a Caffe model"),
    ],
)
def test_a_mistake_in_the_command_is_named(tmp_path, source, network, mean, message):
    with pytest.raises(ConfigError, match=message):
        import_weights(source, network, str(tmp_path / "out.safetensors"), mean)


def test_a_state_dict_of_torchvision_or_timm_is_imported_for_its_own_network(tmp_path):
    pytest.importorskip("timm")
    for name, tap in (("torchvision:squeezenet1_1", "features"), ("timm:test_vit", "norm")):
        params = NetworkParams(name, input_size=96 if "squeeze" in name else None, taps={"pooled": tap}, pool="flatten")
        model = build_network(params).model
        torch.save(model.state_dict(), tmp_path / "w.pth")
        import_weights(str(tmp_path / "w.pth"), name, str(tmp_path / "w.safetensors"))
        loaded = build_network(NetworkParams(**{**params_dict(params), "weights": str(tmp_path / "w.safetensors"), "seed": 7})).model
        assert all(torch.equal(loaded.state_dict()[key], tensor) for key, tensor in model.state_dict().items())
        assert verify_weights(str(tmp_path / "w.safetensors")) == []


def params_dict(params):
    return {name: getattr(params, name) for name in params.__slots__}


# --- auto and the commands


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """A search path that holds nothing."""
    monkeypatch.setenv("RCNN_DIST_WEIGHTS", f"{tmp_path / 'mine'}:{tmp_path / 'none'}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_auto_finds_the_file_and_says_what_it_needs_without_one(tmp_path, own_folders, small_onet):
    params = NetworkParams("onet", weights="auto")
    for function in (network_identity, build_network):
        with pytest.raises(ConfigError, match=r"no onet\.safetensors lies in .*mine.*weights import FILE --network onet.*VGG_ILSVRC_16"):
            function(params)
    out = tmp_path / "mine" / "onet.safetensors"
    import_weights(caffe_model(tmp_path / "vgg.caffemodel", small_onet, ONET_ORDER), "onet", str(out))
    np.testing.assert_array_equal(build_network(params).state_dict()["fc7.bias"].numpy(), small_onet["fc7.bias"])
    assert network_identity(params) == network_identity(NetworkParams("onet", weights=str(out)))
    assert network_identity(NetworkParams(weights="auto")) == network_identity(NetworkParams())


def test_another_process_is_given_the_file_that_was_found_here(tmp_path, own_folders, monkeypatch):
    config = load_config(config_file("voc2007_onet_fc7.yaml"))
    run = Run(config)
    assert copy(run).config.network.weights == "auto", "proposals need no weights"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "onet.safetensors").write_bytes(b"weights")
    moved = copy(run).config.network
    assert moved.weights == str(tmp_path / "weights" / "onet.safetensors")
    assert network_identity(moved) == network_identity(config.network)


def test_a_run_without_its_weights_ends_before_it_starts(own_folders):
    with pytest.raises(ConfigError, match=r"no tnet\.safetensors lies in"):
        run_stages(load_config(config_file("voc2007_fc7.yaml")))


def test_the_commands_import_show_and_verify(tmp_path, own_folders, small_onet):
    run = CliRunner().invoke
    nothing = run(app, ["weights", "show"]).output
    assert "onet: none; import VGG_ILSVRC_16_layers.caffemodel" in nothing
    assert f"looked in: {tmp_path / 'mine'}, {tmp_path / 'none'}, weights, {tmp_path / 'cache'}" in nothing
    source = caffe_model(tmp_path / "vgg.caffemodel", small_onet, ONET_ORDER)
    assert "from vgg.caffemodel, sha256" in run(app, ["weights", "import", source, "--network", "onet"]).output
    shown = run(app, ["weights", "show", "onet"]).output
    assert "network: onet" in shown
    assert "  conv1_1.weight 2x3x3x3" in shown
    assert json.loads(run(app, ["weights", "show", "onet", "--json"]).output)["tensors"]["fc7.bias"] == [4096]
    assert "is whole" in run(app, ["weights", "verify", "onet"]).output
    path = tmp_path / "mine" / "onet.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    damaged = run(app, ["weights", "verify", "onet"])
    assert (damaged.exit_code, "not those that were imported" in damaged.output) == (4, True)
    path.write_bytes(data[:-5])
    assert run(app, ["weights", "verify", "onet"]).exit_code == 4


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("lite", "network lite brings its weights"),
        ("nowhere.safetensors", r"nowhere\.safetensors is no file, and no network whose weights are files: use tnet, onet or torchvision:"),
        ("torchvision:alexnet", r"no torchvision\.alexnet\.safetensors lies in"),
        ("tnet", r"no tnet\.safetensors lies in .* where FILE is bvlc_reference_caffenet"),
    ],
)
@pytest.mark.parametrize("command", ["show", "verify"])
def test_weights_that_are_not_there_are_named(own_folders, command, what, message):
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(app, ["weights", command, what], catch_exceptions=False)
