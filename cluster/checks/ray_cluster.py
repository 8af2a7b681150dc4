"""Ray: what is installed, its token, and the cluster that RAY_ADDRESS names."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.checks.check import Check
from cluster.checks.machine import INSTALL
from cluster.checks.servers import get, knock, place_of, why
from cluster.ray_token import USE_TOKEN, NoToken, token_of

ROOT = Path(__file__).parents[2]
MAKE_TOKEN = "make one with configs/cluster/two_nodes.sh token, and give every machine the same file"
START = "start it (ray start --head), or unset RAY_ADDRESS to run on this machine"


def ray_version() -> Check:
    """The installed Ray, without importing it."""
    try:
        return Check("ray", "ok", version("ray"))
    except PackageNotFoundError:
        return Check("ray", "fail", "not installed", f"{INSTALL}; or backend: processes in a sweep's config")


def token(environ: Mapping[str, str] = os.environ) -> Check:
    """Whether Ray's token authentication is on, and its file there for this user alone (mode 600)."""
    mode, address = environ.get("RAY_AUTH_MODE", ""), environ.get("RAY_ADDRESS", "")
    named = environ.get("RAY_AUTH_TOKEN") or environ.get("RAY_AUTH_TOKEN_PATH")
    if mode not in ("", "token"):
        return Check(
            "ray token", "warn", f"RAY_AUTH_MODE={mode}: whoever reaches Ray's ports can run code", USE_TOKEN
        )
    if not mode and not named:
        if not address:
            return Check(
                "ray token", "ok", "no cluster is named, and a Ray of our own makes a token for itself"
            )
        found = (
            f"RAY_AUTH_MODE is not set, and RAY_ADDRESS is {address}: without a token its ports can run code"
        )
        return Check("ray token", "warn", found, USE_TOKEN)
    try:
        _, path = token_of(environ)
    except NoToken as error:
        return Check("ray token", "fail", str(error), MAKE_TOKEN)
    if path is None:
        return Check("ray token", "ok", "RAY_AUTH_TOKEN")
    bits = path.stat().st_mode & 0o777
    if bits & 0o077:
        return Check("ray token", "warn", f"{path}: mode {bits:o}, others can read it", f"chmod 600 {path}")
    if not mode:
        mend = "export RAY_AUTH_MODE=token: Graft sets it by itself, but ray's own commands do not"
        return Check("ray token", "warn", f"{path}, but RAY_AUTH_MODE is not set", mend)
    return Check("ray token", "ok", f"{path}, mode {bits:o}")


def address(seconds: float, joining: float, environ: Mapping[str, str] = os.environ) -> Check:
    """The cluster of RAY_ADDRESS: reachable (in `seconds`), lets us in, and of our version (in `joining`)."""
    where = environ.get("RAY_ADDRESS", "")
    if where in ("", "local"):
        found = "RAY_ADDRESS names none: a sweep starts a Ray of its own here, on loopback"
        return Check("ray cluster", "absent", found, "export RAY_ADDRESS=HOST:6379 to use one")
    if where.startswith(("http://", "https://")):
        return _jobs(where, seconds, environ)
    try:
        place = place_of(where)
        if place is not None:
            knock(*place, seconds)
    except ValueError as error:
        return Check("ray cluster", "fail", f"RAY_ADDRESS={where}: {error}", "write HOST:PORT, 6379 is usual")
    except OSError as error:
        return Check("ray cluster", "fail", f"{where}: nothing answers ({why(error)})", START)
    return _join(where, joining, environ)


def _join(where: str, seconds: float, environ: Mapping[str, str]) -> Check:
    """Joining is the proof: Ray compares token, its version and Python's, and refuses what does not fit."""
    path = os.pathsep.join(filter(None, [str(ROOT), environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "cluster.checks.joining", where]
    seen = {**environ, "PYTHONPATH": path}
    try:
        done = subprocess.run(words, env=seen, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        found = f"{where}: something accepts connections, but no Ray let us in within {seconds:g} s"
        mend = f"look at its log, and whether the port is Ray's; {USE_TOKEN}"
        return Check("ray cluster", "fail", found, mend)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        found, _, mend = last.partition("; ")
        return Check("ray cluster", "fail", found, mend or START)
    size = json.loads(done.stdout.strip().splitlines()[-1])
    said = "{machines} machines, {cpus:g} CPUs, {gpus:g} GPUs".format(**size)
    return Check("ray cluster", "ok", f"{where}: joined, {said}; its Ray and Python are of our versions")


def _jobs(where: str, seconds: float, environ: Mapping[str, str]) -> Check:
    """The address of a dashboard: for `ray job submit`, which sends the token in a header."""
    name, headers = "ray cluster", {}
    with contextlib.suppress(NoToken):  # asked without one: a cluster that wants it says 401
        headers["Authorization"] = f"Bearer {token_of(environ)[0]}"
    try:
        reply = get(f"{where.rstrip('/')}/api/version", seconds, headers)
        theirs = json.loads(reply.body)["ray_version"] if reply.status == 200 else None
    except OSError as error:
        return Check(name, "fail", f"{where}: no answer to a request for its version ({why(error)})", START)
    except (ValueError, KeyError, TypeError):
        return Check(
            name, "fail", f"{where}: this is not Ray's dashboard", "the usual one is http://HEAD:8265"
        )
    if reply.status in (401, 403):
        return Check(name, "fail", f"{where}: asks for a token, and ours is not the one", USE_TOKEN)
    if theirs is None:
        mend = "the usual one is http://HEAD:8265"
        return Check(name, "fail", f"{where}: HTTP {reply.status}; this is not Ray's dashboard", mend)
    try:
        ours = version("ray")
    except PackageNotFoundError:
        ours = "not installed"
    if theirs != ours:
        mend = f"pip install ray=={theirs} here, or ray=={ours} there: drivers and clusters must be of one version"
        return Check(name, "fail", f"{where}: Ray {theirs} there, {ours} here", mend)
    return Check(
        name, "ok", f"{where}: Ray {theirs}, lets us in; for ray job submit (sweeps here join HOST:6379)"
    )
