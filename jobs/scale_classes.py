"""An ended run's detectors among 10,000 or 100,000 classes: seconds, bytes, and the AP of the real classes, as a job.

ray job submit --working-dir . -- python jobs/scale_classes.py --run /runs/voc --classes 20,10000,100000 --json /runs/voc/scale.json
"""

import argparse
import sys

from rcnn_dist.cli import guarded


def main() -> None:
    """Runs the stages scale and report of a run; prints one line for each number of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="directory of a run that has detected")
    parser.add_argument("--classes", default="20,200,1000,10000,100000", help="numbers of classes (default: %(default)s)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"), help="of the weights")
    parser.add_argument("--json", help="where the figures go, as JSON")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value", help="change a value")
    arguments = parser.parse_args()

    from rcnn_dist.driver import run_stages
    from rcnn_dist.stages.record import read_config
    from rcnn_dist.stages.scale import figures_url, lines
    from rcnn_dist.store import files

    settings = [f"scaling.classes=[{arguments.classes}]", f"scaling.precision={arguments.precision}", *arguments.overrides]
    run = run_stages(read_config(arguments.run, settings), ["scale", "report"])
    found = files.read_bytes(figures_url(run))
    if arguments.json:
        files.write_bytes(arguments.json, found)
    print("\n".join(lines(found)))


if __name__ == "__main__":
    sys.exit(guarded(main))
