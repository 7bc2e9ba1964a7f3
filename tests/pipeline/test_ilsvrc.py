import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rcnn_dist import driver
from rcnn_dist.config import load_config, make_config
from rcnn_dist.data.shapes_ilsvrc import IlsvrcShapesParams, generate_ilsvrc, sample_jpeg
from rcnn_dist.errors import ConfigError
from rcnn_dist.evaluate.bootstrap import resampled_ap
from rcnn_dist.stages import collect, estimate, extract, propose, train
from rcnn_dist.stages.class_counts import ClassCountStage, MergeWorker
from rcnn_dist.stages.detect import DetectStage
from rcnn_dist.stages.evaluate import evaluate
from rcnn_dist.stages.ranked import load_ranked
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.scale import figures_url
from rcnn_dist.stages.windows import image_windows
from rcnn_dist.store.manifest import read_signed
from rcnn_dist.store.query import detections_by_class
from rcnn_dist.store.shards import read_images, read_markers
from rcnn_dist.store.tables import boxes_of

N_CLASSES = 10


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("ilsvrc")
    generate_ilsvrc(str(root / "data"), IlsvrcShapesParams(classes=N_CLASSES, val=36, test=1, positive=2))
    settings = [f"data.root={root / 'data'}", f"run.dir={root / 'run'}", "runtime.executor=in_process", "data.train=val1+train2"]
    settings += ["extract.max_proposals=60", "mining.max_images=12", "run.shard_images=8"]
    return driver.run_stages(load_config("configs/ilsvrc2013_shapes.yaml", settings))


def split_ids(run):
    ids = run.image_ids("train")
    return [i for i in ids if run.dataset.exhaustive(i)], [i for i in ids if not run.dataset.exhaustive(i)]


def test_the_whole_job_ends_with_an_ap_by_the_kits_rules(run):
    metrics = json.loads(Path(run.url, "evaluation", "metrics.json").read_text())
    assert metrics["variant"] == "ilsvrc" and metrics["images"] == len(run.image_ids("test"))
    assert 0 < metrics["mAP"]["ilsvrc"] <= 1 and 0 <= metrics["median_AP"] <= 1
    assert set(metrics["ap"]) <= set(run.classes) and len(run.classes) == N_CLASSES
    page = Path(run.url, "report", "index.html").read_text()
    assert "generated ILSVRC2013 val2" in page
    lines = Path(run.url, "evaluation", metrics["archive"]).read_text().splitlines()
    assert len(lines) == sum(metrics["detections"].values()) and {len(line.split()) for line in lines} == {7}
    once = np.ones((1, metrics["images"]), np.int64)
    for name, ranked in load_ranked(f"{run.url}/evaluation/ranked.safetensors", "ilsvrc").classes.items():
        (ap,) = resampled_ap(ranked, once, "ilsvrc")
        assert ap == pytest.approx(metrics["ap"][name]["ilsvrc"]) if metrics["objects"][name] else np.isnan(ap)


def test_train_images_have_ground_truth_alone(run):
    complete, partial = split_ids(run)
    assert complete and partial
    n_proposals = {
        i: t.num_rows for m in read_markers(f"{propose.folder(run)}/train") for i, t in read_images(f"{propose.folder(run)}/train", m.part)
    }
    rows = {i: t for m in read_markers(f"{extract.folder(run)}/train") for i, t in read_images(f"{extract.folder(run)}/train", m.part)}
    assert all(n_proposals[i] == 0 and all(rows[i]["is_ground_truth"].to_pylist()) for i in partial)
    assert all(n_proposals[i] > 0 and not all(rows[i]["is_ground_truth"].to_pylist()) for i in complete)
    windows = {Path(w.path).stem: w for w in image_windows(run)}
    assert all((windows[Path(i).stem].label > 0).all() and len(windows[Path(i).stem].label) for i in partial), (
        "foreground, never background"
    )


def test_negatives_and_pairs_come_from_completely_annotated_images(run, monkeypatch):
    complete, _ = split_ids(run)
    scanned, picked = [], []
    real_scan, real_pairs = train.mine.ScanWork.run, collect.encode_targets
    monkeypatch.setattr(train.mine.ScanWork, "run", lambda self, task: (scanned.extend(task.image_ids), real_scan(self, task))[1])
    monkeypatch.setattr(collect, "encode_targets", lambda a, b: (picked.append(len(a)), real_pairs(a, b))[1])
    settings = replace(run.config.classify, cost=0.09)  # other models of the same features
    driver.run_stages(run.config.model_copy(update={"classify": settings}), ["train"])
    assert len(scanned) == len(set(scanned)) == 12 and set(scanned) < set(complete), "each image that is mined is read once"
    assert scanned == [i for i in run.image_ids("train") if i in scanned]
    n_trained_on = len([n for n in picked if n])
    assert 0 < n_trained_on <= len(complete)


def test_detections_are_apart_before_and_after_regression(run):
    stage = DetectStage(run)
    stage.require("test")
    rows = detections_by_class(stage.folder("test"), run.classes, run.image_ids("test"))
    assert all(one.kept_unregressed.all() and (one.scores > -1.5).all() for one in rows.values())
    assert any(not one.kept.all() for one in rows.values()), "regressed boxes meet"


def test_what_is_blacklisted_is_not_judged(run):
    class Blacklisting:
        def __init__(self, dataset, image_id, name):
            self._dataset, self._image_id, self._name = dataset, image_id, name

        def excluded(self, image_id):
            return frozenset({self._name}) if image_id == self._image_id else frozenset()

        def __getattr__(self, name):
            return getattr(self._dataset, name)

    before = evaluate(run)
    name = next(n for n, o in before.objects.items() if len(o.image))
    number = int(before.objects[name].image[0])
    other = run.with_classes(run.classes)
    other.__dict__["dataset"] = Blacklisting(run.dataset, run.image_ids("test")[number], name)
    after = evaluate(other)
    assert number not in after.objects[name].image and number not in after.detections[name].image
    assert len(after.objects[name].image) < len(before.objects[name].image)
    assert all(np.array_equal(after.detections[n].scores, before.detections[n].scores) for n in run.classes if n != name)


def test_proposals_were_searched_at_width_500_and_lie_in_the_image(run):
    assert run.config.proposals.selective_search.resize_width == 500
    url = f"{propose.folder(run)}/test"
    boxes = [boxes_of(t) for m in read_markers(url) for _, t in read_images(url, m.part)]
    assert any((b % 1 != 0).any() for b in boxes), "scaled back from width 500, not rounded"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_distractor_classes_leave_the_real_ones_alone(run, precision):
    scaling = replace(run.config.scaling, classes=(5, N_CLASSES, 300, 2500), precision=precision)
    config = make_config(run.config.model_copy(update={"scaling": scaling}).model_dump(mode="json"))
    assert config.run.stages == ("propose", "extract", "train", "detect", "evaluate", "scale", "report")
    driver.run_stages(config, ["scale", "report"])
    found = json.loads(Path(figures_url(run)).read_text())
    assert [row["classes"] for row in found["rows"]] == [N_CLASSES, 300, 2500], "fewer than there are is no question"
    assert found["equal"] and found["precision"] == precision and found["rows"][0]["mAP"] > 0
    assert [row["predictor_bytes"] for row in found["rows"]] == [
        n * 1024 * (4 if precision == "float32" else 2) for n in (N_CLASSES, 300, 2500)
    ]
    assert "real classes are the same bytes" in Path(run.url, "report", "index.html").read_text()
    assert not Path(run.url, "scaling", "_weights").exists(), "weights are scratch"


def scaled_in_ranges(run, n_blocks, executor):
    """The digest of the table of 11 classes in blocks of 4, so many of which a node maps at a time."""
    scaling = replace(run.config.scaling, classes=(11,), block_classes=4, weights_gb=n_blocks * 4 * 4096 / 1e9)
    config = run.config.model_copy(update={"scaling": scaling, "runtime": replace(run.config.runtime, executor=executor)})
    config = make_config(config.model_dump(mode="json"))
    driver.run_stages(config, ["scale"])
    assert len(ClassCountStage(Run(config), 11).ranges) == -(-3 // n_blocks)
    found = json.loads(Path(figures_url(run)).read_text())["rows"][0]
    assert found["mAP"] > 0 and found["seconds_per_image"]["product"] > 0
    table = Path(ClassCountStage(Run(config), 11).folder("test")).parent
    others = [path.name for path in table.parent.glob("*11-*") if path != table]
    shutil.rmtree(table)
    assert others == [], "tables of ranges are scratch"
    return found["detections_sha256"]


def test_classes_in_ranges_have_the_bytes_of_all_at_once(run, monkeypatch):
    """The real classes stand in three blocks, so in one, two or three ranges."""
    at_once = scaled_in_ranges(run, 3, "in_process")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(MergeWorker, "fill", lambda self, task, shard: 1 / 0)
        scaled_in_ranges(run, 1, "in_process")
    assert len(list(Path(run.url, "scaling").glob("ranges11-*/test-*/part-*.parquet"))) >= 3, "stopped before they were merged"
    assert scaled_in_ranges(run, 2, "in_process") == scaled_in_ranges(run, 1, "in_process") == at_once
    assert scaled_in_ranges(run, 2, "ray") == scaled_in_ranges(run, 1, "ray") == at_once


def test_a_limit_below_one_block_is_refused(run):
    scaling = replace(run.config.scaling, classes=(30,), weights_gb=0.001)
    config = make_config(run.config.model_copy(update={"scaling": scaling}).model_dump(mode="json"))
    with pytest.raises(ConfigError, match=r"scaling.weights_gb is 0.001: the weights of 1024 classes, one block, take 4194304 bytes"):
        driver.run_stages(config, ["scale"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_products_on_a_gpu_that_is_not_there_are_refused(run):
    scaling = replace(run.config.scaling, classes=(30,), device="cuda")
    config = make_config(run.config.model_copy(update={"scaling": scaling}).model_dump(mode="json"))
    with pytest.raises(ConfigError, match="scaling.device is cuda, and this process finds no GPU: set it to cpu"):
        driver.run_stages(config, ["scale"])


def test_few_classes_score_as_the_detector_does(run):
    scaling = replace(run.config.scaling, classes=(N_CLASSES,))
    driver.run_stages(make_config(run.config.model_copy(update={"scaling": scaling}).model_dump(mode="json")), ["scale"])
    table = ClassCountStage(run.with_classes(run.classes), N_CLASSES).folder("test")
    floor = run.config.scaling.min_score
    scaled = detections_by_class(table, run.classes, run.image_ids("test"))
    plain = detections_by_class(DetectStage(run).folder("test"), run.classes, run.image_ids("test"))
    assert sum(len(rows.scores) for rows in scaled.values()) > 0
    for name in run.classes:
        kept, whole = scaled[name].kept, plain[name].scores > floor + 1e-4
        np.testing.assert_allclose(np.sort(scaled[name].scores[kept])[-whole.sum() :], np.sort(plain[name].scores[whole]), atol=1e-4)


def test_scale_without_stored_features_is_refused(run):
    with pytest.raises(ConfigError, match="the stage scale reads features of the test images: add test to extract.splits"):
        load_config("configs/ilsvrc2013_shapes.yaml", ["scaling.classes=[20]", "extract.splits=[train]"])
    with pytest.raises(ConfigError, match="the stage scale needs scaling.classes"):
        load_config("configs/ilsvrc2013_shapes.yaml", ["run.stages=[scale]"])


def test_an_estimate_counts_what_the_run_then_has(run):
    rates = estimate.Rates(1.0, 1.0, 1.0, 1.0, 1.0, 8.0, 1000.0, 5e6)
    found = estimate.estimate(run, estimate.Fleet(0, 2), rates, {"pool5": 1024}, N_CLASSES, 2403)
    for split in ("train", "test"):
        manifest = read_signed(f"{extract.folder(run)}/{split}/_manifest.json")
        assert found["splits"][split]["images"] == manifest["images"] and found["splits"][split]["exact"]
        assert found["regions"][split] == manifest["rows"]
        layer = sum(len(t["pool5"]) * 2048 for m in manifest["parts"] for _, t in read_images(f"{extract.folder(run)}/{split}", m["part"]))
        assert found["row_bytes"]["features"][split] == layer + 45 * manifest["rows"], "values of the layer, and 45 bytes a row"
    assert set(found["hours"]) == {*run.config.run.stages, "all"}
    assert found["hours"]["all"] == pytest.approx(sum(hours for name, hours in found["hours"].items() if name != "all"))


def test_more_nodes_share_the_workers_and_their_memory(run):
    rates = estimate.Rates(1.0, 1.0, 1.0, 1.0, 1.0, 8.0, 1000.0, 5e6)
    one, four = (estimate.estimate(run, estimate.Fleet(0, 8, nodes), rates, {"pool5": 1024}, N_CLASSES, 300) for nodes in (1, 4))
    memory, least = one["peak_memory_mb"], max(v for name, v in one["peak_memory_mb"].items() if name != "a node")
    assert memory["a node"] >= 8 * memory["an extracting worker"] and four["peak_memory_mb"]["a node"] >= 2 * least
    assert four["peak_memory_mb"]["a node"] < memory["a node"] / 2 and four["hours"] == one["hours"]


def test_an_estimate_without_data_takes_the_published_sizes():
    there = Run(load_config("configs/ilsvrc2013.yaml"))
    assert [estimate.count_split(there, split).images for split in ("train", "test")] == [9887 + 200_000, 9917]
    whole = Run(load_config("configs/ilsvrc2013.yaml", ["data.train=val-blacklist+train1000images", "data.test=test"]))
    assert [estimate.count_split(whole, split).searched for split in ("train", "test")] == [19_804, 40_152]
    with pytest.raises(ConfigError, match="only of ILSVRC2013 the sizes are known"):
        estimate.count_split(Run(load_config("configs/fruit.yaml")), "train")


def test_rates_are_measured_on_a_picture(run):
    rates, layers = estimate.measure_rates(run.config, N_CLASSES, estimate.sample_images(run)[:1], 32)
    assert layers == {"pool5": 1024} and min(rates.propose_s, rates.region_s, rates.score_s, rates.refit_s, rates.decode_s) > 0
    for folder, row_bytes in ((propose.folder(run), rates.proposal_bytes), (extract.folder(run), rates.region_bytes)):
        markers = read_markers(f"{folder}/test")
        assert row_bytes == pytest.approx(sum(m.bytes for m in markers) / sum(m.rows for m in markers), rel=0.5), "in files"


def test_the_memory_of_a_network_is_that_of_its_weights_before_a_processor_packs_them():
    config = load_config("configs/features.yaml", ["network.name=tnet", "network.input_size=null", "extract.layers=[fc7]"])
    rates, layers = estimate.measure_rates(config, 1, [sample_jpeg(0)], 1)
    assert layers == {"fc7": 4096} and rates.network_bytes > 4 * (9216 * 4096 + 4096 * 4096)


def test_fine_tuning_may_learn_from_a_part_of_the_training_images(run):
    def windows_of(image_set):
        finetune = replace(run.config.finetune, image_set=image_set)
        return [Path(w.path).stem for w in image_windows(Run(run.config.model_copy(update={"finetune": finetune})))]

    complete, _ = split_ids(run)
    assert windows_of("val1") == [Path(i).stem for i in complete]
    assert windows_of(None) == windows_of("val1+train2") == [Path(i).stem for i in run.image_ids("train")]
    with pytest.raises(ConfigError, match=r"finetune.image_set val has images that data.train val1\+train2 does not have"):
        windows_of("val")
