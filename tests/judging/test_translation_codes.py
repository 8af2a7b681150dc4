"""Which codes and references guide which source."""

import pytest
import torch

from pipeline.judging.codes import RELEASED_BATCH, noise, plans


def test_released_references_come_in_whole_shuffled_batches_running_on_between_sources():
    found = plans("stargan2", {"a": 32, "b": 20, "t": 70}, [("a", "t"), ("b", "t")], 3, 0)
    first, second = found["a", "t"].references, found["b", "t"].references
    # Two whole batches of 70 a turn: outputs 1 and 2 of a, then 3 of a and 1 of b, then 2 and 3 of b.
    assert len(first[:, :2].unique()) == 64
    chosen = {int(index) for index in torch.cat([first[:, 2], second[:, 0]])}
    assert len(chosen) == RELEASED_BATCH + 20
    assert len({int(index) for index in second[:, 1:].flatten()}) == 40


def test_clean_references_are_each_used_once_before_any_is_used_again():
    plan = plans("clean", {"a": 6, "b": 3}, [("a", "b")], 7, 0)["a", "b"]
    for row in plan.references:
        assert row[:3].sort().values.tolist() == [0, 1, 2]
        assert row.tolist() == [*row[:3].tolist() * 2, int(row[0])]
    assert (
        len(
            {
                tuple(row.tolist())
                for row in plans("clean", {"a": 9, "b": 9}, [("a", "b")], 7, 0)["a", "b"].references
            }
        )
        == 9
    )


@pytest.mark.parametrize("protocol", ["clean", "stargan2"])
@pytest.mark.parametrize("count", [2, 5, 40])
def test_no_picture_guides_itself(protocol, count):
    plan = plans(protocol, {"a": count}, [("a", "a")], 10, 3)["a", "a"]
    assert not bool((plan.references == torch.arange(count)[:, None]).any())


def test_noise_is_keyed_by_source_target_and_output():
    whole_set = noise(1, "a", range(5), "b", 3, 4)
    assert torch.equal(whole_set[2:4], noise(1, "a", [2, 3], "b", 3, 4))
    assert torch.equal(whole_set[:, :2], noise(1, "a", range(5), "b", 2, 4))
    assert len(whole_set.view(-1).unique()) == 60
    for other in (
        noise(2, "a", range(5), "b", 3, 4),
        noise(1, "c", range(5), "b", 3, 4),
        noise(1, "a", range(5), "d", 3, 4),
    ):
        assert not torch.equal(whole_set, other)
