from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.data.domains import Domains
from pipeline.data.held import Held
from pipeline.draws import Change, Draws, StepDraws, seeded
from pipeline.errors import GraftError
from tests import miniature

BATCH, GROUP = 24, 4
SPLITS = [(1, 2), (2, 1), (3, 1), (2, 3), (6, 1), (3, 2)]
SIDES = [4, 8, 8]

READ: dict[str, Callable[[StepDraws], Tensor]] = {
    "normal": lambda d: d.normal("z", 5),
    "indices": lambda d: d.indices("anchor", 7),
    "noise": lambda d: torch.cat([m.flatten(1) for m in d.noise("noise", SIDES)], dim=1),
    "real": lambda d: d.real(),
    "half": lambda d: d.sized(12).normal("z", 5),
}


def draws(seed: int = 0, rank: int = 0, world: int = 1, parts: int = 1, flip: bool = True) -> Draws:
    shots = Held(miniature.pictures(10), None, seed)
    return Draws(seed, BATCH, miniature.CPU, shots, Change(flip), rank, world, parts, group=GROUP)


@pytest.mark.parametrize("kind", READ)
def test_a_draw_is_a_function_of_seed_step_phase_and_name_alone(kind: str) -> None:
    read = READ[kind]
    used = draws()
    for step in (5, 1, 3):  # in any order, after any other draw
        used.at(step, "G").normal("other", 3)
        torch.randn(7)
        assert torch.equal(read(used.at(step, "G")), read(draws().at(step, "G")))


@pytest.mark.parametrize("kind", ["normal", "indices", "noise", "half"])
def test_another_seed_step_phase_or_name_is_another_draw(kind: str) -> None:
    read = READ[kind]
    first = read(draws().at(3, "G"))
    others = [draws(seed=1).at(3, "G"), draws().at(4, "G"), draws().at(3, "D")]
    assert all(not torch.equal(first, read(other)) for other in others)
    one = draws().at(3, "G")
    assert not torch.equal(one.normal("z", 5), one.normal("z2", 5))


@pytest.mark.parametrize(("world", "parts"), SPLITS)
@pytest.mark.parametrize("kind", ["normal", "indices", "noise", "real"])
def test_processes_and_parts_together_hold_exactly_the_global_batch(
    kind: str, world: int, parts: int
) -> None:
    read = READ[kind]
    whole = read(draws().at(7, "D"))
    again = torch.empty_like(whole)
    for rank in range(world):
        for part in range(parts):
            again[part * world + rank :: world * parts] = read(draws(0, rank, world, parts).at(7, "D", part))
    assert torch.equal(again, whole)


@pytest.mark.parametrize(("world", "parts"), SPLITS)
def test_the_groups_that_are_compared_stay_whole_in_one_share(world: int, parts: int) -> None:
    groups = BATCH // GROUP
    members = [set(range(t, BATCH, groups)) for t in range(groups)]  # sample t belongs to group t mod groups
    for rank in range(world):
        for part in range(parts):
            share = range(part * world + rank, BATCH, world * parts)
            inside = len(share) // GROUP
            dealt = [set(list(share)[t::inside]) for t in range(inside)]
            assert all(group in members for group in dealt)


@pytest.mark.parametrize(("world", "parts"), SPLITS)
@pytest.mark.parametrize("compared", [False, True])
def test_a_group_is_dealt_to_processes_where_that_is_even_and_its_members_can_meet(
    world: int, parts: int, compared: bool
) -> None:
    whole = draws().at(2, "G").group(4).normal("group", 6)
    shares = [draws(0, r, world, parts).at(2, "G", p) for p in range(parts) for r in range(world)]
    found = [share.dealt(4, compared).normal("group", 6) for share in shares]
    if 4 % (world * parts) == 0 and not (compared and parts > 1):
        assert torch.equal(torch.stack(found, dim=1).flatten(0, 1), whole)
    else:
        assert all(torch.equal(each, whole) for each in found)


@pytest.mark.parametrize(("world", "parts"), SPLITS)
def test_a_group_of_a_method_is_drawn_whole_by_everybody(world: int, parts: int) -> None:
    whole = draws().at(2, "G").group(4).normal("group", 6)
    assert whole.shape == (4, 6)
    for rank in range(world):
        for part in range(parts):
            share = draws(0, rank, world, parts).at(2, "G", part)
            assert torch.equal(share.group(4).normal("group", 6), whole)
            assert share.whole_number("tap", 0, 9) == draws().at(2, "G").whole_number("tap", 0, 9)
            assert share.chance("mix") == draws().at(2, "G").chance("mix")


@pytest.mark.parametrize(("world", "parts"), SPLITS)
def test_a_smaller_batch_is_shared_like_the_whole_one_and_never_in_parts(world: int, parts: int) -> None:
    whole = draws().at(2, "path", whole=True).sized(12).normal("z", 3)
    shares = [
        draws(0, rank, world, parts).at(2, "path", whole=True).sized(12).normal("z", 3)
        for rank in range(world)
    ]
    assert torch.equal(torch.stack(shares, dim=1).flatten(0, 1), whole)


def test_lasting_draws_are_the_same_at_every_step() -> None:
    anchors = [draws().at(step, phase).lasting("anchors", 10, 4) for step, phase in ((0, "D"), (9, "G"))]
    assert torch.equal(*anchors)
    assert not torch.equal(anchors[0], draws(seed=1).at(0, "D").lasting("anchors", 10, 4))


def test_all_phases_of_a_step_see_the_same_real_pictures_in_the_same_mirror() -> None:
    assert torch.equal(draws().at(3, "D").real(), draws().at(3, "R1").real())


def test_real_pictures_are_the_stream_in_order_in_minus_one_to_one() -> None:
    shots = Held(miniature.pictures(10), None, 0)
    found = torch.cat([draws(flip=False).at(step, "D").real() for step in range(5)])
    expected = shots.take(torch.arange(5 * BATCH)).float() / 127.5 - 1
    assert torch.equal(found, expected)
    assert found.min() >= -1
    assert found.max() <= 1
    epoch = {tuple(picture.flatten().tolist()) for picture in found[:10]}
    assert len(epoch) == 10  # every picture once before any comes again


def test_half_of_the_pictures_are_mirrored() -> None:
    flipped = torch.cat([draws().at(step, "D").real() for step in range(20)])
    plain = torch.cat([draws(flip=False).at(step, "D").real() for step in range(20)])
    same = (flipped == plain).flatten(1).all(1)
    mirrored = (flipped == plain.flip(3)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert 0.4 < mirrored.double().mean() < 0.6


def test_normal_draws_are_normal_and_indices_uniform() -> None:
    many = Draws(0, 20_000, miniature.CPU).at(0, "G")
    z = many.normal("z", 4)
    assert abs(float(z.mean())) < 0.02
    assert abs(float(z.std()) - 1) < 0.02
    counts = torch.bincount(many.indices("anchor", 5), minlength=5)
    assert int(counts.sum()) == 20_000
    assert bool(((counts - 4000).abs() < 300).all())
    numbers = {Draws(0, 4, miniature.CPU).at(step, "G").whole_number("layer", 1, 4) for step in range(60)}
    assert numbers == {1, 2, 3}


def test_noise_maps_have_a_side_and_a_row_each() -> None:
    maps = draws(0, 1, 2).at(0, "G").noise("noise", SIDES)
    assert [tuple(m.shape) for m in maps] == [(12, 1, side, side) for side in SIDES]


def test_a_named_stream_depends_on_every_part_of_its_name() -> None:
    def first(*key: object) -> float:
        return float(torch.rand((), generator=seeded(miniature.CPU, *key)))

    names = [(0, 1, "D", "z"), (0, 1, "D", "y"), (0, 2, "D", "z"), (1, 1, "D", "z"), (0, 1, "G", "z")]
    assert len({first(*name) for name in names}) == len(names)


@pytest.mark.parametrize(("batch", "world", "parts"), [(4, 2, 1), (8, 2, 2), (6, 1, 1), (10, 4, 1)])
def test_a_batch_whose_shares_would_cut_a_group_is_refused_in_one_sentence(
    batch: int, world: int, parts: int
) -> None:
    with pytest.raises(
        GraftError, match=f"a batch of {batch} cannot be shared by {world} processes"
    ) as caught:
        Draws(0, batch, miniature.CPU, world=world, parts=parts, group=4)
    assert f"multiple of {world * parts * 4}" in str(caught.value)


def test_a_batch_smaller_than_the_group_is_one_group() -> None:
    assert Draws(0, 2, miniature.CPU, group=4).at(0, "D").normal("z", 3).shape == (2, 3)
    with pytest.raises(GraftError, match="in groups of 2"):
        Draws(0, 2, miniature.CPU, world=2, group=4)


def test_a_part_of_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(GraftError, match="path: 3 samples cannot be shared by 2 processes"):
        Draws(0, 6, miniature.CPU, world=2).at(0, "path", whole=True).sized(3)


class Numbers:
    """Two domains of pictures that are one number each: 10 label + counter, in every stream other ones."""

    counts = (3, 30)

    def take(self, labels: Tensor, counters: Tensor, stream: str) -> Tensor:
        grey = (10 * labels + counters % 5).to(torch.uint8)
        return grey[:, None, None, None].expand(-1, 3, 8, 8)

    def partner(self, labels: Tensor, counters: Tensor, stream: str, fixed: bool) -> Tensor:
        return self.take(labels, counters, stream) + 100


def labelled(rank: int = 0, world: int = 1, change: Change | None = None) -> Draws:
    return Draws(3, BATCH, miniature.CPU, Numbers(), change, rank, world)


def labelled_blocks(change: Change) -> StepDraws:
    """A step of one picture of coloured blocks, again and again in every stream."""
    sets = {name: Held(miniature.pictures(1, seed), None, 0) for seed, name in enumerate("ab")}
    return Draws(0, BATCH, miniature.CPU, Domains(sets, 0), change).at(0, "D")


def test_labels_and_their_pictures_are_the_same_for_every_phase_and_other_in_every_stream() -> None:
    step = labelled().at(4, "D_latent")
    pictures, labels = step.labelled("x", True)
    again, same = labelled().at(4, "G_ref").labelled("x", True)
    assert torch.equal(pictures, again)
    assert torch.equal(labels, same)
    assert not torch.equal(labels, step.labelled("reference", True)[1])
    assert torch.allclose(
        pictures[:, 0, 0, 0], (10 * labels + torch.arange(4 * BATCH, 5 * BATCH) % 5) / 127.5 - 1
    )
    assert torch.allclose(step.partners("x", True, False), pictures + 100 / 127.5)


@pytest.mark.parametrize("label", [0, 1])
def test_pictures_of_one_domain_are_its_stream_in_order_the_same_for_every_phase(label: int) -> None:
    found = labelled().at(4, "D_images").of_domain(label, "A")
    counters = torch.arange(4 * BATCH, 5 * BATCH)
    assert torch.allclose(found[:, 0, 0, 0], (10 * label + counters % 5) / 127.5 - 1)
    assert torch.equal(found, labelled().at(4, "EG1").of_domain(label, "A"))


@pytest.mark.parametrize("change", [Change(), Change(flip=True), Change(flip=True, crop=0.7)])
def test_processes_share_the_pictures_of_one_domain(change: Change) -> None:
    whole = labelled(change=change).at(2, "D").of_domain(1, "B")
    for rank in range(2):
        assert torch.equal(labelled(rank, 2, change).at(2, "D").of_domain(1, "B"), whole[rank::2])


def test_two_streams_of_a_domain_are_changed_each_by_itself() -> None:
    step = labelled_blocks(Change(flip=True))
    assert not torch.equal(step.of_domain(0, "A"), step.of_domain(0, "B"))
    assert torch.equal(step.of_domain(0, "A"), step.of_domain(0, "A"))


def test_domains_are_drawn_alike_if_balanced_and_else_by_their_pictures() -> None:
    for balanced, share in ((True, 0.5), (False, 30 / 33)):
        labels = torch.cat([labelled().at(step, "D").labelled("x", balanced)[1] for step in range(200)])
        assert labels.float().mean().item() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("change", [Change(), Change(flip=True), Change(flip=True, crop=0.7)])
def test_processes_share_the_labelled_pictures_of_one(change: Change) -> None:
    whole = labelled(change=change).at(2, "D").labelled("x", True)
    for rank in range(2):
        part = labelled(rank, 2, change).at(2, "D").labelled("x", True)
        assert all(torch.equal(mine, all_[rank::2]) for mine, all_ in zip(part, whole, strict=True))


def test_what_phases_share_is_made_once_a_step_and_again_in_parts() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    one = Draws(0, 4, miniature.CPU)
    found = [
        one.at(0, "D").shared("a", make),
        one.at(0, "G").shared("a", make),
        one.at(1, "D").shared("a", make),
    ]
    assert found == [0, 0, 1]
    two = Draws(0, 4, miniature.CPU, parts=2)
    assert [two.at(0, "D", part).shared("a", make) for part in (0, 1)] == [2, 3]
    assert two.at(0, "G", 0).shared("a", make) == 2
    assert [two.at(0, phase, 0).shared("b", make, again=True) for phase in ("D", "G")] == [4, 5]


def test_common_draws_are_the_same_whichever_phase_asks() -> None:
    first, second = (labelled().at(7, phase) for phase in ("D_latent", "G_latent"))
    assert torch.equal(first.common().normal("z", 4), second.common().normal("z", 4))
    assert not torch.equal(first.normal("z", 4), second.normal("z", 4))


def test_uniform_numbers_are_uniform() -> None:
    numbers = Draws(0, 4000, miniature.CPU).at(0, "G").uniform("u", 5)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.01)
    assert numbers.var().item() == pytest.approx(1 / 12, abs=0.002)
