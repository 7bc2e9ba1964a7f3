"""The configuration of a run: one YAML file, one frozen tree, unknown keys refused.

A section either is the parameters of its algorithm (the defaults and their sources stand there) or adds to them what the
system needs. `rcnn-dist run FILE --set section.key=value` changes single values.
"""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rcnn_dist.classify.linear_svm import SvmParams
from rcnn_dist.classify.mining import MiningParams
from rcnn_dist.detect.class_blocks import BLOCK
from rcnn_dist.detect.postprocess import DetectParams
from rcnn_dist.errors import ConfigError
from rcnn_dist.evaluate.error_modes import VOC_GROUPS, VOC_SIMILAR
from rcnn_dist.features.networks import NetworkParams
from rcnn_dist.features.scaling import ScalingParams
from rcnn_dist.features.warp import WarpParams
from rcnn_dist.finetune.params import FinetuneParams
from rcnn_dist.finetune.pretrain_params import PretrainParams
from rcnn_dist.proposals.opencv import OpenCvParams
from rcnn_dist.proposals.precomputed import PrecomputedParams
from rcnn_dist.proposals.sliding_window import SlidingWindowParams
from rcnn_dist.ranges import check_ranges, check_sections
from rcnn_dist.regress.params import BoxRegressionParams
from rcnn_dist.segment.params import MaskParams, PasteParams, RegressorParams

__all__ = ["RunConfig", "changed_config", "load_config", "make_config", "parse_config"]

StageName = Literal[
    "propose", "finetune", "extract", "train", "detect", "evaluate", "scale", "report", "masks", "regions", "svr", "segment", "accuracy"
]
STAGES: tuple[StageName, ...] = get_args(StageName)
ProposalSourceName = Literal["opencv", "selective_search", "sliding_window", "precomputed"]
_DETECTION: tuple[StageName, ...] = ("propose", "extract", "train", "detect", "evaluate", "report")


@dataclass(frozen=True)
class RunSection:
    dir: str = "runs/run"  # any fsspec URL
    stages: tuple[StageName, ...] = _DETECTION  # what such a run consists of
    shard_images: int = 16  # images per Parquet shard, the unit of restart
    max_failed_images: int = 10  # a run goes on with this many bad images
    max_failed_fraction: float = 0.01  # or this share of a split, whichever is more


@dataclass(frozen=True)
class DataSection:
    root: str | None = None  # for voc the folder that holds VOC2007/, else see data/layouts.py
    layout: Literal["voc", "ilsvrc2013", "coco", "csv", "folder", "list", "parquet"] = "voc"
    year: str = "VOC2007"  # voc
    task: Literal["Main", "Segmentation", "Layout", "Action"] = "Main"  # voc: whose lists of images
    sbd: str | None = None  # voc: SBD's folder, for masks of images that VOC has none of
    column: str = "url"  # parquet
    lists: str | None = None  # ilsvrc2013: a folder with val1.txt and val2.txt; None: our own halves, made in <run.dir>/lists
    seed: int = 3  # of these and of the choice of training images
    train: str = "trainval"  # image sets
    test: str | None = "test"  # None: images of one set only, for features without a detector
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None  # None: those of the training annotations, sorted
    max_pixels: int = 80_000_000  # an image with more is refused before it is decoded
    shuffle_classes: int | None = None  # a seed: training objects are dealt the classes of others, a control
    exif_rotation: bool = False  # VOC's annotations ignore the EXIF orientation


@dataclass(frozen=True)
class SelectiveSearchSection:
    """Values of `SelectiveSearchParams` that replace the preset's; None: as the preset has it."""

    resolution: float | None = None
    canonical_width: int | None = None
    max_pixels: int | None = None
    min_side: int | None = None
    resize_width: int | None = None  # 500 for ILSVRC
    seed: int | None = None


@dataclass(frozen=True)
class ProposalsSection:
    source: ProposalSourceName = "selective_search"  # our own search or OpenCV's, windows without a search, or boxes from files
    preset: Literal["swift", "paper", "quality"] = "swift"  # of selective_search
    selective_search: SelectiveSearchSection = field(default_factory=SelectiveSearchSection)
    opencv: OpenCvParams = field(default_factory=OpenCvParams)
    sliding_window: SlidingWindowParams = field(default_factory=SlidingWindowParams)
    precomputed: PrecomputedParams = field(default_factory=PrecomputedParams)


@dataclass(frozen=True)
class FinetuneSection(FinetuneParams):
    checkpoint_every: int = 1000  # steps that a worker's death costs at most
    image_cache_mb: int = 4096  # decoded images that the worker keeps
    image_set: str | None = None  # a part of data.train to learn from; None: all of it
    window_file: str | None = None  # the original's window file, to learn from instead of proposals


@dataclass(frozen=True)
class PretrainSection(PretrainParams):
    checkpoint_every: int = 1000  # steps that a death costs at most; the test images are classified as often
    loader_threads: int = 4  # of each worker, for images


@dataclass(frozen=True)
class ExtractSection:
    layers: tuple[str, ...] = ("pool5", "fc7")  # stored, one column each
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")  # stored; without test, detection forwards again
    max_proposals: int | None = None  # the first ones of each image; None: all
    batch_size: int = 16  # rows of every forward, the last one padded; a CPU slows down beyond 32, a GPU wants 256
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class ClassifySection(SvmParams):
    layer: str = "fc7"
    method: Literal["svm", "softmax"] = "svm"  # softmax: the last layer of the fine-tuned network detects (App. B)


@dataclass(frozen=True)
class ScalingSection(ScalingParams):
    classes: tuple[int, ...] = ()  # stage scale: the run's detectors among so many classes; none: no such stage
    precision: Literal["float32", "bfloat16"] = "float32"  # of their weights
    min_score: float = -1.0  # below it (or detect.min_score) no class detects there: rcnn_detect.m
    block_classes: int = BLOCK  # of one product
    device: Literal["cpu", "cuda"] = "cpu"  # of the products; cuda: in workers that hold a GPU
    weights_gb: float = 8.0  # that a node maps at a time; where all classes have more, nodes share ranges of them


@dataclass(frozen=True)
class TrainSection:
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None  # trained now, other models stay; None: data.classes


@dataclass(frozen=True)
class RegressSection(BoxRegressionParams):
    enabled: bool = True
    layer: str = "pool5"


@dataclass(frozen=True)
class EvaluateSection:
    variant: Literal["voc07", "area", "coco", "ilsvrc"] = "voc07"  # the one on the last line; all but ilsvrc are always computed
    min_iou: float = 0.5
    similar: tuple[tuple[str, ...], ...] = VOC_SIMILAR  # sets of classes that are easily taken for each other
    groups: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(VOC_GROUPS))  # classes whose mistakes are plotted together
    notes: str | None = None  # the folder annotations/ of Hoiem's tool, for occlusion, views and parts in VOC2007 test


@dataclass(frozen=True)
class RuntimeSection:
    executor: Literal["ray", "in_process"] = "ray"
    address: str | None = None  # of a running cluster; None: RAY_ADDRESS, else a local one
    workers: int | None = None  # None: every GPU of the cluster for extraction, every CPU else
    gpu_workers: int | None = None  # of extraction, to ask an autoscaling cluster for; None: as many as fit the nodes that are there
    gpus_per_worker: float | None = None  # None: 1 where the cluster has GPUs or gpu_workers asks for them, else 0
    threads_per_worker: int = 1
    shards_at_once: int | None = None  # of an extraction process on CPUs; None: 2 on a local cluster with an even number of CPUs, else 1
    start_timeout_s: float = 60.0  # then a message says what a waiting worker lacks
    image_timeout_s: float | None = 120.0  # a shard that takes longer, times its images, loses its process
    stopped_timeout_s: float | None = 60.0  # a worker's process that is stopped (SIGSTOP) for longer is ended and replaced
    worker_memory_gb: float | None = None  # a process that holds more is ended; None: Ray's own limit, that of the machine


class RunConfig(BaseModel):
    """Everything a run depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: RunSection = RunSection()
    data: DataSection = DataSection()
    proposals: ProposalsSection = ProposalsSection()
    masks: MaskParams = MaskParams()
    network: NetworkParams = NetworkParams()
    warp: WarpParams = WarpParams()
    pretrain: PretrainSection = PretrainSection()
    finetune: FinetuneSection = FinetuneSection()
    extract: ExtractSection = ExtractSection()
    scaling: ScalingSection = ScalingSection()
    train: TrainSection = TrainSection()
    classify: ClassifySection = ClassifySection()
    mining: MiningParams = MiningParams()
    regress: RegressSection = RegressSection()
    detect: DetectParams = DetectParams()
    evaluate: EvaluateSection = EvaluateSection()
    svr: RegressorParams = RegressorParams()
    segment: PasteParams = PasteParams()
    runtime: RuntimeSection = RuntimeSection()

    def to_yaml(self) -> str:
        """The complete configuration; law: RunConfig(**yaml.safe_load(c.to_yaml())) == c."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a YAML file and applies `section.key=value` overrides (values are YAML too).

    Raises:
        ConfigError: no such file, not YAML, an unknown key or a value of the wrong kind; the message names it.
    """
    try:
        text = Path(path).read_text()
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    return parse_config(text, str(path), overrides)


def parse_config(text: str, source: str, overrides: Sequence[str] = ()) -> RunConfig:
    """As `load_config`, from the text of a file; the run's directory is named like the file unless the text names it."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict | None):
        raise ConfigError(f"{source}: expected sections such as 'data:', found {type(content).__name__}")
    tree: dict[str, Any] = {"run": {"dir": f"runs/{Path(source).stem}"}}
    _merge(tree, content or {})
    for override in overrides:
        _merge(tree, _parse_override(override))
    return make_config(tree, source)


def changed_config(config: RunConfig, change: Mapping[str, Any], source: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration with a tree of other values, then with overrides; raises as `make_config`."""
    tree = config.model_dump(mode="json")
    for update in (change, *map(_parse_override, overrides)):
        _merge(tree, update)
    return make_config(tree, source)


def make_config(tree: Mapping[str, Any], source: str = "configuration") -> RunConfig:
    """Checks a tree of plain values.

    Raises:
        ConfigError: names the key, what was found and what is allowed.

    Example:
        >>> config = make_config({"data": {"root": "mine"}, "run": {"dir": "runs/mine"}, "network": {"name": "lite"}})
        >>> config.network.name, config.detect.nms_threshold
        ('lite', 0.3)
    """
    try:
        config = RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{source}: {_explain(e)}" for e in error.errors())) from error
    config = _with_scale(config)
    check_ranges(config, source)
    check_sections(config, source)
    return config


def _with_scale(config: RunConfig) -> RunConfig:
    """A run with `scaling.classes` has the stage scale, too."""
    stages = config.run.stages
    if not config.scaling.classes or "scale" in stages:
        return config
    ordered = tuple(name for name in STAGES if name in {*stages, "scale"})
    return config.model_copy(update={"run": dataclasses.replace(config.run, stages=ordered)})


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text!r}: expected section.key=value, for example --set data.root=/data/VOCdevkit")
    try:
        tree: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is not YAML: {error}") from error
    for name in reversed(key.strip().split(".")):
        tree = {name: tree}
    return dict(tree)


def _merge(into: dict[str, Any], update: Mapping[str, Any]) -> None:
    for key, value in update.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _explain(error: Any) -> str:
    path = [str(part) for part in error["loc"]]
    if error["type"] not in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{'.'.join(path)}: {error['msg']}, found {error['input']!r}"
    siblings = _known_keys(path[:-1])
    close = difflib.get_close_matches(path[-1], siblings, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(siblings)}"
    return f"unknown key '{'.'.join(path)}'; {hint}"


def _known_keys(path: Sequence[str]) -> list[str]:
    if not path:
        return list(RunConfig.model_fields)
    value: Any = RunConfig.model_fields[path[0]].default
    for name in path[1:]:
        value = getattr(value, name, None)
    return [f.name for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
