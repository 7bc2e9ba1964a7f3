"""What `jobs/ablation.py` does: prints the matrix, or runs it and prints the table."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rcnn_dist.ablation.spec import Ablation


def ablation(path: Path, overrides: list[str], dry_run: bool) -> None:
    """Runs the variants of a file, or with `dry_run` only says what each would compute."""
    from rcnn_dist.ablation.run import run_ablation
    from rcnn_dist.ablation.spec import load_ablation

    loaded = load_ablation(path, overrides)
    if dry_run:
        _print_matrix(loaded)
        return
    rows, written = run_ablation(loaded)
    from rich.console import Console
    from rich.table import Table

    table = Table("variant", title=f"{loaded.title}: AP in percent{f'; published: {loaded.source}' if loaded.source else ''}")
    for name in ("mAP", "published", "difference", "median", "published median"):
        table.add_column(name, justify="right")
    for row in rows:
        published = ("", "") if row.published is None else (f"{row.published:.1f}", f"{row.mean - row.published:+.1f}")
        medians = ["" if value is None else f"{value:.1f}" for value in (row.median, row.published_median)]
        table.add_row(row.name, f"{row.mean:.1f}", *published, *medians)
    Console().print(table)
    print("\n".join(written))


def _print_matrix(loaded: "Ablation") -> None:
    from rich.console import Console
    from rich.table import Table

    from rcnn_dist.ablation.sharing import FOLDERS, shared_count, stage_uses

    uses = stage_uses(loaded.variants)
    table = Table("variant", *FOLDERS, title=loaded.title)
    for variant in loaded.variants:
        cells = []
        for stage in FOLDERS:
            use = uses[variant.name].get(stage)
            if use is None:
                cells.append("after tuning" if stage in variant.config.run.stages else "–")
            else:
                cells.append(("own" if use.first == variant.name else f"as {use.first}") + (", done" if use.done else ""))
        table.add_row(variant.name, *cells)
    Console().print(table)
    shared, total = shared_count(uses)
    print(f"{shared} of {total} stages are shared with an earlier variant")
