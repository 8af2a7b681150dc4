"""configs/cluster/: each file against its schema or shell, every command in it against our own parsers."""

import ast
import importlib
import ipaddress
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.cli import VERBS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "cluster"
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix != ".dockerignore")
SCRIPTS = sorted(FOLDER.glob("*.sh"))
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if re.match(r"\w.*==", line)
)
EXPLAINED = {"sweep": "search.trials", "pretrain": "steps", "adapt": "steps"}


def check_command(words: list[str]) -> None:
    """That `python -m pipeline...` is taken by the verb's own parser, and that its config is there."""
    module = words[words.index("-m") + 1]
    rest = words[words.index("-m") + 2 :]
    verb = rest.pop(0) if module == "pipeline" else module.removeprefix("pipeline.")
    config = rest[0].removeprefix("/graft/")
    assert (ROOT / config).is_file(), config
    main = importlib.import_module(VERBS[verb][0]).main
    assert (
        main([*rest, "--explain", EXPLAINED[verb]]) == 0
    )  # says what a key means, after the words were taken


def settings(path: Path) -> dict[str, str]:
    """The variables of the file's first lines: `#   export NAME=VALUE ...`, as a shell would set them."""
    lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#   export ")]
    pairs = [word for line in lines for word in shlex.split(line)[1:]]
    return dict(pair.split("=", 1) for pair in pairs) | {"USER": "somebody", "SSH_USER": "somebody"}


def filled(name: str) -> Any:
    """The YAML as envsubst leaves it. RAY_HEAD_IP is Ray's own to fill in, HOME the remote shell's."""
    own = {"RAY_HEAD_IP": "$RAY_HEAD_IP", "HOME": "$HOME"}
    text = (FOLDER / name).read_text()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return yaml.safe_load(Template(body).substitute(settings(FOLDER / name) | own))


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


# all of them


def test_every_file_is_known_here() -> None:
    assert [path.name for path in FILES] == [
        "Dockerfile",
        "launcher.yaml",
        "rayjob.yaml",
        "slurm.sh",
        "two_nodes.sh",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_addresses_are_loopback_or_of_a_private_network(path: Path) -> None:
    found = re.findall(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", path.read_text())
    assert all(ipaddress.ip_address(each).is_private and each != "0.0.0.0" for each in found), found
    assert "--dashboard-host=0" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_versions_are_those_that_are_pinned(path: Path) -> None:
    text = path.read_text()
    images = re.findall(r"rayproject/ray:([\w.-]*\w)", text)
    assert all(re.fullmatch(rf"{re.escape(PINS['ray'])}-py31[12](-gpu)?", each) for each in images), images
    assert set(re.findall(r'rayVersion: "(.*)"', text)) <= {PINS["ray"]}
    wanted = {"Dockerfile": bool(images), "rayjob.yaml": "rayVersion" in text}
    assert wanted.get(path.name, True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_commands_in_comments_name_what_there_is(path: Path) -> None:
    for config in re.findall(r"configs/[\w/]+\.(?:yaml|sh)", path.read_text()):
        assert (ROOT / config).is_file(), config


# Kubernetes


def test_the_rayjob_follows_the_definition() -> None:
    schema = json.loads(Path(__file__).with_name("rayjob.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    job = filled("rayjob.yaml")
    jsonschema.validate(job, schema, cls=jsonschema.Draft202012Validator)
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    with pytest.raises(jsonschema.ValidationError, match="0 is not of type 'string'"):
        jsonschema.validate(job, schema, cls=jsonschema.Draft202012Validator)


def test_the_rayjob_is_guarded_silent_and_whole() -> None:
    spec = filled("rayjob.yaml")["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    check_command(shlex.split(spec["entrypoint"]))
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in [group["template"]["spec"] for group in groups]:
        volumes = {each["name"] for each in pod["volumes"]}
        for container in pod["containers"]:
            variables = {each["name"]: each["value"] for each in container["env"]}
            assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
            assert {each["name"] for each in container["volumeMounts"]} == volumes
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert [part for part in strings(container) if "$" in part] == []
    worker = cluster["workerGroupSpecs"][0]
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert worker["rayStartParams"] == {"num-cpus": limits["cpu"], "num-gpus": limits["nvidia.com/gpu"]}
    assert (
        worker["replicas"] == worker["maxReplicas"] == int(settings(FOLDER / "rayjob.yaml")["GRAFT_WORKERS"])
    )


# Ray's launcher


def start_options() -> set[str]:
    """The long options of `ray start`, read from the installed Ray's source without importing it."""
    tree = ast.parse((ray_folder() / "scripts" / "scripts.py").read_text(encoding="utf-8"))
    (start,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "start"]
    words = [
        node.value
        for each in start.decorator_list
        for node in ast.walk(each)
        if isinstance(node, ast.Constant)
    ]
    return {word for word in words if isinstance(word, str) and re.fullmatch(r"--[a-z-]+", word)}


def ray_folder() -> Path:
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def test_the_launchers_file_follows_rays_own_schema() -> None:
    schema = json.loads((ray_folder() / "autoscaler" / "ray-schema.json").read_text())
    launcher = filled("launcher.yaml")
    jsonschema.validate(launcher, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(launcher | {"head_nod": 1}, schema)
    assert launcher["provider"]["worker_ips"] == ["10.0.0.2", "10.0.0.3"]


def test_the_launcher_starts_ray_with_a_token_and_options_that_there_are() -> None:
    launcher = filled("launcher.yaml")
    starts = [launcher["head_start_ray_commands"][-1], launcher["worker_start_ray_commands"][-1]]
    for command in starts:
        words = shlex.split(command)
        variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        assert variables["RAY_AUTH_MODE"] == "token"
        assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
        assert variables["RAY_AUTH_TOKEN_PATH"].replace("$HOME", "~") in launcher["file_mounts"]
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= start_options()
    assert "--dashboard-host=127.0.0.1" in shlex.split(starts[0])


def test_the_launchers_own_sweep_is_one() -> None:
    said = (FOLDER / "launcher.yaml").read_text().replace("\\\n#", " ")
    (command,) = re.findall(r"(python -m pipeline\.sweep [^\"]*)\"", said)
    check_command(command.split())


# shell


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_shell_reads_a_script(path: Path) -> None:
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck here")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    done = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_slurms_lines_are_read_by_slurm() -> None:
    """They must come before the first command, and be options that sbatch has."""
    lines = (FOLDER / "slurm.sh").read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in lines[: last + 1])
    options = {line.split()[1].split("=")[0] for line in lines if line.startswith("#SBATCH")}
    named = {
        "job-name",
        "nodes",
        "ntasks-per-node",
        "cpus-per-task",
        "time",
        "signal",
        "requeue",
        "open-mode",
        "output",
    }
    assert options == {f"--{name}" for name in named}
