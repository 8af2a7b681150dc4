"""Ray's settings that are variables, read when it is imported or when its processes start."""

import os
import secrets
import socket

from cluster.errors import MachineError

PROBE = 5.0  # seconds; Ray itself tries a silent address for two minutes


def settle_variables(address: str | None) -> None:
    """Make the settings for a Ray of our own (None) or for joining one, where nobody has made them.

    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, in spite of its name, is what makes a node take 127.0.0.1 for its
    address, and then all of its servers listen there and nowhere else; ray.init has no argument for it. A
    driver that joins by a loopback address needs it too, or Ray turns that into the machine's outer one.

    Ray's workers would have a niceness of 15: beside other work a cell then stands almost still, and does not save
    in time when it is told to stop. And Ray would start idle ones before it knows what ours need, which then start
    later for want of a core.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Share.environment says it itself
    if address is None:
        os.environ.setdefault("RAY_worker_niceness", "0")
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    if address is None or _host(address) in ("127.0.0.1", "localhost"):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    named = os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    mode = os.environ.get("RAY_AUTH_MODE")
    if named and mode is None:
        os.environ["RAY_AUTH_MODE"] = "token"  # a client does not turn it on by itself
    elif not named and address is None and mode in (None, "token"):  # else Ray writes one into the home
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def check_reachable(address: str) -> None:
    """Raise MachineError at once if nothing listens at host:port; other forms of address are Ray's affair.

    Ray Client's is refused: its driver sees neither the machines nor the paths that the workers see.
    """
    if address.startswith("ray://"):
        raise MachineError(
            f"{address} is an address of Ray Client, which cannot run this; submit the command with `ray job submit "
            "--address http://HEAD:8265`, or give HOST:PORT of the head on a machine of the cluster"
        )
    host, port = _host(address), address.rpartition(":")[2]
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), PROBE).close()
    except OSError as error:
        raise MachineError(
            f"no Ray cluster answers at {address} ({error}); start one there with `ray start --head`, or leave "
            "the address and RAY_ADDRESS away to run on this machine"
        ) from error


def _host(address: str) -> str:
    return address.rpartition(":")[0]
