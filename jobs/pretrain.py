"""Pre-training of a network on whole images (paper §2.3), as a job: weights, learning curves, top-1 and top-5 accuracy.

data.root holds a folder of classes per image set, as ILSVRC2012 comes: train/n01440764/*.JPEG, val/n01440764/*.JPEG or val/*.JPEG with
val.txt (lines `path label`). The same command goes on after a stop.

python jobs/pretrain.py --config configs/pretrain_tnet.yaml --set data.root=/data/ILSVRC2012 --set run.dir=/runs/pretrain_tnet
ray job submit --working-dir . -- python jobs/pretrain.py --config configs/pretrain_short.yaml --set data.root=... --set run.dir=s3://...
"""

import argparse
import sys

from rcnn_dist.cli import guarded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/pretrain_tnet.yaml", help="a YAML file (default: %(default)s)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value", help="change a value")
    parser.add_argument("--dry-run", action="store_true", help="check everything, tell how many steps are done, and touch nothing")
    arguments = parser.parse_args()

    from rcnn_dist.config import load_config
    from rcnn_dist.driver import find_config, pretrain
    from rcnn_dist.stages.pretrain import Pretraining

    config = load_config(find_config(arguments.config), arguments.overrides)
    if arguments.dry_run:
        training = Pretraining(config)
        print(f"pretrain: {training.steps_done()}/{config.pretrain.iterations} steps, {training.folder}")
        return
    found = pretrain(config)
    print(found.how_to_use)
    print(found.last_line)


if __name__ == "__main__":
    sys.exit(guarded(main))
