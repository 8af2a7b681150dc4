"""MLflow: the server or file that runs are mirrored to, asked without MLflow itself."""

import base64
import os
import sqlite3
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from cluster.checks.check import Check
from cluster.checks.machine import INSTALL
from cluster.checks.servers import get, knock, place_of, why

NAME = "mlflow"
LATER = "runs go on without it, and `graft sync` completes the mirror"
ASK = "/api/2.0/mlflow/experiments/search?max_results=1"  # the least that needs a right


def mlflow(uri: str, shown: str, seconds: float, environ: Mapping[str, str] = os.environ) -> Check:
    """The mirror at `uri`; `shown`: the same without a password."""
    try:
        said = f"MLflow {version('mlflow')}, {shown}"
    except PackageNotFoundError:
        return Check(NAME, "fail", "not installed", f"{INSTALL}; or tracker: none in the config")
    if uri.startswith("sqlite:///"):
        return _file(Path(uri.removeprefix("sqlite:///")), said, seconds)
    if uri.startswith(("http://", "https://")):
        return _server(uri, said, seconds, environ)
    try:
        place = place_of(uri)
        if place is not None:
            knock(*place, seconds)
    except (OSError, ValueError) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        return Check(
            NAME, "fail", f"{said}: nothing answers ({reason})", f"mend MLFLOW_TRACKING_URI; {LATER}"
        )
    if place is None:
        mend = "name an http://, sqlite:/// or database address in MLFLOW_TRACKING_URI"
        return Check(NAME, "warn", f"{said}: not an address that can be asked", mend)
    return Check(NAME, "ok", f"{said}: something answers there (what it is was not asked)")


def _server(uri: str, said: str, seconds: float, environ: Mapping[str, str]) -> Check:
    """/health tells that it is MLflow; a small question of the API, that it takes our host name and login."""
    start = f"start it (mlflow server --host 127.0.0.1), or mend MLFLOW_TRACKING_URI; {LATER}"
    parts = urlsplit(uri)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    try:
        health = get(f"{bare}/health", seconds)
        if health.status != 200 or health.body.strip() != "OK":
            return Check(NAME, "fail", f"{said}: answers, but not as an MLflow server does", start)
        reply = get(f"{bare}{ASK}", seconds, _login(parts.username, parts.password, environ))
    except (OSError, ValueError) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        return Check(NAME, "fail", f"{said}: no answer ({reason})", start)
    if reply.status == 401:
        mend = f"set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; {LATER}"
        return Check(NAME, "fail", f"{said}: asks for a login, and ours is not one", mend)
    if reply.status == 403:
        mend = f"start the server with --allowed-hosts {parts.hostname}, or name it as it expects; {LATER}"
        return Check(NAME, "fail", f"{said}: refuses us (HTTP 403: host name or rights)", mend)
    if reply.status != 200:
        return Check(
            NAME, "fail", f"{said}: its API answers HTTP {reply.status}", f"look at its log; {LATER}"
        )
    return Check(NAME, "ok", f"{said}: healthy, and lets us in")


def _login(user: str | None, password: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    if environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {environ['MLFLOW_TRACKING_TOKEN']}"}
    user = user or environ.get("MLFLOW_TRACKING_USERNAME")
    password = password or environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if not user:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _file(path: Path, said: str, seconds: float) -> Check:
    """A SQLite file: it, or the folder it will be made in, takes writes, and nobody holds it."""
    mend = f"change its owner or mode, or name another file in MLFLOW_TRACKING_URI; {LATER}"
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".graft-doctor-"):
            pass  # SQLite writes its journal beside the file
        if not path.exists():
            return Check(NAME, "ok", f"{said}: will be made")
        with path.open("r+b"):
            pass
    except OSError as error:
        return Check(NAME, "fail", f"{said}: cannot be written ({why(error)})", mend)
    try:
        base = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=seconds, isolation_level=None)
        try:
            base.execute("BEGIN IMMEDIATE")  # the lock of a writer; nothing is written
            base.execute("SELECT count(*) FROM sqlite_master").fetchone()
            base.execute("ROLLBACK")
        finally:
            base.close()
    except sqlite3.DatabaseError as error:
        if "locked" not in str(error):
            return Check(
                NAME, "fail", f"{said}: {error}", f"name another file in MLFLOW_TRACKING_URI; {LATER}"
            )
        mend = f"end what holds it, or start a server that many can write to (mlflow server); {LATER}"
        return Check(NAME, "warn", f"{said}: locked by another process for {seconds:g} s", mend)
    return Check(NAME, "ok", f"{said}: can be written")
