"""`rcnn-dist doctor`: is this machine ready."""

import dataclasses
import json
from typing import Annotated

import typer

_MARKS = {"good": "ok  ", "weak": "weak", "bad": "BAD "}


def doctor(
    dir: Annotated[str, typer.Option(help="Where runs shall lie: a folder or any URL, such as s3://bucket/runs.")] = "runs",
    address: Annotated[str | None, typer.Option(help="A Ray cluster; RAY_ADDRESS, if not given, else a local one is started.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs and bug reports.")] = False,
) -> None:
    """Check this machine: libraries, processor, GPUs, memory, storage, Ray, weights; each with a verdict and the next step.

    Exit code 1 where something keeps runs from working.

    Example: rcnn-dist doctor --dir s3://bucket/runs --json
    """
    from rcnn_dist.doctor import examine

    checks = []
    for check in examine(dir, address):
        checks.append(check)
        if not as_json:
            print(f"{_MARKS[check.verdict]} {check.name}: {check.found}", flush=True)
            if check.next_step:
                print(f"     -> {check.next_step}")
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks], indent=1))
    if any(check.verdict == "bad" for check in checks):
        raise typer.Exit(1)
