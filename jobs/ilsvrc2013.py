"""R-CNN on ILSVRC2013's detection set, as a job.

ray job submit --working-dir . -- python jobs/ilsvrc2013.py --set data.root=/data/ilsvrc2013 --set run.dir=/runs/ilsvrc2013
"""

import sys

from rcnn_dist.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job(__doc__, "configs/ilsvrc2013.yaml"))
