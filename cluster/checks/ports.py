"""What of Ray, MLflow and Graft listens beyond loopback on this machine. Linux: read from /proc."""

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cluster.checks.check import Check

PROC = Path("/proc")
LISTENS = "0A"  # in the state column of /proc/net/tcp
NAMES = {  # whose process it is, by a word of its command line
    "Ray": re.compile(
        r"(^|/)(raylet|gcs_server)$|^ray(::|-)|/ray/(_private|autoscaler|dashboard|util)/|^ray\.util"
    ),
    "MLflow": re.compile(r"(^|/)mlflow$|^mlflow\.server"),
    "Graft": re.compile(r"(^|/)graft$|^pipeline(\.|$)"),
}
USUAL = {6379: "Ray", 8265: "Ray", 10001: "Ray", 5000: "MLflow"}  # for processes that cannot be looked into
MENDS = {
    "Ray": "restart Ray with RAY_AUTH_MODE=token and a token (see configs/cluster/two_nodes.sh): "
    "whoever reaches these ports can run code",
    "MLflow": "start the MLflow server with --host 127.0.0.1, or put a login before it",
    "Graft": "a process of Graft takes connections from other machines: keep its ports inside the cluster's network",
}
SHOWN = 6


@dataclass(frozen=True)
class Door:
    """A listening socket. whose: a key of NAMES; seen: its process was, so `guarded` (Ray's token) is known."""

    host: str
    port: int
    pid: int | None
    whose: str
    guarded: bool

    @property
    def open(self) -> bool:
        """True if other machines can reach it."""
        address = ipaddress.ip_address(self.host)
        mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1
        return not (mapped or address).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def doors(proc: Path = PROC) -> list[Door]:
    """The listening TCP sockets whose process is Ray's, MLflow's or Graft's, by port."""
    owners = _owners(proc)
    found = set()
    for name in ("tcp", "tcp6"):
        path = proc / "net" / name
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            columns = line.split()
            if columns[3] != LISTENS:
                continue
            host, port = _address(columns[1])
            pid = owners.get(columns[9])
            whose = USUAL.get(port) if pid is None else _whose(proc / str(pid))
            if whose:
                found.add(Door(host, port, pid, whose, pid is not None and _asks_token(proc / str(pid))))
    return sorted(found, key=lambda door: (door.port, door.host))


def ports(found: Sequence[Door]) -> Check:
    """The doors that other machines can reach. Ray's own take every interface; with a token that is no alarm."""
    wide = [door for door in found if door.open]
    bare = [door for door in wide if not (door.whose == "Ray" and door.guarded)]
    if not wide:
        many = (
            f"{len(found)} of Ray's, MLflow's and Graft's sockets listen"
            if found
            else "nothing of ours listens"
        )
        return Check("ports", "ok", f"{many}, {'on loopback only' if found else 'here'}")
    if not bare:
        return Check("ports", "ok", f"open to other machines: {_listed(wide)}; Ray asks them for its token")
    mend = "; ".join(MENDS[whose] for whose in dict.fromkeys(door.whose for door in bare))
    return Check("ports", "warn", f"open to other machines: {_listed(bare)}", mend)


def _listed(wide: Sequence[Door]) -> str:
    parts = []
    for whose in dict.fromkeys(door.whose for door in wide):
        mine = [door for door in wide if door.whose == whose]
        unseen = " (whose process cannot be seen)" if any(door.pid is None for door in mine) else ""
        more = f" and {len(mine) - SHOWN} more" if len(mine) > SHOWN else ""
        parts.append(f"{whose} {', '.join(map(str, mine[:SHOWN]))}{more}{unseen}")
    return "; ".join(parts)


def _address(column: str) -> tuple[str, int]:
    """`0100007F:1F90` -> ("127.0.0.1", 8080): 32-bit words, each in the machine's (little) order of bytes."""
    words, port = column.split(":")
    content = bytes.fromhex(words)
    turned = b"".join(content[start : start + 4][::-1] for start in range(0, len(content), 4))
    return str(ipaddress.ip_address(turned)), int(port, 16)


def _owners(proc: Path) -> dict[str, int]:
    """Process id by inode of a socket, of the processes that may be looked into."""
    found = {}
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            for each in (process / "fd").iterdir():
                link = _target(each)
                if link.startswith("socket:["):
                    found[link[8:-1]] = int(process.name)
    return found


def _target(link: Path) -> str:
    """Where it leads; "" of a file that was closed meanwhile, as in this process the list of its own files is."""
    with suppress(OSError):
        return str(link.readlink())
    return ""


def _whose(process: Path) -> str | None:
    words = _words(process / "cmdline")
    return next((name for name, known in NAMES.items() if any(map(known.search, words))), None)


def _asks_token(process: Path) -> bool:
    """As its variables say, or those it was started with: Ray's Python processes write their titles over their own."""
    while process.name not in ("", "0"):
        said = [word for word in _words(process / "environ") if word.startswith("RAY_AUTH_MODE=")]
        if said:
            return said[-1] == "RAY_AUTH_MODE=token"
        after_name = "".join(_words(process / "stat")).rpartition(")")[2].split()
        process = process.with_name(after_name[1] if after_name else "0")
    return False


def _words(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:  # gone meanwhile
        return []
