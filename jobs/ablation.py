"""A matrix of variants of one configuration: every stage that they share is computed once, the results stand in one table.

python jobs/ablation.py configs/ablations/table2.yaml --set data.root=/data/VOCdevkit --set run.dir=runs/table2
ray job submit --working-dir . -- python jobs/ablation.py configs/ablations/table2.yaml --set data.root=/data/VOC --set run.dir=/runs/table2
"""

import argparse
import sys
from pathlib import Path

from rcnn_dist.cli import guarded
from rcnn_dist.commands.ablation import ablation

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the matrix: a YAML file such as configs/ablations/table2.yaml")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value", help="change the base")
    parser.add_argument("--dry-run", action="store_true", help="only print the matrix, and which stages are shared or done")
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: ablation(arguments.file, arguments.overrides, arguments.dry_run)))
