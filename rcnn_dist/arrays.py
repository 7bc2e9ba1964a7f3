"""Shapes as types: the letters every signature uses.

N images, R regions, G objects (ground truth), K kept, C classes without background, D feature size, B batch, S input side,
P/M positives/negatives, H/W image height/width. Boxes are (x1, y1, x2, y2), 0-based, half-open, continuous pixels:
width = x2 - x1. Images are RGB. Shapes and dtypes are checked while the tests run (jaxtyping).
"""

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Float64, Int64, UInt8

Array = np.ndarray

__all__ = ["Array", "Bool", "Float", "Float16", "Float32", "Float64", "Int64", "UInt8"]
