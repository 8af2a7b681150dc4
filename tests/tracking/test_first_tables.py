"""Several processes that come to a SQLite file which is not there yet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.tracking.card import Card
from tests.sweeps import REPO

OPENING = """
import sys
from pathlib import Path
from pipeline.tracking.mlflow_tracker import Mirror
folder = Path(sys.argv[1])
folder.mkdir()
(folder / "config.yaml").write_text("steps: 4")
sys.stdin.read()
Mirror(sys.argv[2]).open(folder, folder.name, {"steps": 4})
"""


@pytest.mark.slow
def test_those_who_come_first_together_make_the_tables_once(tmp_path: Path) -> None:
    names, uri = ("a", "b", "c"), f"sqlite:///{tmp_path / 'mlflow.db'}"
    coming = [
        subprocess.Popen(
            [sys.executable, "-c", OPENING, str(tmp_path / name), uri],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in coming:  # at once, after all have imported what they need before
        assert process.stdin is not None
        process.stdin.close()
    said = [process.stderr.read() for process in coming if process.stderr is not None]
    assert [process.wait() for process in coming] == [0, 0, 0], said
    assert len({Card.read(tmp_path / name).run_id for name in names} - {""}) == 3


@pytest.mark.slow
def test_a_file_in_a_folder_still_to_be_made_with_both_kinds_of_quotes_is_opened_like_any_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'it\'s "mine"'
    folder.mkdir()
    asked = [sys.executable, "-c", OPENING, str(folder / "run"), f"sqlite:///{folder / 'new' / 'mlflow.db'}"]
    subprocess.run(asked, cwd=folder, env=os.environ | {"PYTHONPATH": str(REPO)}, input=b"", check=True)
    assert "error" not in capfd.readouterr().err.lower()
    assert Card.read(folder / "run").run_id
