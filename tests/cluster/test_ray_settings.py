import os
import socket

import pytest

from cluster.checks.ports import LISTENS, PROC, Door, _address, _owners
from cluster.errors import MachineError
from cluster.fleet import run_many
from cluster.ray_settings import check_reachable, settle_variables
from cluster.tasks import Share
from tests.cluster.toys import toy
from tests.sweeps import descendants

NAMES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment as Ray would see it, empty of Ray's own."""
    made: dict[str, str] = {}
    monkeypatch.setattr("os.environ", made)
    return made


@pytest.mark.parametrize("mode", [{}, {"RAY_AUTH_MODE": "token"}])
def test_a_ray_of_our_own_is_on_loopback_with_a_fresh_token_and_reports_nothing(
    variables: dict[str, str], mode: dict[str, str]
) -> None:
    variables.update(mode)
    settle_variables(None)
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert variables["RAY_AUTH_MODE"] == "token"
    assert len(variables["RAY_AUTH_TOKEN"]) == 64


def test_what_somebody_set_stays(variables: dict[str, str]) -> None:
    variables.update(dict.fromkeys(NAMES, "theirs"))
    settle_variables(None)
    assert {variables[name] for name in NAMES} == {"theirs"}


@pytest.mark.parametrize(
    ("address", "loopback"), [("127.0.0.1:6379", True), ("localhost:6379", True), ("head:6379", False)]
)
def test_joining_makes_no_token_and_keeps_to_loopback_only_by_a_loopback_address(
    variables: dict[str, str], address: str, loopback: bool
) -> None:
    settle_variables(address)
    assert "RAY_AUTH_TOKEN" not in variables
    assert ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" in variables) is loopback


def test_a_token_file_turns_the_token_mode_on(variables: dict[str, str]) -> None:
    variables["RAY_AUTH_TOKEN_PATH"] = "token"
    settle_variables("head:6379")
    assert variables["RAY_AUTH_MODE"] == "token"


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_reachable(f"127.0.0.1:{port}")
    with pytest.raises(MachineError, match=f"no Ray cluster answers at 127.0.0.1:{port}"):
        check_reachable(f"127.0.0.1:{port}")
    check_reachable("auto")


def test_ray_client_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(MachineError, match=r"ray://head:10001 is an address of Ray Client.*ray job submit"):
        check_reachable("ray://head:10001")


def doors_of(pids: set[int]) -> set[Door]:
    """What these processes listen on, whoever they are: the driver of a Ray is this one, whose title is not Ray's."""
    owners, found = _owners(PROC), set()
    for name in ("tcp", "tcp6"):
        for line in (PROC / "net" / name).read_text().splitlines()[1:]:
            columns = line.split()
            pid = owners.get(columns[9])
            if columns[3] == LISTENS and pid in pids:
                found.add(Door(*_address(columns[1]), pid, "Ray", False))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not (PROC / "net" / "tcp").exists(), reason="sockets are read from /proc")
def test_no_process_of_a_ray_of_our_own_listens_beyond_loopback_and_workers_have_our_priority(
    ray_of_two: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = str(tmp_path_factory.mktemp("meet"))
    task = {"do": "meet", "folder": folder, "me": "a", "other": "a"}  # with itself: all it takes is a worker
    titles: dict[int, str] = {}
    doors: set[Door] = set()
    nice: set[int] = set()

    def look(key: str, answer: object) -> None:  # as it ends: its worker is there still
        titles.update(descendants(os.getpid()))
        workers = [pid for pid, title in titles.items() if title.startswith("ray::")]
        nice.update(os.getpriority(os.PRIO_PROCESS, pid) for pid in workers)
        doors.update(doors_of({os.getpid(), *titles}))

    run_many(toy, [("a", task)], share=Share(cpus=1), on_result=look)
    behind = [titles.get(door.pid or 0, "driver") for door in doors]
    for kind in ("raylet", "gcs_server", "ray::", "driver"):
        assert any(kind in title for title in behind), (kind, behind)
    assert [f"{titles.get(door.pid or 0)}: {door}" for door in doors if door.open] == []
    assert nice == {os.getpriority(os.PRIO_PROCESS, 0)}, "a cell waits for whatever else the machine does"


def test_a_door_to_others_would_be_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (door,) = (door for door in doors_of({os.getpid()}) if door.port == server.getsockname()[1])
        assert not door.open
    assert Door(*_address("00000000:1F90"), None, "Ray", False).open  # as /proc shows one on every address
