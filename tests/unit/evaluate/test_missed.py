import numpy as np
import pytest

from rcnn_dist.evaluate.missed import blame_missed

OBJECT, FAR = np.array([[0.0, 0, 10, 10]]), np.array([[50.0, 50, 60, 60]])
NONE = np.zeros((0, 4))


@pytest.mark.parametrize(
    ("proposals", "scored", "placed", "kept", "cause"),
    [
        (FAR, FAR, FAR, True, "proposals"),
        (OBJECT, FAR, OBJECT, True, "classifier"),
        (OBJECT, OBJECT, FAR, True, "regression"),
        (OBJECT, OBJECT, OBJECT, False, "suppression"),
        (OBJECT, OBJECT, OBJECT, True, "another object"),
    ],
)
def test_the_first_step_that_lost_it_is_to_blame(proposals, scored, placed, kept, cause):
    assert blame_missed(OBJECT, proposals, scored, placed, np.array([kept]), 0.5) == [cause]


def test_nothing_scored_and_nothing_missed():
    kept = np.zeros(0, bool)
    assert blame_missed(OBJECT, OBJECT, NONE, NONE, kept, 0.5) == ["classifier"]
    assert blame_missed(OBJECT, NONE, NONE, NONE, kept, 0.5) == ["proposals"]
    assert blame_missed(NONE, OBJECT, NONE, NONE, kept, 0.5) == []
