"""Objects of an S3 store (`s3://bucket/key`): listed, fetched whole or not at all, put with their own SHA-256.

The one importer of boto3, and only inside functions. AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL name another server
than Amazon's; credentials are found as every AWS tool finds them. Requests are tried again with a random pause
after 5xx, refused connections and timeouts; a body that breaks off goes on where it ended.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from cluster import download
from cluster.download import Answer, Download, Limits, Object, Torn, as_it_comes
from cluster.errors import MachineError, ObjectError

SHA256 = "graft-sha256"  # key of our own digest in an object's metadata
PIECE = 32 << 20  # bytes; larger files are put in pieces of this size
REMOTE = re.compile(r"s3:/+([^/]+)/*(.*)", re.DOTALL)  # a Path makes s3:/bucket of s3://bucket
NEVER_ABOVE = ("", ".", "..")
CREDENTIALS = {
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "AuthFailure", "Unauthorized"),
    *("401", "403"),
}
ABSENT = {"NoSuchKey", "NoSuchBucket", "NotFound", "404", "InvalidBucketName"}
PROVIDERS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")
FILES = {"AWS_SHARED_CREDENTIALS_FILE": "credentials", "AWS_CONFIG_FILE": "config"}


def is_remote(where: str | Path) -> bool:
    """Whether this names an object or a folder of a store."""
    return REMOTE.fullmatch(str(where)) is not None


def url_of(where: str | Path, *names: str) -> str:
    """s3://bucket/key, with `names` behind it. Raises MachineError where it is none."""
    found = REMOTE.fullmatch(str(where))
    if found is None:
        raise MachineError(f"{where}: expected s3://bucket/folder")
    return "s3://" + "/".join(part.strip("/") for part in (*found.groups(), *names) if part.strip("/"))


def listing(where: str | Path) -> list[Object]:
    """The object of this name, else all objects below it, sorted by name.

    Raises ObjectError (exit code 3) where there is nothing, MachineError (5) where the store cannot be asked.
    """
    url = url_of(where)
    bucket, key = _split(url)
    with _told(url):
        first = _client().list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", [])
        if key and first and first[0]["Key"] == key:
            return [_object(url, "", first[0])]
        pages = _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key and f"{key}/")
        entries = [entry for page in pages for entry in page.get("Contents", [])]
    skip = len(key) + 1 if key else 0
    found = [_object(url, entry["Key"][skip:], entry) for entry in entries if not entry["Key"].endswith("/")]
    if not found:
        raise ObjectError(f"{url}: no such object, and no objects below it; is the name right?")
    return sorted(found, key=lambda one: one.name)


def exists(where: str | Path) -> bool:
    """Whether there is such a file or folder, or an object of this name, or one below it."""
    if not is_remote(where):
        return Path(where).exists()
    bucket, key = _split(url := url_of(where))
    with _told(url):
        for prefix in (key, f"{key}/"):
            page = _client().list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("Contents", [])
            if page and (prefix != key or page[0]["Key"] == key):
                return True
    return False


def fetch(where: str | Path, to: Path, etag: str = "") -> Object:
    """Writes an object to the file `to`, aside and then renamed; returns what it is, with its sha256.

    etag: that of the listing, where the object must not have changed since. Its bytes are held against our own
    SHA-256 in the metadata, else against size and MD5 (the ETag of an object put in one piece). Raises
    ObjectError (3) where it is missing or another by now, MachineError (5) where it does not arrive whole.
    """
    aside = to.with_name(f".{to.name}.part")
    try:
        with aside.open("wb+") as file:
            found = Download(url_of(where), file, etag, _asked).whole()
            file.flush()
            os.fsync(file.fileno())
        aside.replace(to)
    finally:
        aside.unlink(missing_ok=True)
    return found


def put_file(path: Path, where: str | Path) -> None:
    """Puts a file, with its SHA-256 in the metadata. Raises MachineError (exit code 5)."""
    from boto3.s3.transfer import TransferConfig

    bucket, key = _split(url := url_of(where))
    with _told(url), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        _client().upload_fileobj(
            file,
            bucket,
            key,
            ExtraArgs={"Metadata": {SHA256: digest}},
            Config=TransferConfig(multipart_threshold=PIECE, multipart_chunksize=PIECE, use_threads=False),
        )


def put_bytes(content: bytes, where: str | Path) -> None:
    """Puts a small object of these bytes, as `put_file`."""
    bucket, key = _split(url := url_of(where))
    digest = hashlib.sha256(content).hexdigest()
    with _told(url):
        _client().put_object(Bucket=bucket, Key=key, Body=content, Metadata={SHA256: digest})


def put_folder(folder: Path, where: str | Path, last: str) -> None:
    """Puts every file of a folder; `last`, without which nobody reads the others, goes first and comes last."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    remove([url_of(where, last)])
    for name in [*(name for name in names if name != last), last]:
        put_file(folder / name, url_of(where, name))


@contextmanager
def writing(where: Path, last: str) -> Iterator[Path]:
    """The folder to write into: `where`; of an address a temporary one, which is put there at the end.

    last: as in `put_folder`. After an error nothing is put. Raises MachineError (exit code 5).
    """
    if not is_remote(where):
        yield where
        return
    with tempfile.TemporaryDirectory(prefix="graft-put-") as aside:
        folder = Path(aside) / where.name
        yield folder
        put_folder(folder, where, last)


def address(where: Path) -> str:
    """What to call it: a path as it is, an address with both of its slashes."""
    return url_of(where) if is_remote(where) else str(where)


def remove(urls: Sequence[str]) -> None:
    """Removes these objects; those that are not there are no error. Raises MachineError (exit code 5)."""
    for url in urls:
        bucket, key = _split(url)
        with _told(url):
            _client().delete_object(Bucket=bucket, Key=key)


def _asked(url: str, at: int, etag: str) -> Answer:
    """An object from byte `at` on; with an etag only if it is still that one."""
    bucket, key = _split(url)
    wanted = ({"Range": f"bytes={at}-"} if at else {}) | ({"IfMatch": etag} if etag else {})
    with _told(url):
        answer = _client().get_object(Bucket=bucket, Key=key, **wanted)
    at = at if str(answer.get("ContentRange", "")).startswith(f"bytes {at}-") else 0
    plain = re.fullmatch(r'"?([0-9a-f]{32})"?', answer["ETag"])  # of pieces, or encrypted by a key: no MD5
    keyed = "SSECustomerAlgorithm" in answer or "kms" in answer.get("ServerSideEncryption", "")
    return Answer(
        at,
        at + answer["ContentLength"],
        answer["ETag"],
        answer.get("Metadata", {}).get(SHA256, ""),
        plain[1] if plain and not keyed else "",
        partial(_read, as_it_comes(answer["Body"])),
    )


def _read(body: Any, amount: int) -> bytes:
    from botocore.exceptions import BotoCoreError, FlexibleChecksumError

    try:
        return bytes(body.read(amount))
    except FlexibleChecksumError:
        raise Torn("its checksum is not that of its bytes", useless=True) from None
    except (BotoCoreError, OSError) as error:
        raise Torn(type(error).__name__) from None


def _object(url: str, name: str, entry: dict[str, Any]) -> Object:
    if any(part in NEVER_ABOVE for part in name.split("/")) and name:
        raise ObjectError(
            f"{url}/{name}: a name that leads out of its folder, or holds an empty part; rename it"
        )
    return Object(f"{url}/{name}" if name else url, name, int(entry["Size"]), entry["ETag"])


def _split(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _endpoint() -> str:
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return named or "Amazon S3"


def _client() -> Any:
    return _client_of(os.getpid(), _endpoint(), download.LIMITS)


@cache
def _client_of(process: int, endpoint: str, limits: Limits) -> Any:
    """A client of this process alone: a forked one must not share its connections."""
    import boto3
    from botocore.config import Config

    folder = Path(os.path.expanduser("~/.aws"))  # noqa: PTH111 (Path.expanduser raises without a home)
    files = [Path(os.environ.get(variable, folder / name)) for variable, name in FILES.items()]
    if not any(os.environ.get(name) for name in PROVIDERS) and not any(file.is_file() for file in files):
        # Elsewhere than at Amazon the metadata address swallows the question for seconds.
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    config = Config(
        connect_timeout=limits.connect,
        read_timeout=limits.read,
        retries={"mode": "standard", "total_max_attempts": limits.tries},
        s3={} if endpoint == "Amazon S3" else {"addressing_style": "path"},  # minio:9000 has no bucket.minio
        max_pool_connections=16,
    )
    return boto3.session.Session().client("s3", config=config, region_name=_region())


def _region() -> str | None:
    """A server that is not Amazon's asks for none, but boto3 does."""
    known = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return known or ("us-east-1" if _endpoint() != "Amazon S3" else None)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What boto3 raises within, as one sentence."""
    from botocore import exceptions as said

    try:
        yield
    except said.ClientError as error:
        raise _refused(url, error.response) from None
    except (said.NoCredentialsError, said.PartialCredentialsError, said.CredentialRetrievalError) as error:
        raise _no_credentials(url, str(error).rstrip(".")) from None
    except said.BotoCoreError as error:
        raise MachineError(
            f"{url}: {_endpoint()} does not answer ({type(error).__name__} after {download.LIMITS.tries} "
            "tries); is it up, and are AWS_ENDPOINT_URL and the network right?"
        ) from None


def _refused(url: str, response: dict[str, Any]) -> MachineError:
    code = str(response.get("Error", {}).get("Code", "?"))
    said = str(response.get("Error", {}).get("Message", "")).rstrip(".")
    if code in ABSENT:
        return ObjectError(f"{url}: {_endpoint()} has no such {'bucket' if 'Bucket' in code else 'object'}")
    if code in ("PreconditionFailed", "412"):
        return ObjectError(f"{url}: has changed while it was read; start again")
    if code in CREDENTIALS:
        return _no_credentials(url, f"{code}: {said}" if said else code)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
    return MachineError(f"{url}: {_endpoint()} answers {status} {code} ({said}) again and again; try later")


def _no_credentials(url: str, why: str) -> MachineError:
    _client_of.cache_clear()  # the next try reads them anew
    return MachineError(
        f"{url}: {_endpoint()} does not accept the credentials ({why}); renew AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN or AWS_PROFILE (a machine with a role of its own: set "
        "AWS_EC2_METADATA_DISABLED=false)"
    )
