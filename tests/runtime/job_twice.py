"""Run by test_ray_job.py in a network of its own: starts a Ray head, submits the feature job, stops it, submits it again.

python job_twice.py PHOTOS RUN_DIR; prints what happened as JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from ray.job_submission import JobStatus, JobSubmissionClient

ROOT = Path(__file__).parents[2]
DASHBOARD = "http://127.0.0.1:8265"


def ray(*arguments):
    subprocess.run(["ray", *arguments], cwd=ROOT, check=True, stdout=sys.stderr)


def submit(name, photos, run_dir):
    settings = [f"data.root={photos}", f"run.dir={run_dir}", "run.shard_images=1", "proposals.source=opencv", "runtime.workers=1"]
    settings += ["network.name=tiny", "network.input_size=null", "extract.layers=[pool5,fc7]", "extract.max_proposals=40"]
    sets = [argument for setting in settings for argument in ("--set", setting)]
    job = ["python", "jobs/extract_features.py", "--config", "configs/features.yaml", *sets]
    ray("job", "submit", "--working-dir", ".", "--submission-id", name, "--no-wait", "--", *job)


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def status_without_token():
    try:
        return urllib.request.urlopen(f"{DASHBOARD}/api/jobs/", timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def main(photos, run_dir):
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        head = ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--num-cpus=2", "--object-store-memory=100000000"]
        ray("start", "--head", "--disable-usage-stats", f"--temp-dir={folder}", *head)
        os.environ["RAY_ADDRESS"] = DASHBOARD
        client = JobSubmissionClient(DASHBOARD)
        submit("first", photos, run_dir)
        wait_for(lambda: any(Path(run_dir).glob("proposals/*/train/_done/*")) or client.get_job_status("first").is_terminal())
        client.stop_job("first")
        wait_for(lambda: client.get_job_status("first").is_terminal())
        shards = len(list(Path(run_dir).glob("proposals/*/train/_done/*")))
        submit("second", photos, run_dir)
        wait_for(lambda: client.get_job_status("second").is_terminal())
        first, second = ({"status": client.get_job_status(job).value, "logs": client.get_job_logs(job)} for job in ("first", "second"))
        print(json.dumps({"first": first, "second": second, "shards": shards, "without token": status_without_token()}))
        return 0 if second["status"] == JobStatus.SUCCEEDED.value else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
