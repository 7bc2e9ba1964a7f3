"""The stored features of a run, opened to be looked into."""

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import read_image
from rcnn_dist.errors import BadImageError, ConfigError
from rcnn_dist.stages import extract
from rcnn_dist.stages.plan import changed_fields, read_plan
from rcnn_dist.stages.record import read_config, read_record
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files


class StoredFeatures:
    """A run's features table, one folder per split, and the photographs that it was made of.

    Raises:
        ConfigError: there is no run, it has no features, or its configuration has changed since they were made.
    """

    def __init__(self, run_url: str) -> None:
        self.config = read_config(run_url)
        self.run = Run(self.config)
        self.folders = [files.join(run_url, folder) for folder in read_record(run_url).get("extract", {}).get("folders", ())]
        if not self.folders:
            raise ConfigError(f"{run_url} has no features: give the directory of a run whose stage extract has ended")
        plan = read_plan(self.folders[0])
        inputs = plan.inputs if plan else {}
        wanted = extract.forward_inputs(self.config)
        if changes := changed_fields({name: inputs.get(name, {}) for name in wanted}, wanted):
            raise ConfigError(f"{run_url} has another configuration than its features ({'; '.join(changes)}): run its stage extract again")
        self.finetuned = files.join(run_url, inputs["finetuned"]) if "finetuned" in inputs else None

    def layer(self, name: str | None) -> str:
        """A stored layer; None: the one that classes are trained on, or the last one stored.

        Raises:
            ConfigError: the store does not hold it.
        """
        stored = self.config.extract.layers
        if name is None:
            return self.config.classify.layer if self.config.classify.layer in stored else stored[-1]
        if name not in stored:
            raise ConfigError(f"layer {name} is not stored: the run has {', '.join(stored)}")
        return name

    def read_image(self, image: str) -> Array:
        """The pixels of a file, or of an image of the run's data, uint8 [H, W, 3].

        Raises:
            ConfigError: it is neither, or cannot be read.
        """
        if files.exists(image):
            return self._decode(image, image)
        if not any(image in self.run.image_ids(split) for split in self.run.splits):
            raise ConfigError(f"{image} is neither a file nor an image of {self.run.dataset.name}")
        return self.read_stored(image)

    def read_stored(self, image_id: str) -> Array:
        """The pixels of an image of the run's data.

        Raises:
            ConfigError: it cannot be read.
        """
        return self._decode(image_id, self.run.dataset.image_url(image_id))

    def _decode(self, name: str, url: str) -> Array:
        try:
            return read_image(url, self.config.data.max_pixels, self.config.data.exif_rotation)
        except BadImageError as error:
            raise ConfigError(f"{name} cannot be read: {error}") from error
