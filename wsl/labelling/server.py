"""The backend as a process, which opens the model and answers tasks until it is stopped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from wsl.checkpoints import check_model
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
        UserError: the model or the folder does not exist, or uvicorn is not installed.
        RunError: the port cannot be used.
        KeyboardInterrupt: the process was stopped.
    """
    if not config.image_root.is_dir():
        raise UserError(f"{config.image_root}: no such folder; expected the folder with the project's images")
    check_model(config.weights, config.local_weights, config.cam.model, config.pick.classes)
    try:
        import uvicorn
    except ImportError as error:
        raise UserError("the backend needs the extra: pip install 'wsl-toolkit[label-studio]'") from error
    with listen(config.host, config.port) as listening:
        annotator = open_annotator(config)
        from wsl.labelling.application import application

        local = config.host in LOOPBACK
        if not local:
            log.warning("everybody who can reach %s can ask for predictions, because there is no password", config.host)
        # Otherwise a web page whose host name resolves to this machine (DNS rebinding) could send requests.
        app = application(annotator, LOOPBACK if local else ["*"])
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        log.info(
            "http://%s:%d is the URL of the model for the project's settings; Ctrl-C ends it", config.host, config.port
        )
        server.run(sockets=[listening])


def open_annotator(config: LabellingConfig) -> Annotator:
    """Open the model of the settings, ready to answer tasks.

    Raises:
        UserError: the model or a class does not exist, or a setting is out of range.
    """
    with loading(config.weights):
        from wsl.inference.opening import OpenedModel
        from wsl.labelling.answers import Annotator

        opened = OpenedModel.open_for(config, config.image_root)
    name = Path(config.weights).name
    version = f"{name} {opened.identity['weights'][:8]}"
    return Annotator(opened.predictor(), config.image_root, version, pick=config.pick)
