"""The features of a run in other programs' forms."""

from rcnn_dist.errors import ConfigError
from rcnn_dist.stages.record import read_record
from rcnn_dist.store import files
from rcnn_dist.store.layer_export import export_lists, export_npy

_FORMS = {"list": export_lists, "npy": export_npy}


def export_features(run_url: str, form: str, out: str) -> list[str]:
    """Writes the features of every split that the run has, each into a folder of its name; the urls of the files.

    Raises:
        ConfigError: the run has no features.
    """
    folders = read_record(run_url).get("extract", {}).get("folders", ())
    if not folders:
        raise ConfigError(f"{run_url} has no features: give the directory of a run whose stage extract has ended")
    return [url for folder in folders for url in _FORMS[form](files.join(run_url, folder), files.join(out, folder.split("/")[-1]))]
