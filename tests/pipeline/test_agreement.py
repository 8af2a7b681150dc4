"""A checksum of bits: every change is seen, and what is the same is the same whatever its memory looks like."""

import pytest
import torch
from torch import Tensor

from pipeline.agreement import Parted, agree, checksum, checksums
from tests import miniature

KINDS = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


class Two:
    """The engine of rank 0 of two; the other's row is given."""

    world, rank, device = 2, 0, miniature.CPU

    def __init__(self, other: dict[str, Tensor]) -> None:
        self.other = torch.tensor([list(checksums(other).values())])

    def gather(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.other])


@pytest.mark.parametrize("kind", KINDS)
def test_one_element_more_or_elsewhere_is_another_sum(kind: torch.dtype) -> None:
    values = torch.tensor([0, 1, 0, 0], dtype=kind)
    seen = {
        checksum(values),
        checksum(values.roll(1)),
        checksum(values[:3]),
        checksum(torch.zeros_like(values)),
    }
    assert len(seen) == 4
    assert checksum(values) == checksum(values.clone())


def test_the_last_bit_and_the_sign_of_zero_count() -> None:
    x = torch.ones(5)
    assert checksum(x) != checksum(x.nextafter(x + 1))
    assert checksum(torch.tensor([0.0])) != checksum(torch.tensor([-0.0]))
    assert checksum(torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)) == checksum(
        torch.ones(2, 3, 4, 4)
    )


def test_what_differs_is_named_by_network() -> None:
    run, other = miniature.trainer("tgan"), miniature.trainer("tgan")
    state, drifted = run.nets.state(), {k: v.clone() for k, v in other.nets.state().items()}
    agree(state, Two(drifted), 7)  # type: ignore[arg-type]
    name = next(key for key in drifted if key.startswith("ema/G/"))
    drifted[name].view(-1)[0] += 1
    with pytest.raises(
        Parted, match="step 7: ema/G differ in bits, ranks 0 and 1; nothing of this step"
    ) as told:
        agree(state, Two(drifted), 7)  # type: ignore[arg-type]
    assert told.value.exit_code == 5
