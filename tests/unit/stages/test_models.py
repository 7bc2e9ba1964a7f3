import numpy as np
import pytest

from rcnn_dist.errors import DamagedFileError, MissingShardError
from rcnn_dist.regress.ridge import BoxRegressor
from rcnn_dist.stages.models import ClassModel, load_model, publish_models, trained_classes
from rcnn_dist.store.manifest import MANIFEST

ABOUT = {"mean_norms": {"fc7": 2.5}, "target_norm": 20.0}


def model(seed, with_regressor=True, bias=0.5):
    rng = np.random.default_rng(seed)
    regressor = BoxRegressor(rng.random((4, 4), np.float32), rng.random(4), rng.random((4, 4)), rng.random((4, 4)))
    return ClassModel(rng.random(3, np.float32), bias, regressor if with_regressor else None)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_models_come_back_in_the_order_that_is_asked_for(tmp_path):
    models = {"dog": model(1), "cat": model(2, with_regressor=False), "salt/pepper": model(3, bias=-np.inf)}
    publish_models(str(tmp_path), models, ABOUT, {})
    assert trained_classes(str(tmp_path)) == ("cat", "dog", "salt/pepper")
    found = load_model(str(tmp_path), ("salt/pepper", "cat", "dog"))
    assert found.mean_norms == {"fc7": 2.5}
    assert found.detector.classes == ("salt/pepper", "cat", "dog")
    np.testing.assert_array_equal(found.detector.weights, [models[name].weights for name in found.detector.classes])
    np.testing.assert_array_equal(found.detector.biases, np.array([-np.inf, 0.5, 0.5], np.float32))
    assert set(found.detector.regressors) == {0, 2}
    for name in ("weights", "target_mean", "whitening", "unwhitening"):
        np.testing.assert_array_equal(getattr(found.detector.regressors[2], name), getattr(models["dog"].regressor, name))


def test_together_or_one_after_the_other_gives_the_same_files(tmp_path):
    models = {"b": model(1), "a": model(2), "c": model(3)}
    publish_models(str(tmp_path / "together"), models, ABOUT, {"stage": "train"})
    for name in ("c", "a", "b"):
        publish_models(str(tmp_path / "apart"), {name: models[name]}, ABOUT, {"stage": "train"})
    assert contents(tmp_path / "together") == contents(tmp_path / "apart")
    assert MANIFEST in contents(tmp_path / "apart")


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(MissingShardError, match="holds no model of class 'dog': run the stage train first"):
        load_model(str(tmp_path), ("dog",))
    publish_models(str(tmp_path), {"dog": model(1)}, ABOUT, {})
    with pytest.raises(MissingShardError, match="'cat'"):
        load_model(str(tmp_path), ("dog", "cat"))
    (tmp_path / "dog.safetensors").write_bytes(b"")
    with pytest.raises(DamagedFileError, match=r"dog\.safetensors"):
        load_model(str(tmp_path), ("dog",))
