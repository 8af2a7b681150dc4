"""Threads against the cores that this process may use."""

import os
from collections.abc import Mapping
from pathlib import Path

from cluster.checks.check import Check
from cluster.tasks import own_cpus

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CGROUPS = Path("/sys/fs/cgroup")


def cgroup_limit(root: Path = CGROUPS, self_file: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs that the container's quota allows (1.5: one and a half); None without a quota. cgroup v2, then v1.

    The lowest quota from the process's own group up to the root counts. Inside a container the group's path
    may be the host's and not be there: then only the root, which is the container's own group, is read.
    """
    found: list[float] = []
    for folder in _own_groups(root, self_file):
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
            found += [] if quota == "max" else [int(quota) / int(period)]
        elif (folder / "cpu.cfs_quota_us").is_file():
            micro = int((folder / "cpu.cfs_quota_us").read_text())
            found += [] if micro < 0 else [micro / int((folder / "cpu.cfs_period_us").read_text())]
    return min(found, default=None)


def _own_groups(root: Path, self_file: Path) -> list[Path]:
    folders = [root, root / "cpu", root / "cpu,cpuacct"]
    try:
        lines = self_file.read_text().splitlines()
    except OSError:  # no /proc: not Linux, and no cgroups
        return folders
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "cpu" not in kinds.split(","):
            continue
        top = root / kinds if kinds else root
        parts = Path(path.lstrip("/")).parts
        folders += [top.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
    return folders


def threads(environ: Mapping[str, str] = os.environ, limit: float | None = None) -> Check:
    """OMP_NUM_THREADS and its kin against cores and quota. limit: the quota in CPUs, None: there is none.

    Workers of a sweep are given theirs by what one cell may use; this is about everything else.
    """
    cores = own_cpus()
    allowed = cores if limit is None else max(1, min(cores, round(limit)))
    have = f"{cores} cores" + ("" if limit is None else f", of which the container's quota allows {limit:g}")
    said = {name: environ[name] for name in VARIABLES if environ.get(name)}
    mend = f"export OMP_NUM_THREADS={allowed}, or less where several processes share the machine"
    wrong = [f"{name}={value}" for name, value in said.items() if not value.isdecimal() or value == "0"]
    if wrong:
        return Check("threads", "warn", f"{', '.join(wrong)} is no number of threads; {have}", mend)
    many = [f"{name}={value}" for name, value in said.items() if int(value) > allowed]
    if many:
        return Check("threads", "warn", f"{', '.join(many)}, but {have}: they take turns and wait", mend)
    if "OMP_NUM_THREADS" not in said and allowed < cores:
        found = f"OMP_NUM_THREADS is not set, and torch would start {cores} threads; {have}"
        return Check("threads", "warn", found, mend)
    settings = ", ".join(f"{name}={value}" for name, value in said.items())
    return Check("threads", "ok", f"{have}; {settings or 'OMP_NUM_THREADS not set: one thread a core'}")
