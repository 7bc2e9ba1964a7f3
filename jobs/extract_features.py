"""Features of the regions of any images, as a job: a folder, a list of URLs or a Parquet column of them in, Parquet out.

ray job submit --working-dir . -- python jobs/extract_features.py --set data.root=/data/photos --set run.dir=/runs/photos
"""

import sys

from rcnn_dist.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job(__doc__, "configs/features.yaml"))
