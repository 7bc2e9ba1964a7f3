"""R-CNN on a PASCAL VOC data set, as a job.

ray job submit --working-dir . -- python jobs/voc.py --config configs/voc2007.yaml --set data.root=/data/VOCdevkit --set run.dir=/runs/voc
"""

import sys

from rcnn_dist.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job(__doc__, "configs/voc2007.yaml"))
