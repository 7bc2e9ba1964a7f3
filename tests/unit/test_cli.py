import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from rcnn_dist.cli import app, guarded
from rcnn_dist.errors import ConfigError, RunStoppedError, TooManyFailuresError

ROOT = Path(__file__).parent.parent.parent


def commands(group, path=()):
    """The words of every command, of groups within groups too."""
    for name, command in group.commands.items():
        yield from commands(command, (*path, name)) if hasattr(command, "commands") else [" ".join((*path, name))]


@pytest.mark.parametrize("command", list(commands(typer.main.get_command(app))))
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: rcnn-dist {command}" in " ".join(result.output.split())


def test_help_loads_neither_torch_nor_ray():
    code = "import sys; sys.argv = ['rcnn-dist', '--help']\nfrom rcnn_dist.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'ray', 'pyarrow', 'numpy') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["run", "none.yaml"], 2, "no configuration none.yaml"),
        (["run", "configs/fruit.yaml", "--set", "data.root=/nowhere"], 1, "no VOC data set at /nowhere"),
    ],
)
def test_mistakes_end_with_one_message_and_an_exit_code(arguments, exit_code, message):
    """In a process of its own; many more are tried in tests/pipeline/test_mistakes.py."""
    found = subprocess.run(
        [sys.executable, "-c", "from rcnn_dist.cli import main; main()", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert found.returncode == exit_code
    assert message in found.stderr
    assert "Traceback" not in found.stderr


def test_exit_codes_say_how_it_ended(capsys):
    def end_with(error):
        def command():
            raise error

        return guarded(command)

    assert guarded(lambda: None) == 0
    assert end_with(ConfigError("wrong key")) == 2
    assert end_with(TooManyFailuresError("12 images")) == 3
    assert end_with(RunStoppedError("stopped")) == 75
    assert end_with(KeyboardInterrupt()) == 75
    assert capsys.readouterr().err.splitlines()[0] == "error: wrong key"


@pytest.mark.parametrize("job", ["voc.py", "extract_features.py"])
def test_the_job_is_the_same_as_the_command(job):
    found = subprocess.run([sys.executable, f"jobs/{job}"], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 2
    assert found.stderr.startswith("error: data.root is not set")
