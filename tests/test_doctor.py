"""`graft doctor`: lines, mends, exit code and JSON, of this machine as it is and with real faults."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli, doctor
from tests.cluster.listeners import closed_port, mute

ROOT = Path(__file__).parents[1]
NAMES = (
    "python torch devices bf16 torchvision compiler threads runs cache exports home weights ray,ray token,"
    "ray cluster,mlflow s3 ports"
)
ASKED = [name for part in NAMES.split(",") for name in ([part] if part.startswith("ray ") else part.split())]


def examine(folder: Path, *words: str, **variables: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Exit code, checks by name, and what was printed; nothing configured but `variables`."""
    front = ("RAY_", "MLFLOW_", "AWS_", "GRAFT_", "OMP_", "MKL_", "OPENBLAS_")
    bare = {key: value for key, value in os.environ.items() if not key.startswith(front)}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.doctor", "--json", str(folder / "doctor.json"), *words],
        cwd=folder,
        env={**bare, "PYTHONPATH": str(ROOT), "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == ""
    checks = json.loads((folder / "doctor.json").read_text())["checks"]
    return done.returncode, {each["name"]: each for each in checks}, done.stdout


@pytest.mark.slow
def test_nothing_configured_is_nothing_failed(tmp_path: Path) -> None:
    code, checks, said = examine(tmp_path)
    assert list(checks) == ASKED
    assert code == 0, said
    assert [each["name"] for each in checks.values() if each["state"] == "fail"] == []
    assert "\x1b" not in said  # no colours in a pipe
    for each in checks.values():
        assert bool(each["mend"]) is (each["state"] != "ok"), each
        assert each["found"]
        assert f"  {each['found']}\n" in said
        assert not each["mend"] or f"mend: {each['mend']}\n" in said
    assert [path.name for path in tmp_path.iterdir()] == ["doctor.json"]


@pytest.mark.slow
def test_what_was_named_and_does_not_work_fails_and_hangs_nothing(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    with mute() as port:
        code, checks, said = examine(
            tmp_path,
            "--runs",
            "/proc/runs",
            RAY_ADDRESS=f"127.0.0.1:{closed_port()}",
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN_PATH=str(token),
            MLFLOW_TRACKING_URI=f"http://somebody:password@127.0.0.1:{port}",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{closed_port()}",
            GRAFT_WEIGHTS=str(tmp_path / "none"),
            OMP_NUM_THREADS="4096",
        )
    assert code == 5
    failed = {name for name, each in checks.items() if each["state"] == "fail"}
    assert failed == {"runs", "cache", "weights", "ray cluster", "mlflow", "s3"}
    assert {"threads", "ray token"} <= {name for name, each in checks.items() if each["state"] == "warn"}
    assert all(each["mend"] for each in checks.values() if each["state"] != "ok")
    assert "password" not in said
    assert "secret" not in said


def test_a_terminal_gets_colours_and_a_wrong_word_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cluster.checks import Check

    found = [Check("one", "ok", "fine"), Check("second", "fail", "broken", "mend it so")]
    plain = ["ok      one     fine", "fail    second  broken", f"{'':16}mend: mend it so", "1 ok, 1 fail"]
    assert doctor.lines(found) == plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert doctor.lines(found)[1] == "\x1b[31mfail  \x1b[0m  second  broken"
    assert cli.main(["doctor", "--jsn", "x"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
