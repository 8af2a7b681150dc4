"""Files of weights whose content is known."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.checks.check import Check


def weights(folders: Sequence[Path], known: Mapping[str, str], without: str) -> Check:
    """NAME.safetensors in the folders against its known sha256. without: what is used where there is none."""
    name = "weights"
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        mend = "mend GRAFT_WEIGHTS, or unset it"
        return Check(name, "fail", f"{', '.join(missing)}: no such folder", mend)
    found: list[str] = []
    wrong: list[str] = []
    for stem, digest in known.items():
        paths = [path for folder in folders if (path := folder / f"{stem}.safetensors").is_file()]
        if not paths:
            continue
        with paths[0].open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == digest
        (found if same else wrong).append(str(paths[0]))
    if wrong:
        mend = "fetch it again, or take it out of the folder"
        return Check(name, "fail", f"{', '.join(wrong)}: not the known file of that name (sha256)", mend)
    if not found:
        mend = f"name a folder with {' or '.join(f'{stem}.safetensors' for stem in known)} in GRAFT_WEIGHTS"
        return Check(name, "absent", f"no known file: {without}", mend)
    return Check(name, "ok", f"{', '.join(found)}: as known (sha256)")
