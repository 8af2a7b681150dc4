"""What processes of this machine use of a shared folder: told in files that are locked as long as they live."""

import fcntl
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits for, and holds, the lock at `path`; it ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class InUse:
    """The paths that this process uses and the bytes that it is about to add, for all to read.

    FOLDER/NAME.json says it and FOLDER/NAME.lock is held. Whoever takes files away does so under the lock `turn`,
    under which paths are added too: so a path that was added is not taken away any more.
    """

    def __init__(self, folder: Path, turn: Path) -> None:
        self.folder, self.turn = folder, turn
        self.paths: Counter[str] = Counter()
        self.coming = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._name = uuid.uuid4().hex
        self._held = (folder / f"{self._name}.lock").open("w")
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def add(self, paths: Iterable[Path]) -> None:
        """These are used from now on."""
        with locked(self.turn):
            self.paths.update(map(str, paths))
            self._write()

    def drop(self, paths: Iterable[Path]) -> None:
        """These are used once less."""
        with locked(self.turn):
            self.paths -= Counter(map(str, paths))
            self._write()

    def expect(self, more: int) -> None:
        """So many bytes more (or less) are on their way. The caller holds `turn`."""
        self.coming += more
        self._write()

    def of_all(self) -> tuple[set[str], int]:
        """Paths in use, and bytes on their way, of all living processes. The caller holds `turn`."""
        used: set[str] = set()
        coming = 0
        for path in self.folder.glob("*.lock"):
            said = path.with_suffix(".json")
            if not _alive(path):
                path.unlink()
                said.unlink(missing_ok=True)
            elif said.is_file():
                found = json.loads(said.read_text(encoding="utf-8"))
                used |= set(found["paths"])
                coming += found["coming"]
        return used, coming

    def _write(self) -> None:
        aside = self.folder / f"{self._name}.part"
        aside.write_text(json.dumps({"coming": self.coming, "paths": list(self.paths)}), encoding="utf-8")
        aside.replace(self.folder / f"{self._name}.json")


def _alive(lock: Path) -> bool:
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
