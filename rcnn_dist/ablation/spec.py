"""The matrix of an ablation: one YAML file that names a configuration and how each variant differs from it.

    title: Table 2
    base: ../voc2007_ft_fc7.yaml     # a configuration, from this file's folder
    set: {extract: {layers: [pool5, fc7]}}             # what all variants change of it
    source: Table 2, arXiv:1311.2524v5                 # of the published numbers
    published: table2_voc2007_test.csv                 # a table that comes with the package, whose rows variants may name
    variants:
      FT pool5: {set: {classify: {layer: pool5}}, published: R-CNN FT pool5}
      FT fc7: {published: 54.2}

A variant's `tune_nms` is what it changes to judge NMS thresholds on a validation set, such as {data: {train: train, test: val}}.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rcnn_dist.config import RunConfig, changed_config, load_config
from rcnn_dist.errors import ConfigError
from rcnn_dist.report.published import read_published


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the matrix."""

    name: str
    config: RunConfig
    published: float | None  # mAP in percent
    published_ap: Mapping[str, float]  # by class, in percent; empty where only a mean is known
    published_median: float | None  # of AP over the classes, in percent
    tune_nms: RunConfig | None  # the run whose detections choose the NMS threshold of each class


@dataclass(frozen=True, slots=True)
class Ablation:
    """Variants that differ in what the file says, and share the rest."""

    title: str
    source: str
    samples: int  # objects that are drawn as each variant's network sees them
    variants: tuple[Variant, ...]


class _VariantFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    set: dict[str, Any] = {}
    published: float | str | None = None
    published_median: float | None = None
    tune_nms: dict[str, Any] | None = None


class _AblationFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str
    base: str
    set: dict[str, Any] = {}
    source: str = ""
    published: str | None = None
    samples: int = 0
    variants: dict[str, _VariantFile]


def load_ablation(path: Path, overrides: Sequence[str] = ()) -> Ablation:
    """Reads the file; `overrides` change the base as `--set` of a run does, and variants change that.

    All variants lie in one run directory, where a stage whose inputs are the same is the same folder.

    Raises:
        ConfigError: the file, its base or a variant cannot be used; the message names it.
    """
    try:
        spec = _AblationFile.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError as error:
        raise ConfigError(f"no ablation file {path}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors())
        raise ConfigError(f"{path} is no ablation, as those in configs/ablations are: {wrong}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no ablation: {error}") from error
    if not spec.variants:
        raise ConfigError(f"{path}: variants is empty: name at least one")
    base = load_config(path.parent / spec.base, [f"run.dir=runs/{path.stem}"])
    base = changed_config(base, spec.set, str(path), overrides)
    rows = read_published(spec.published) if spec.published else {}
    variants = []
    for name, change in spec.variants.items():
        source = f"{path}, variant {name}"
        config = changed_config(base, change.set, source)
        if config.run.dir != base.run.dir:
            raise ConfigError(f"{source}: run.dir belongs to all variants: give it with --set")
        if isinstance(change.published, str) and change.published not in rows:
            raise ConfigError(f"{source}: {spec.published} has no row '{change.published}': it has {', '.join(rows)}")
        row = rows[change.published] if isinstance(change.published, str) else None
        mean = row.mean if row else change.published
        tuning = None if change.tune_nms is None else changed_config(config, change.tune_nms, source)
        values = row.values if row else {}
        variants.append(Variant(name, config, None if mean is None else float(mean), values, change.published_median, tuning))
    return Ablation(spec.title, spec.source, spec.samples, tuple(variants))
