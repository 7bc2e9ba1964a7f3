import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from rcnn_dist.ablation.sharing import shared_count, stage_uses
from rcnn_dist.ablation.spec import load_ablation
from rcnn_dist.commands.ablation import ablation
from rcnn_dist.stages.compare import compare_runs
from rcnn_dist.stages.extract import ExtractWorker

VARIANTS = {
    "fc7": {"published": 44.7},
    "pool5": {"set": {"classify": {"layer": "pool5"}}},
    "tuned": {"tune_nms": {"data": {"train": "train", "test": "val"}}},
    "square": {"set": {"warp": {"mode": "square"}}},
}


@pytest.fixture
def spec(small_config, tmp_path):
    config = small_config()
    (tmp_path / "base.yaml").write_text(config.to_yaml())
    path = tmp_path / "mine.yaml"
    content = {"title": "Mine", "base": "base.yaml", "source": "Table 2", "samples": 2, "variants": VARIANTS}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path, [f"run.dir={config.run.dir}"]


def metrics_of(variant):
    return json.loads(Path(variant, "evaluation", "metrics.json").read_text())


def test_variants_share_what_they_can_and_end_in_one_table(spec, capsys, monkeypatch):
    path, overrides = spec
    ablation(path, overrides, dry_run=True)
    shown = capsys.readouterr().out
    assert "after tuning" in shown
    assert "6 of 15 stages are shared with an earlier variant" in shown
    filled, fill = [], ExtractWorker.fill
    monkeypatch.setattr(ExtractWorker, "fill", lambda self, task, shard: (filled.append(task.part), fill(self, task, shard))[1])
    ablation(path, overrides, dry_run=False)
    assert len(filled) == 6 + 4 + 6, "12 + 4 images, 6 + 6 of train and val, 12 + 4 warped otherwise, 3 to a shard"
    uses = stage_uses(load_ablation(path, overrides).variants)
    assert shared_count(uses) == (6, 15)
    assert all(use.done for stages in uses.values() for use in stages.values())
    assert uses["pool5"]["extract"].first == "fc7" != uses["square"]["extract"].first
    folder = Path(overrides[0].partition("=")[2]) / "ablation"
    assert {p.name for p in folder.iterdir()} == {"plot.svg", "table.csv", "table.md", "variants", "warps.png"}
    lines = list(csv.DictReader((folder / "table.csv").open()))
    assert [(line["method"], line["source"]) for line in lines] == [
        ("fc7", "this run"), ("fc7", "Table 2"), ("pool5", "this run"), ("tuned", "this run"), ("square", "this run"),
    ]  # fmt: skip
    for line in lines:
        if line["source"] == "this run":
            assert line["mAP"] == f"{100 * metrics_of(folder / 'variants' / line['method'])['mAP']['voc07']:.1f}"
    pair = [str(folder / "variants" / name) for name in ("fc7", "square")]
    compared = compare_runs(pair, resamples=20)["runs"]
    assert {run["mAP"] for run in compared.values()} == {metrics_of(url)["mAP"]["voc07"] for url in pair}
    assert compared[pair[1]]["against_first"]["low"] <= compared[pair[1]]["against_first"]["high"]
    tuned = yaml.safe_load((folder / "variants" / "tuned" / "config.yaml").read_text())["detect"]["nms_by_class"]
    assert sorted(tuned) == ["dotted_triangle", "striped_disc"]
    detections = {p.parts[-3]: pq.read_table(p.parent) for p in Path(folder.parent, "detections").glob("*/test/part-00000.parquet")}
    assert len(detections) == 5, "one per variant, and that of the validation set"
    before = (folder / "table.csv").read_bytes()
    filled.clear()
    ablation(path, overrides, dry_run=False)
    assert (folder / "table.csv").read_bytes() == before
    assert filled == []
