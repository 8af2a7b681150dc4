"""How a cell is judged: numbers that every method of a table shares."""

from pydantic import BaseModel, ConfigDict, Field


class Judging(BaseModel):
    """The protocol. Results are comparable only where all of it is equal: it is part of the inputs' hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int = Field(500, ge=2, description="pictures generated for judging (RSSA, section 4: 500)")
    batch: int = Field(50, ge=1, description="pictures drawn at once; does not change a score")
    seed: int = Field(2026, ge=0, description="seed of the evaluation z, of subsets and of resampling")
    kid_subsets: int = Field(100, ge=1, description="subsets of KID (100 as in StyleGAN2-ADA's metric)")
    kid_subset_size: int = Field(1000, ge=2, description="most pictures in a subset (1000 as there)")
    members: int = Field(
        50, ge=2, description="most members of a cluster that are paired (CDC's release: 50)"
    )
    spread: int = Field(
        100, ge=2, description="source pictures whose median pairwise distance is the yardstick"
    )
    copy_ratio: float = Field(1 / 3, gt=0, lt=1, description="a nearest distance below this ratio is a copy")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of every interval")
    level: float = Field(0.95, gt=0.5, lt=1, description="level of every interval")


class Comparing(BaseModel):
    """How finished cells are set against each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: str | None = Field(None, description="method all others are compared with; null: the first row's")
    budget: int | None = Field(None, ge=1, description="images shown to D; null: what most cells have")
    tolerance: float = Field(0.01, ge=0, lt=1, description="share by which a cell may miss the budget")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of every paired difference")
    seed: int = Field(2026, ge=0, description="seed of the resampling")
    level: float = Field(
        0.95, gt=0.5, lt=1, description="level of intervals; 1 - level is what Holm's p must be under"
    )
