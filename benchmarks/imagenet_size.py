"""One CLIP-Adapter at ImageNet's size: 16 shots of 1,000 classes, 200 epochs."""

import time
from pathlib import Path

import torch

from benchmarks.arithmetic import TrainingSize
from benchmarks.few_shot import LOGIT_SCALE, initial_adapter, paper_training, random_images
from benchmarks.grid_sides import machine_gigaflops
from benchmarks.processes import call_alone
from benchmarks.records import Figures
from clip_adapter.adapters import StackedAdapters
from clip_adapter.training import StackedData, train_adapters

ABOUT = (
    "seconds of training one CLIP-Adapter (reduction 4, ratio 0.2) by the paper's recipe on "
    "16,000 random features of width 1024 in 1,000 classes, 200 epochs, fp32. The paper reports 50 "
    "minutes on one GeForce RTX 3090 (https://arxiv.org/abs/2110.04544), where every image is encoded "
    "anew in every epoch, ResNet-50 included; here features are cached"
)
WIDTH, CLASSES, IMAGES, EPOCHS = 1024, 1000, 16_000, 200
QUICK_EPOCHS = 2
PUBLISHED_SECONDS = 50 * 60


def measure_imagenet_size(_: Path, *, quick: bool) -> Figures:
    """Train it once; with `quick` for two epochs, from which nothing is concluded."""
    epochs = QUICK_EPOCHS if quick else EPOCHS
    seconds, gigaflops = call_alone(train_imagenet_size, epochs=epochs).answer
    size = TrainingSize(images=IMAGES, width=WIDTH, classes=CLASSES, epochs=epochs)
    fraction = size.flops_needed() / seconds / 1e9 / gigaflops
    return Figures(
        name="imagenet_size",
        about=ABOUT,
        headlines={} if quick else {"imagenet_size_seconds": seconds},
        details={
            "seconds": round(seconds, 1),
            "epochs": epochs,
            "published_gpu_seconds": PUBLISHED_SECONDS,
            "teraflop_needed": float(f"{size.flops_needed() / 1e12:.4g}"),
            "machine_gigaflops": round(gigaflops),
            "fraction_of_machine": float(f"{fraction:.3g}"),
        },
        lines=(
            (
                f"{epochs} epochs: [bold]{seconds:.0f} s[/] (published on a GPU, 200 epochs: "
                f"{PUBLISHED_SECONDS} s), {fraction:.0%} of this machine's {gigaflops:.0f} gigaflop/s"
            ),
        ),
    )


def train_imagenet_size(epochs: int) -> tuple[float, float]:
    """Seconds, and the machine's rate in large products; for a process of its own."""
    images = random_images(0, width=WIDTH, classes=CLASSES, images=IMAGES)
    data = StackedData(
        features=images.features[None],
        labels=images.labels[None],
        prototypes=images.prototypes,
        logit_scale=LOGIT_SCALE,
        set_of_adapter=torch.zeros(1, dtype=torch.int64),
        seeds=(0,),
    )
    stack = StackedAdapters.stack([initial_adapter(0, width=WIDTH, residual_ratio=0.2)])
    start = time.perf_counter()
    train_adapters(stack, data, paper_training(epochs))
    return time.perf_counter() - start, machine_gigaflops()
