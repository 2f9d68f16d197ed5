"""What the towers are trained for: true captions near, and one drawing near to itself."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax


def contrastive_loss(logits: Tensor, true: Tensor) -> Tensor:
    """Mean cross-entropy of pictures over captions and of captions over pictures.

    CLIP's symmetric loss (https://arxiv.org/abs/2103.00020, figure 3) with the targets spread
    evenly over all true pairs (https://arxiv.org/abs/2204.03610, equation 2): a batch holds many
    pictures of one character, and calling all but one of them wrong would teach nonsense.

    Args:
        logits: scaled cosines, [pictures, captions].
        true: whether the caption is true of the picture, bool of the same shape. A row or
            column with nothing true in it is left out.
    """
    return (_spread_cross_entropy(logits, true) + _spread_cross_entropy(logits.T, true.T)) / 2


def same_drawing_loss(first: Tensor, second: Tensor, *, temperature: float = 0.1) -> Tensor:
    """How hard it is to tell which two features show one drawing through two bad cameras.

    The self-supervised half of SLIP (https://arxiv.org/abs/2112.12750), as SimCLR's loss
    (https://arxiv.org/abs/2002.05709) between the two views only. Captions alone teach the image
    tower to forget everything but the character; this makes it keep the shape of the strokes,
    which is what an adapter later learns from.

    Args:
        first: unit features, [n, d].
        second: unit features of the same drawings, in the same order.
        temperature: divides the cosines; 0.1 as in SimCLR.
    """
    logits = first @ second.T / temperature
    own = torch.arange(len(first))
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def _spread_cross_entropy(logits: Tensor, true: Tensor) -> Tensor:
    answerable = true.any(dim=1)
    logits, true = logits[answerable], true[answerable]
    targets = true / true.sum(dim=1, keepdim=True)
    return torch.mean(-(targets * log_softmax(logits, dim=1)).sum(dim=1))
