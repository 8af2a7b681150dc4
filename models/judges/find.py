"""Which eye and edge operator judge: a known file of weights if one is at hand, the built-in otherwise."""

from collections.abc import Sequence
from pathlib import Path

from models.files import WeightsError, read_tensors, sha256_of
from models.judges.efficientnet import NAME as EFFICIENTNET
from models.judges.efficientnet import efficientnet_lite0
from models.judges.eye import Edges, Eye
from models.judges.hed import NAME as HED
from models.judges.hed import hed
from models.judges.small_eye import NAME as SMALL
from models.judges.small_eye import small_eye
from models.judges.sobel import Sobel

# The files these names stand for: a score with a network's name on it was made with exactly this file.
PINNED = {
    EFFICIENTNET: "e19d08ebd3e2f30b47c388365126d74fe0f9143f1e33ad278999670c10f3a8c6",
    HED: "eb2a0bc9a41ae30d9f6ba9a37a843a4385d16ce4487fcdb74d3c66eef398673e",
}
BUILT_IN = Path(__file__).with_name(f"{SMALL}.safetensors")


def find_eye(folders: Sequence[Path]) -> Eye:
    """EfficientNet-Lite0 if the first folder that has its file has the known one, else Graft's own eye.

    Raises WeightsError for a file of that name with another content.
    """
    path = known_file(EFFICIENTNET, folders)
    if path is not None:
        return efficientnet_lite0(read_tensors(path), PINNED[EFFICIENTNET])
    return small_eye(read_tensors(BUILT_IN), sha256_of(BUILT_IN))


def find_edges(folders: Sequence[Path]) -> Edges:
    """HED if its file is in one of the folders, else Sobel's operator. Raises WeightsError as `find_eye`."""
    path = known_file(HED, folders)
    if path is not None:
        return hed(read_tensors(path), PINNED[HED])
    return Sobel()


def known_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The first NAME.safetensors in the folders, or None; its hash must be the pinned one."""
    for folder in folders:
        path = folder / f"{name}.safetensors"
        if path.is_file():
            found = sha256_of(path)
            if found != PINNED[name]:
                raise WeightsError(
                    f"{path}: sha256 {found[:12]}, but the known {name} has {PINNED[name][:12]}; "
                    "fetch it again, or take it out of this folder and the built-in network judges"
                )
            return path
    return None
