"""What doctor asks of Ray, MLflow, S3 and the ports, where a server really has the fault."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.checks import Check, ports, ray_cluster, store, tracker
from cluster.objects import exists
from tests.cluster.listeners import Answers, babbling, closed_port, listening, mute, speaking
from tests.stores import BUCKET, Fault, running_store

ROOM = 0.3  # seconds of patience with servers that never answer


# Ray


def test_no_cluster_named_is_no_fault() -> None:
    assert ray_cluster.ray_version().state == "ok"
    assert ray_cluster.token({}).state == "ok"
    assert ray_cluster.address(ROOM, ROOM, {}).state == "absent"


def test_a_token_is_for_one_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
    assert (ray_cluster.token(variables).state, "No such file" in ray_cluster.token(variables).found) == (
        "fail",
        True,
    )
    path.touch(0o600)
    assert ray_cluster.token(variables) == Check(
        "ray token", "fail", f"{path}: empty", ray_cluster.MAKE_TOKEN
    )
    path.write_text("a" * 64)
    assert ray_cluster.token(variables) == Check("ray token", "ok", f"{path}, mode 600")
    path.chmod(0o644)
    found = ray_cluster.token(variables)
    assert (found.state, found.mend) == ("warn", f"chmod 600 {path}")
    assert "a" * 64 not in str(found)


def test_a_cluster_without_a_token_is_told() -> None:
    assert ray_cluster.token({"RAY_ADDRESS": "head:6379"}).state == "warn"
    assert ray_cluster.token({"RAY_AUTH_MODE": "disabled"}).state == "warn"
    assert ray_cluster.token({"RAY_AUTH_MODE": "token", "HOME": "/proc"}).state == "fail"
    forgotten = ray_cluster.token({"RAY_AUTH_TOKEN": "secret", "RAY_AUTH_MODE": "token"})
    assert forgotten == Check("ray token", "ok", "RAY_AUTH_TOKEN")


def test_addresses_where_no_ray_is() -> None:
    refused = ray_cluster.address(ROOM, ROOM, {"RAY_ADDRESS": f"127.0.0.1:{closed_port()}"})
    assert (refused.state, "Connection refused" in refused.found) == ("fail", True)
    assert ray_cluster.address(ROOM, ROOM, {"RAY_ADDRESS": "head:many"}).state == "fail"
    with mute() as port:
        found = ray_cluster.address(ROOM, 3, {**os.environ, "RAY_ADDRESS": f"127.0.0.1:{port}"})
        assert (found.state, "no Ray let us in within 3 s" in found.found) == ("fail", True)
        found = ray_cluster.address(ROOM, ROOM, {"RAY_ADDRESS": f"http://127.0.0.1:{port}"})
        assert (found.state, "no answer in time" in found.found) == ("fail", True)
    with speaking({}) as where:
        assert "not Ray's dashboard" in ray_cluster.address(5, ROOM, {"RAY_ADDRESS": where}).found
    with babbling() as where:
        assert "does not speak HTTP" in ray_cluster.address(5, ROOM, {"RAY_ADDRESS": where}).found


def test_a_dashboard_of_another_version_and_one_that_wants_a_token() -> None:
    with speaking({"/api/version": (200, '{"ray_version": "2.1.0"}')}, token="right") as where:
        wrong = {"RAY_ADDRESS": where, "RAY_AUTH_TOKEN": "wrong"}
        assert "asks for a token" in ray_cluster.address(5, ROOM, wrong).found
        found = ray_cluster.address(5, ROOM, {**wrong, "RAY_AUTH_TOKEN": "right"})
        assert (found.state, "Ray 2.1.0 there" in found.found) == ("fail", True)
        assert "pip install ray==2.1.0" in found.mend


# MLflow


def asked(uri: str, **variables: str) -> Check:
    return tracker.mlflow(uri, uri, 5 if "127.0.0.1" in uri else ROOM, variables)


def test_mlflow_servers_that_are_none_or_refuse() -> None:
    healthy: Answers = {"/health": (200, "OK"), "/api/2.0/mlflow/experiments/search": (200, "{}")}
    with speaking(healthy) as where:
        assert asked(where).state == "ok"
        assert asked(f"{where}/").state == "ok"
    with speaking({**healthy, "/api/2.0/mlflow/experiments/search": (403, "Invalid Host header")}) as where:
        assert (asked(where).state, "--allowed-hosts 127.0.0.1" in asked(where).mend) == ("fail", True)
    with speaking(healthy, token="right") as where:
        assert asked(where).state == "fail"
        assert asked(where, MLFLOW_TRACKING_TOKEN="right").state == "fail"  # /health is refused here as well
    with speaking({"/health": (200, "<html>a router</html>")}) as where:
        assert "not as an MLflow server does" in asked(where).found
    with babbling() as where:
        assert "does not speak HTTP" in asked(where).found
    with mute() as port:
        found = tracker.mlflow(f"http://127.0.0.1:{port}", "there", ROOM, {})
        assert (found.state, "no answer in time" in found.found) == ("fail", True)
    assert "Connection refused" in asked(f"http://127.0.0.1:{closed_port()}").found
    assert asked(f"postgresql://user:pass@127.0.0.1:{closed_port()}/mlflow").state == "fail"


@pytest.mark.slow
def test_a_real_mlflow_server_lets_us_in_by_the_names_it_allows(tmp_path: Path) -> None:
    port = closed_port()
    words = ["server", "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--workers", "1"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--allowed-hosts", f"127.0.0.1:{port}"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            cwd=tmp_path,
            env={**os.environ, **quiet},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 300
        while asked(f"http://127.0.0.1:{port}").state != "ok":
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.5)
        other = tracker.mlflow(f"http://localhost:{port}", "by another name", 30, {})
        assert (other.state, "HTTP 403" in other.found) == ("fail", True), other
        assert "--allowed-hosts localhost" in other.mend
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_a_host_name_that_nobody_has() -> None:
    found = asked("http://mlflow.invalid:5000")
    assert (found.state, "graft sync" in found.mend) == ("fail", True)


def test_an_mlflow_file_is_asked_for_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "ml flow.db"
    assert "will be made" in asked(f"sqlite:///{path}").found
    assert list(tmp_path.iterdir()) == []
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute("CREATE TABLE runs (name TEXT)")
        assert "can be written" in asked(f"sqlite:///{path}").found
        base.execute("BEGIN EXCLUSIVE")
        found = asked(f"sqlite:///{path}")
        assert (found.state, "locked by another process" in found.found) == ("warn", True)
        base.execute("ROLLBACK")
    path.write_bytes(b"this is no database, and never was one" * 100)
    assert (asked(f"sqlite:///{path}").state, "not a database" in asked(f"sqlite:///{path}").found) == (
        "fail",
        True,
    )
    assert asked("sqlite:////proc/mlflow.db").state == "fail"


# S3


def test_s3_settings_without_a_server() -> None:
    assert store.s3(None, ROOM, {}).state == "absent"
    dead = f"http://127.0.0.1:{closed_port()}"
    login = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    assert "no credentials" in store.s3(None, ROOM, {"AWS_ENDPOINT_URL": dead}).found
    found = store.s3(None, ROOM, {"AWS_ENDPOINT_URL": dead, **login})
    assert (found.state, "Connection refused" in found.found) == ("fail", True)
    with speaking({}) as where:
        settings = {"AWS_ENDPOINT_URL_S3": where, "AWS_ENDPOINT_URL": dead, **login}
        assert "something answers" in store.s3(None, ROOM, settings).found


def test_an_object_goes_to_a_real_store_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_store() as running:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        found = store.s3(f"s3://{BUCKET}/some/prefix", 5)
        assert (found.state, "put into" in found.found) == ("ok", True), found
        assert [running.count(method, f"/{BUCKET}/some/prefix/") for method in ("PUT", "DELETE")] == [1, 1]
        assert not exists(f"s3://{BUCKET}/some")  # nothing is left
        assert store.s3("s3://no-such-bucket/x", 5).state == "fail"
        running.faults.append(Fault("expired", method="PUT"))
        found = store.s3(f"s3://{BUCKET}/x", 5)
        assert (found.state, bool(found.mend)) == ("fail", True), found


# ports

needs_proc = pytest.mark.skipif(
    not Path("/proc/net/tcp").exists(), reason="sockets are read from Linux's /proc"
)


@needs_proc
@pytest.mark.parametrize(
    ("name", "host", "variables", "state"),
    [
        ("gcs_server", "0.0.0.0", {"RAY_AUTH_MODE": ""}, "warn"),
        ("gcs_server", "0.0.0.0", {"RAY_AUTH_MODE": "token"}, "ok"),
        ("gcs_server", "127.0.0.1", {"RAY_AUTH_MODE": ""}, "ok"),
        ("/usr/bin/mlflow", "0.0.0.0", {"RAY_AUTH_MODE": "token"}, "warn"),
        ("/usr/bin/mlflow", "127.0.0.2", {}, "ok"),
    ],
)
def test_what_listens_beyond_loopback_is_told(
    name: str, host: str, variables: dict[str, str], state: str
) -> None:
    with listening(name, host, **variables) as (port, pid):
        mine = [door for door in ports.doors() if door.pid == pid]
        assert [(door.host, door.port) for door in mine] == [(host, port)]
        found = ports.ports(mine)
        assert found.state == state, found
        if state == "warn":
            assert f"{host}:{port}" in found.found
            assert found.mend
    assert [door for door in ports.doors() if door.pid == pid] == []


@needs_proc
def test_addresses_of_both_families_are_read() -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with listening("raylet", "::1") as (port, pid):
        (door,) = [door for door in ports.doors() if door.pid == pid]
        assert (str(door), door.open) == (f"[::1]:{port}", False)
    assert replace(door, host="::ffff:127.0.0.1").open is False
    assert replace(door, host="::").open is True
    assert ports.ports([replace(door, host="::", pid=None, guarded=False)]).state == "warn"


@needs_proc
def test_an_unrelated_process_is_not_ours() -> None:
    with listening("/usr/sbin/nginx", "127.0.0.1") as (_, pid):
        assert [door for door in ports.doors() if door.pid == pid] == []
