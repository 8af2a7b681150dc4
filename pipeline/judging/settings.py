"""How a cell is judged: numbers that every method of a table shares."""

from typing import Literal

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


class Binning(BaseModel):
    """Bins of NDB and JSD (Richardson and Weiss 2018). Comparable only with the same bins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bins: int | None = Field(None, ge=1, description="number of bins K; null: by per_bin")
    per_bin: int = Field(20, ge=1, description="training pictures a bin where bins is null (MSGAN: 20)")
    iterations: int = Field(100, ge=1, description="most Lloyd iterations of K-means (release: 100)")
    large: int = Field(1000, ge=1, description="more dimensions than this are thinned (release: 1000)")
    thinning: int = Field(6, ge=1, description="K-means sees a random one of so many (release: d // 6)")
    whiten: bool = Field(False, description="divide each dimension by its deviation first (release: off)")
    significance: float = Field(0.05, gt=0, lt=1, description="level of each bin's test (release: 0.05)")
    seed: int = Field(2026, ge=0, description="seed of K-means and of the subset of dimensions")


class Translating(BaseModel):
    """How a translator between domains is judged. Comparable only where all of it but `batch` is equal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Literal["clean", "stargan2"] = Field(
        "clean", description="clean: every source weighs the same, 8-bit pictures; stargan2: as released"
    )
    outputs: int = Field(10, ge=2, description="outputs of a source for each target (StarGAN v2: 10)")
    within: bool = Field(
        False, description="also translate within each domain, with other pictures as guides"
    )
    batch: int = Field(16, ge=1, description="source pictures at once; does not change a score")
    seed: int = Field(2026, ge=0, description="seed of codes, references and resampling")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of every interval")
    level: float = Field(0.95, gt=0.5, lt=1, description="level of every interval")


class ByClass(BaseModel):
    """How a class-conditional generator is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int = Field(500, ge=2, description="pictures of each class, the same z for all of them")
    members: int = Field(50, ge=2, description="first pictures of a class whose distances are its diversity")
    batch: int = Field(50, ge=1, description="pictures drawn at once; does not change a score")
    seed: int = Field(2026, ge=0, description="seed of z and of resampling")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of every interval")
    level: float = Field(0.95, gt=0.5, lt=1, description="level of every interval")
    binning: Binning = Field(default_factory=Binning, description="bins of NDB and JSD, of each class")


class Pairing(BaseModel):
    """How a translator that learned from pairs is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outputs: int = Field(10, ge=2, description="outputs of an input, each with its own random code")
    batch: int = Field(16, ge=1, description="inputs at once; does not change a score")
    seed: int = Field(2026, ge=0, description="seed of codes and resampling")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of every interval")
    level: float = Field(0.95, gt=0.5, lt=1, description="level of every interval")
    binning: Binning = Field(default_factory=Binning, description="bins of NDB and JSD")
