"""CLIP's classification rule, shared by every method."""

import torch
from jaxtyping import Float
from torch import Tensor


def logits(
    features: Float[Tensor, "*batch n d"],
    prototypes: Float[Tensor, "*#batch c d"],
    logit_scale: float,
) -> Float[Tensor, "*batch n c"]:
    """Scaled cosine similarity of features and class prototypes.

    `logit_scale * (f / |f|) @ (w / |w|).T`, the classifier of CLIP (Radford et al. 2021,
    https://arxiv.org/abs/2103.00020, section 3.1.2). Only directions matter: raw and normalised
    features give the same logits up to rounding.

    Args:
        features: image features, raw or normalised, each row a direction (not all zero).
        prototypes: one text feature a class, the same for every batch or one set a batch.
        logit_scale: the inverse temperature, already exponentiated (100 for OpenAI's models).
    """
    directions = torch.nn.functional.normalize(features, dim=-1)
    return logit_scale * directions @ torch.nn.functional.normalize(prototypes, dim=-1).mT
