"""The command line, `rcnn-dist ...`. Loads neither torch nor ray before a command needs them."""

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from rcnn_dist import __version__
from rcnn_dist.commands import weights
from rcnn_dist.commands.compare import compare
from rcnn_dist.commands.crops import crops
from rcnn_dist.commands.detect import detect
from rcnn_dist.commands.doctor import doctor
from rcnn_dist.commands.estimate import estimate
from rcnn_dist.commands.explore import explore
from rcnn_dist.commands.export import export
from rcnn_dist.commands.generate import generate, split
from rcnn_dist.commands.pictures import draw, screenshot
from rcnn_dist.commands.recall import recall
from rcnn_dist.commands.runs import runs
from rcnn_dist.commands.segment import segment
from rcnn_dist.commands.validate import validate
from rcnn_dist.errors import RcnnError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
data = typer.Typer(no_args_is_help=True, help="Make and check data sets.")
app.add_typer(runs, name="runs")
app.add_typer(data, name="data")
app.add_typer(explore, name="explore")
app.add_typer(segment, name="segment")
app.command()(detect)
app.command()(estimate)
app.command()(doctor)
runs.command()(export)
runs.command()(compare)
runs.command()(draw)
runs.command()(screenshot)
data.command()(validate)
data.command()(recall)
data.command()(generate)
data.command()(split)
data.command()(crops)
app.add_typer(weights.app, name="weights")

STOPPED = 75
_SET_HELP = "Change a value of the configuration: section.key=value. May be given several times."
_DRY_HELP = "Check everything, tell what each stage has done and what is left, and touch nothing."


def main() -> None:
    """Runs the command; ends with its exit code (see errors.py) and never with a traceback for a user's mistake."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(guarded(app))


def guarded(command: Callable[[], Any]) -> int:
    """Runs a command; the exit code, with the message of a known error on stderr."""
    try:
        command()
    except RcnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}; check the path, its rights and the space that is left", file=sys.stderr)
        return RcnnError.exit_code
    except KeyboardInterrupt:
        print("stopped: the same command goes on where this one ended", file=sys.stderr)
        return STOPPED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """R-CNN as a distributed system: region features at cluster scale, and the complete detector on top of them.

    Start with: rcnn-dist demo
    """


@app.command()
def demo(
    dir: Annotated[str, typer.Option(help="Where the run's files go.")] = "runs/demo",
    data_dir: Annotated[str, typer.Option(help="Where the generated images go.")] = "data/shapes",
    overrides: Annotated[list[str] | None, typer.Option("--set", help=_SET_HELP)] = None,
) -> None:
    """Generate a small data set, run every stage on it, write a report.

    Example: rcnn-dist demo --dir runs/demo
    """
    from rcnn_dist.config import load_config
    from rcnn_dist.data.shapes import ShapesParams, generate_shapes
    from rcnn_dist.driver import config_file

    config = load_config(config_file("demo.yaml"), [f"data.root={data_dir}", f"run.dir={dir}", *(overrides or [])])
    print(f"generating images in {data_dir}")
    generate_shapes(data_dir, ShapesParams(images={"train": 120, "test": 40}))
    _run(config, None, dry_run=False)


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file; those that come with the package are found by their name.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help=_SET_HELP)] = None,
    stages: Annotated[str | None, typer.Option(help="Only these of its stages: propose,extract,train,detect,evaluate,report.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=_DRY_HELP)] = False,
) -> None:
    """Run an experiment; every stage picks up what is done.

    Example: rcnn-dist run configs/voc2007.yaml --set data.root=/data/VOCdevkit --set run.dir=runs/voc2007
    """
    run_config(config, overrides or [], stages, dry_run)


def run_config(config: str, overrides: list[str], stages: str | None, dry_run: bool) -> None:
    """What `rcnn-dist run` and the jobs do."""
    from rcnn_dist.config import load_config
    from rcnn_dist.driver import find_config

    _run(load_config(find_config(config), overrides), stages, dry_run)


def run_job(about: str | None, default_config: str) -> int:
    """What a file in jobs/ does: the command `run` with its options as plain arguments; the exit code."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=default_config, help="a YAML file (default: %(default)s)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value", help="change a value")
    parser.add_argument("--stages", help="only these of its stages, comma separated: propose,extract,train,detect,evaluate,report")
    parser.add_argument("--dry-run", action="store_true", help=_DRY_HELP)
    given = parser.parse_args()
    return guarded(lambda: run_config(given.config, given.overrides, given.stages, given.dry_run))


def _run(config: Any, stages: str | None, dry_run: bool) -> None:
    from rcnn_dist.commands.dry_run import print_plan
    from rcnn_dist.driver import run_stages
    from rcnn_dist.summary import print_summary

    wanted = tuple(name.strip() for name in stages.split(",")) if stages else config.run.stages
    if dry_run:
        print_plan(config, wanted)
    else:
        print_summary(run_stages(config, wanted), wanted)
