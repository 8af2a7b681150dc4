"""A run's copy in an S3 store: what a lost disk or machine takes away here goes on from there.

FOLDER/checkpoints/000500/state.json comes last of its checkpoint, result.json last of all: what can be seen by them
is whole. The disk stays the truth; a store that does not answer never stops a run.
"""

import re
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cluster.download import Object
from cluster.errors import MachineError, ObjectError
from cluster.objects import fetch, listing, put_bytes, put_file, remove, url_of
from pipeline.errors import GraftError
from pipeline.store import KEPT, flush_folder, read_json

CHECKPOINT = re.compile(r"checkpoints/(\d+)/state\.json")
ASIDE = ".mirror"
OUTCOME = ("sweep.yaml", "table.md", "table.csv", "table.json", "report.html")
LAST_WORDS = 20.0  # seconds that a run that was stopped waits for its last checkpoint to arrive
WHOLE_AT_ONCE = 1 << 20  # bytes; a smaller file may be written while it is put, and is read in one piece


class Mirror:
    """What one cell puts into the store, from a thread of its own, and takes back. where: None does nothing."""

    def __init__(self, folder: Path, where: str | None) -> None:
        self.folder, self.where = folder.absolute(), where
        self._thread: threading.Thread | None = None
        self._news = threading.Condition()
        self._next: Path | None = None  # the newest checkpoint that is not there yet
        self._closing = self._whole = self._warned = False
        self._put_already: dict[Path, tuple[int, int]] = {}

    def take(self) -> None:
        """Brings a result that is not here, else a newer checkpoint than those here, with its metrics."""
        if self.where is None:
            return
        shutil.rmtree(self.folder / ASIDE, ignore_errors=True)
        try:
            self._take({one.name: one for one in listing(self.where)})
        except ObjectError:
            return  # nothing there yet
        except (MachineError, OSError) as error:
            self._warn(error)

    def saved(self, step: int, checkpoint: Path) -> None:
        """A whole checkpoint is on the disk: to be put. Its files are linked, for the run soon removes them."""
        if self.where is None:
            return
        linked = self.folder / ASIDE / checkpoint.name
        shutil.rmtree(linked, ignore_errors=True)
        linked.mkdir(parents=True)
        for path in checkpoint.iterdir():
            try:
                (linked / path.name).hardlink_to(path)
            except OSError:  # a file system without links
                shutil.copyfile(path, linked / path.name)
        with self._news:
            before, self._next = self._next, linked
            self._news.notify()
        if before is not None and before != linked:
            shutil.rmtree(before, ignore_errors=True)
        self._start()

    def close(self, whole: bool) -> None:
        """Puts what waits; of a whole run then all the rest, and its result last. Otherwise waits LAST_WORDS."""
        if self.where is None:
            return
        with self._news:
            self._closing, self._whole = True, whole
            self._news.notify()
        self._start()
        assert self._thread is not None
        self._thread.join(None if whole else LAST_WORDS)
        if not self._thread.is_alive():
            shutil.rmtree(self.folder / ASIDE, ignore_errors=True)

    def _take(self, there: dict[str, Object]) -> None:
        if (self.folder / "result.json").is_file():
            return
        beside = [name for name in there if not name.startswith("checkpoints/") and name != "result.json"]
        if "result.json" in there:
            self._bring(there, [*beside, "result.json"])
            return
        here = [int(path.name) for path in (self.folder / "checkpoints").glob("[0-9]*")]
        steps = sorted(
            (int(found[1]) for name in there if (found := CHECKPOINT.fullmatch(name))), reverse=True
        )
        for step in steps:
            if step <= max(here, default=-1):
                return
            if self._bring_checkpoint(there, step, beside):
                return

    def _bring_checkpoint(self, there: dict[str, Object], step: int, beside: list[str]) -> bool:
        """False where it is not what its own state says: then the one before it is taken."""
        name = f"{step:06d}"
        folder, aside = self.folder / "checkpoints", self.folder / "checkpoints" / f".{name}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        front = f"checkpoints/{name}/"
        digests = {}
        for key in (key for key in there if key.startswith(front)):
            found = fetch(there[key].url, aside / Path(key).name, there[key].etag)
            digests[Path(key).name] = found.sha256
        with suppress(GraftError, KeyError, TypeError):
            if read_json(aside / "state.json")["sha256"] == digests["tensors.safetensors"]:
                self._bring(there, beside)
                flush_folder(aside)
                aside.rename(folder / name)
                return True
        shutil.rmtree(aside)
        return False

    def _bring(self, there: dict[str, Object], names: list[str]) -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch(there[name].url, path, there[name].etag)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="graft-mirror", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._next is not None or self._closing)
                checkpoint, self._next = self._next, None
                last = self._closing
            try:
                if checkpoint is not None:
                    self._put(checkpoint)
                if last and self._whole:
                    self._put_rest()
            except (MachineError, OSError) as error:
                self._warn(error)
            if last:
                return

    def _put(self, checkpoint: Path) -> None:
        """Tensors, what lies beside them, and last the state; then the older ones than the newest two go."""
        self._put_beside()
        for path in sorted(checkpoint.iterdir(), key=lambda path: path.name == "state.json"):
            put_file(path, self._url(f"checkpoints/{checkpoint.name}/{path.name}"))
        shutil.rmtree(checkpoint, ignore_errors=True)
        there = [one.name for one in listing(self._url("checkpoints"))]
        steps = sorted({int(name.split("/")[0]) for name in there if name.split("/")[0].isdigit()})
        for step in steps[:-KEPT]:
            own = [name for name in there if name.startswith(f"{step:06d}/")]
            own.sort(key=lambda name: not name.endswith("state.json"))
            remove([self._url(f"checkpoints/{name}") for name in own])

    def _put_rest(self) -> None:
        self._put_beside()
        put_file(self.folder / "result.json", self._url("result.json"))

    def _put_beside(self) -> None:
        """Every other file of the cell that is new or has changed since it was put."""
        for path in self._beside():
            with suppress(FileNotFoundError):  # renamed meanwhile: it comes with the next checkpoint
                mark = (path.stat().st_mtime_ns, path.stat().st_size)
                if self._put_already.get(path) == mark:
                    continue
                where = self._url(path.relative_to(self.folder).as_posix())
                if mark[1] < WHOLE_AT_ONCE or path.suffix == ".jsonl":
                    put_bytes(path.read_bytes(), where)
                else:
                    put_file(path, where)
                self._put_already[path] = mark

    def _beside(self) -> Iterator[Path]:
        for path in sorted(self.folder.rglob("*")):
            parts = path.relative_to(self.folder).parts
            hidden = any(part.startswith(".") for part in parts)
            if path.is_file() and not hidden and parts[0] not in ("checkpoints", "result.json", "log.txt"):
                yield path

    def _url(self, name: str) -> str:
        assert self.where is not None
        return url_of(self.where, name)

    def _warn(self, error: Exception) -> None:
        """Once a run: in log.txt, and where a person may look."""
        if self._warned:
            return
        self._warned = True
        said = f"warning: the mirror: {error}; the run goes on, and tries again at its next checkpoint"
        print(said, file=sys.stderr, flush=True)
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{said}\n")


def take_ledgers(folder: Path, where: str) -> None:
    """What a search has tried and chosen, where it is not here: else it would begin anew, and may choose otherwise."""
    if folder.exists():
        return
    with suppress(ObjectError):
        for one in listing(where):
            (folder / one.name).parent.mkdir(parents=True, exist_ok=True)
            fetch(one.url, folder / one.name, one.etag)


def put_ledgers(folder: Path, where: str) -> None:
    """The lists of trials and choices of a search that has ended."""
    _put_named(folder, where, sorted(folder.rglob("*.json")), ("trials.json", "asked.json", "chosen.json"))


def put_outcome(folder: Path, where: str) -> None:
    """What a sweep leaves beside its cells: its values, its table and its page."""
    _put_named(folder, where, sorted(folder.iterdir()), OUTCOME)


def _put_named(folder: Path, where: str, paths: Sequence[Path], names: Sequence[str]) -> None:
    """Those of the paths that are named so. A store that fails is warned of: they lie on the disk all the same."""
    try:
        for path in paths:
            if path.name in names:
                put_bytes(path.read_bytes(), url_of(where, path.relative_to(folder).as_posix()))
    except (MachineError, OSError) as error:
        print(f"warning: the mirror: {error}; the same command puts {folder} there again", file=sys.stderr)
