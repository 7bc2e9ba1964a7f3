"""Every configuration begins with what one wants to know before it runs for days."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = [*sorted((ROOT / "configs").glob("*.yaml")), *sorted((ROOT / "configs" / "ablations").glob("*.yaml"))]
COMMAND = re.compile(r"^# (ray job submit .*-- )?(rcnn-dist|python jobs/\w+\.py) ", re.MULTILINE)


def header(path):
    lines = path.read_text().splitlines()
    return "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
class TestHeader:
    def test_it_begins_with_the_command(self, path):
        text = header(path)
        assert COMMAND.match(text)
        named = re.findall(r"configs/[\w/]+\.yaml", text.splitlines()[0])
        assert set(named) <= {str(path.relative_to(ROOT))}

    @pytest.mark.parametrize("wanted", ["Hardware", "[Tt]ime", "[Dd]isk"])
    def test_it_says_what_the_run_takes(self, path, wanted):
        assert re.search(wanted, header(path))

    def test_it_says_which_number_to_expect_and_whose_it_is(self, path):
        text = header(path)
        numbers = re.search(r"Published[^\n]*\d|Expected[^\n]*\d", text)
        none = re.search(r"not its accuracy|no published number|no number|[Nn]othing is published|No number", text)
        assert numbers or none, text
        if "Published" in text:
            assert re.search(r"arXiv:1311\.2524v5|Tables? \d|model card|OverFeat|§", text), "the source"
