"""A model wherever it lies: shipped, exported, in a finished cell, or in the newest checkpoint of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from models.files import load_into
from models.projector import Projector
from models.stylegan2 import Generator, Shape
from pipeline.adapting import about_adapted
from pipeline.building import shape_of
from pipeline.conditional_model import load_class_model, load_pair_model
from pipeline.drit_model import load_drit
from pipeline.errors import INPUT, GraftError
from pipeline.exporting import Exportable
from pipeline.families import FAMILIES
from pipeline.job import Job, Pretrain
from pipeline.load import KIND, Model, about_in, load_model, mean_style, source_folder
from pipeline.pretraining import about_source
from pipeline.read import read
from pipeline.store import Checkpoints
from pipeline.translation import load_translation

# By the kind in config.json: what reads the folder of an exported model, or a shipped one by its name.
KINDS: dict[str, Callable[[str], Exportable]] = {
    "stylegan2": load_model,
    "stargan2": load_translation,
    "dcgan": load_class_model,
    "bicycle": load_pair_model,
    "drit": load_drit,
}


def open_any(where: str) -> Exportable:
    """A model of any kind: a shipped one, the folder of an exported one, or that of a run.

    Of a run: its model/, else its newest checkpoint. GraftError says what is missing, and which kinds are known.
    """
    folder = Path(where)
    if (folder / "model" / "config.json").is_file():
        return _exported(str(folder / "model"))
    if (folder / "checkpoints").is_dir() and (folder / "config.yaml").is_file():
        return _of_checkpoint(folder)
    return _exported(where)


def open_model(where: str) -> Model:
    """The same of a StyleGAN2 generator; GraftError for any other kind."""
    model = open_any(where)
    if not isinstance(model, Model):
        raise GraftError(f"{where}: a {model.kind} model, and a {KIND} model is needed here", INPUT)
    return model


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


def _exported(name: str) -> Exportable:
    folder = source_folder(name)
    kind = about_in(folder)["kind"]
    if kind not in KINDS:
        raise GraftError(
            f"{folder / 'config.json'}: a {kind} model, which this Graft does not know; "
            f"it knows {', '.join(KINDS)}",
            INPUT,
        )
    return KINDS[kind](name)


def _of_checkpoint(folder: Path) -> Exportable:
    found = Checkpoints(folder / "checkpoints").newest()
    if found is None:
        raise GraftError(f"{folder}: no whole checkpoint in it yet; wait for the first", INPUT)
    tensors, state = found
    config, step = folder / "config.yaml", int(state["step"])
    if "target" in (yaml.safe_load(config.read_text(encoding="utf-8")) or {}):
        job = read(config, [], Job)
        source = load_model(job.source)
        return _generator(folder, tensors, source.shape, about_adapted(job, source, step))
    pretrain = read(config, [], Pretrain)
    if pretrain.method == KIND:
        about = {"name": pretrain.name, "train": pretrain.train, "steps": step}
        return _generator(folder, tensors, shape_of(pretrain), about)
    return _of_family(folder, pretrain, tensors, step)


def _generator(folder: Path, tensors: dict[str, Tensor], shape: Shape, about: dict[str, Any]) -> Model:
    """The averaged StyleGAN2 generator of a checkpoint."""
    generator = Generator(shape)
    setting = f"the network in {folder / 'config.yaml'}"
    load_into(generator, tensors, "ema/G/", folder / "checkpoints", setting)
    generator.requires_grad_(False).eval()
    projector = _projector(tensors)
    mean = mean_style(generator)
    return Model(shape, generator, None, projector, tensors["memory/path_mean"], mean, about, "", folder)


def _of_family(folder: Path, job: Pretrain, tensors: dict[str, Tensor], step: int) -> Exportable:
    """What the training would export after this step. Opens its pictures: they name its domains."""
    family = FAMILIES[job.method]
    opened = family.open(job)
    nets = family.nets(job, job.entry.table(job.method_settings()), opened, torch.device("cpu"))
    nets.load(tensors)
    model = family.model(job, nets, opened, about_source(job, step, opened))
    model.folder = folder
    return model


def _projector(tensors: dict[str, Tensor]) -> Projector | None:
    if "net/projector/bases" not in tensors:
        return None
    return Projector(tensors["net/projector/bases"], tensors["net/projector/alphas"]).requires_grad_(False)
