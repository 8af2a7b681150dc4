"""A model wherever it lies: shipped, exported, in a finished cell, or in the newest checkpoint of a run."""

from pathlib import Path

import yaml
from torch import Tensor

from models.files import load_into
from models.projector import Projector
from models.stylegan2 import Generator
from pipeline.building import shape_of
from pipeline.cell import about_adapted
from pipeline.errors import INPUT, GraftError
from pipeline.job import Job, Pretrain
from pipeline.load import Model, load_model, mean_style
from pipeline.read import read
from pipeline.store import Checkpoints


def open_model(where: str) -> Model:
    """A shipped source, the folder of an exported model, or that of a run: its model/, else its newest checkpoint."""
    folder = Path(where)
    if (folder / "model" / "config.json").is_file():
        return load_model(str(folder / "model"))
    if (folder / "checkpoints").is_dir() and (folder / "config.yaml").is_file():
        return _of_checkpoint(folder)
    return load_model(where)


def source_of(model: Model, own: str | None = None) -> Model:
    """The source that a model was adapted from: `own`, else the one of its card, whose weights must be the same."""
    name = own or str(model.about.get("source") or "")
    if not name:
        raise GraftError(f"{model.folder}: its card names no source; pass --source FOLDER", INPUT)
    try:
        source = load_model(name)
    except GraftError as error:
        raise GraftError(f"the source of {model.folder}: {error}; pass --source FOLDER", INPUT) from error
    known = model.about.get("source_sha256")
    if own is None and known and known != source.sha256:
        raise GraftError(
            f"{source.folder}: other weights (sha256 {source.sha256[:12]}) than those that {model.folder} was "
            f"adapted from ({str(known)[:12]}); pass --source FOLDER",
            INPUT,
        )
    return source


def _of_checkpoint(folder: Path) -> Model:
    found = Checkpoints(folder / "checkpoints").newest()
    if found is None:
        raise GraftError(f"{folder}: no whole checkpoint in it yet; wait for the first", INPUT)
    tensors, state = found
    config, step = folder / "config.yaml", int(state["step"])
    if "target" in (yaml.safe_load(config.read_text(encoding="utf-8")) or {}):
        job = read(config, [], Job)
        source = load_model(job.source)
        shape, about = source.shape, about_adapted(job, source, step)
    else:
        pretrain = read(config, [], Pretrain)
        shape, about = shape_of(pretrain), {"name": pretrain.name, "train": pretrain.train, "steps": step}
    generator = Generator(shape)
    load_into(generator, tensors, "ema/G/", folder / "checkpoints", f"the network in {config}")
    generator.requires_grad_(False).eval()
    projector = _projector(tensors)
    mean = mean_style(generator)
    return Model(shape, generator, None, projector, tensors["memory/path_mean"], mean, about, "", folder)


def _projector(tensors: dict[str, Tensor]) -> Projector | None:
    if "net/projector/bases" not in tensors:
        return None
    return Projector(tensors["net/projector/bases"], tensors["net/projector/alphas"]).requires_grad_(False)
