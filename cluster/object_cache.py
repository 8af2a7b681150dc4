"""Objects of a store as files of this machine: each fetched once, at most so many bytes, the least used leave first.

ROOT/objects/VERSION/NAME is what s3://.../NAME was when it was listed; VERSION is a digest of that listing, so two
states of one folder never mix. VERSION.json beside it names its objects. Many processes may use one cache: what a
living one uses is never taken away (ROOT/in-use has a file for each, locked as long as it lives), even where that
is more than the cache is to hold.
"""

import atexit
import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from cluster.download import Object
from cluster.errors import MachineError, ObjectError
from cluster.in_use import InUse, locked
from cluster.objects import fetch, is_remote, listing, url_of

DEFAULT_GB = 10.0
AT_ONCE = 8  # objects of a folder that are fetched at the same time
Later = Callable[[list[str]], Collection[str]]


def at_hand(where: str | Path, later: Later = lambda names: ()) -> Path:
    """The file or folder behind a path or s3:// address, fetched; of a local path that path.

    later: of the names in a folder those to be fetched only when `using` or `present` asks for them. A folder is
    listed once a process: it stays what it was. Raises ObjectError (exit code 3), MachineError (5).
    """
    return open_cache().at_hand(url_of(where), later) if is_remote(where) else Path(where)


@contextmanager
def using(path: Path) -> Iterator[None]:
    """Within, a file that was left for later is there and stays; nothing is done for files of other places."""
    if _cached(path):
        with open_cache().using(path):
            yield
    else:
        yield


def present(path: Path) -> Path:
    """The same until this process ends."""
    if _cached(path):
        open_cache().keep(path)
    return path


def size_of(path: Path) -> int | None:
    """Bytes of a file, also of one that was left for later; None where there is none."""
    entry = open_cache().entry(path) if _cached(path) else None
    if entry is not None:
        return int(entry["bytes"])
    return path.stat().st_size if path.is_file() else None


def _cached(path: Path) -> bool:
    return "objects" in path.parts and open_cache().holds(path)


class ObjectCache:
    """The files under `root`, of which at most `most` bytes are kept."""

    def __init__(self, root: Path, most: int) -> None:
        self.root, self.most = root, most
        self.objects = root / "objects"
        self._locks = root / "locks"
        self._turn = self._locks / "room"
        self._in_use = InUse(root / "in-use", self._turn)
        self._known: dict[str, Path] = {}
        self._notes: dict[str, dict[str, Any]] = {}
        self._verified: set[Path] = set()
        self._one = threading.RLock()

    def holds(self, path: Path) -> bool:
        """Whether the path is one of this cache's."""
        return path.is_relative_to(self.objects)

    def at_hand(self, url: str, later: Later) -> Path:
        """See the function of this name."""
        with self._one:
            if url not in self._known:
                self._known[url] = self._take(url, listing(url), later)
            return self._known[url]

    def keep(self, path: Path) -> None:
        """See `present`."""
        if self.entry(path) is not None:
            self._in_use.add([path])
            self._fetch([path])

    @contextmanager
    def using(self, path: Path) -> Iterator[None]:
        """See the function of this name."""
        if self.entry(path) is None:
            yield
            return
        self._in_use.add([path])
        try:
            self._fetch([path])
            yield
        finally:
            self._in_use.drop([path])

    def entry(self, path: Path) -> dict[str, Any] | None:
        """What is noted of a file of this cache: url, bytes, etag, sha256 ("" before it was fetched)."""
        version, *names = path.relative_to(self.objects).parts
        found: dict[str, Any] | None = self._note(version).get("/".join(names))
        return found

    def _take(self, url: str, found: list[Object], later: Later) -> Path:
        """Notes a listing, and fetches all of it that is wanted now."""
        said = json.dumps([url, *([one.name, one.bytes, one.etag] for one in found)])
        version = hashlib.sha256(said.encode()).hexdigest()[:12]
        place = self.objects / version / url.rpartition("/")[2]
        paths = {one.name: place / one.name if one.name else place for one in found}
        self.objects.mkdir(parents=True, exist_ok=True)
        fresh = {
            paths[one.name].relative_to(self.objects / version).as_posix(): {
                "url": one.url,
                "bytes": one.bytes,
                "etag": one.etag,
                "sha256": "",
            }
            for one in found
        }
        with locked(self._locks / version):
            if self._note(version).keys() != fresh.keys():
                self._write_note(version, fresh)
        postponed = set(later(list(paths)))
        wanted = [path for name, path in paths.items() if name not in postponed]
        self._in_use.add(wanted)
        self._fetch(wanted)
        place.parent.mkdir(parents=True, exist_ok=True)
        if found[0].name:
            place.mkdir(exist_ok=True)  # of a folder whose objects are all left for later
        return place

    def _fetch(self, paths: list[Path]) -> None:
        """Makes these files of one version whole, in turn with other processes that want them."""
        if not (missing := [path for path in paths if not self._whole(path)]):
            return
        version = missing[0].relative_to(self.objects).parts[0]
        with locked(self._locks / version):
            noted = self._note(version, anew=True)
            missing = [path for path in missing if not self._whole(path)]
            if not missing:
                return
            entries = {path: self.entry(path) or {} for path in missing}
            with self._room(sum(int(entry["bytes"]) for entry in entries.values())), _pool(missing) as pool:
                digests = list(pool.map(_fetched, entries.values(), missing))
            self._verified |= set(missing)
            for path, digest in zip(missing, digests, strict=True):
                noted[path.relative_to(self.objects / version).as_posix()]["sha256"] = digest
            self._write_note(version, noted)

    def _whole(self, path: Path) -> bool:
        """Whether the file is there as it was fetched; looked into once a process, a disk may lie."""
        entry = self.entry(path)
        if entry is None or not entry["sha256"]:
            return False
        try:
            if path.stat().st_size != entry["bytes"]:
                return False
            if path not in self._verified:
                with path.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                        return False
                self._verified.add(path)
            os.utime(path)  # used now: the last to leave
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def _room(self, wanted: int) -> Iterator[None]:
        """Within, so many bytes may be added; files that nobody uses leave for them, the least used first.

        What is in use may be more than the cache is to hold: a job is not stopped by the others beside it.
        """
        if wanted > self.most:
            raise MachineError(
                f"{self.root}: {wanted:,} bytes are needed at once, but it may hold {self.most:,}; set "
                "GRAFT_CACHE_GB to more, or GRAFT_CACHE to a larger disk"
            )
        with locked(self._turn):
            used, coming = self._in_use.of_all()
            stats = dict(_files(self.objects))
            over = sum(one.st_size for one in stats.values()) + coming + wanted - self.most
            for path in sorted(stats, key=lambda path: stats[path].st_mtime_ns):
                if over > 0 and str(path) not in used and str(_target(path)) not in used:
                    path.unlink(missing_ok=True)
                    self._verified.discard(path)
                    over -= stats[path].st_size
            self._in_use.expect(wanted)
        try:
            yield
        finally:
            with locked(self._turn):
                self._in_use.expect(-wanted)

    def _note(self, version: str, anew: bool = False) -> dict[str, Any]:
        path = self.objects / f"{version}.json"
        if anew or version not in self._notes:
            self._notes[version] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return self._notes[version]

    def _write_note(self, version: str, entries: Mapping[str, Any]) -> None:
        aside = self.objects / f".{version}.{uuid.uuid4().hex[:8]}"
        aside.write_text(json.dumps(entries), encoding="utf-8")
        aside.replace(self.objects / f"{version}.json")
        self._notes[version] = dict(entries)


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files of all versions, half ones too."""
    for path in folder.glob("*/**/*"):
        with suppress(FileNotFoundError):  # renamed as it became whole: its bytes are counted as coming
            if stat.S_ISREG((found := path.stat()).st_mode):
                yield path, found


def _target(path: Path) -> Path:
    """The file that a half one becomes."""
    return path.with_name(path.name[1:].removesuffix(".part"))


def _fetched(entry: Mapping[str, Any], path: Path) -> str:
    """Fetches one file; what has left the cache and comes again must be the same. Returns its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = fetch(entry["url"], path, entry["etag"])
    if entry["sha256"] and found.sha256 != entry["sha256"]:
        path.unlink()
        raise ObjectError(f"{entry['url']}: has changed while it was read; start again")
    return found.sha256


@contextmanager
def _pool(work: Sized) -> Iterator[ThreadPoolExecutor]:
    """Threads for this work; after an error what has not begun does not begin."""
    pool = ThreadPoolExecutor(max(1, min(AT_ONCE, len(work))), thread_name_prefix="graft-objects")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def open_cache() -> ObjectCache:
    """The cache of this process: GRAFT_CACHE, else ~/.cache/graft; where no home can be written, a temporary folder.

    GRAFT_CACHE_GB: how much it may hold (default 10). Raises MachineError (exit code 5).
    """
    said = os.environ.get("GRAFT_CACHE_GB", "")
    try:
        most = float(said or DEFAULT_GB)
    except ValueError:
        most = -1.0
    if not 0 < most < float("inf"):
        raise MachineError(f"GRAFT_CACHE_GB is {said}, expected a number of gigabytes above 0")
    return _opened(os.getpid(), os.environ.get("GRAFT_CACHE", ""), int(most * 2**30))


@cache
def _opened(process: int, own: str, most: int) -> ObjectCache:
    """One a process: a forked one uses other files than its parent."""
    if own:
        try:
            return ObjectCache(Path(own).absolute(), most)
        except OSError as error:
            raise MachineError(
                f"GRAFT_CACHE is {own}, where nothing can be written ({error.strerror})"
            ) from None
    with suppress(OSError, RuntimeError):  # a home that cannot be written, or none
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return ObjectCache(home.absolute() / "graft", most)
    aside = Path(tempfile.mkdtemp(prefix="graft-cache-"))
    atexit.register(shutil.rmtree, aside, ignore_errors=True)
    return ObjectCache(aside, most)
