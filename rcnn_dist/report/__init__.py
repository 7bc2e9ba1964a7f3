from rcnn_dist.report.drawing import BoxKind, draw_detections
from rcnn_dist.report.page import (
    Curve,
    Example,
    Failure,
    PublishedRow,
    Refit,
    ReportData,
    StageTiming,
    Verdict,
    render_report,
)
from rcnn_dist.report.published import published_rows

__all__ = [
    "BoxKind",
    "Curve",
    "Example",
    "Failure",
    "PublishedRow",
    "Refit",
    "ReportData",
    "StageTiming",
    "Verdict",
    "draw_detections",
    "published_rows",
    "render_report",
]
