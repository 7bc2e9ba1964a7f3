import io
import json

import pytest

from rcnn_dist.runtime.progress import LineProgress, format_seconds


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_the_estimate_counts_fresh_work_only():
    clock, stream = Clock(), io.StringIO()
    progress = LineProgress(stream, clock)
    progress.start("extract", 100)
    progress.advance(40)
    clock.now += 10
    progress.advance(20)
    clock.now += 20
    progress.advance(40)
    progress.finish()
    assert stream.getvalue().splitlines() == [
        "extract: 60/100 images, 2.00/s, ETA 0:20",
        "extract: 100/100 images, 2.00/s, ETA 0:00",
        "extract: 100/100 images done in 0:30",
    ]


def test_lines_are_rare_and_say_when_nothing_is_known():
    clock, stream = Clock(), io.StringIO()
    progress = LineProgress(stream, clock)
    progress.start("train", 9, "classes")
    for _ in range(3):
        clock.now += 2
        progress.advance(1)
    assert stream.getvalue() == "train: 3/9 classes, 0.50/s, ETA 0:12\n"
    clock.now += 9
    progress.start("detect", 4)
    clock.now += 6
    progress.advance(0)
    assert stream.getvalue().endswith("detect: 0/4 images, 0.00/s, ETA unknown\n")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75, "1:15"), (3600, "1:00:00"), (86399.6, "24:00:00")])
def test_seconds_as_text(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(("kind", "allowed"), [("steady", 0.02), ("in bursts", 0.35), ("resumed", 0.05), ("slowing down", 0.35)])
def test_the_estimate_on_replayed_event_logs_comes_true(kind, allowed):
    """Logs as events/*.jsonl hold them; once a third of the work is done, the time that is predicted is the time that it takes."""
    log = [json.loads(line) for line in event_log(kind)]
    clock, stream = Clock(), io.StringIO()
    progress, end = LineProgress(stream, clock), log[-1]["time"]
    for event in log:
        clock.now = event["time"]
        if event["event"] == "stage_started":
            progress.start(event["stage"], event["total"])
            continue
        before = stream.tell()
        progress.advance(event["count"])
        line = stream.getvalue()[before:]
        done = int(line.split(": ")[1].split("/")[0]) if line else 0
        if 400 <= done < 1200:
            hours, minutes, seconds = (["0", *line.strip().split("ETA ")[1].split(":")])[-3:]
            predicted = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
            assert predicted == pytest.approx(end - clock.now, rel=allowed, abs=2)
    assert "1200/1200" in stream.getvalue()


def event_log(kind):
    """1200 images in shards of 10."""
    now = 1e6
    yield json.dumps({"time": now, "event": "stage_started", "stage": "extract", "total": 1200})
    done = 0
    if kind == "resumed":
        yield json.dumps({"time": now + 0.01, "event": "advanced", "count": 300})
        done = 300
    while done < 1200:
        done += 10
        step = {"in bursts": 0.1 if done % 80 else 159.3, "slowing down": 20 + 10 * done / 1200}.get(kind, 20.0)
        now += step
        yield json.dumps({"time": now, "event": "advanced", "count": 10})
