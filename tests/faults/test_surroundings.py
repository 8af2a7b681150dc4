"""Clocks that jump, other locales, a home that cannot be written, spaces and Unicode in paths: no difference."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.broken import private_mounts, with_mount
from tests.sweeps import Sweeps
from tests.test_resume import config, same
from tests.tiny import Tiny, make_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
ODD = 'größe ü/画 with spaces \'n "quotes" 100%'
# Without Python's own way out of an old locale, which is to take UTF-8 all the same.
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
HERE = Tiny(Path("source"), Path("target"), Path("heldout"))


@dataclass
class Surroundings:
    """Where a command runs and what it sees; `before` stands before it on the command line."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)

    def adapt(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One cell, its inputs and its runs by paths of this folder."""
        path = config(self.folder / "cdc.yaml", HERE, "cdc", 6)
        command = [sys.executable, "-m", "pipeline.adapt", path.name, "--device", "cpu", *words]
        environment = Sweeps(self.folder, HERE, self.variables).environment
        return subprocess.run(
            [*self.before, *command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=900,
        )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs") / "tiny"
    make_tiny(folder)
    return folder


def moved_in(inputs: Path, folder: Path) -> Surroundings:
    shutil.copytree(inputs, folder)
    return Surroundings(folder)


@pytest.fixture(scope="module")
def calm(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    plain = moved_in(inputs, tmp_path_factory.mktemp("calm") / "plain")
    done = plain.adapt("--tracker", "none")
    assert done.returncode == 0, done.stderr
    return plain.folder / "runs"


def jumping_clock(folder: Path) -> dict[str, str]:
    """The library that lies about the time, compiled."""
    library = folder / "jumping.so"
    source = Path(__file__).with_name("jumping.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True, timeout=120)
    asked = [sys.executable, "-c", "import time; print(*(int(time.time()) for _ in range(12)))"]
    told = subprocess.run(
        asked, env=os.environ | {"LD_PRELOAD": str(library)}, capture_output=True, text=True, check=True
    )
    times = [int(each) for each in told.stdout.split()]
    assert max(times) - min(times) > 86400, "the clock does not jump"
    return {"LD_PRELOAD": str(library)}


def locked_home(folder: Path) -> tuple[list[str], dict[str, str]]:
    """A home in which nothing can be made, for root neither: before the command, and its variables."""
    home = folder / "home"
    home.mkdir(mode=0o555)
    before = with_mount("ro,size=4k", home) if os.geteuid() == 0 else []
    tried = subprocess.run([*before, "touch", str(home / "file")], capture_output=True, timeout=60)
    assert tried.returncode != 0, "the home can be written"
    return before, {"HOME": str(home), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}


def turkish(folder: Path) -> dict[str, str]:
    """A locale of other capitals and a comma in numbers, compiled where the system has its source."""
    made = folder / "tr_TR.UTF-8"
    command = ["localedef", "-i", "tr_TR", "-f", "UTF-8", str(made)]
    if not Path("/usr/share/i18n/locales/tr_TR").is_file() or subprocess.run(command).returncode > 1:
        pytest.skip("tr_TR is not there, nor its source")
    return {"LC_ALL": "tr_TR.UTF-8", "LOCPATH": str(folder)}


needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to make a clock that jumps")
needs_mounts = pytest.mark.skipif(
    os.geteuid() == 0 and not private_mounts(), reason="root writes anywhere, and may not mount"
)


@needs_gcc
@needs_mounts
def test_all_of_them_at_once_make_no_difference(inputs: Path, calm: Path, tmp_path: Path) -> None:
    odd = moved_in(inputs, tmp_path / ODD)
    odd.before, home = locked_home(tmp_path)
    odd.variables = {**ASCII, **home, **jumping_clock(tmp_path)}
    done = odd.adapt("--tracker", "none")
    assert done.returncode == 0, done.stderr
    same(calm, odd.folder / "runs")


@needs_gcc
@pytest.mark.faults
def test_a_clock_that_jumps_makes_no_difference(inputs: Path, calm: Path, tmp_path: Path) -> None:
    here = moved_in(inputs, tmp_path / "plain")
    here.variables = jumping_clock(tmp_path)
    assert here.adapt("--tracker", "none").returncode == 0
    same(calm, here.folder / "runs")


@pytest.mark.faults
def test_capitals_and_commas_of_another_language_make_no_difference(
    inputs: Path, calm: Path, tmp_path: Path
) -> None:
    here = moved_in(inputs, tmp_path / "plain")
    here.variables = turkish(tmp_path)
    assert here.adapt("--tracker", "none").returncode == 0
    same(calm, here.folder / "runs")


@needs_mounts
@pytest.mark.faults
def test_a_sweep_on_ray_mirrored_to_mlflow_needs_no_home_and_no_plain_path(
    inputs: Path, tmp_path: Path
) -> None:
    odd = moved_in(inputs, tmp_path / ODD)
    before, home = locked_home(tmp_path)
    sweeps = Sweeps(odd.folder, HERE, home | {"LC_ALL": "C"})
    path = sweeps.write("größe", {"method": ["tgan"], "seed": [0, 1]}, {}, tracker="mlflow")
    done = subprocess.run(
        [*before, sys.executable, "-m", "pipeline.sweep", path.name, "--device", "cpu"],
        cwd=odd.folder,
        env=sweeps.environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert [result["status"] for result in sweeps.results("größe").values()] == ["done", "done"]
    assert (odd.folder / "mlflow.db").is_file()
    assert "Traceback" not in done.stderr
