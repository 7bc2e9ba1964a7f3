from pathlib import Path

import pytest

from rcnn_dist.ablation.spec import load_ablation
from rcnn_dist.errors import ConfigError

FOLDER = Path(__file__).parents[3] / "configs" / "ablations"


def write(tmp_path, variants="a: {}", **lines):
    (tmp_path / "base.yaml").write_text("detect: {nms_threshold: 0.4}\n")
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(["title: T", "base: base.yaml", *(f"{k}: {v}" for k, v in lines.items()), f"variants: {{{variants}}}"]))
    return path


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda p: p.name)
def test_every_ablation_that_comes_along_is_valid_and_says_how_to_run_it(path):
    assert f"python jobs/ablation.py configs/ablations/{path.name}" in path.read_text().splitlines()[0]
    found = load_ablation(path)
    assert {variant.config.run.dir for variant in found.variants} == {f"runs/{path.stem}"}
    assert found.variants[0].config.data.root is None


def test_the_paper_s_tables_are_beside_their_variants():
    found = {variant.name: variant for variant in load_ablation(FOLDER / "table2.yaml").variants}
    assert {name: variant.published for name, variant in found.items()} == {
        "pool5": 44.2, "fc6": 46.2, "fc7": 44.7, "FT pool5": 47.3, "FT fc6": 53.1, "FT fc7": 54.2, "FT fc7 BB": 58.5,
    }  # fmt: skip
    assert found["FT fc6"].published_ap["cat"] == 60.2
    table4 = load_ablation(FOLDER / "table4.yaml").variants
    assert [(v.published, v.published_median) for v in table4] == [
        (20.9, 17.7), (24.1, 21.0), (24.1, 21.4), (26.5, 24.8), (29.7, 29.2), (31.0, 29.6),
    ]  # fmt: skip
    assert [v.published for v in load_ablation(FOLDER / "table3.yaml").variants] == [54.2, 58.5, 62.2, 66.0]
    assert [v.published for v in load_ablation(FOLDER / "appendix_b.yaml").variants][:2] == [54.2, 50.9]


def test_variants_change_what_the_command_line_and_the_file_have_changed_of_the_base(tmp_path):
    path = write(tmp_path, "a: {}, b: {set: {detect: {max_per_image: 7}}, tune_nms: {data: {test: val}}}", set="{run: {shard_images: 5}}")
    a, b = load_ablation(path, ["run.dir=x", "detect.max_per_image=9"]).variants
    assert (a.config.run.dir, a.config.run.shard_images, a.config.detect.nms_threshold, a.config.detect.max_per_image) == ("x", 5, 0.4, 9)
    assert b.config.detect.max_per_image == 7
    assert (b.config.data.test, b.tune_nms.data.test, a.tune_nms) == ("test", "val", None)


@pytest.mark.parametrize(
    ("variants", "lines", "message"),
    [
        ("", {}, "variants is empty"),
        ("a: {set: {detekt: {}}}", {}, "variant a: unknown key 'detekt'; did you mean 'detect'?"),
        ("a: {published: nobody}", {"published": "table3_voc2007_test.csv"}, "has no row 'nobody': it has R-CNN T-Net"),
        ("a: {published: nobody}", {}, "has no row 'nobody'"),
        ("a: {}", {"published": "table9.csv"}, "no published table table9.csv"),
        ("a: {set: {run: {dir: y}}}", {}, "run.dir belongs to all variants"),
        ("a: {}", {"color": "red"}, "is no ablation"),
    ],
)
def test_mistakes_are_named(tmp_path, variants, lines, message):
    with pytest.raises(ConfigError) as error:
        load_ablation(write(tmp_path, variants, **lines))
    assert message in str(error.value)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"no ablation file none\.yaml"):
        load_ablation(Path("none.yaml"))
