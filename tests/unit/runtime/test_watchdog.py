import subprocess
import sys

TWO_TASKS = """
import threading, time
from rcnn_dist.runtime.watchdog import Limits, limited

def long_task():
    with limited(Limits(image_timeout_s={seconds}), 1):
        began.set()
        time.sleep(2)

began = threading.Event()
thread = threading.Thread(target=long_task)
thread.start()
began.wait()
with limited(Limits(image_timeout_s=60.0), 1):
    pass
thread.join()
print("lived")
"""


def outcome(seconds):
    done = subprocess.run([sys.executable, "-c", TWO_TASKS.format(seconds=seconds)], capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_task_keeps_its_limit_while_others_begin_and_end_beside_it():
    assert outcome(60.0) == (0, "lived\n")
    assert outcome(0.2) == (1, "")
