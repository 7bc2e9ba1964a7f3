"""Damage to a run: `runs verify` names it, whatever bit of whatever file it is, and the stage that meets it ends with its own error."""

import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from rcnn_dist import driver
from rcnn_dist.config import make_config
from rcnn_dist.errors import DamagedFileError, MissingShardError
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store.manifest import read_signed, write_signed


def run_config(folder, root):
    return make_config(
        {
            "run": {"dir": str(folder), "shard_images": 6},
            "data": {"root": str(root)},
            "proposals": {"source": "sliding_window"},
            "extract": {"layers": ["fc7"], "max_proposals": 12},
            "regress": {"enabled": False},
            "runtime": {"executor": "in_process"},
        }
    )


@pytest.fixture(scope="module")
def finished(shapes_root, tmp_path_factory):
    """The folder of a run of which no test changes anything."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    driver.run_stages(run_config(folder, shapes_root), ("propose", "extract", "train", "detect"))
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


_KINDS = {
    "shards": ("proposals/*/*/*.parquet", "features/*/*/*.parquet", "detections/*/*/*.parquet"),
    "markers": ("*/*/*/_done/*.json",),
    "plans": ("*/*/*/_plan.json",),
    "manifests of tables": ("*/*/*/_manifest.json",),
    "models": ("models/*/*.safetensors",),
    "manifests of models": ("models/*/_manifest.json",),
    "the record": ("run.json",),
}


def test_each_of_a_thousand_flipped_bits_is_found_and_its_file_named(copied):
    files = {kind: sorted(path for pattern in patterns for path in copied.glob(pattern)) for kind, patterns in _KINDS.items()}
    assert all(files.values()), files
    assert verify_run(str(copied)).damaged == []
    generator, missed = random.Random(3), []
    for _ in range(1000):
        path = generator.choice(files[generator.choice(sorted(files))])
        whole = path.read_bytes()
        data, at, bit = bytearray(whole), generator.randrange(len(whole)), generator.randrange(8)
        data[at] ^= 1 << bit
        path.write_bytes(data)
        damaged = verify_run(str(copied)).damaged
        path.write_bytes(whole)
        if not any(path.name in problem for problem in damaged):
            missed.append((path.name, at, bit, whole[max(0, at - 10) : at + 10], damaged))
    assert missed == []
    assert verify_run(str(copied)).damaged == []


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_bytes(b"no longer here" * 9)


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def appended(path):
    path.write_bytes(path.read_bytes() + b"\n")


def flipped(path):
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)


def rewritten(change, **options):
    """Damages a shard: the same file name with another table."""
    return lambda path: pq.write_table(change(pq.read_table(path)), path, **options)


def resigned(**fields):
    """Damages a marker or manifest: other fields, under a digest that fits."""
    return lambda path: write_signed(str(path), {**read_signed(str(path)), **fields})


def without(column):
    return rewritten(lambda table: table.drop_columns([column]))


def as_double(table):
    return table.set_column(table.column_names.index("x1"), "x1", table["x1"].cast(pa.float64()))


def of_another_program(path):
    path.write_bytes(save({"weights": np.zeros(3)}))


PROPOSALS, FEATURES = "proposals/*/train/part-00000.parquet", "features/*/train/part-00000.parquet"
MARKER, MANIFEST, MODEL = "features/*/train/_done/part-00000.json", "features/*/train/_manifest.json", "models/*/striped_disc.safetensors"
DAMAGE = {  # the stage that meets it, the file, what becomes of it, the start of the message
    "a missing shard": ("train", FEATURES, Path.unlink, "{path} is missing although its marker exists: delete the marker and run"),
    "an empty shard": ("train", FEATURES, empty, "{path}: Parquet file size is 0 bytes; delete the file and its marker"),
    "a shard cut off": ("train", FEATURES, cut, "{path}: Parquet magic bytes not found in footer"),
    "a shard of text": ("train", FEATURES, text, "{path}: Parquet magic bytes not found in footer"),
    "a page with a flipped bit": ("train", FEATURES, flipped, "{path}: could not verify page integrity, CRC checksum"),
    "a shard without a column": ("extract", PROPOSALS, without("x1"), "{path}: no field 'x1' (schema 1); compute the stage again"),
    "a column of another type": ("extract", PROPOSALS, rewritten(as_double), "{path}: field 'x1' is double, expected float"),
    "a shard without the layer": ("train", FEATURES, without("fc7"), "{path}: no field 'fc7' (schema 1); compute the stage again"),
    "a row too few": ("train", FEATURES, rewritten(lambda table: table.slice(1)), "{path} has 89 rows and its marker says 90; delete"),
    "other row groups": ("train", FEATURES, rewritten(lambda t: t, row_group_size=9), "{path}: row group 0 has other rows than its marker"),
    "a missing marker": ("train", MARKER, Path.unlink, "{table}/_manifest.json and the markers disagree on part-00000: delete the"),
    "an empty marker": ("train", MARKER, empty, "{path}: not a marker or manifest"),
    "an edited marker": ("train", MARKER, appended, "{path}: its digest does not fit its content; delete it and run"),
    "a marker of another version": ("train", MARKER, resigned(colour="red"), "{path}: fields of another version"),
    "a manifest cut off": ("train", MANIFEST, cut, "{path}: not a marker or manifest"),
    "another table's manifest": ("train", MANIFEST, resigned(folder="tiny-0"), "{path} was written for 'tiny-0' but lies in 'tiny-"),
    "an edited plan": ("extract", "features/*/train/_plan.json", appended, "{path}: its digest does not fit its content; delete it and"),
    "an edited record": ("train", "run.json", appended, "{path}: its digest does not fit its content; delete it and run"),
    "a missing model": ("detect", MODEL, Path.unlink, "{path} is missing: run the stage that writes it again"),
    "a model cut off": ("detect", MODEL, cut, "{path} is not a model file (SafetensorError"),
    "a model of text": ("detect", MODEL, text, "{path} is not a model file (JSONDecodeError"),
    "another program's model": ("detect", MODEL, of_another_program, "{path} is not a model file (KeyError('__metadata__'))"),
    "the models' edited manifest": ("detect", "models/*/_manifest.json", appended, "{path}: its digest does not fit its content; delete"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_each_kind_of_damage_ends_the_stage_that_meets_it_with_its_own_error(kind, copied, shapes_root):
    stage, pattern, damage, message = DAMAGE[kind]
    (path,) = copied.glob(pattern)
    damage(path)
    shutil.rmtree(copied / "detections")
    if stage == "train":
        shutil.rmtree(copied / "models")
    if stage == "extract":
        (table,) = copied.glob("features/*/train")
        shutil.rmtree(table / "_done")
        (table / "_manifest.json").unlink()
    with pytest.raises(MissingShardError if "is missing" in message else DamagedFileError) as caught:
        driver.run_stages(run_config(copied, shapes_root), (stage,))
    assert str(caught.value).startswith(message.format(path=path, table=path.parent.parent))
