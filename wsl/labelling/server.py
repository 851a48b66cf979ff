"""The backend as a process: the model is opened, and tasks are answered until it is stopped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from wsl.checkpoints import check_classes, check_weights
from wsl.config import LabellingConfig
from wsl.errors import UserError
from wsl.ports import LOOPBACK, listen
from wsl.progress import loading

if TYPE_CHECKING:
    from wsl.labelling.answers import Annotator

log = logging.getLogger("wsl")


def serve(config: LabellingConfig) -> None:
    """Answer Label Studio's requests until the process is stopped.

    Raises:
        UserError: no such model or folder, or uvicorn is not installed.
        RunError: the port cannot be used.
        KeyboardInterrupt: it was stopped.
    """
    if not config.image_root.is_dir():
        raise UserError(f"{config.image_root}: no such folder; expected the one that the project's images lie in")
    recipe = check_weights(config.weights, config.local_weights, config.cam.model)
    if recipe is not None:
        check_classes(config.pick.classes, recipe.classes)
    try:
        import uvicorn
    except ImportError as error:
        raise UserError("the backend needs the extra: pip install 'wsl-toolkit[label-studio]'") from error
    with listen(config.host, config.port) as listening:
        annotator = open_annotator(config)
        from wsl.labelling.application import application

        local = config.host in LOOPBACK
        if not local:
            log.warning("whoever reaches %s may ask for predictions: there is no password", config.host)
        # A page that makes its name mean this machine would else ask, too.
        app = application(annotator, LOOPBACK if local else ["*"])
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        log.info(
            "http://%s:%d is the URL of the model in the project's settings; Ctrl-C ends it", config.host, config.port
        )
        server.run(sockets=[listening])


def open_annotator(config: LabellingConfig) -> Annotator:
    """The model of the settings, ready to answer.

    Raises:
        UserError: no such model or class, or a setting out of range.
    """
    with loading(config.weights):
        from wsl.inference.opening import OpenedModel
        from wsl.labelling.answers import Annotator

        opened = OpenedModel.open_for(config, config.image_root)
    name = Path(config.weights).name
    version = f"{name} {opened.identity['weights'][:8]}"
    return Annotator(opened.predictor(), config.image_root, version, pick=config.pick)
