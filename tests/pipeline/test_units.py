import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from rcnn_dist.cli import app
from rcnn_dist.errors import ConfigError, DataError
from rcnn_dist.geometry.nms import nms
from rcnn_dist.runtime.executor import InProcessExecutor
from rcnn_dist.stages.record import features_folder
from rcnn_dist.stages.units import UnitsPass, find_top_regions, write_top_regions
from rcnn_dist.store.query import matrix, stream_regions
from rcnn_dist.store.schema import TOP_REGIONS
from rcnn_dist.store.shards import read_images, read_markers
from rcnn_dist.store.tables import boxes_of


class Silent:
    def __getattr__(self, name):
        return lambda *arguments, **fields: None


class Backwards:
    """An executor whose last tasks end first."""

    def map(self, work, tasks):
        return reversed(list(InProcessExecutor(1).map(work, tasks)))


@pytest.fixture(scope="module")
def folders(finished_run):
    return [features_folder(finished_run.run.dir, split) for split in ("train", "test")]


def slow(folders, unit, k):
    """Activation, split, image id, region: suppressed by the detector's own function, then one long sort."""
    found, number = [], 0
    for folder in folders:
        for marker in read_markers(folder):
            for image_id, table in read_images(folder, marker.part):
                values, boxes = matrix(table, "pool5")[:, unit].astype(np.float64), boxes_of(table)
                active = np.flatnonzero(values > 0)
                # its ties go to the later row, ours to the earlier
                kept = len(active) - 1 - nms(boxes[active][::-1], values[active][::-1], 0.1)
                found += [(-values[row], number, int(row), folder.split("/")[-1], image_id) for row in active[kept]]
                number += 1
    return [(-value, split, image_id, row) for value, _, row, split, image_id in sorted(found)[:k]]


def test_one_pass_finds_what_sorting_the_whole_store_finds_however_it_is_shared_out(folders, tmp_path, monkeypatch):
    bytes_of = {}
    for name, size, executor in (("whole", 256, InProcessExecutor(1)), ("shares", 1, InProcessExecutor(1)), ("backwards", 1, Backwards())):
        monkeypatch.setattr("rcnn_dist.stages.units._IMAGES_PER_TASK", size)
        found = find_top_regions(folders, UnitsPass("pool5", 9), executor, Silent())
        write_top_regions(str(tmp_path / name), found)
        bytes_of[name] = (tmp_path / name).read_bytes()
    assert bytes_of["whole"] == bytes_of["shares"] == bytes_of["backwards"]
    assert found.regions == sum(table.num_rows for folder in folders for table in stream_regions(folder))
    table = pq.read_table(tmp_path / "whole")
    assert table.schema.equals(TOP_REGIONS)
    rows = table.to_pylist()
    for unit in (0, 17, 500, 1023):
        own = [(row["activation"], row["split"], row["image_id"], row["region"]) for row in rows if row["unit"] == unit]
        assert own == slow(folders, unit, 9)


def invoke(*arguments):
    return CliRunner().invoke(app, ["explore", "units", *map(str, arguments)], catch_exceptions=False)


def test_the_command_draws_the_units_that_are_named(finished_run, tmp_path):
    done = invoke("--run", finished_run.run.dir, "--layer", "pool5", "--unit", "2,3,1", "--unit", 1000, "--k", 4, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r'aria-label="Unit (\d+)"', page) == ["6", "1000"]
    assert "channel 1, row 2, column 3" in page and "channel 63, row 3, column 1" in page
    assert 4 <= page.count("data:image/jpeg;base64,") <= 8
    assert "has all 1024 units" in done.output


def test_a_layer_without_maps_has_no_fields(finished_run, tmp_path):
    assert invoke("--run", finished_run.run.dir, "--limit", 3, "--out", tmp_path).exit_code == 0
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r'aria-label="Unit (\d+)"', page) == ["0", "1", "2"]
    assert "receptive field" not in page and "channel 1," not in page


@pytest.mark.parametrize("text", ["1024", "-1", "5,1,1", "0,1,1", "1,2", "x"])
def test_units_that_do_not_exist_are_named(finished_run, tmp_path, text):
    with pytest.raises(ConfigError, match=f"--unit {text}: give a number from 0 to 1023, or row,column,channel up to 4,4,64"):
        invoke("--run", finished_run.run.dir, "--layer", "pool5", "--unit", text, "--out", tmp_path)


def test_a_store_without_regions_is_named(tmp_path):
    with pytest.raises(DataError, match="no image has a region"):
        find_top_regions([str(tmp_path)], UnitsPass("pool5", 3), InProcessExecutor(1), Silent())
