import json

import pytest

from rcnn_dist.runtime.events import EventLog, observed, read_events
from rcnn_dist.store import files


class Shown:
    def start(self, *arguments):
        pass

    advance = finish = note = start


@pytest.fixture(params=["local", "memory"])
def run_url(request, tmp_path):
    return str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}"


def test_every_event_is_one_line_of_json_with_its_time_and_stage(run_url):
    heard = []
    with observed(Shown(), run_url) as progress:
        progress.listen(lambda event, /, **fields: heard.append((event, fields)))
        progress.start("extract", 12)
        progress.event("shard_done", part="part-00000", failures=0)
        progress.advance(12)
        progress.finish()
    found = read_events(run_url)
    names = ["run_started", "stage_started", "shard_done", "advanced", "stage_finished", "run_finished"]
    assert [event["event"] for event in found] == names
    assert found[2]["stage"] == "extract" and found[2]["part"] == "part-00000" and found[2]["time"] > 1e9
    assert heard[0] == ("stage_started", {"stage": "extract", "total": 12, "unit": "images"})


def test_how_a_run_stopped_is_an_event_too(run_url):
    with pytest.raises(KeyboardInterrupt), observed(Shown(), run_url):
        raise KeyboardInterrupt("enough")
    assert read_events(run_url)[-1]["reason"] == "KeyboardInterrupt: enough"


def test_a_log_that_cannot_be_written_hides_no_other_error(tmp_path):
    (tmp_path / "events").write_text("a file where the folder should be")
    with pytest.raises(KeyboardInterrupt), observed(Shown(), str(tmp_path)) as progress:
        progress.start("extract", 1)
        raise KeyboardInterrupt


def test_a_line_that_a_dying_driver_did_not_end_is_passed_over(tmp_path):
    files.write_bytes(f"{tmp_path}/events/a.jsonl", b'{"time": 2, "event": "b"}\n{"time": 3, "ev')
    files.write_bytes(f"{tmp_path}/events/b.jsonl", b'{"time": 1, "event": "a"}\n')
    assert [event["event"] for event in read_events(str(tmp_path))] == ["a", "b"]
    assert read_events(str(tmp_path / "none")) == []


def test_an_object_store_gets_the_log_every_half_a_minute(tmp_path):
    now = [1000.0]
    log = EventLog(f"memory://{tmp_path.name}", lambda: now[0])
    log("first")
    assert read_events(f"memory://{tmp_path.name}") == []
    now[0] += 31
    log("second", count=1)
    assert [event["event"] for event in read_events(f"memory://{tmp_path.name}")] == ["first", "second"]
    assert json.loads(files.read_bytes(log.url).splitlines()[1]) == {"time": 1031.0, "event": "second", "count": 1}
