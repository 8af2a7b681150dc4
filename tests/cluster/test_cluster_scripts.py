"""The shell scripts of configs/cluster/, run with programs that write down how they were called."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster.recorders import ROOT, Call, Recorders
from tests.cluster.test_manifests import check_command, start_options


@pytest.fixture
def nodes(tmp_path: Path) -> Recorders:
    """Two machines with a token."""
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("t" * 64)
    variables = {"HEAD_ADDRESS": "10.0.0.1", "TOKEN_FILE": str(token), "RUNS": "/shared/runs"}
    return Recorders(tmp_path, variables)


@pytest.fixture
def slurm(tmp_path: Path) -> Recorders:
    """What a Slurm job of two nodes sees, in a folder of its own."""
    variables = {"SLURM_JOB_ID": "1234", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[1-2]"}
    variables |= {"SLURM_CPUS_PER_TASK": "8", "SLURM_NODEID": "0", "HEAD_ADDRESS": "10.0.0.1"}
    return Recorders(tmp_path, variables | {"SLURM_SUBMIT_DIR": str(tmp_path), "RUNS": "/shared/runs"})


def check_guarded(call: Call) -> None:
    assert call.environ["RAY_AUTH_MODE"] == "token"
    assert call.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert call.mode == "0o600"


def check_start(call: Call) -> None:
    check_guarded(call)
    assert call.words[0] == "start"
    assert {word.split("=")[0] for word in call.words if word.startswith("--")} <= start_options()


def test_two_nodes_make_one_token_for_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    machine = Recorders(tmp_path, {"TOKEN_FILE": str(path)})
    assert machine.run("two_nodes.sh", "token").stdout == f"{path}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text()) == 64
    again = machine.run("two_nodes.sh", "token")
    assert (again.returncode, "there already" in again.stderr) == (2, True)


def test_two_nodes_start_a_ray_and_a_sweep_on_it(nodes: Recorders) -> None:
    nodes.variables |= {"CPUS": "8", "GPUS": "2"}
    for words in (
        ["head", "--temp-dir=/var/ray"],
        ["worker"],
        ["sweep", "configs/demo.yaml", "grid.seed=[0,1]"],
    ):
        done = nodes.run("two_nodes.sh", *words)
        assert done.returncode == 0, done.stderr
    head, worker = nodes.calls("ray")
    for call in (head, worker):
        check_start(call)
        assert {"--num-cpus=8", "--num-gpus=2", "--block", "--disable-usage-stats"} <= set(call.words)
        assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in call.environ
    assert {"--head", "--node-ip-address=10.0.0.1", "--dashboard-host=127.0.0.1"} <= set(head.words)
    assert head.words[-1] == "--temp-dir=/var/ray"
    assert "--address=10.0.0.1:6379" in worker.words
    (sweep,) = nodes.calls("python")
    check_guarded(sweep)
    assert sweep.environ["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert sweep.words[:2] == ["-m", "pipeline.sweep"]
    assert sweep.words[-1] == "grid.seed=[0,1]"
    check_command(sweep.words)


def test_two_nodes_by_default_sweep_and_pretrain_what_there_is(nodes: Recorders) -> None:
    assert nodes.run("two_nodes.sh", "sweep").returncode == 0
    assert nodes.run("two_nodes.sh", "torchrun", "1").returncode == 0
    check_command(nodes.calls("python")[0].words)
    check_command(nodes.calls("torchrun")[0].words)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_two_nodes_pretrain_without_ray(nodes: Recorders, rank: str) -> None:
    nodes.variables |= {"GPUS": "4", "INTERFACE": "eth1"}
    words = (rank, "configs/pretrain_personas.yaml", "steps=20")
    for verb in ("torchrun", "accelerate"):
        done = nodes.run("two_nodes.sh", verb, *words)
        assert done.returncode == 0, done.stderr
    (torchrun,), (accelerate,) = nodes.calls("torchrun"), nodes.calls("accelerate")
    named = {f"--node-rank={rank}", "--nnodes=2", "--nproc-per-node=4", "--master-addr=10.0.0.1"}
    assert named <= set(torchrun.words)
    pairs = list(zip(accelerate.words, accelerate.words[1:], strict=False))
    assert {("--machine_rank", rank), ("--num_processes", "8"), ("--num_machines", "2")} <= set(pairs)
    for call in (torchrun, accelerate):
        assert call.environ["GLOO_SOCKET_IFNAME"] == "eth1"
        assert call.words[-1] == "steps=20"
        check_command(call.words)
    assert nodes.calls("ray") == []


@pytest.mark.parametrize(
    ("words", "without", "said"),
    [
        (["head"], "HEAD_ADDRESS", "HEAD_ADDRESS is not set"),
        (["worker"], "TOKEN_FILE", "no token"),
        (["torchrun"], "", "RANK"),
        (["accelerate", "0"], "", "take torchrun"),
        (["start"], "", "expected one of token, head"),
        ([], "", "expected one of token, head"),
    ],
)
def test_two_nodes_refuse_in_a_sentence(
    nodes: Recorders, tmp_path: Path, words: list[str], without: str, said: str
) -> None:
    nodes.variables.pop(without, None)
    if without == "TOKEN_FILE":
        nodes.variables["TOKEN_FILE"] = str(tmp_path / "none")
    done = nodes.run("two_nodes.sh", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert [nodes.calls(name) for name in ("ray", "torchrun", "accelerate")] == [[], [], []]


def test_a_slurm_job_sweeps_on_a_ray_of_its_own(slurm: Recorders, tmp_path: Path) -> None:
    done = slurm.run("slurm.sh", "sweep", "configs/demo.yaml", "grid.seed=[0]")
    assert done.returncode == 0, done.stderr
    starts = slurm.calls("ray")
    for call in starts:
        check_start(call)
        assert {"--num-cpus=8", "--num-gpus=0", "--dashboard-agent-listen-port=13703"} <= set(call.words)
    assert sorted("--head" in call.words for call in starts) == [False, True]
    *asked, sweep = slurm.calls("python")  # until all nodes have joined
    assert asked
    assert all(call.words == ["-m", "cluster.checks.joining", "10.0.0.1:13702"] for call in asked)
    check_guarded(sweep)
    assert sweep.environ["RAY_ADDRESS"] == "10.0.0.1:13702"
    check_command(sweep.words)
    assert list((tmp_path / ".graft").iterdir()) == []  # the token ends with the job
    assert slurm.calls("scontrol")[-1].words[0] == "show"


def test_a_slurm_job_pretrains_without_ray(slurm: Recorders) -> None:
    slurm.variables["SLURM_GPUS_ON_NODE"] = "2"
    done = slurm.run("slurm.sh", "pretrain", "configs/pretrain_personas.yaml", "steps=20")
    assert done.returncode == 0, done.stderr
    (call,) = slurm.calls("torchrun")
    assert {"--node-rank=0", "--nnodes=2", "--nproc-per-node=2", "--master-addr=10.0.0.1"} <= set(call.words)
    assert call.environ["OMP_NUM_THREADS"] == "4"
    check_command(call.words)
    assert slurm.calls("ray") == []


def test_when_slurm_says_that_time_is_up_the_sweep_saves_and_queues_again(
    slurm: Recorders, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    slurm.variables["HOLD"] = str(held)
    script = str(ROOT / "configs" / "cluster" / "slurm.sh")
    job = subprocess.Popen(["bash", script, "sweep", "configs/demo.yaml"], env=slurm.environment)
    try:
        deadline = time.monotonic() + 60
        while not held.exists():
            assert time.monotonic() < deadline
            assert job.poll() is None
            time.sleep(0.05)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=60) == 130
    finally:
        job.kill()
        job.wait()
    assert slurm.calls("scontrol")[-1].words == ["requeue", "1234"]
    assert list((tmp_path / ".graft").iterdir()) == []


def test_a_slurm_job_of_another_verb_says_what_it_expects(slurm: Recorders) -> None:
    done = slurm.run("slurm.sh", "evaluate")
    assert (done.returncode, "expected sweep or pretrain" in done.stderr) == (2, True)
