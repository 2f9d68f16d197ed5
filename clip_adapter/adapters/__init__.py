"""The paper's adapters: bottleneck networks blended residually with frozen CLIP features.

Source: Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters",
https://arxiv.org/abs/2110.04544.
"""

from clip_adapter.adapters.logits import logits as logits
from clip_adapter.adapters.residual import ResidualAdapter as ResidualAdapter
from clip_adapter.adapters.residual import residual_blend as residual_blend
from clip_adapter.adapters.stacked import StackedAdapters as StackedAdapters
