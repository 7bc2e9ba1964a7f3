"""R-CNN on a PASCAL VOC data set, as a job.

ray job submit --working-dir . -- python jobs/voc.py --config configs/voc2007.yaml --set data.root=/data/VOCdevkit
"""

import argparse
import sys

from rcnn_dist.cli import guarded, run_config

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/voc2007.yaml", help="a YAML file (default: %(default)s)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value", help="change a value")
    parser.add_argument("--stages", help="only these, comma separated: propose,extract,train,detect,evaluate,report")
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: run_config(arguments.config, arguments.overrides, arguments.stages)))
