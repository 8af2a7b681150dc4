"""How `sample` draws from a model of each kind."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from pipeline.class_pictures import of_classes
from pipeline.drawing import Work, of_latents
from pipeline.errors import INPUT, GraftError
from pipeline.exporting import Exportable
from pipeline.translating import of_pictures

# By the kind of model: (model, the verb's arguments) -> what is to be done.
SAMPLING: dict[str, Callable[[Any, Namespace], Work]] = {
    "stylegan2": of_latents,
    "stargan2": of_pictures,
    "dcgan": of_classes,
    "bicycle": of_pictures,
    "drit": of_pictures,
}


def work_of(model: Exportable, given: Namespace) -> Work:
    """What `sample` is to do with a model. GraftError for a kind that it cannot draw from."""
    if model.kind not in SAMPLING:
        raise GraftError(
            f"{given.model}: a {model.kind} model, which sample cannot draw from; "
            f"it draws from {', '.join(SAMPLING)}",
            INPUT,
        )
    return SAMPLING[model.kind](model, given)
