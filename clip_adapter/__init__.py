"""Few-shot adaptation of CLIP on cached features."""

__version__ = "0.1.0"
