"""S3: what is set, whether the endpoint answers, and a tiny object there and back."""

import os
import secrets
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.checks.check import Check
from cluster.checks.servers import knock, place_of, why
from cluster.errors import MachineError

NAME = "s3"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # in boto3's order
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")
LOGIN = "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), and AWS_ENDPOINT_URL for your own store"


def s3(bucket: str | None, seconds: float, environ: Mapping[str, str] = os.environ) -> Check:
    """The store: settings and endpoint; with `bucket` (s3://bucket/prefix) an object is put, read and removed."""
    endpoint = next((environ[name] for name in ENDPOINTS if environ.get(name)), None)
    login = _login(environ)
    if bucket is None and endpoint is None and login is None:
        return Check(NAME, "absent", "no endpoint and no credentials are set", f"to use s3:// paths, {LOGIN}")
    try:
        version("boto3")
    except PackageNotFoundError:
        return Check(NAME, "fail", "an S3 store is set, but boto3 is not installed", "pip install boto3")
    if login is None and bucket is None:
        return Check(NAME, "fail", f"{endpoint} is set, but no credentials", LOGIN)
    said = f"{endpoint or 'Amazon S3'}, credentials from {login or 'the machine'}"
    try:
        if endpoint and (place := place_of(endpoint)):
            knock(*place, seconds)
    except (OSError, ValueError) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        mend = f"mend {' or '.join(name for name in ENDPOINTS if environ.get(name))}, or start the store"
        return Check(NAME, "fail", f"{endpoint}: nothing answers ({reason})", mend)
    if bucket is None:
        answers = ", something answers" if endpoint else ""
        return Check(NAME, "ok", f"{said}{answers}; pass --s3 s3://BUCKET/PREFIX to write and read there")
    return _there_and_back(bucket, said)


def _login(environ: Mapping[str, str]) -> str | None:
    """Where credentials are set, in words; None where nowhere. Only their names are looked at."""
    named = next((name for name in CREDENTIALS if environ.get(name)), None)
    home = Path(environ.get("HOME") or "/nonexistent")
    file = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials")
    return named or (str(file) if file.is_file() else None)


def _there_and_back(bucket: str, said: str) -> Check:
    from cluster.objects import fetch, put_bytes, remove, url_of

    content = secrets.token_bytes(64)
    try:
        url = url_of(bucket, f".graft-doctor-{secrets.token_hex(8)}")
        put_bytes(content, url)
        try:
            with tempfile.TemporaryDirectory(prefix="graft-doctor-") as folder:
                fetch(url, Path(folder) / "object")
                same = (Path(folder) / "object").read_bytes() == content
        finally:
            remove([url])
    except MachineError as error:
        found, _, mend = str(error).partition("; ")
        return Check(NAME, "fail", found, mend or LOGIN)
    if not same:
        return Check(
            NAME, "fail", f"{said}: {bucket} gave back other bytes than were put", "look at the store"
        )
    return Check(NAME, "ok", f"{said}: an object was put into {bucket}, read and removed")
