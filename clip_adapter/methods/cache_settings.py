"""How much and how sharply a cache of training images may count."""

from collections.abc import Sequence

from clip_adapter.methods.selection import check_count, check_grid

ALPHAS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0)
BETAS = (1.0, 2.0, 3.0, 4.0, 5.5, 7.0, 9.0, 12.0)
"""Coarser than the authors' search of 200 betas and 20 alphas, whose ranges differ by dataset: up to
7 and 3 for most, 12 and 10 for EuroSAT (https://github.com/gaopengcuhk/Tip-Adapter, configs)."""


def check_cache_settings(alphas: Sequence[float], betas: Sequence[float], views: int) -> None:
    """Return if the grids and the number of views are in range; else raise `SettingsError`."""
    check_grid("alphas", alphas, at_least=0.0)
    check_grid("betas", betas, at_least=0.0)
    check_count("views", views)
