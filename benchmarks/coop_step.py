"""A training step of CoOp, with the text tower in the loop."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.few_shot import LOGIT_SCALE, random_images
from benchmarks.models import save_clip_of_text
from benchmarks.processes import call_alone
from benchmarks.records import Figures, Value
from benchmarks.rounds import Spread
from clip_adapter.encoders import BUILT_IN, load_encoder, text_tower
from clip_adapter.methods import CoOp, FewShotTask, TextTower
from clip_adapter.methods.fitting.coop import Contexts
from clip_adapter.training import TrainingSettings

ABOUT = (
    "seconds of one training step of CoOp (16 context tokens shared by all classes, names of two "
    "words, one model, batches of 32 cached random features, SGD, fp32): prompts of all classes "
    "through the text tower, loss, and back to the context; the median over epochs of 4 steps, the "
    "first epoch left out. Peaks are of a process that does nothing else, imports and the loaded "
    "model included, beside one that only loads the model. vit_b_32 is the text tower of ViT-B-32 "
    "with random weights and without its image tower"
)
BATCH, STEPS_AN_EPOCH, N_CONTEXT = 32, 4, 16
EPOCHS, QUICK_EPOCHS = 6, 2
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def measure_coop_step(place: Path, *, quick: bool) -> Figures:
    """Seconds and peaks of the built-in encoder and a large one, at few classes and many."""
    large = save_clip_of_text(place / "clip")
    cases = {
        "glyphs_c10": (BUILT_IN, 10),
        "vit_b_32_c10": (large, 10),
        "vit_b_32_c100": (large, 100),
    }
    headlines: dict[str, float] = {}
    details: dict[str, Value] = {}
    lines: list[str] = []
    for name, (model, classes) in cases.items():
        epochs = QUICK_EPOCHS if quick else EPOCHS
        steps = call_alone(seconds_of_steps, model=model, classes=classes, epochs=epochs)
        loaded = call_alone(longest_prompt, model=model, classes=classes)
        seconds = Spread.of(steps.answer)
        headlines[f"coop_step_seconds_{name}"] = seconds.median
        headlines[f"coop_step_peak_mb_{name}"] = steps.peak_bytes / 1e6
        details |= {
            f"seconds_{name}": seconds.rounded(),
            f"peak_mb_loaded_{name}": round(loaded.peak_bytes / 1e6),
            f"tokens_a_prompt_{name}": loaded.answer,
        }
        lines.append(
            f"{name}: [bold]{seconds.median:.3g} s[/] a step ({seconds.low:.3g} to "
            f"{seconds.high:.3g}), {loaded.answer} tokens a prompt, peak "
            f"{steps.peak_bytes / 1e6:,.0f} MB, of which loaded {loaded.peak_bytes / 1e6:,.0f} MB"
        )
    return Figures(
        name="coop_step",
        about=ABOUT,
        headlines={} if quick else headlines,
        details=details,
        lines=tuple(lines),
    )


def seconds_of_steps(model: str, *, classes: int, epochs: int) -> list[float]:
    """Seconds a step of each epoch but the first; for a process of its own."""
    task = coop_task(text_tower(load_encoder(model)), classes=classes)
    training = TrainingSettings(epochs=epochs, batch_size=BATCH)
    ticks: list[float] = []
    CoOp(n_context=N_CONTEXT, training=training).fit([task], progress=_noting(ticks))
    return [(end - start) / STEPS_AN_EPOCH for start, end in pairwise(ticks)]


def longest_prompt(model: str, *, classes: int) -> int:
    """Tokens the tower reads of each prompt; the load of a process that trains nothing."""
    tower = text_tower(load_encoder(model))
    room = Contexts.around(class_names(classes), tower, n_context=N_CONTEXT, class_position="end")
    return int(tower.ends(room.tokens).max()) + 1


def coop_task(tower: TextTower, *, classes: int) -> FewShotTask:
    """As many random images as an epoch visits, with the width of the tower's features."""
    prompts = tower.encode(*tower.embed([f"a {name}" for name in class_names(classes)]))
    raw = prompts.detach().numpy()
    images = random_images(0, width=raw.shape[1], classes=classes, images=BATCH * STEPS_AN_EPOCH)
    features, labels = images.features.numpy(), images.labels.numpy().astype(np.int64)
    return FewShotTask(
        train_features=features,
        train_labels=labels,
        val_features=features[:0],
        val_labels=labels[:0],
        prompt_features=raw[:, None],
        logit_scale=LOGIT_SCALE,
        class_names=class_names(classes),
        shots=1,
        seed=0,
        text_tower=tower,
    )


def class_names(classes: int) -> tuple[str, ...]:
    """Up to a hundred names of two tokens each."""
    return tuple(f"{WORDS[number // 10]} {WORDS[number % 10]}" for number in range(classes))


def _noting(ticks: list[float]) -> Callable[[float], None]:
    return lambda _: ticks.append(time.perf_counter())
