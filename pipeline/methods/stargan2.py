"""StarGAN v2 (Choi et al. 2020): one generator for all domains, styles from latents or from reference pictures.

Four rows, in the published order: the discriminator against a latent-guided and a reference-guided fake, then the
generator with each. The reference row trains G alone, as released: its authors say that training E there as well made
results worse. Differences of the default: augmentation crops what was resized before; averages start from the live
networks, and the partner of a reference is drawn anew in each epoch (profile `released`: as there). The published run
restarts the weight of `ds` when it is resumed; here it is a function of the step.
Reproduce: `python -m pipeline.pretrain configs/pretrain_stargan2_avatars.yaml`.

`b` pictures of this process, `S` side, `Z` latent dimension; x source, y its domain, target the domain asked for.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from losses.adversarial import fake_logistic, fool_logistic, real_logistic
from losses.correlation import full_precision
from losses.diversity import diversity_sensitive, gaps, mode_seeking, pair_gaps
from losses.penalties import r1
from losses.translation import mean_absolute
from models.stargan2 import FAN, Discriminator, Encoded, Generator, MappingNetwork, StyleEncoder, masks_of
from pipeline.draws import StepDraws
from pipeline.methods.diversity import (
    contrast_term,
    contrasts,
    frozen_call,
    kept_distances,
    neighbours,
    pooled,
    repeated,
)
from pipeline.methods.stargan2_settings import Settings
from pipeline.nets import Nets
from pipeline.phase import Adam, Average, Method, Phase, Ramp, Tensors, Term, Weight, When, pulling

Masks = tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class Latent:
    """What the rows of one step have in common while G and F stand still: made once, with its graph."""

    z: Tensor
    style: Tensor
    encoded: Encoded
    fake: Tensor
    masks: Masks


def generator(nets: Nets) -> Generator:
    """G."""
    return nets.of(Generator, "G")


def masks_for(nets: Nets, pictures: Tensor) -> Masks:
    """Masks of the high-pass skips, without gradient; none where the method has no FAN."""
    if "fan" not in nets.modules:
        return None
    with torch.no_grad():
        return masks_of(nets.of(FAN, "fan"), pictures)


def source_masks(nets: Nets, draws: StepDraws) -> Masks:
    """Masks of this step's source pictures."""
    return draws.shared("masks", lambda: masks_for(nets, sources(draws)[0]))


def sources(draws: StepDraws) -> tuple[Tensor, Tensor]:
    """x [b, 3, S, S] and y [b]."""
    return draws.shared("sources", lambda: draws.labelled("x", True))


def references(draws: StepDraws) -> tuple[Tensor, Tensor]:
    """Reference pictures and their domains, which are the targets of the step."""
    return draws.shared("references", lambda: draws.labelled("reference", True))


def latent_fake(nets: Nets, draws: StepDraws) -> Latent:
    """The latent-guided picture of this step, for D and, as long as G and F have not moved, for G."""

    def make() -> Latent:
        (x, _), (_, target) = sources(draws), references(draws)
        mapping = nets.of(MappingNetwork, "F")
        z = draws.common().normal("z", mapping.layout.latent_dim)
        style = mapping(z, target)
        masks = source_masks(nets, draws)
        encoded = generator(nets).encode(x)
        return Latent(z, style, encoded, generator(nets).decode(encoded, style, masks), masks)

    return draws.shared("latent", make, again=True)


def judged(nets: Nets, draws: StepDraws, fake: Tensor) -> Tensors:
    """Logits of real and of drawn pictures, and the squared slope [b] at the real ones."""
    discriminator = nets.of(Discriminator, "D")
    (x, y), (_, target) = sources(draws), references(draws)
    real = x.detach().clone().requires_grad_()
    with full_precision(real.device):
        logits = discriminator(real, y)
        slope = r1(logits[:, None], real)
    return {"real": logits, "slope": slope, "fake": discriminator(fake, target)}


def critic_latent(nets: Nets, draws: StepDraws) -> Tensors:
    """D against the latent-guided picture."""
    return judged(nets, draws, latent_fake(nets, draws).fake.detach())


def critic_reference(nets: Nets, draws: StepDraws) -> Tensors:
    """D against a reference-guided picture, of the generator as it was for the latent one."""
    made = latent_fake(nets, draws)
    pictures, target = references(draws)
    with torch.no_grad():
        style = nets.of(StyleEncoder, "E")(pictures, target)
        fake = generator(nets).decode(made.encoded.detach(), style, made.masks)
    return judged(nets, draws, fake)


def falling(settings: Settings, step: int) -> bool:
    """Whether ds pulls at this step."""
    return settings.weights.ds > 0 and (not settings.ds_steps or step < settings.ds_steps)


def spread(
    nets: Nets, draws: StepDraws, settings: Settings, found: Tensors, first: Tensor, code: Tensor,
    second: Tensor, masks: Masks, encoded: Encoded, codes: tuple[Tensor, Tensor],
) -> None:  # fmt: skip
    """Adds to `found` what the terms on a second picture of the same source read.

    code and second: the styles of the two; codes: what mode seeking takes for their distance.
    """
    weights = settings.weights
    seeking = weights.mode_seeking > 0
    if seeking or falling(settings, draws.step):
        with torch.set_grad_enabled(seeking):
            start = encoded if seeking else encoded.detach()
            found["other"] = generator(nets).decode(start, second, masks)
    if seeking:
        found["picture_gaps"] = draws.together(gaps(first, found["other"]))
        found["code_gaps"] = draws.together(gaps(*codes).detach())
    if weights.distance > 0:
        x, _ = sources(draws)
        found["source_gaps"] = pair_gaps(draws.together(x))
        found["image_gaps"] = pair_gaps(draws.together(first))
        found["moments"] = nets.memory["distance_moments"]


def artist_latent(nets: Nets, draws: StepDraws, settings: Settings) -> Tensors:
    """G, F and E: the latent-guided picture, its style read back, the source got back, and what keeps it diverse."""
    made, (x, y), (_, target) = latent_fake(nets, draws), sources(draws), references(draws)
    encoder, mapping = nets.of(StyleEncoder, "E"), nets.of(MappingNetwork, "F")
    seen, own = encoder(torch.cat([made.fake, x]), torch.cat([target, y])).chunk(2)
    back = generator(nets)(made.fake, own, masks_for(nets, made.fake))
    found = {"fake": nets.of(Discriminator, "D")(made.fake, target), "picture": made.fake}
    found |= {"seen": seen, "style": made.style, "back": back, "x": x}
    z2 = draws.common().normal("z2", mapping.layout.latent_dim)
    with torch.set_grad_enabled(settings.weights.mode_seeking > 0):
        second = mapping(z2, target)
    spread(
        nets, draws, settings, found, made.fake, made.style, second, made.masks, made.encoded, (made.z, z2)
    )
    if settings.weights.divco > 0 and draws.step % settings.divco_every == 0:
        features = neighbour_features(nets, draws, settings, made, target)
        found["divco"] = contrasts(features, settings, draws.stride)
    return found


def neighbour_features(
    nets: Nets, draws: StepDraws, settings: Settings, made: Latent, target: Tensor
) -> Tensor:
    """Features [N + 2, b, F] of the picture, of its positive and of its negatives; the source is encoded once."""
    mapping = nets.of(MappingNetwork, "F")
    if settings.divco_space == "z":
        around = neighbours(made.z, draws, settings)
        styles = mapping(torch.cat(around), repeated(target, len(around)))
    else:
        around = neighbours(made.style, draws, settings)
        styles = torch.cat(around)
    count = len(around)
    masks = None if made.masks is None else (repeated(made.masks[0], count), repeated(made.masks[1], count))
    drawn = generator(nets).decode(
        made.encoded.rows(torch.arange(len(target), device=target.device).repeat(count)), styles, masks
    )
    pictures, labels = torch.cat([made.fake, drawn]), repeated(target, count + 1)
    features = frozen_features(nets, settings, pictures, labels)
    return features.view(count + 1, len(target), -1)


def frozen_features(nets: Nets, settings: Settings, pictures: Tensor, labels: Tensor) -> Tensor:
    """[B, F] in the network that the contrast looks through, which takes no gradient from it."""
    if settings.divco_features == "generator_encoder":
        found = frozen_call(generator(nets), lambda network, x: network.encode(x).h, pictures)
    elif settings.divco_features == "style_encoder":
        found = frozen_call(nets.of(StyleEncoder, "E"), nn.Module.__call__, pictures, labels)
    else:
        found = frozen_call(
            nets.of(Discriminator, "D"), lambda network, x: network.main[:-1](x).flatten(1), pictures
        )
    return pooled(found)


def artist_reference(nets: Nets, draws: StepDraws, settings: Settings) -> Tensors:
    """G alone, guided by a reference. E gives codes and takes no gradient: it does not step here."""
    (x, y), (pictures, target) = sources(draws), references(draws)
    partners = draws.partners("reference", True, settings.pairing == "fixed")
    encoder = nets.of(StyleEncoder, "E")
    with torch.no_grad():
        codes = encoder(torch.cat([pictures, partners, x]), torch.cat([target, target, y]))
        style, second, own = codes.chunk(3)
    masks = source_masks(nets, draws)
    encoded = generator(nets).encode(x)
    fake = generator(nets).decode(encoded, style, masks)
    back = generator(nets)(fake, own, masks_for(nets, fake))
    found = {"fake": nets.of(Discriminator, "D")(fake, target), "picture": fake}
    found |= {"seen": encoder(fake, target), "style": style, "back": back, "x": x}
    spread(nets, draws, settings, found, fake, style, second, masks, encoded, (style, second))
    return found


def half_mean(slope: Tensor) -> Tensor:
    """Half the mean squared slope, as released."""
    return 0.5 * slope.mean()


def critic_terms(settings: Settings) -> tuple[Term, ...]:
    """Real, fake, and R1 at every step."""
    weights = settings.weights
    return (
        Term("real", real_logistic, ("real",), weights.real),
        Term("fake", fake_logistic, ("fake",), weights.fake),
        Term("r1", half_mean, ("slope",), weights.r1),
    )


def artist_terms(settings: Settings, latent: bool) -> tuple[Term, ...]:
    """What pulls on G, in the latent row and in the reference row."""
    weights = settings.weights
    ds: Weight = weights.ds
    when = When()
    if settings.ds_steps and weights.ds > 0:
        ds, when = Ramp(weights.ds, 0.0, settings.ds_steps), When(stop=settings.ds_steps)
    seek = partial(mode_seeking, eps=settings.mode_seeking_eps)
    terms = (
        Term("fool", fool_logistic, ("fake",), weights.fool),
        Term("style", mean_absolute, ("seen", "style"), weights.style + weights.latent_regression),
        Term("cycle", mean_absolute, ("back", "x"), weights.cycle),
        Term("ds", diversity_sensitive, ("picture", "other"), ds, when),
        Term("mode_seeking", seek, ("picture_gaps", "code_gaps"), weights.mode_seeking, across=True),
        Term(
            "distance",
            kept_distances,
            ("source_gaps", "image_gaps", "moments"),
            weights.distance,
            across=True,
        ),
    )
    return (*terms, contrast_term(weights.divco, settings)) if latent else terms


def method(settings: Settings) -> Method:
    """D_latent, D_ref, G_latent, G_ref."""
    phases = pulling(
        Phase("D_latent", ("D",), critic_latent, critic_terms(settings), lends=("G", "F")),
        Phase("D_ref", ("D",), critic_reference, critic_terms(settings)),
        Phase(
            "G_latent",
            ("G", "F", "E"),
            partial(artist_latent, settings=settings),
            artist_terms(settings, True),
        ),
        Phase("G_ref", ("G",), partial(artist_reference, settings=settings), artist_terms(settings, False)),
    )
    adam = Adam(settings.lr, (0.0, settings.beta2), weight_decay=settings.weight_decay)
    mapping = Adam(settings.lr_mapping, (0.0, settings.beta2), weight_decay=settings.weight_decay)
    average = Average(math.log(0.5) / math.log(settings.ema_decay))
    return Method(
        "stargan2",
        phases,
        {"G": adam, "F": mapping, "E": adam, "D": adam},
        {"G": average, "F": average, "E": average},
    )
