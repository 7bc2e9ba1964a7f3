"""Mistakes that people make with every command: each ends with its exit code and a message that names the subject and the next step."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcnn_dist.cli import app, guarded

ROOT = Path(__file__).parents[2]

# arguments, exit code, what the message must hold; {names} are those of the fixture `places`
CONFIG = "{config} --set data.root={voc} --set run.dir={new}"
MISTAKES = {
    # the command line
    "no such command": ("rnu", 2, ["No such command 'rnu'"]),
    "no such subcommand": ("runs veryfy {run}", 2, ["No such command 'veryfy'"]),
    "no such option": ("run {config} --stage propose", 2, ["--stage", "--stages"]),
    "an argument is missing": ("run", 2, ["Missing argument 'config'", "run --help"]),
    "an option is missing": ("detect {photo}", 2, ["Missing option '--run'"]),
    "a number is a word": ("{similar} --box 0,0,9,9 --k many", 2, ["--k", "a valid integer"]),
    "a number is too small": ("{similar} --box 0,0,9,9 --k 0", 2, ["--k", "greater than or equal to 1"]),
    "a share above one": ("detect --run {run} {photo} --precision 1.5", 2, ["--precision", "less than or equal to 1"]),
    # the configuration
    "no such file": ("run none.yaml", 2, ["no configuration none.yaml"]),
    "no such file in a folder": ("run configs/none.yaml", 2, ["no configuration file configs/none.yaml"]),
    "a folder in place of a file": ("run {empty}", 2, ["{empty}", "cannot be read as YAML"]),
    "a picture in place of a file": ("run {photo}", 2, ["{photo}", "cannot be read as YAML"]),
    "broken YAML": ("run {broken}", 2, ["{broken}", "cannot be read as YAML", "line 3"]),
    "a list in place of sections": ("run {list}", 2, ["{list}", "expected sections such as 'data:', found list"]),
    "an unknown section": ("run {config} --set dta.root=x", 2, ["unknown key 'dta'", "did you mean 'data'?"]),
    "an unknown key": ("run {config} --set data.rot=x", 2, ["unknown key 'data.rot'", "did you mean 'root'?"]),
    "a key without a value": ("run {config} --set data.root", 2, ["--set 'data.root'", "expected section.key=value"]),
    "a value of the wrong kind": ("run {config} --set run.shard_images=few", 2, ["run.shard_images", "found 'few'"]),
    "a value that is not among the known": ("run {config} --set data.layout=vco", 2, ["data.layout", "'voc'", "found 'vco'"]),
    "a number out of range": ("run {config} --set run.shard_images=0", 2, ["run.shard_images is 0", "1 or more is wanted"]),
    "a value that is not YAML": ("run {config} --set data.classes=[apple", 2, ["data.classes=[apple", "not YAML"]),
    "an unknown stage": (f"run {CONFIG} --stages propose,extrct", 2, ["no stage is called 'extrct'", "extract"]),
    "a stage that the run does not have": (f"run {CONFIG} --stages finetune", 2, ["add finetune to run.stages"]),
    "a layer that is not stored": (f"run {CONFIG} --set classify.layer=fc6", 2, ["classify.layer is 'fc6'", "add it there"]),
    "a layer that the network does not have": (
        f"run {CONFIG} --set extract.layers=[fc9] --set classify.layer=fc9 --set regress.layer=fc9",
        2,
        ["fc9", "tiny", "pool5"],
    ),
    "an unknown network": (f"run {CONFIG} --set network.name=resnett", 2, ["resnett", "tnet"]),
    "weights that are not there": (f"run {CONFIG} --set network.name=tnet --set network.weights=auto", 2, ["tnet", "weights import"]),
    "an unknown proposal source": (f"run {CONFIG} --set proposals.source=edge_boxes", 2, ["proposals.source", "'selective_search'"]),
    "box files that are not named": (f"run {CONFIG} --set proposals.source=precomputed", 2, ["proposals.precomputed.files is empty"]),
    # the data
    "no data": ("run {config}", 2, ["data.root is not set", "--set data.root=PATH"]),
    "data that are elsewhere": ("run {config} --set data.root=/nowhere", 1, ["no VOC data set at /nowhere", "give the folder that holds"]),
    "an empty folder": ("run {config} --set data.root={empty}", 1, ["no VOC data set at {empty}"]),
    "an image set that is not there": (f"run {CONFIG} --set data.train=trian", 1, ["'trian'", "trainval.txt"]),
    "an image set without images": ("run {config} --set data.root={hollow} --set run.dir={new}", 1, ["trainval", "is empty"]),
    "a class that nobody has": (f"run {CONFIG} --stages train --set train.classes=[zebra]", 2, ["zebra", "striped_disc"]),
    "a list that is not there": (
        "run {config} --set data.layout=list --set data.train=all --set data.root=/nowhere.txt {one}",
        1,
        ["/nowhere.txt"],
    ),
    "a Parquet file that is none": (
        "run {config} --set data.layout=parquet --set data.train=all --set data.root={photo} {one}",
        1,
        ["{photo}"],
    ),
    "a column that is not there": (
        "run {config} --set data.layout=parquet --set data.train=all --set data.root={table} --set data.column=link {one}",
        1,
        ["link", "url"],
    ),
    "a place that cannot be written": (
        "run {config} --set data.root={voc} --set run.dir={photo}/run --stages propose",
        1,
        ["{photo}/run", "Not a directory"],
    ),
    "a split of a data set that has no sets": (
        "data recall {config} --set data.root={voc} --split val",
        2,
        ["--split val", "train and test"],
    ),
    "validation of nothing": ("data validate {config} --set data.root=/nowhere", 1, ["no VOC data set at /nowhere"]),
    # a run
    "no run": ("runs verify /nowhere", 2, ["/nowhere", "holds no run.json"]),
    "the status of no run": ("runs status {empty}", 2, ["{empty}", "holds no"]),
    "retrying no run": ("runs retry {empty}", 2, ["{empty}", "holds no"]),
    "one run to compare": ("runs compare {run}", 2, ["two or more"]),
    "a comparison with no run": ("runs compare {run} {empty}", 2, ["{empty} has no evaluation", "run its stage evaluate"]),
    "an unknown form": ("runs export {run} --format xml", 2, ["--format", "'xml' is not one of"]),
    "an export of no run": ("runs export {empty} --format coco", 2, ["{empty}", "holds no"]),
    "an unknown key of a run": ("runs status {run} --set data.rot=x", 2, ["did you mean 'root'?"]),
    "a result that cannot be written": ("{similar} --box 0,0,9,9 --out {photo}/out", 1, ["{photo}/out", "Not a directory"]),
    "a run whose record is damaged": ("runs verify {damaged}", 4, ["{damaged}/run.json", "delete it and run the same command again"]),
    # detection
    "photographs that are not there": ("detect --run {run} /nowhere.jpg --score 0", 3, ["/nowhere.jpg: left out: no such file"]),
    "a folder without photographs": ("detect --run {run} {empty}", 2, ["{empty}"]),
    "detection with no run": ("detect --run {empty} {photo}", 2, ["{empty}", "holds no"]),
    "two thresholds": ("detect --run {run} {photo} --score 0 --precision 0.5", 2, ["--precision and --score", "give one of them"]),
    "another source that is not known": (
        "detect --run {run} {photo} --score 0 --proposals boxes",
        2,
        ["proposals.source", "'selective_search'"],
    ),
    "drawings that cannot be written": ("detect --run {run} {photo} --score 0 --out {photo}/out", 1, ["{photo}/out", "Not a directory"]),
    # looking into the features
    "a box of three numbers": ("{similar} --box 1,2,3", 2, ["--box '1,2,3'", "expected x1,y1,x2,y2"]),
    "a box that is inverted": ("{similar} --box 30,30,10,10", 2, ["30", "10"]),
    "a box outside": ("{similar} --box 900,900,990,990", 2, ["900"]),
    "an image that is not there": ("explore similar --run {run} --image /nowhere.jpg --box 0,0,9,9", 2, ["/nowhere.jpg"]),
    "an unknown layer": ("{similar} --box 0,0,9,9 --layer fc9", 2, ["fc9", "pool5"]),
    "a unit that is not there": ("explore units --run {run} --layer pool5 --unit 99999999", 2, ["99999999"]),
    "units of an unknown layer": ("explore units --run {run} --layer fc9", 2, ["fc9", "pool5"]),
    # weights
    "weights of no file": ("weights import /nowhere.pth --network tnet", 2, ["/nowhere.pth"]),
    "weights that are a picture": ("weights import {photo} --network tnet --out {new}.safetensors", 2, ["{photo}"]),
    "weights of an unknown network": ("weights import {photo} --network tnt --out {new}.safetensors", 2, ["tnt", "tnet"]),
    "weights that nobody brought": ("weights verify tnet", 2, ["tnet", "weights import"]),
    "a file that is none of ours": ("weights show {photo}", 2, ["{photo}", "import it first"]),
    # the demo and the doctor
    "an unknown key of the demo": ("demo --dir {new} --data-dir {new}-data --set run.shards=3", 2, ["unknown key 'run.shards'"]),
    "generated images that cannot be written": ("data generate {photo}/set --train 1 --test 1", 1, ["{photo}/set", "Not a directory"]),
    "no images wanted": ("data generate {new} --train 0", 2, ["--train", "greater than or equal to 1"]),
    # segmentation, estimates, units, duplicates
    "tuning without data": ("segment tune seg_shapes.yaml", 2, ["data.root is not set"]),
    "tuning of a run that detects": (f"segment tune {CONFIG}", 2, ["add masks to run.stages"]),
    "a cost of nothing": ("segment tune seg_shapes.yaml --cost 0", 2, ["--cost"]),
    "one fold": ("segment tune seg_shapes.yaml --folds 1", 2, ["--folds", "greater than or equal to 2"]),
    "segmentation of images without label maps": (
        "run seg_shapes.yaml --set data.root={bare} --set run.dir={new}",
        1,
        ["{bare}", "ImageSets/Segmentation"],
    ),
    "an estimate of no configuration": ("estimate none.yaml", 2, ["no configuration none.yaml"]),
    "an estimate for no core": ("estimate {config} --cpus 0", 2, ["--cpus", "greater than or equal to 1"]),
    "an estimate of data that are elsewhere": ("estimate {config} --set data.root=/nowhere", 1, ["no VOC data set at /nowhere"]),
    "units of no run": ("explore units --run {empty}", 2, ["{empty}", "holds no"]),
    "a unit that is a word": ("explore units --run {run} --layer pool5 --unit first", 2, ["--unit first", "give a number from 0"]),
    "duplicates in a folder without images": ("explore duplicates {empty} {voc}", 2, ["{empty} holds no image"]),
    "duplicates in a list that is not there": ("explore duplicates /nowhere.txt {voc}", 2, ["no file /nowhere.txt"]),
    "a list of images that is a picture": ("explore duplicates {picture}.txt {voc}", 1, ["{picture}.txt is not UTF-8 text"]),
    "ids that are not there": ("explore duplicates {voc} {voc} --ids /nowhere.csv", 1, ["/nowhere.csv: No such file"]),
    "ids that are a picture": ("explore duplicates {voc} {voc} --ids {photo}", 1, ["{photo} is not UTF-8 text"]),
    "ids without their header": ("explore duplicates {voc} {voc} --ids {list}", 2, ["{list}", "columns image and id, found - data"]),
    "a setting of duplicates that is not known": ("explore duplicates {voc} {voc} --set runtime.worker=1", 2, ["did you mean 'workers'?"]),
    "halves of a set that has none": ("data split {config} --set data.root={voc} --out {new}", 2, ["data.layout must be ilsvrc2013"]),
    "crops of no set": ("data crops /nowhere {new}", 1, ["/nowhere"]),
    "a drawing of no run": ("runs draw {empty}", 2, ["{empty}", "holds no"]),
    "a screenshot of no run": ("runs screenshot {empty}", 2, ["{empty} has no report: run its stage report"]),
    # jobs
    "pre-training without data": ("{pretrain}", 2, ["data.root is not set"]),
    "pre-training on a VOC set": ("{pretrain} --set data.root={voc} --set run.dir={new}", 1, ["{voc}/train has no folders", "a class"]),
    "an unknown key of pre-training": ("{pretrain} --set pretrain.wrokers=2", 2, ["did you mean 'workers'?"]),
    "an ablation that is not there": ("jobs/ablation.py none.yaml", 2, ["no ablation file none.yaml"]),
    "a configuration in place of an ablation": ("jobs/ablation.py {config}", 2, ["{config} is no ablation", "variants: Field required"]),
    "an ablation with broken YAML": ("jobs/ablation.py {broken}", 2, ["{broken} is no ablation", "line 3"]),
    "an ablation without data": ("jobs/ablation.py {ablation} --set network.weights=null", 2, ["data.root is not set"]),
    "distractors for no run": ("jobs/scale_classes.py --run {empty}", 2, ["{empty}", "holds no"]),
    "a number of classes that is a word": ("jobs/scale_classes.py --run {run} --classes many", 2, ["scaling.classes", "found 'many'"]),
    "fewer classes than there are": ("jobs/scale_classes.py --run {run} --classes 1", 2, ["scaling.classes is [1]", "give larger numbers"]),
    "a job without its argument": ("jobs/scale_classes.py", 2, ["required: --run"]),
    "a job with an option that it does not have": ("jobs/pretrain.py --stages train", 2, ["unrecognized arguments: --stages"]),
    # the cluster
    "a cluster that is not there": (
        f"run {CONFIG} --set runtime.executor=ray --set runtime.address=127.0.0.1:1",
        1,
        ["Ray at 127.0.0.1:1 does not start or answer", "refused"],
    ),
    "a doctor for no place and no cluster": (
        "doctor --dir {photo}/runs --address 127.0.0.1:1",
        1,
        ["BAD  storage at {photo}/runs", "choose another place", "BAD  Ray at 127.0.0.1:1", "correct RAY_ADDRESS"],
    ),
}


@pytest.fixture(scope="module")
def places(shapes_root, finished_run, tmp_path_factory):
    """Name -> path of the things that mistakes are made with, and two beginnings of commands."""
    folder = tmp_path_factory.mktemp("mistakes")
    paths = {name: folder / name for name in ("empty", "new", "hollow", "damaged", "broken", "list", "table")}
    paths["empty"].mkdir()
    shutil.copytree(shapes_root, paths["hollow"])
    (paths["hollow"] / "VOC2007/ImageSets/Main/trainval.txt").write_text("")
    paths["damaged"].mkdir()
    (paths["damaged"] / "run.json").write_text("{")
    shutil.copy(Path(finished_run.run.dir) / "config.yaml", paths["damaged"])
    paths["broken"].write_text("data:\n  root: [\n")
    paths["list"].write_text("- data\n")
    pq_write(paths["table"])
    paths["photo"] = folder / "photo.jpg"
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(paths["photo"])
    paths["picture"] = folder / "picture"
    shutil.copy(paths["photo"], folder / "picture.txt")
    paths["bare"] = folder / "bare"
    shutil.copytree(shapes_root, paths["bare"], ignore=shutil.ignore_patterns("Segmentation*"))
    paths["config"] = folder / "small.yaml"
    paths["config"].write_text("network: {name: tiny}\nruntime: {executor: in_process}\n")
    found = {name: str(path) for name, path in paths.items()} | {"voc": str(shapes_root), "run": finished_run.run.dir}
    words = {
        "ablation": str(ROOT / "configs/ablations/nms.yaml"),
        "pretrain": f"jobs/pretrain.py --config {ROOT}/configs/pretrain_tnet.yaml --set runtime.executor=in_process",
        "one": "--set data.test=null --set run.stages=[propose]",
        "similar": "explore similar --run {run} --image {photo}".format(**found),
    }
    return found | words


def pq_write(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"url": ["a.jpg"]}), path)


def test_forty_mistakes_are_tried():
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_a_message_that_helps(mistake, places, run_job, tmp_path, monkeypatch, capsys):
    """Called in this process: anything but an orderly end would be a traceback here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RCNN_DIST_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    arguments, exit_code, wanted = MISTAKES[mistake]
    words = arguments.format(**places).split()
    found = run_job(*words) if words[0].startswith("jobs/") else guarded(lambda: app(words))
    output = capsys.readouterr()
    told = output.err + output.out
    assert found == exit_code, told
    for text in wanted:
        assert text.format(**places) in told
    assert "Traceback" not in told
