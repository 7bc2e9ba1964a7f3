"""`--dry-run`: tells what is done and what is left, and touches nothing."""

from pathlib import Path

import pytest

from rcnn_dist import driver
from rcnn_dist.commands.dry_run import print_plan
from rcnn_dist.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]


def test_before_a_run_nothing_is_done_and_no_folder_appears(small_config, capsys):
    config = small_config()
    print_plan(config, config.run.stages)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"{config.run.dir}: a dry run, nothing is written",
        "train: image set trainval, 12 images",
        "test: image set test, 4 images",
    ]
    assert [line.split(", ")[:2] for line in lines[3:7]] == [
        ["propose train: 0/4 shards", "to do: 12 images"],
        ["propose test: 0/2 shards", "to do: 4 images"],
        ["extract train: 0/4 shards", "to do: 12 images"],
        ["extract test: 0/2 shards", "to do: 4 images"],
    ]
    assert lines[7].startswith("train: 0/2 classes, models/")
    assert lines[8].startswith("detect test: 0/2 shards, to do: 4 images, detections/")
    assert lines[9:] == ["evaluate: made anew, from the stages before it", "report: made anew, from the stages before it"]
    assert not Path(config.run.dir).exists()


def test_what_is_done_is_told_and_stays_as_it_is(small_config, capsys):
    config = small_config(proposals={"source": "sliding_window"}, extract={"max_proposals": 5})
    driver.run_stages(config, ("propose",))
    (marker, *_) = sorted(Path(config.run.dir).glob("proposals/*/train/_done/part-*.json"))
    marker.unlink()
    before = {path: path.stat().st_mtime_ns for path in Path(config.run.dir).rglob("*")}
    capsys.readouterr()
    print_plan(config, ("propose", "extract"))
    lines = capsys.readouterr().out.splitlines()[3:]
    assert [line.split(", proposals")[0] for line in lines[:2]] == [
        "propose train: 3/4 shards, to do: 3 images",
        "propose test: 2/2 shards, done",
    ]
    assert {path: path.stat().st_mtime_ns for path in Path(config.run.dir).rglob("*")} == before


def test_fine_tuning_is_counted_in_steps(small_config, capsys):
    config = small_config(run={"stages": ["propose", "finetune", "extract"]}, finetune={"iterations": 7})
    print_plan(config, ("finetune", "extract"))
    assert "finetune: 0/7 steps, finetuned/tiny-" in capsys.readouterr().out


def test_what_the_run_would_refuse_is_refused(small_config):
    with pytest.raises(ConfigError, match="no stage is called 'extrct'"):
        print_plan(small_config(), ("extrct",))
    with pytest.raises(DataError, match="no VOC data set at /nowhere"):
        print_plan(small_config(data={"root": "/nowhere"}), ("propose",))


@pytest.mark.parametrize("job", ["voc.py", "extract_features.py", "ilsvrc2013.py", "segment_voc.py"])
def test_jobs_have_it_too(job, run_job, shapes_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    values = ["data.layout=folder", f"data.root={shapes_root}/VOC2007/JPEGImages", "data.train=all", "data.test=null"]
    values += [f"run.dir={tmp_path}/run", "run.stages=[propose]"]
    assert run_job(f"jobs/{job}", "--dry-run", *(word for value in values for word in ("--set", value))) == 0
    assert "propose train: 0/1 shards, to do: 16 images" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
