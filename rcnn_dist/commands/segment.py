"""`rcnn-dist segment`: what belongs to segmentation alone."""

from typing import Annotated

import typer

segment = typer.Typer(no_args_is_help=True, help="Semantic segmentation.")


@segment.callback()
def _root() -> None:
    pass


@segment.command()
def tune(
    config: Annotated[str, typer.Argument(help="A YAML file; those that come with the package are found by their name.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value of the configuration: section.key=value.")] = None,
    costs: Annotated[list[float] | None, typer.Option("--cost", min=1e-9, help="To try; may be given several times.")] = None,
    epsilons: Annotated[list[float] | None, typer.Option("--epsilon", min=0, help="To try; may be given several times.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the training images.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Choose the regressors' cost and epsilon by cross-validation over the training images.

    The method is segment.method. The table also goes to the run's directory, as evaluation/tune.json.

    Example: rcnn-dist segment tune configs/seg_shapes.yaml --set data.root=data/shapes --cost 0.3 --cost 3
    """
    import json
    import sys

    from rcnn_dist.config import load_config
    from rcnn_dist.driver import find_config, make_executor, run_stages
    from rcnn_dist.runtime.events import observed
    from rcnn_dist.runtime.progress import make_progress
    from rcnn_dist.stages import svr
    from rcnn_dist.stages.accuracy import chosen_method
    from rcnn_dist.stages.tune import figures
    from rcnn_dist.stages.tune import tune as try_values

    loaded = load_config(find_config(config), overrides or [])
    run = run_stages(loaded, ("masks", "regions"), quiet=as_json)
    method = next(m for m in svr.methods(run) if m.name == chosen_method(run))
    shown = make_progress(sys.stderr if as_json else sys.stdout)
    with observed(shown, run.url) as progress, make_executor(loaded, progress) as executor:
        trials = try_values(run, method, costs or [0.3, 3.0, 30.0], epsilons or [0.1, 0.25], folds, executor, progress)
    if as_json:
        print(json.dumps(figures(method, folds, trials), indent=1))
        return
    for trial in trials:
        print(f"mean accuracy {trial.accuracy:.3f}  svr.cost={trial.cost:g} svr.epsilon={trial.epsilon:g}")
