"""Damage to a finished run: `runs verify` names it, whatever bit of whatever file it is."""

import random
from pathlib import Path

import pytest

from rcnn_dist import driver
from rcnn_dist.stages.verify import verify_run

_KINDS = {
    "shards": "{proposals,features,detections}/*/*/*.parquet",
    "markers": "*/*/*/_done/*.json",
    "plans": "*/*/*/_plan.json",
    "manifests of tables": "*/*/*/_manifest.json",
    "models": "models/*/*.safetensors",
    "manifests of models": "models/*/_manifest.json",
    "the record": "run.json",
}
_FLIPS = 1000


@pytest.fixture
def small_run(small_config):
    config = small_config(extract={"max_proposals": 12}, proposals={"source": "opencv"}, run={"shard_images": 6})
    driver.run_stages(config, ("propose", "extract", "train", "detect"))
    return Path(config.run.dir)


def matching(run, pattern):
    patterns = [pattern]
    if "{" in pattern:
        names, rest = pattern[1:].split("}")
        patterns = [name + rest for name in names.split(",")]
    return sorted(path for each in patterns for path in run.glob(each))


def test_every_flipped_bit_is_found_and_its_file_named(small_run):
    files = {kind: matching(small_run, pattern) for kind, pattern in _KINDS.items()}
    assert all(files.values()), files
    assert verify_run(str(small_run)).damaged == []
    generator, missed = random.Random(3), []
    for _ in range(_FLIPS):
        path = generator.choice(files[generator.choice(sorted(files))])
        whole = path.read_bytes()
        data, at, bit = bytearray(whole), generator.randrange(len(whole)), generator.randrange(8)
        data[at] ^= 1 << bit
        path.write_bytes(data)
        damaged = verify_run(str(small_run)).damaged
        path.write_bytes(whole)
        if not any(path.name in problem for problem in damaged):
            missed.append((path.name, at, bit, whole[max(0, at - 10) : at + 10], damaged))
    assert missed == []
    assert verify_run(str(small_run)).damaged == []
