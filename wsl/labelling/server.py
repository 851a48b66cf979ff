"""The backend as a process: the model is opened, and tasks are answered until it is stopped."""

from __future__ import annotations

import logging
from pathlib import Path

from wsl.config import LabellingConfig, LocalizeConfig
from wsl.errors import UserError
from wsl.inference.opening import OpenedModel
from wsl.labelling.answers import Annotator
from wsl.ports import listen
from wsl.progress import loading

log = logging.getLogger("wsl")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(config: LabellingConfig) -> None:
    """Answer Label Studio's requests until the process is stopped.

    Raises:
        UserError: no such model or folder, or uvicorn is not installed.
        RunError: the port cannot be used.
        KeyboardInterrupt: it was stopped.
    """
    if not config.image_root.is_dir():
        raise UserError(f"{config.image_root}: no such folder; expected the one that the project's images lie in")
    try:
        import uvicorn

        from wsl.labelling.application import application
    except ImportError as error:
        raise UserError("the backend needs the extra: pip install 'wsl-toolkit[label-studio]'") from error
    with listen(config.host, config.port) as listening:
        annotator = open_annotator(config)
        local = config.host in _LOOPBACK
        if not local:
            log.warning("whoever reaches %s may ask for predictions: there is no password", config.host)
        # A page that makes its name mean this machine would else ask, too.
        app = application(annotator, _LOOPBACK if local else ["*"])
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
        opened = OpenedModel.open(
            LocalizeConfig(
                sources=(str(config.image_root),),
                weights=config.weights,
                out=Path(),
                local_weights=config.local_weights,
                cam=config.cam,
                pick=config.pick,
                boxes=config.boxes,
                refine=config.refine,
                tta=config.tta,
                image_size=config.image_size,
                runtime=config.runtime,
            )
        )
    name = Path(config.weights).name
    version = f"{name} {opened.identity['weights'][:8]}"
    return Annotator(opened.predictor(), config.image_root, version, pick=config.pick)
