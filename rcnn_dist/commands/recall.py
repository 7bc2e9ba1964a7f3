"""`rcnn-dist data recall`: how well proposals cover the objects, before any network sees them."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rcnn_dist.evaluate.proposal_recall import BudgetRecall, Recall
    from rcnn_dist.stages.recall import RunRecall


def recall(
    config: Annotated[str, typer.Argument(help="A YAML file; those that come with the package are found by their name.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value of the configuration: section.key=value.")] = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Propose what is missing, then print recall and mean average best overlap by number of proposals and size of objects.

    The table and a plot also go to the run's directory, under evaluation/.

    Example: rcnn-dist data recall configs/fruit.yaml --set data.root=/data/fruit --set proposals.source=opencv
    """
    from rcnn_dist.config import load_config
    from rcnn_dist.driver import find_config, run_stages
    from rcnn_dist.errors import ConfigError
    from rcnn_dist.stages.recall import measure_recall
    from rcnn_dist.store import files

    loaded = load_config(find_config(config), overrides or [])
    if split not in ("train", "test") or (split == "test" and loaded.data.test is None):
        raise ConfigError(f"--split {split}: this run has {'train only' if loaded.data.test is None else 'train and test'}")
    found = measure_recall(run_stages(loaded, ("propose",), quiet=as_json), split)
    if as_json:
        print(files.read_bytes(found.files[0]).decode(), end="")
    else:
        _print(found)


def _print(found: "RunRecall") -> None:
    from rich.console import Console
    from rich.table import Table

    source = f"{found.images} images of {found.split}, {found.proposals:.0f} proposals each from {found.source}"
    table = Table("objects", "number", "proposals", "recall at 0.5", "at 0.7", "0.5-0.95", "mean best overlap", title=source)
    for name in ("all", *found.table[0].by_size):
        for row in found.table:
            measured = row.overall if name == "all" else row.by_size[name]
            if measured.objects:
                table.add_row(*_cells(name, row, measured))
        table.add_section()
    Console().print(table)
    print("\n".join(found.files))


def _cells(name: str, row: "BudgetRecall", recall: "Recall") -> list[str]:
    values = (recall.recall_50, recall.recall_70, recall.average_recall, recall.mabo)
    return [name, str(recall.objects), str(row.budget or "all"), *(f"{value:.3f}" for value in values)]
