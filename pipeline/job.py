"""What a command is told: a cell, a pretraining run, a sweep. Frozen, fully resolved, named by a hash."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import Field
from pydantic.fields import FieldInfo

from pipeline.explain import section_of
from pipeline.judging.settings import ByClass, Judging, Pairing, Translating
from pipeline.methods import METHODS, PRETRAINING, Entry
from pipeline.methods.diversity import DIVERSITY
from pipeline.methods.settings import Frozen, StepSettings, value


class Reading(Frozen):
    """How pictures are read."""

    fit: Literal["refuse", "crop", "resize"] = value(
        "refuse", "what is done with pictures of another size", "Graft"
    )
    flip: bool = value(True, "show half of the pictures mirrored", "StyleGAN2-ADA")


class Every(Frozen):
    """Intervals, all in steps."""

    log: int = value(10, "write the loss terms", "Graft", "steps", low=1)
    sample: int = value(100, "draw the sample grid", "Graft", "steps", low=1)
    save: int = value(100, "write a checkpoint", "Graft", "steps", low=1)


class Job(Frozen):
    """One cell: a method, a source, a target, a number of pictures, a seed."""

    method: str = value("rssa", "one of the methods", "Graft")
    source: str = value("personas_64", "a shipped source model, or the folder of an exported one", "Graft")
    target: str = value("lorelei", "a shipped set, or a folder, archive or shards of pictures", "Graft")
    heldout: str | None = value(None, "pictures to judge against; a shipped target has its own", "Graft")
    shots: int = value(10, "pictures of the target that may be seen", "Graft", "pictures", low=1)
    seed: int = value(0, "seed of everything random", "Graft", low=0)
    steps: int = value(1000, "training steps", "Graft", "steps", low=1)
    batch: int = value(4, "pictures per step", "CDC, RSSA", "pictures", low=1)
    profile: str = value("default", "default, paper or released", "Graft")
    weights: dict[str, float] = value({}, "weights of loss terms, over the profile's", "Graft")
    settings: dict[str, Any] = value({}, "settings of the method, over the profile's", "Graft")
    data: Reading = Reading()
    judge: Judging = Judging()
    judge_weights: str | None = value(
        None, "folder with files of judging networks, before GRAFT_WEIGHTS", "Graft"
    )
    judge_few: bool = value(False, "judge even against fewer than 100 held-out pictures", "Graft")
    precision: Literal["fp32", "bf16"] = value(
        "fp32", "of the networks' forward and backward; weights and penalties stay fp32", "Graft"
    )
    every: Every = Every()
    variant: str = value(
        "", "name of its row, where a grid varies more than method, target, shots and seed", "Graft"
    )

    def method_settings(self) -> StepSettings:
        """The method's own settings: profile, then `settings`, then `weights`."""
        found = resolved(
            METHODS[self.method], self.profile, self.settings, self.weights, self.shots, self.steps
        )
        assert isinstance(found, StepSettings)
        return found

    @property
    def digest(self) -> str:
        """8 hexadecimal digits over everything that decides the result; intervals of writing do not."""
        return digest_of(self.model_dump(mode="json", exclude={"every", "variant", *unsaid(self.precision)}))

    @property
    def id(self) -> str:
        """method-target-shots-seed-digest; a target given as a path stands with its last part."""
        return f"{self.method}-{last_part(self.target)}-{self.shots}-{self.seed}-{self.digest}"

    @property
    def images(self) -> int:
        """Pictures shown to the discriminator."""
        return self.steps * self.batch


class Evaluation(Frozen):
    """What a model is judged by; as in a cell's config."""

    source: str = value("", "the source of an adapted model", "Graft")
    target: str = value("", "what it was adapted to; empty for a source model", "Graft")
    heldout: str | None = value(None, "pictures to judge against; a shipped set has its own", "Graft")
    shots: int = value(10, "pictures of the target that were seen", "Graft", "pictures", low=1)
    data: Reading = Reading()
    judge: Judging = Judging()
    translate: Translating = Translating()
    by_class: ByClass = ByClass()
    pairing: Pairing = Pairing()
    judge_weights: str | None = value(None, "folder with files of judging networks", "Graft")
    judge_few: bool = value(False, "judge even against fewer than 100 held-out pictures", "Graft")


class Pretrain(Frozen):
    """A model from shards: a source to adapt, a translator, a conditional generator."""

    name: str = Field(description="name of the run and of the model that it exports")
    method: str = value("stylegan2", "what is trained", "Graft")
    train: str = value("personas", "a shipped set, a folder, an archive or shards", "Graft")
    heldout: str | None = value(None, "pictures to judge against; a shipped set has its own", "Graft")
    seed: int = value(0, "seed of everything random", "Graft", low=0)
    steps: int = value(1000, "training steps", "Graft", "steps", low=1)
    batch: int = value(16, "pictures per step", "Graft", "pictures", low=1)
    network: dict[str, Any] = value({}, "sizes of the networks, as the method has them", "Graft")
    profile: str = value("default", "profile of the settings", "Graft")
    diversity: str | list[str] | None = value(
        None, "diversity terms that are on, at their default weights; none: not one", "Graft"
    )
    weights: dict[str, float] = value({}, "weights of loss terms", "Graft")
    settings: dict[str, Any] = value({}, "settings of the method", "Graft")
    data: Reading = Reading()
    judge: Judging = Judging()
    translate: Translating = Translating()
    by_class: ByClass = ByClass()
    pairing: Pairing = Pairing()
    judge_weights: str | None = value(
        None, "folder with files of judging networks, before GRAFT_WEIGHTS", "Graft"
    )
    precision: Literal["fp32", "bf16"] = value(
        "fp32", "of the networks' forward and backward; weights and penalties stay fp32", "Graft"
    )
    every: Every = Every(log=50, sample=1000, save=1000)
    variant: str = value("", "name of its row, where a grid varies more than method, train and seed", "Graft")

    @property
    def target(self) -> str:
        """What its row is set against others by: the set it is trained on."""
        return self.train

    @property
    def shots(self) -> int:
        """0: it sees all pictures."""
        return 0

    @property
    def id(self) -> str:
        """name-method-seed-digest."""
        return f"{last_part(self.name)}-{self.method}-{self.seed}-{self.digest}"

    @property
    def images(self) -> int:
        """Pictures shown to the discriminator."""
        return self.steps * self.batch

    @property
    def entry(self) -> Entry:
        """What the method's file gives."""
        return PRETRAINING[self.method]

    def method_settings(self) -> Any:
        """The settings of the step, of the method's own type."""
        terms = [self.diversity] if isinstance(self.diversity, str) else self.diversity
        on = None if terms is None else {term for term in terms if term != "none"}
        weights = self.weights if on is None else {**chosen(on, self.entry), **self.weights}
        return resolved(self.entry, self.profile, self.settings, weights, 1, self.steps)

    def network_settings(self) -> Any:
        """The sizes, of the method's own type. ValidationError names a wrong key."""
        assert self.entry.network is not None
        return self.entry.network.model_validate(self.network)

    @property
    def digest(self) -> str:
        """8 hexadecimal digits over everything that decides the result."""
        return digest_of(
            self.model_dump(mode="json", exclude={"every", "name", "variant", *unsaid(self.precision)})
        )


def unsaid(precision: str) -> tuple[str, ...]:
    """The key of the precision where a digest leaves it out: fp32 is what jobs had before there was another."""
    return ("precision",) if precision == "fp32" else ()


def entry_of(job: Job | Pretrain) -> Entry:
    """What the file of a job's method gives."""
    return METHODS[job.method] if isinstance(job, Job) else job.entry


def chosen(terms: Collection[str], entry: Entry) -> dict[str, float]:
    """Weights of the method's diversity terms: those of `terms` at their defaults, the others 0."""
    known = [name for name in inside(entry)["weights"] if name in DIVERSITY]
    return {name: DIVERSITY[name] if name in terms else 0.0 for name in known}


def last_part(target: str) -> str:
    """A target as a part of a file name: of a path its last part, with odd characters replaced."""
    return "".join(c if c.isalnum() or c in "_." else "_" for c in target.rstrip("/").split("/")[-1])


def digest_of(values: Any) -> str:
    """The first 8 hexadecimal digits of the SHA-256 of values as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def resolved(
    entry: Entry,
    profile: str,
    settings: Mapping[str, Any],
    weights: Mapping[str, float],
    pictures: int,
    steps: int,
) -> Frozen:
    """Defaults of the method, then the profile, then what the config says. ValidationError names a wrong key.

    pictures and steps are filled in where the method has a setting of that name.
    """
    start = dict(entry.profiles[profile])
    merged: dict[str, Any] = {**start, **settings}
    merged["weights"] = {**start.get("weights", {}), **weights}
    run = {"pictures": pictures, "steps": steps}
    merged |= {name: number for name, number in run.items() if name in entry.settings.model_fields}
    return entry.settings.model_validate(merged)


def inside(entry: Entry) -> dict[str, dict[str, FieldInfo]]:
    """The weights, the settings and the sizes of a method, each with what its file says of them."""
    fields = dict(entry.settings.model_fields)
    weights = section_of(fields.pop("weights").annotation)
    assert weights is not None
    network = {} if entry.network is None else {"network": dict(entry.network.model_fields)}
    return {"weights": dict(weights.model_fields), "settings": fields, **network}
