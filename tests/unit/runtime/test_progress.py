import io

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
