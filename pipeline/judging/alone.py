"""A generator judged without a source or few-shot pictures: its distance to the domain it was trained on.

B batch, n evaluation z, D latent dimension, m held-out pictures, H W pixels.
"""

import json

import torch
from torch import Tensor

from models.judges import Eye
from pipeline.judging.evaluator import Draw, Judgement, as_saved, features_of, hashed, latents
from pipeline.judging.kid import kid_score
from pipeline.judging.settings import Judging
from pipeline.judging.statistics import plain


@torch.no_grad()
def judge_alone(
    draw: Draw, heldout: Tensor, settings: Judging, eye: Eye, style_dim: int, device: torch.device | str
) -> Judgement:
    """KID alone, with the z, the eye and the protocol by which adapted models are judged.

    draw: z [B, D] on `device` -> pictures [B, 3, H, W] in [-1, 1]. heldout [m, 3, H, W]: uint8 or in [-1, 1].
    """
    z = latents(settings, style_dim)
    inputs = {
        "z": hashed(z),
        "heldout": hashed(heldout),
        "eye": f"{eye.name} {eye.sha256}",
        "protocol": json.dumps(settings.model_dump(exclude={"batch"}), sort_keys=True),
    }
    drawn = [eye.features(as_saved(draw(part.to(device)))).cpu() for part in torch.split(z, settings.batch)]
    real = features_of(as_saved(heldout), settings, eye, device)
    features = torch.cat(drawn)
    kid, each = kid_score(plain(features), plain(real), eye.name, settings)
    arrays = {"kid": torch.from_numpy(each).float(), "features": features.half()}
    return Judgement([kid], arrays, inputs)
