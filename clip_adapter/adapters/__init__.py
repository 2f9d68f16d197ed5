"""The paper's adapters: bottleneck networks blended residually with frozen CLIP features.

Source: Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters",
https://arxiv.org/abs/2110.04544.
"""

from clip_adapter.adapters.residual import ResidualAdapter as ResidualAdapter
from clip_adapter.adapters.residual import bottleneck as bottleneck
from clip_adapter.adapters.residual import logits as logits
from clip_adapter.adapters.residual import residual_blend as residual_blend
from clip_adapter.adapters.stacked import FixedRatios as FixedRatios
from clip_adapter.adapters.stacked import LearnedRatios as LearnedRatios
from clip_adapter.adapters.stacked import PredictedRatios as PredictedRatios
from clip_adapter.adapters.stacked import StackedAdapterModel as StackedAdapterModel
from clip_adapter.adapters.stacked import StackedAdapters as StackedAdapters
from clip_adapter.adapters.stacked import StackedBranch as StackedBranch
from clip_adapter.adapters.stacked import predicted_ratio as predicted_ratio
