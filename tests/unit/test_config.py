from pathlib import Path

import pytest
import yaml

from rcnn_dist.config import RunConfig, load_config, make_config
from rcnn_dist.errors import ConfigError

CONFIGS = sorted((Path(__file__).parent.parent.parent / "configs").glob("*.yaml"))

TUNED = "run: {stages: [propose, finetune, extract, train, detect]}\n"


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_config_that_comes_along_is_valid_and_says_how_to_run_it(path):
    config = load_config(path)
    assert any(program in path.read_text().splitlines()[0] for program in ("rcnn-dist ", "python jobs/"))
    assert config.data.root is None, "the user's place"
    assert config.run.dir == f"runs/{path.stem}"


def test_overrides_are_yaml_and_reach_nested_values(tmp_path):
    path = write(tmp_path, "extract: {layers: [fc6]}\nclassify: {layer: fc6}\nregress: {enabled: false}\n")
    config = load_config(path, ["extract.max_proposals=400", "proposals.opencv.seed=5", "data.classes=[dog, cat]", "classify.cost=0.01"])
    assert config.extract.max_proposals == 400
    assert config.proposals.opencv.seed == 5
    assert config.data.classes == ("dog", "cat")
    assert config.classify.cost == 0.01
    assert config.classify.bias_scale == 10, "what is not named keeps its default"


def test_layers_that_nothing_trains_on_need_not_be_stored(tmp_path):
    load_config(write(tmp_path, "run: {stages: [propose, extract]}\ndata: {test: null}\nextract: {layers: [fc6]}\n"))


def test_a_config_survives_the_way_through_yaml():
    config = make_config({"warp": {"mode": "square"}, "data": {"classes": ["a"]}, "runtime": {"workers": 3}})
    assert RunConfig.model_validate(yaml.safe_load(config.to_yaml())) == config
    assert RunConfig.model_validate(yaml.safe_load(RunConfig().to_yaml())) == RunConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dat: {root: x}", "unknown key 'dat'; did you mean 'data'?"),
        ("data: {rooot: x}", "unknown key 'data.rooot'; did you mean 'root'?"),
        ("proposals: {opencv: {sead: 1}}", "unknown key 'proposals.opencv.sead'; did you mean 'seed'?"),
        ("mining: {wave_images: many}", "mining.wave_images: Input should be a valid integer"),
        ("proposals: {source: magic}", "proposals.source: Input should be 'opencv', 'selective_search', 'sliding_window' or 'precomputed'"),
        ("classify: {layer: fc9}", "classify.layer is 'fc9', which extract.layers"),
        ("data: {test: null}", "the stage detect needs test images: set data.test, or run.stages without it"),
        ("run: {stages: [train, tran]}", "run.stages.1: Input should be 'propose'"),
        ("classify: {method: softmax}", "classify.method softmax needs a fine-tuned network: add finetune to run.stages"),
        (f"{TUNED}classify: {{method: softmax, layer: pool5}}", "scores the network's last layer: set classify.layer to 'fc7'"),
        (f"{TUNED}classify: {{method: softmax}}\ntrain: {{classes: [a]}}", "has all classes or none: remove train.classes"),
        ("finetune: {background_iou: 0.6}", "finetune.background_iou is above finetune.foreground_iou"),
        ("finetune: {workers: 3}", "finetune.batch_size 128 cannot be shared by 3 workers"),
        (f"{TUNED}finetune: {{workers: 2}}\nruntime: {{executor: in_process}}", "finetune.workers is 2: in one process there is one"),
        ("detect: {nms_by_class: {dog: 3}}", "detect.nms_by_class.dog is no number from 0 to 1"),
        ("- a", "expected sections such as 'data:', found list"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match="mine.yaml") as error:
        load_config(write(tmp_path, text))
    assert message in str(error.value)


@pytest.mark.parametrize("override", ["data.root", "=3", "data.root=[", "data.rot=1"])
def test_mistakes_of_the_command_line_are_named(tmp_path, override):
    with pytest.raises(ConfigError):
        load_config(write(tmp_path, ""), [override])


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"no configuration file none\.yaml"):
        load_config("none.yaml")
