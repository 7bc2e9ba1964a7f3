import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rcnn_dist.cli import app
from rcnn_dist.errors import ConfigError
from rcnn_dist.evaluate.operating_points import operating_points, score_at_precision
from rcnn_dist.stages.evaluate import evaluate
from rcnn_dist.stages.examples import draw_images, image_boxes, list_false_positives
from rcnn_dist.stages.judged import judge_detections
from rcnn_dist.stages.run import Run


@pytest.fixture(scope="module")
def judged(finished_run):
    run = Run(finished_run)
    found = evaluate(run)
    return run, found, judge_detections(run, found)


def invoke(*arguments):
    return CliRunner().invoke(app, ["runs", "draw", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize("precision", [0.05, 0.2, 0.5])
def test_a_precision_means_the_score_that_detect_would_take(judged, precision):
    _, found, own = judged
    for name, result in found.results.items():
        scores = found.detections[name].scores
        threshold = score_at_precision(operating_points(scores[result.matches.order], result.precision), precision)
        expected = scores >= threshold if threshold is not None else np.zeros(len(scores), bool)
        assert (own[name].precision >= precision).tolist() == expected.tolist()


def test_each_false_positive_has_a_kind_and_nothing_else_has(judged):
    _, found, own = judged
    for name, result in found.results.items():
        verdicts = own[name].verdict
        assert verdicts.count("true") == np.count_nonzero(result.matches.is_true_positive)
        assert verdicts.count("false") == np.count_nonzero(result.matches.is_false_positive)
        assert all((kind != "") <= (verdict == "false") for kind, verdict in zip(own[name].kind, verdicts, strict=True))
        listed = [one for one in list_false_positives(found, own) if one.class_name == name]
        assert len(listed) == min(5, verdicts.count("false"))
        assert [one.score for one in listed] == sorted((one.score for one in listed), reverse=True)


def test_all_boxes_of_an_image_above_a_precision_the_most_precise_first(judged):
    run, found, own = judged
    everything = image_boxes(found, own, 1, 0.0)
    assert len(everything) == sum(np.count_nonzero(rows.image == 1) for rows in found.detections.values())
    precisions = [box.precision for box in everything]
    assert precisions == sorted(precisions, reverse=True)
    middle = precisions[len(precisions) // 2]
    assert len(image_boxes(found, own, 1, middle)) == sum(value >= middle for value in precisions)
    images = draw_images(run, found, own)
    assert sorted(image.image_id for image in images) == sorted(found.image_ids)


def test_the_command_draws_chosen_images_and_images_of_chance(finished_run, tmp_path):
    run = finished_run.run.dir
    assert invoke(run, "--image", "test_000002", "--out", tmp_path / "chosen").exit_code == 0
    assert [path.name for path in (tmp_path / "chosen").iterdir()] == ["test_000002.jpg"]
    assert max(Image.open(tmp_path / "chosen" / "test_000002.jpg").size) == 900
    names = {}
    for seed in (0, 0, 5):
        out = tmp_path / f"seed{seed}-{len(names)}"
        assert invoke(run, "--count", 2, "--seed", seed, "--precision", 0, "--out", out).exit_code == 0
        names[len(names)] = sorted(path.name for path in out.iterdir())
    assert names[0] == names[1] != names[2]
    with pytest.raises(ConfigError, match="--image nobody: the test set of .* has no such image"):
        invoke(run, "--image", "nobody", "--out", tmp_path)
