"""The simulated fleet: hand examples, laws, and a real run's makespan from its recorded seconds."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.benchmarks import scale
from rcnn_dist.errors import ClusterError
from rcnn_dist.runtime.simulate import Fleet, Outcome, recorded, simulate

RECORDED = [json.loads(line) for line in (Path(__file__).parent / "recorded_run.jsonl").read_text().splitlines()]


def test_two_workers_by_hand():
    assert simulate([3, 2, 1, 4], Fleet(2), max_in_flight=1) == Outcome(makespan_s=7, busy_s=10, lost_s=0, node_losses=0)
    # two in flight: 3 then 1, and 2 then 4, given out ahead
    assert simulate([3, 2, 1, 4], Fleet(2), max_in_flight=2).makespan_s == 6
    assert simulate([3, 2, 1, 4], Fleet(2, start_s=10), max_in_flight=1).makespan_s == 17


def test_no_tasks_take_no_time():
    assert simulate([], Fleet(3)) == Outcome(0, 0, 0, 0)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=40), st.integers(1, 8), st.integers(1, 3))
def test_no_fleet_beats_its_capacity_and_none_idles_with_work_left(seconds, workers, in_flight):
    outcome = simulate(seconds, Fleet(workers), max_in_flight=in_flight)
    assert outcome.busy_s == pytest.approx(sum(seconds))
    assert outcome.makespan_s >= max(sum(seconds) / workers, max(seconds)) * (1 - 1e-9)
    assert outcome.makespan_s <= sum(seconds) / workers + in_flight * max(seconds) + 1e-9


def test_lost_nodes_cost_time_and_lose_nothing():
    calm = simulate([2.0] * 400, Fleet(8, per_node=4))
    fleet = Fleet(8, per_node=4, mean_life_s=150, replace_s=10)
    outcomes = [simulate([2.0] * 400, fleet, seed, items=16) for seed in range(5)]
    assert outcomes == [simulate([2.0] * 400, fleet, seed, items=16) for seed in range(5)]
    assert sum(outcome.node_losses for outcome in outcomes) > 3
    for outcome in outcomes:
        assert outcome.busy_s == pytest.approx(800)
        assert outcome.makespan_s >= calm.makespan_s
        assert (outcome.lost_s > 0) == (outcome.node_losses > 0)


def test_a_slow_node_and_a_slow_driver_are_felt():
    assert simulate([1.0] * 8, Fleet(4, slow_share=1.0, slowdown=3), max_in_flight=1).makespan_s == 6
    assert simulate([0.001] * 100, Fleet(50, driver_s=0.1), max_in_flight=1).makespan_s == pytest.approx(10, rel=0.01)


def test_a_fleet_that_always_dies_is_given_up_as_in_a_run():
    with pytest.raises(ClusterError, match="given up"):
        simulate([100.0], Fleet(1, mean_life_s=1))


def test_a_fleet_needs_workers():
    with pytest.raises(ValueError, match="at least one"):
        Fleet(0)


def test_recorded_seconds_begin_where_the_process_is_free():
    def event(time, event, **fields):
        return {"time": time, "stage": "extract", "event": event, **fields}

    def done(time, part, worker):
        return event(time, "shard_done", split="train", part=part, worker=worker, images=4)

    events = [
        event(10, "stage_started"),
        event(12, "submitted", task="train a"),
        event(12, "submitted", task="train b"),
        event(12.5, "submitted", task="train c"),
        done(15, "a", "node:1"),
        done(16, "b", "node:2"),
        done(17, "c", "node:1"),
    ]
    found = recorded(events, "extract")
    assert found == (found.__class__)(seconds=(3, 4, 2), images=12, workers=2, start_s=2, makespan_s=7)
    with pytest.raises(ValueError, match="'propose'"):
        recorded(events, "propose")


@pytest.mark.parametrize("stage", ["propose", "extract"])
def test_a_real_run_s_makespan_comes_out(stage):
    found = recorded(RECORDED, stage)
    assert found.images == 160
    outcome = simulate(found.seconds, Fleet(found.workers, start_s=found.start_s))
    assert outcome.makespan_s == pytest.approx(found.makespan_s, rel=0.05)
    alone = simulate(found.seconds, Fleet(1, start_s=found.start_s))
    assert alone.makespan_s > 1.3 * outcome.makespan_s


def test_gpus_starve_where_the_cores_cannot_feed_them(tmp_path):
    plot = tmp_path / "scale.png"
    rates = scale.Rates(proposals_per_s=90, decoded_per_s=100, regions_per_s=20_000, write_mb_s=150)
    figures = scale.run(rates, [1, 64], [1, 8], scale.Trouble(math.inf), (2.0, 0.04), None, str(plot))
    starved, fed = figures["points"][:2]
    assert starved["gpu_busy"] < fed["gpu_busy"] <= 1
    assert fed["extract_s"] >= (scale.PROPOSED_IMAGES * 2000 + scale.TRAIN_OBJECTS) / 20_000
    assert figures["points"][3]["extract_s"] < fed["extract_s"] / 40
    assert figures["cores_per_gpu"]["to_propose_as_fast_as_a_gpu_extracts"] == pytest.approx(0.11)
    assert len(scale.lines(figures)) == 2 + 4
    assert plot.stat().st_size > 10_000
