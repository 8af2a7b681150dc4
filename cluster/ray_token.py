"""Ray's token: where it is had from, and whether a cluster takes it, asked before Ray asks by itself.

Ray knocks with a wrong token for twenty seconds, prints a line of its own each time, and then says that nothing
could be reached.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import MachineError

USE_TOKEN = "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE, with the token of the cluster in FILE"
CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"  # what every client asks for first
SECONDS = 5.0


class NoToken(Exception):
    """No token is to be had from where the variables say; the text is the reason."""


def token_of(environ: Mapping[str, str]) -> tuple[str, Path | None]:
    """The token as Ray finds it (RAY_AUTH_TOKEN, then RAY_AUTH_TOKEN_PATH, then the home folder) and its file."""
    if environ.get("RAY_AUTH_TOKEN"):
        return environ["RAY_AUTH_TOKEN"], None
    home = Path(environ.get("HOME") or Path.home())
    path = Path(environ.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token")
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else "not text"
        raise NoToken(f"{path}: no token can be read ({reason})") from error
    if not token:
        raise NoToken(f"{path}: empty")
    return token, path


def own_token(environ: Mapping[str, str] = os.environ) -> str:
    """What this process would show; empty where the token mode is off. Raises MachineError where there is none."""
    if environ.get("RAY_AUTH_MODE") != "token":
        return ""
    try:
        return token_of(environ)[0]
    except NoToken as error:
        raise MachineError(f"RAY_AUTH_MODE is token, but {error}; {USE_TOKEN}") from error


def check_admitted(address: str, token: str) -> None:
    """Raise MachineError if the cluster at host:port says that this token (empty: none) is not its own.

    Any other answer is left to Ray, and so are other forms of address.
    """
    if "://" in address or not address.rpartition(":")[2].isdigit():
        return
    with contextlib.suppress(ImportError):  # it comes with ray[default]
        import grpc

        shown = [("authorization", f"Bearer {token}")] if token else []
        with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
            ask = channel.unary_unary(CLUSTER_ID, request_serializer=bytes, response_deserializer=bytes)
            try:
                ask(b"", timeout=SECONDS, metadata=shown)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    found = "the one it was shown is not its own" if token else "it was shown none"
                    raise MachineError(
                        f"the Ray cluster at {address} asks for a token, and {found}; {USE_TOKEN}"
                    ) from None
