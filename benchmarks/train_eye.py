"""Train Graft's own eye: `python -m benchmarks.train_eye configs/eye.yaml`. One thread, CPU, seeded.

Writes OUT.safetensors (weights in half precision) and OUT.json (its card: recipe and held-out accuracy).
"""

import io
import json
import sys
import tarfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from benchmarks.eye_styles import varied
from models.files import write_tensors, write_whole
from models.judges.small_eye import SmallEye, small_eye

COLOURS = ("hairColor", "clothingColor", "skinColor")
ABSENT = "none"
Sets = dict[str, list[str]]


def read_shards(paths: list[Path]) -> tuple[Tensor, list[dict[str, str]]]:
    """Pictures uint8 [N, 3, H, W] and the factors each was drawn from."""
    pictures: list[np.ndarray] = []
    factors: list[dict[str, str]] = []
    for path in paths:
        members: dict[str, dict[str, bytes]] = defaultdict(dict)
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, kind = member.name.partition(".")
                file = archive.extractfile(member)
                if file is not None:
                    members[key][kind] = file.read()
        for parts in members.values():
            card = json.loads(parts.pop("json"))
            (picture,) = parts.values()
            pictures.append(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))
            factors.append(card["factors"])
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(), factors


def value_names(factors: list[dict[str, str]]) -> Sets:
    """Every attribute and its values, sorted; where a part is not drawn the value is "none"."""
    names = sorted({name for drawn in factors for name in drawn})
    return {name: sorted({drawn.get(name, ABSENT) for drawn in factors}) for name in names}


def labels(factors: list[dict[str, str]], values: Sets) -> dict[str, Tensor]:
    """attribute -> index of its value [N]."""
    return {
        name: torch.tensor([names.index(drawn.get(name, ABSENT)) for drawn in factors])
        for name, names in values.items()
    }


def loss_of(logits: dict[str, Tensor], truth: dict[str, Tensor], coloured: Tensor) -> Tensor:
    """Cross entropy, mean over pictures and attributes; colours count only where colours were kept."""
    terms = []
    for name, value in logits.items():
        each = functional.cross_entropy(value, truth[name], reduction="none", label_smoothing=0.05)
        where = coloured.float() if name in COLOURS else torch.ones_like(each)
        terms.append((each * where).sum() / where.sum().clamp(min=1))
    return torch.stack(terms).mean()


@torch.no_grad()
def accuracy(eye: SmallEye, x: Tensor, truth: dict[str, Tensor], rng: Generator | None) -> dict[str, float]:
    """Share of right answers per attribute; under the changes of style where `rng` is given."""
    right: dict[str, float] = defaultdict(float)
    seen: dict[str, float] = defaultdict(float)
    for index in torch.split(torch.arange(len(x)), 100):
        pictures, coloured = x[index].float() / 255, torch.ones(len(index), dtype=torch.bool)
        if rng is not None:
            pictures, coloured = varied(pictures, rng)
        for name, value in eye.attributes(pictures * 2 - 1).items():
            where = coloured if name in COLOURS else torch.ones_like(coloured)
            right[name] += float(((value.argmax(1) == truth[name][index]) & where).sum())
            seen[name] += float(where.sum())
    return {name: round(right[name] / max(seen[name], 1), 4) for name in right}


def train(eye: SmallEye, x: Tensor, truth: dict[str, Tensor], recipe: dict[str, Any]) -> None:
    """AdamW under a one-cycle rate for `steps` batches, drawn with replacement."""
    rng = Generator().manual_seed(recipe["seed"])
    optimiser = torch.optim.AdamW(eye.parameters(), lr=recipe["rate"], weight_decay=recipe["decay"])
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe["rate"], total_steps=recipe["steps"])
    begun = time.perf_counter()
    for step in range(1, recipe["steps"] + 1):
        index = torch.randint(len(x), (recipe["batch"],), generator=rng)
        pictures, coloured = varied(x[index].float() / 255, rng)
        logits = eye.attributes((pictures * 2 - 1).contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits, {name: value[index] for name, value in truth.items()}, coloured)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        cycle.step()
        if step % recipe["log"] == 0:
            print(f"step {step}  loss {loss.item():.3f}  {time.perf_counter() - begun:.0f} s", flush=True)


def main(config: Path) -> None:
    """Read the recipe, train, write, read back, and print the accuracies of what was written."""
    recipe = yaml.safe_load(config.read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    torch.manual_seed(recipe["seed"])
    folder, out = Path(recipe["data"]), Path(recipe["out"])
    x, factors = read_shards(sorted(folder.glob(recipe["train"])))
    test, test_factors = read_shards(sorted(folder.glob(recipe["heldout"])))
    values = value_names(factors)
    eye = SmallEye({name: len(names) for name, names in values.items()})
    print(f"{len(x)} pictures, {sum(p.numel() for p in eye.parameters())} parameters", flush=True)
    begun = time.perf_counter()
    eye.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(eye, x, labels(factors, values), recipe)
    kept = {
        k: v.to(torch.float16).contiguous() for k, v in eye.state_dict().items() if "num_batches" not in k
    }
    read_back = small_eye(kept, "")
    truth = labels(test_factors, values)
    card = {
        "name": SmallEye.name,
        "recipe": recipe,
        "pictures": len(x),
        "values": values,
        "heldout": len(test),
        "accuracy": accuracy(read_back, test, truth, None),
        "accuracy_restyled": accuracy(read_back, test, truth, Generator().manual_seed(recipe["seed"])),
        "seconds": round(time.perf_counter() - begun),
    }
    write_tensors(out, kept, {key: json.dumps(value) for key, value in card.items()})
    write_whole(out.with_suffix(".json"), json.dumps(card, indent=1).encode() + b"\n")
    print(json.dumps({key: card[key] for key in ("accuracy", "accuracy_restyled", "seconds")}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
