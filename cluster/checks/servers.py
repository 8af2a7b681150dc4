"""Knocking at a server: a socket, or one HTTP request, with little patience."""

import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.parse import urlsplit

MOST = 2**16  # bytes of an answer that are read
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


@dataclass(frozen=True)
class Reply:
    """status: of HTTP; body: its first 64 KiB as text."""

    status: int
    body: str = field(repr=False)


def knock(host: str, port: int, seconds: float) -> None:
    """Raise OSError unless something accepts a connection at host:port within `seconds`."""
    socket.create_connection((host, port), seconds).close()


def place_of(url: str) -> tuple[str, int] | None:
    """Host and port of a URL or host:port; None where it does not name both. Raises ValueError for a bad port."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    return (parts.hostname, port) if parts.hostname and port else None


def get(url: str, seconds: float, headers: Mapping[str, str] | None = None) -> Reply:
    """The answer to a GET, whatever its status. Raises OSError if there is none within `seconds` a step.

    A server that sends a byte now and then can take longer: a Question's own limit ends that.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url}: expected an http or https address")
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return Reply(answer.status, answer.read(MOST).decode("utf-8", "replace"))
    except urllib.error.HTTPError as answer:
        with answer:
            return Reply(answer.code, answer.read(MOST).decode("utf-8", "replace"))
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from error
    except HTTPException as error:
        raise OSError(f"it does not speak HTTP ({type(error).__name__})") from error


def why(error: OSError) -> str:
    """One short reason: `Connection refused` rather than `[Errno 111] Connection refused`."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error) or type(error).__name__
