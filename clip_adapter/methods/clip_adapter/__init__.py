"""CLIP-Adapter: which branches are adapted, and what sets the residual ratios."""

from clip_adapter.methods.clip_adapter.method import ClipAdapter as ClipAdapter
from clip_adapter.methods.clip_adapter.method import recipes_for as recipes_for
