"""Run by test_ray_job.py in a network of its own: kills the Ray head in the middle of extraction, starts another one and the run again.

python head_dies.py CONFIG RUN_DIR; prints how both runs ended as JSON.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEAD = ["--head", "--disable-usage-stats", "--node-ip-address=127.0.0.1", "--port=6379", "--include-dashboard=false", "--num-cpus=2"]
CODE = "import sys; from rcnn_dist.cli import main; sys.exit(main())"


def start_head(folder):
    subprocess.run(["ray", "start", *HEAD, "--object-store-memory=100000000", f"--temp-dir={folder}"], check=True, stdout=sys.stderr)


def processes_of_ray():
    """The head's own processes and its workers; all of this process namespace but this process and its driver."""
    for folder in Path("/proc").iterdir():
        try:
            text = (folder / "cmdline").read_text()
        except OSError:
            continue
        if folder.name.isdigit() and any(name in text for name in ("gcs_server", "raylet", "ray::", "monitor.py", "log_monitor")):
            yield int(folder.name)


def start_driver(config):
    command = [sys.executable, "-c", CODE, "run", config, "--stages", "extract"]
    return subprocess.Popen(
        command, env={**os.environ, "RAY_ADDRESS": "127.0.0.1:6379"}, stdout=sys.stderr, stderr=subprocess.PIPE, text=True
    )


def main(config, run_dir):
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        start_head(f"{folder}/first")
        first = start_driver(config)
        while first.poll() is None and not any(Path(run_dir).glob("features/*/train/_done/*")):
            time.sleep(0.01)
        for pid in processes_of_ray():
            os.kill(pid, signal.SIGKILL)
        shards = len(list(Path(run_dir).glob("features/*/*/_done/*")))
        error = first.communicate(timeout=120)[1]
        start_head(f"{folder}/second")
        second = start_driver(config)
        second_error = second.communicate(timeout=120)[1]
        print(json.dumps({"first": first.returncode, "error": error, "shards": shards, "second": second.returncode, "again": second_error}))


if __name__ == "__main__":
    main(*sys.argv[1:])
