"""Numbers that the paper printed for the test sets that a run can share with it."""

import csv
from collections.abc import Sequence
from importlib.resources import files

from rcnn_dist.errors import ConfigError
from rcnn_dist.report.run_data import PublishedRow

_VOC2007 = (("table2_voc2007_test.csv", "Table 2, voc07"), ("table3_voc2007_test.csv", "Table 3, voc07"))
_VOC2010 = (("table1_voc2010_test.csv", "Table 1, area"),)
_ILSVRC2013 = (("table8_ilsvrc2013_test.csv", "Table 8, test, ilsvrc"), ("figure3_ilsvrc2013_test.csv", "Figure 3, test, ilsvrc"))
_TABLES = {"voc2007test": _VOC2007, "voc2010test": _VOC2010, "ilsvrc2013val2": _ILSVRC2013, "ilsvrc2013test": _ILSVRC2013}
_SEGMENTATION = {
    "voc2011val": (("table5_voc2011_val_seg_means.csv", "Table 5"), ("table7_voc2011_val_seg.csv", "Table 7")),
    "voc2011test": (("table6_voc2011_test_seg.csv", "Table 6"),),
}
_ABOUT = ("strategy", "layer")


def published_rows(data_name: str, classes: Sequence[str]) -> tuple[PublishedRow, ...]:
    """The paper's rows for this test set, in percent as printed, in the paper's order.

    Law: empty unless `data_name` is VOC2007 test, VOC2010 test, or ILSVRC2013 val2 or test (case, spaces and punctuation aside) and
    `classes` are the 20 of VOC or the 200 of ILSVRC in any order, because a mean over other classes or pictures cannot be compared. The
    entries of Figure 3 hold means alone.

    Paper: Tables 1, 2, 3 and 8, Figure 3.
    """
    name = "".join(letter for letter in data_name.casefold() if letter.isalnum())
    rows = [row for file, source in _TABLES.get(name, ()) for row in read_published(file, source).values()]
    comparable = [row for row in rows if sorted(row.values) == sorted(classes)]
    return (*comparable, *(row for row in rows if comparable and not row.values))


def published_segmentation(data_name: str, classes: Sequence[str]) -> tuple[PublishedRow, ...]:
    """The paper's rows of segmentation accuracy for this set, the background among the classes; those of Table 5 hold means alone.

    Law: empty unless `data_name` is VOC2011 val or VOC2011 test and `classes` are the 20 of VOC in any order.

    Paper: Tables 5, 6 and 7.
    """
    name = "".join(letter for letter in data_name.casefold() if letter.isalnum())
    rows = [row for file, source in _SEGMENTATION.get(name, ()) for row in read_published(file, source, "mean").values()]
    wanted = sorted(["background", *classes])
    return tuple(rows) if all(sorted(row.values) == wanted for row in rows if row.values) else ()


def read_published(file: str, source: str = "", mean: str = "mAP") -> dict[str, PublishedRow]:
    """Method -> row of a table that comes with the package, in percent as printed.

    Raises:
        ConfigError: no such table comes with it.
    """
    table = files("rcnn_dist.report").joinpath("data", file)
    if not table.is_file():
        raise ConfigError(f"no published table {file} comes with the package")
    with table.open(encoding="utf-8") as lines:
        records = list(csv.DictReader(lines))
    return {
        record["method"]: PublishedRow(
            method=record.pop("method"),
            mean=float(record.pop(mean)),
            values={name: float(ap) for name, ap in record.items() if name not in _ABOUT},
            source=source,
        )
        for record in records
    }
