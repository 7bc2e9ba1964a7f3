from rcnn_dist.report.drawing import BoxKind, draw_detections, draw_plain
from rcnn_dist.report.page import render_report
from rcnn_dist.report.published import published_rows
from rcnn_dist.report.run_data import (
    Curve,
    DrawnBox,
    DrawnImage,
    Example,
    Failure,
    FalsePositive,
    ProposalRecall,
    PublishedRow,
    Refit,
    ReportData,
    StageTiming,
    Verdict,
)

__all__ = [
    "BoxKind",
    "Curve",
    "DrawnBox",
    "DrawnImage",
    "Example",
    "Failure",
    "FalsePositive",
    "ProposalRecall",
    "PublishedRow",
    "Refit",
    "ReportData",
    "StageTiming",
    "Verdict",
    "draw_detections",
    "draw_plain",
    "published_rows",
    "render_report",
]
