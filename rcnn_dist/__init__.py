"""R-CNN as a distributed system: region features at cluster scale, and the complete detector on top of them.

Reference: Girshick, Donahue, Darrell, Malik, "Rich feature hierarchies for accurate object detection and semantic
segmentation", arXiv:1311.2524v5.
"""

__version__ = "0.1.0"
