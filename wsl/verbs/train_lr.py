"""Search for a learning rate before a training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from wsl.config import TrainConfig
from wsl.config.keywords import by_keywords
from wsl.draw import plot_over_rates
from wsl.errors import RunError, UserError
from wsl.files import check_folder
from wsl.progress import loading
from wsl.training.lr_search import LrSearch
from wsl.verbs.train import ALSO, read_inputs

PLOT = "lr_search.png"


@by_keywords(TrainConfig, "data", also=ALSO)
def find_lr(config: TrainConfig, *, steps: int = 100) -> tuple[LrSearch, Path]:
    """Search for a learning rate for these settings; returns the result and the path of its plot in ``config.out``.

    Settings are a `TrainConfig`, or keywords as those of `wsl.train`: ``find_lr("photos/", out="runs/mine")``.

    The steps are those of the training's first epochs with increasing rates, so the same seed gives the same numbers.
    Only the plot is written, and a run in the folder is not modified.

    Raises:
        UserError: a setting, the data or the weights cannot be used, or the optimizer has no learning rate.
        RunError: the loss is not finite at the lowest rate, or no image could be read.
    """
    if config.optim.optimizer == "lbfgs":
        raise UserError("--find-lr with --optimizer lbfgs, which has no learning rate: expected sgd or adamw")
    if steps < 2:
        raise UserError(f"find lr steps is {steps}, expected 2 or more, such as 100")
    check_folder(config.out, "the plot")
    config, samples, _ = read_inputs(config)
    plain = dataclasses.replace(
        config, val_split=None, patience=None, track=(), tensorboard=False, resume=False, save_every=None
    )
    with loading(plain.model.backbone):
        from wsl.verbs.epochs import Run

        run = Run(plain, samples, None)
    found = run.search_lr(steps)
    if not found.rates:
        raise RunError("the loss of the first step is not finite: check the images, --mean and --std, and the weights")
    path = config.out / PLOT
    curves = {"loss of a step": found.losses, "smoothed": found.smoothed}
    marks = {} if found.suggestion is None else {f"suggested: {found.suggestion:.0e}": found.suggestion}
    if run.first:
        plot_over_rates(path, found.rates, curves, x="learning rate of the head", y="loss", marks=marks)
    return found, path


def search_table(found: LrSearch, rows: int = 10) -> str:
    """A table of some steps of the search, with the suggested learning rate.

    >>> print(search_table(LrSearch(rates=(1e-3, 1e-2), losses=(0.7, 0.6), smoothed=(0.7, 0.65), suggestion=1e-3)))
    learning rate    loss  smoothed
          1.0e-03  0.7000    0.7000
          1.0e-02  0.6000    0.6500
    suggested: --lr 1e-03 (a tenth of the rate at which the smoothed loss is lowest)
    """
    count = len(found.rates)
    places = sorted({round(row * (count - 1) / max(1, rows - 1)) for row in range(rows)}) if count else []
    lines = ["learning rate    loss  smoothed"]
    lines += [f"{found.rates[i]:>13.1e}  {found.losses[i]:6.4f}    {found.smoothed[i]:6.4f}" for i in places]
    if found.suggestion is None:
        return "\n".join([*lines, "no suggestion: the loss did not fall at any rate"])
    return "\n".join(
        [
            *lines,
            f"suggested: --lr {found.suggestion:.0e} (a tenth of the rate at which the smoothed loss is lowest)",
        ]
    )
