"""Semantic segmentation with region features on a PASCAL VOC data set, as a job.

ray job submit --working-dir . -- python jobs/segment_voc.py --config configs/seg_voc2011.yaml --set data.root=/data/VOCdevkit \
    --set data.sbd=/data/SBD --set run.dir=/runs/seg
"""

import sys

from rcnn_dist.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job(__doc__, "configs/seg_voc2011.yaml"))
