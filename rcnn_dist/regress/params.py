"""What box regression can be told; apart from `ridge`, so that a configuration loads no linear algebra."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BoxRegressionParams:
    """Which pairs teach a class's regressor, and how strongly it is regularised."""

    min_iou: float = 0.6  # paper App. C; strictly greater, as the original trains
    shared: bool = False  # one regressor for all classes, as OverFeat's (§4.6)
    ridge: float = 1000.0  # paper App. C, lambda
    whitening_epsilon: float = 1e-3  # rcnn_train_bbox_regressor.m, added to the eigenvalues
