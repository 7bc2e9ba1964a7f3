"""`rcnn-dist runs compare`: runs side by side."""

import json
from typing import Annotated

import typer

from rcnn_dist.errors import ConfigError


def compare(
    runs: Annotated[list[str], typer.Argument(help="The directories of two or more evaluated runs.")],
    out: Annotated[str, typer.Option(help="The folder for comparison.json and index.html.")] = "comparison",
    resamples: Annotated[int, typer.Option(min=0, help="Draws of the test images for the intervals of the differences; 0: none.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """AP per class, mistakes, missed objects and time of several runs side by side, as table, JSON and page.

    The difference of each further run's mAP to the first's has a 95% interval: both are judged again and again on the test images drawn
    with replacement, the same draw for both.

    Example: rcnn-dist runs compare runs/voc2007_ft_fc7 runs/voc2007_ft_fc7_bb
    """
    from rich.console import Console
    from rich.table import Table

    from rcnn_dist.report.comparison import comparison_rows, render_comparison
    from rcnn_dist.stages.compare import compare_runs
    from rcnn_dist.store import files

    if len(runs) < 2:
        raise ConfigError(f"{runs[0]} alone: name two or more runs to compare; its own results are in its report")
    found = compare_runs(runs, resamples)
    content = json.dumps(found, indent=1) + "\n"
    files.write_bytes(files.join(out, "comparison.json"), content.encode())
    files.write_bytes(files.join(out, "index.html"), render_comparison(found).encode())
    if as_json:
        print(content, end="")
        return
    table = Table("measure", title=f"Runs on {found['data']}")
    for url in found["runs"]:
        table.add_column(url, justify="right")
    for heading, rows in comparison_rows(found).items():
        if rows:
            table.add_section()
            table.add_row(heading, style="bold")
            for row in rows:
                table.add_row(row.name, *row.values)
    Console().print(table)
    if resamples and any(run["against_first"] is None for run in list(found["runs"].values())[1:]):
        print("where an interval is missing, an older version evaluated that run or the first: run it again with --stages evaluate")
    print(f"{files.join(out, 'index.html')} shows them, {files.join(out, 'comparison.json')} holds them")
