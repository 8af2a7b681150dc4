"""One program, three ways in: quick help, one sentence for an error, an exit code that says its kind."""

import errno
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster.errors import MachineError
from models.files.errors import WeightsError
from pipeline import cli
from pipeline.errors import GraftError

ROOT = Path(__file__).parents[1]
WRITTEN = [
    name for name, (module, _) in cli.VERBS.items() if (ROOT / f"{module.replace('.', '/')}.py").exists()
]
HEAVY = ("torch", "ray", "mlflow", "scipy", "webdataset")


def raising(error: BaseException):
    def verb(argv: list[str]) -> int:
        raise error

    return verb


def start(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_help_fits_a_screen_and_names_every_verb(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 24
    assert max(map(len, said.splitlines())) <= 110
    assert all(f"  {name}" in said for name in cli.VERBS)
    assert "graft sweep configs/demo.yaml" in said


def test_help_and_a_wrong_verb_load_nothing_heavy():
    program = f"""
import resource, sys
from pipeline.cli import main
assert main(["--help"]) == 0 and main(["swep"]) == 2
heavy = [name for name in {HEAVY} if name in sys.modules]
assert not heavy, heavy
used = resource.getrusage(resource.RUSAGE_SELF)
assert used.ru_utime + used.ru_stime < 0.5, used
"""
    done = start("-c", program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", WRITTEN)
def test_help_of_a_verb_is_quick_and_fits_a_screen(name):
    program = f"""
import resource, sys
from pipeline.cli import main
assert main([{name!r}, "--help"]) == 0
heavy = [each for each in {HEAVY} if each in sys.modules]
assert not heavy, heavy
used = resource.getrusage(resource.RUSAGE_SELF)
assert used.ru_utime + used.ru_stime < 0.6, used
"""
    done = start("-c", program)
    assert done.returncode == 0, done.stderr
    assert 2 <= len(done.stdout.splitlines()) <= 40
    assert f"graft {name}" in done.stdout


@pytest.mark.parametrize("name", WRITTEN)
def test_a_verb_is_the_same_program_by_its_module(name):
    by_module = start("-m", f"pipeline.{name}", "--no-such-flag")
    by_program = start("-m", "pipeline", name, "--no-such-flag")
    assert by_module.returncode == by_program.returncode == 2
    assert by_module.stderr == by_program.stderr
    assert by_module.stderr.startswith("error: ")
    assert len(by_module.stderr.splitlines()) == 1


def test_the_nearest_verb_is_named(capsys):
    assert cli.main(["swep"]) == 2
    assert capsys.readouterr().err == "error: unknown verb 'swep'; did you mean 'sweep'?\n"


def test_no_verb_prints_the_help_and_is_an_error(capsys):
    assert cli.main([]) == 2
    assert "usage: graft VERB" in capsys.readouterr().err


def test_the_version_is_the_package_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("graft 0.")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (GraftError("x.yaml:2: wrong"), 2, "error: x.yaml:2: wrong\n"),
        (GraftError("a.png: truncated", 3), 3, "error: a.png: truncated\n"),
        (GraftError("2 of 9 cells failed", 4), 4, "error: 2 of 9 cells failed\n"),
        (WeightsError("w.pt: refused"), 3, "error: w.pt: refused\n"),
        (MachineError("no Ray at 10.0.0.1"), 5, "error: no Ray at 10.0.0.1\n"),
        (KeyboardInterrupt(), 130, "interrupted: what is saved is whole, and the same command continues\n"),
    ],
)
def test_what_is_meant_for_people_is_one_sentence_and_a_code(capsys, error, code, said):
    assert cli.run(raising(error), []) == code
    assert capsys.readouterr().err == said


def test_a_full_disk_is_the_environment(capsys):
    assert cli.run(raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a")), []) == 5
    assert capsys.readouterr().err.startswith("error: runs/a: no space left on the disk")
    in_words = RuntimeError("Error while serializing: No space left on device (os error 28)")
    assert cli.run(raising(in_words), []) == 5


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run(raising(ZeroDivisionError()), [])
    with pytest.raises(OSError, match="denied"):
        cli.run(raising(OSError(errno.EACCES, "denied")), [])


@pytest.mark.parametrize("words", [["--debug", "x"], ["x", "--debug"]])
def test_debug_shows_the_traceback_and_is_not_handed_on(capsys, words):
    given: list[str] = []

    def verb(argv: list[str]) -> int:
        given.extend(argv)
        raise GraftError("wrong")

    assert cli.run(verb, words) == 2
    said = capsys.readouterr().err
    assert given == ["x"]
    assert "Traceback" in said
    assert said.endswith("error: wrong\n")


def test_argparse_complains_in_one_sentence(capsys):
    parser = cli.arguments("adapt", "graft adapt configs/adapt_lorelei.yaml")
    parser.add_argument("config")
    assert cli.run(lambda argv: parser.parse_args(argv) and 0, []) == 2
    assert capsys.readouterr().err.startswith(
        "error: the following arguments are required: config; see graft adapt"
    )
    assert cli.run(lambda argv: parser.parse_args(argv) and 0, ["--help"]) == 0
    assert "example:  graft adapt configs/adapt_lorelei.yaml" in capsys.readouterr().out


def test_sigterm_is_an_interrupt_and_a_second_one_is_ignored(capsys):
    saved: list[str] = []

    def verb(argv: list[str]) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            saved.append("checkpoint")
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert cli.run(verb, []) == 130
    assert saved == ["checkpoint"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_verb_runs_in_a_thread_too():
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(cli.run(lambda argv: 0, [])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_usage_reports_are_off_unless_the_user_said_otherwise(monkeypatch):
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    for name in cli.QUIET:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that the test leaves no trace
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    cli.run(lambda argv: 0, [])
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"


def test_colours_are_for_terminals(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert cli.paint("error:", cli.RED, io.StringIO()) == "error:"
    assert cli.paint("error:", cli.RED, Terminal()) == "\x1b[31merror:\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.paint("error:", cli.RED, Terminal()) == "error:"


def test_a_reader_that_leaves_is_no_error():
    program = "from pipeline.cli import run; raise SystemExit(run(lambda argv: print('x\\n' * 200000) or 0))"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == cli.BROKEN_PIPE
