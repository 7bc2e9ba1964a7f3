"""A run's events as Prometheus metrics of the cluster that it runs on."""

from typing import Any

from ray.util.metrics import Counter, Gauge


class RayMetrics:
    """Counts what the events tell; Ray's agents serve the metrics, by default on every node's metrics port."""

    def __init__(self) -> None:
        stage = ("stage",)
        self._images = Counter("rcnn_images_total", "Images done, with rows or as failures.", tag_keys=stage)
        self._failures = Counter("rcnn_failed_images_total", "Images that could not be used.", tag_keys=stage)
        self._seconds = Counter("rcnn_phase_seconds_total", "Seconds of workers, by phase.", tag_keys=("stage", "phase"))
        self._deaths = Counter("rcnn_worker_deaths_total", "Workers that died.", tag_keys=stage)
        self._planned = Gauge("rcnn_planned", "Images or classes of the stage that runs.", tag_keys=stage)

    def __call__(self, event: str, /, stage: str = "", **fields: Any) -> None:
        tags = {"stage": stage}
        if event == "stage_started":
            self._planned.set(fields["total"], tags)
        elif event == "advanced" and fields["count"]:
            self._images.inc(fields["count"], tags)
        elif event == "worker_died":
            self._deaths.inc(1, tags)
        elif event == "shard_done":
            if fields["failures"]:
                self._failures.inc(fields["failures"], tags)
            for phase, seconds in fields["seconds"].items():
                if seconds:
                    self._seconds.inc(seconds, {**tags, "phase": phase})
