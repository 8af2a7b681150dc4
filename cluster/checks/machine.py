"""This machine's Python, torch, devices, precision and compiler."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.checks.check import Check

Version = tuple[int, ...]
INSTALL = "pip install -c constraints.txt -e . in Graft's folder"
DRIVER = Path("/proc/driver/nvidia/version")  # there where NVIDIA's kernel module is loaded
HALVES = ("amx_bf16", "avx512_bf16", "bf16")  # as /proc/cpuinfo calls them: x86, x86, ARM
COMPILES = 60.0  # seconds
SOURCE = 'extern "C" int twice(int x) { return 2 * x; }\n'
NINJA = """rule shared
  command = $cxx -shared -fPIC -o $out $in
build twice.so: shared twice.cpp
"""


def python(least: Version, below: Version) -> Check:
    """The interpreter: at least `least`, below `below`."""
    said, now = sys.version.split()[0], sys.version_info[:3]
    if least <= now < below:
        return Check("python", "ok", said)
    wanted = f"{_dotted(least)} or newer, below {_dotted(below)}"
    return Check(
        "python", "fail", f"{said}, but Graft needs {wanted}", "make a new environment with that one"
    )


def torch_build(least: Version, below: Version) -> Check:
    """The installed torch: its version, its build and its threads."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of it is missing
        return Check("torch", "fail", f"cannot be imported ({error})", INSTALL)
    build = f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build"
    said = f"{torch.__version__}, {build}, {torch.get_num_threads()} threads"
    number = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2] if part.isdigit())
    if least <= number < below:
        return Check("torch", "ok", said)
    wanted = f"{_dotted(least)} or newer, below {_dotted(below)}"
    return Check("torch", "fail", f"{said}; Graft needs {wanted}", INSTALL)


def devices(driver: Path = DRIVER) -> Check:
    """The GPUs that torch can use; a driver without them is told. `driver`: a file that is there with it."""
    import torch

    if torch.cuda.is_available():
        sizes = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
        said = ", ".join(f"{each.name} ({each.total_memory / 2**30:.0f} GiB)" for each in sizes)
        return Check("devices", "ok", said)
    if not driver.exists():
        return Check("devices", "ok", "CPU only")
    if torch.version.cuda is None:
        mend = "install torch's CUDA build of the same version, from PyTorch's index"
        return Check("devices", "warn", "an NVIDIA driver is here, but torch is a CPU build", mend)
    found = f"an NVIDIA driver is here, but torch (CUDA {torch.version.cuda}) finds no GPU"
    mend = "compare nvidia-smi's CUDA version with torch's; see CUDA_VISIBLE_DEVICES and the container's GPUs"
    return Check("devices", "warn", found, mend)


def bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> Check:
    """Whether bf16 is computed by instructions; without them torch's CPU code takes 30 to 90 times fp32's time."""
    import torch

    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Check("bf16", "ok", "the GPU computes it")
        return Check("bf16", "absent", "this GPU has no bf16 units", "leave precision at fp32")
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError as error:
        return Check(
            "bf16", "absent", f"{cpuinfo} cannot be read ({error.strerror})", "leave precision at fp32"
        )
    found = [flag for flag in HALVES if flag in words]
    if found:
        return Check("bf16", "ok", f"the CPU has {', '.join(found)}")
    return Check("bf16", "absent", "this CPU has no bf16 instructions", "leave precision at fp32 here")


def torchvision() -> Check:
    """Whether torchvision, where it is installed, fits this torch. Graft does without; lpips and others do not."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return Check("torchvision", "ok", "not installed; Graft does not need it")
    try:
        said = version("torchvision")
    except PackageNotFoundError:
        said = "of no known version"
    binary = Path(spec.origin).with_name("_C.so")
    try:
        ctypes.CDLL(str(binary))
    except OSError as error:
        if hasattr(torch.ops.torchvision, "nms"):
            return Check(
                "torchvision", "ok", f"{said}, repaired: its operators are declared without its extension"
            )
        found = (
            f"{said}, another build than torch's: its extension does not load ({str(error).split(': ')[0]})"
        )
        mend = (
            "take the build that belongs to torch's from PyTorch's index, or uninstall it; until then lpips, "
            "open_clip and timm cannot be imported, nor can the accelerate command beside timm; Graft runs without"
        )
        return Check("torchvision", "warn", found, mend)
    return Check("torchvision", "ok", said)


def compiler(command: str | None = None) -> Check:
    """Compile, link, load and call a function in C++, by ninja if it is there. command: default CXX, else c++."""
    chosen = command or os.environ.get("CXX") or "c++"
    mend = "install g++ and ninja (or set CXX); only operators that are compiled on first use need them"
    beside = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    cxx, ninja = shutil.which(chosen), shutil.which("ninja", path=beside)
    if cxx is None:
        return Check("compiler", "warn", f"no {chosen} on the PATH", mend)
    with tempfile.TemporaryDirectory(prefix="graft-doctor-") as place:
        folder = Path(place)
        (folder / "twice.cpp").write_text(SOURCE)
        (folder / "build.ninja").write_text(NINJA.replace("$cxx", cxx.replace("$", "$$")))
        words = [ninja, "--quiet"] if ninja else [cxx, "-shared", "-fPIC", "-o", "twice.so", "twice.cpp"]
        try:
            subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=COMPILES, check=True)
            answer = ctypes.CDLL(str(folder / "twice.so")).twice(21)
        except subprocess.CalledProcessError as error:
            lines = (error.stdout + error.stderr).strip().splitlines() or [f"exit {error.returncode}"]
            return Check("compiler", "warn", f"{cxx} does not compile: {lines[-1][:200]}", mend)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Check("compiler", "warn", f"{cxx} or what it made does not run ({error})", mend)
    if answer != 42:
        return Check("compiler", "warn", f"{cxx} compiled 2 * 21 to {answer}", mend)
    if ninja is None:
        return Check("compiler", "warn", f"{cxx} compiles, but there is no ninja", mend)
    return Check("compiler", "ok", f"{cxx}, {ninja}: a function was compiled, loaded and called")


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
