"""`graft VERB ...`, `python -m pipeline VERB ...`, `python -m pipeline.VERB ...`: one program.

Nothing heavy is imported here, so `--help` and a wrong argument answer at once.
"""

import argparse
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TextIO

from pipeline.errors import CONFIG, ENVIRONMENT, INTERRUPTED, GraftError, causes, is_full
from pipeline.nearest import did_you_mean

VERBS: dict[str, tuple[str, str]] = {
    "sweep": (
        "pipeline.sweep",
        "run a grid of methods, targets, shots and seeds; print the table; export the best",
    ),
    "adapt": ("pipeline.adapt", "run one cell of such a grid, in this process"),
    "pretrain": ("pipeline.pretrain", "train a source model from shards"),
    "evaluate": ("pipeline.evaluate", "judge a checkpoint or an exported model"),
    "compare": ("pipeline.compare", "print and write the tables of finished runs"),
    "sample": ("pipeline.sample", "draw or translate pictures with an exported model; grids, interpolations"),
    "export": ("pipeline.export", "write a trained model with its card and a grid of pictures"),
    "import": ("pipeline.import", "read a model that another program wrote: StarGAN v2's checkpoints"),
    "data": ("pipeline.data.verb", "pack pictures into shards; check what is in them"),
    "doctor": ("pipeline.doctor", "say what of this machine, cluster, tracker and store works, and the mend"),
    "sync": ("pipeline.sync", "complete the MLflow mirror from what lies on disk"),
}
# The leaves cannot know GraftError, yet these are for people too; named, not imported: they load torch.
LEAVES = (("models.files.errors", "WeightsError"), ("cluster.errors", "MachineError"))
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # today's behaviour, without the warning about tomorrow's
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",  # mlflow asks for git; without one its advice is an essay
    "DO_NOT_TRACK": "1",
}
BROKEN_PIPE = 128 + 13  # what a shell reports of a program that SIGPIPE ended
RED, BOLD = "31", "1"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `graft`'s own arguments; returns the exit code."""
    return run(_dispatch, argv)


def run(verb: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a verb, say what went wrong in one sentence, return the exit code. Bugs keep their traceback."""
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != "--debug"]
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with _term_is_interrupt():
            code = verb(words)
            sys.stdout.flush()
        return code
    except SystemExit as leaving:  # argparse leaves so after --help
        return leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except KeyboardInterrupt:
        return _say("interrupted: what is saved is whole, and the same command continues", INTERRUPTED, given)
    except BrokenPipeError:  # `graft compare | head`: the reader left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except _for_people() as error:
        return _say(f"error: {error}", getattr(error, "exit_code", CONFIG), given)
    except Exception as error:
        if not is_full(error):
            raise
        return _say(f"error: {_full_sentence(error)}", ENVIRONMENT, given)


class Arguments(argparse.ArgumentParser):
    """An argument parser whose complaints are GraftErrors: argparse's own are two lines and its own exit."""

    def error(self, message: str) -> NoReturn:
        raise GraftError(f"{message}; see {self.prog} --help")


def arguments(verb: str, example: str) -> Arguments:
    """The parser of a verb: its one line from VERBS, and an example that works below."""
    about = VERBS[verb][1]
    return Arguments(
        prog=f"graft {verb}",
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"example:  {example}\n\n--debug shows the traceback of an error.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def resources_option(parser: argparse.ArgumentParser) -> None:
    """--resources, for verbs that train; single keys are overrides: resources.accumulate=2."""
    parser.add_argument(
        "--resources",
        metavar="NAME_OR_FILE",
        help="how a job runs, not what it computes: a file of configs/resources, or another",
    )


def paint(text: str, colour: str, stream: TextIO) -> str:
    """`text` in an ANSI colour (RED, BOLD) where `stream` is a terminal that wants colours; else as it is."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def help_text(stream: TextIO) -> str:
    """What `graft --help` prints."""
    verbs = "\n".join(f"  {paint(f'{name:<9}', BOLD, stream)} {about}" for name, (_, about) in VERBS.items())
    return f"""Graft adapts a generator to ten pictures, and judges every method alike in one table.

usage: graft VERB CONFIG [key.path=value ...]        (the same: python -m pipeline.VERB)

{verbs}

  graft sweep configs/demo.yaml           a first table, report and model; needs nothing from outside
  graft sweep --explain weights.distance  what a key means, its unit, range, default and source
  graft VERB --help                       one verb, with an example that works

--version prints the version; --debug shows the traceback of an error.
exit codes: 0 done, 2 command or config, 3 input file, 4 some cells failed, 5 environment, 130 interrupted"""


def _dispatch(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        stream = sys.stdout if argv else sys.stderr
        print(help_text(stream), file=stream)
        return 0 if argv else CONFIG
    name, *rest = argv
    if name == "--version":
        from importlib.metadata import version

        print(f"graft {version('graft')}")
        return 0
    if name not in VERBS:
        raise GraftError(f"unknown verb '{name}'{did_you_mean(name, VERBS)}")
    verb: Callable[[list[str]], int] = importlib.import_module(VERBS[name][0]).main
    return verb(rest)


@contextmanager
def _term_is_interrupt() -> Iterator[None]:
    """SIGTERM (Slurm, Kubernetes, spot) interrupts like Ctrl-C; a second one does not disturb the saving."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _for_people() -> tuple[type[Exception], ...]:
    """The classes whose text is a sentence; one whose module was never loaded cannot have been raised."""
    loaded = [(sys.modules[module], name) for module, name in LEAVES if module in sys.modules]
    return (GraftError, *(getattr(module, name) for module, name in loaded))


def _full_sentence(error: BaseException) -> str:
    names = [each.filename for each in causes(error) if isinstance(each, OSError) and each.filename]
    where = f"{names[0]}: " if names else ""
    return (
        f"{where}no space left on the disk; what is saved is whole: free some, and the same command continues"
    )


def _say(sentence: str, code: int, given: Sequence[str]) -> int:
    """Print the sentence, after the traceback of the error being handled where --debug was given."""
    if "--debug" in given:
        traceback.print_exc()
    head, colon, rest = sentence.partition(":")
    print(paint(head + colon, RED, sys.stderr) + rest, file=sys.stderr)
    return code
