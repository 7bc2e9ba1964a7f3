"""`rcnn-dist weights import | show | verify`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rcnn_dist.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Bring the weights of networks.")

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="A .caffemodel, or a state dict: .pth, .pt, .bin, .safetensors.")],
    network: Annotated[str, typer.Option(help="tnet, onet, torchvision:<model>, timm:<model> or <module>:<factory>.")],
    mean: Annotated[str | None, typer.Option(help="Caffe's mean image: .binaryproto or .npy.")] = None,
    out: Annotated[
        str | None, typer.Option(help="The file to write; the first folder that `weights: auto` looks in, if not given.")
    ] = None,
) -> None:
    """Check weights against a network and write them as safetensors, once.

    Example: rcnn-dist weights import bvlc_reference_caffenet.caffemodel --network tnet --mean imagenet_mean.binaryproto
    """
    from rcnn_dist.features.networks import weight_files
    from rcnn_dist.features.weight_import import import_weights

    path = out or str(weight_files.search_folders()[0] / weight_files.file_name(network))
    about = import_weights(source, network, path, mean)
    print(f"{path}: the weights of {network}, from {about['source']['file']}, sha256 {about['source']['sha256']}")


@app.command()
def show(
    what: Annotated[str | None, typer.Argument(help="A file, or a network's name; without it, what `weights: auto` finds.")] = None,
    as_json: Json = False,
) -> None:
    """What is on this machine, and what a file is.

    Example: rcnn-dist weights show tnet
    """
    from rcnn_dist.features.networks import weight_files

    if what is None:
        found = {name: weight_files.look_for_weights(name) for name in weight_files.SOURCES}
        lines = [f"{name}: {path or 'none; import ' + weight_files.SOURCES[name]}" for name, path in found.items()]
        lines.append(f"looked in: {', '.join(str(folder) for folder in weight_files.search_folders())}")
        print(json.dumps(found, indent=1) if as_json else "\n".join(lines))
        return
    path = _path_of(what)
    about, tensors = weight_files.read_about(path), weight_files.read_tensor_shapes(path)
    if as_json:
        print(json.dumps({"path": path, **about, "tensors": tensors}, indent=1))
        return
    print(path)
    for key, value in about.items():
        print(f"{key}: {_text(value)}")
    for name, shape in tensors.items():
        print(f"  {name} {'x'.join(str(side) for side in shape)}")


@app.command()
def verify(what: Annotated[str, typer.Argument(help="A file, or a network's name.")], as_json: Json = False) -> None:
    """Check an imported file against its digest and its network; exit code 4 where it is damaged.

    Example: rcnn-dist weights verify tnet
    """
    from rcnn_dist.features.weight_import import verify_weights

    path = _path_of(what)
    problems = verify_weights(path)
    if as_json:
        print(json.dumps({"path": path, "problems": problems}, indent=1))
    else:
        print("\n".join(problems) or f"{path} is whole", file=sys.stderr if problems else sys.stdout)
    if problems:
        raise typer.Exit(4)


def _path_of(what: str) -> str:
    """A file, or what `weights: auto` finds for a network.

    Raises:
        ConfigError: it is neither, or the network's file is not there.
    """
    from rcnn_dist.features.networks import weight_files

    if Path(what).is_file():
        return what
    if what in ("tiny", "lite"):
        raise ConfigError(f"network {what} brings its weights: it has no file of its own")
    if what not in weight_files.SOURCES and ":" not in what:
        known = ", ".join(weight_files.SOURCES)
        raise ConfigError(f"{what} is no file, and no network whose weights are files: use {known} or torchvision:<model>, timm:<model>")
    return weight_files.find_weights(what)


def _text(value: Any) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
