"""Server of the page, on this machine only."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path

from wsl.checkpoints import is_path, no_model
from wsl.config import DemoConfig
from wsl.errors import UserError
from wsl.ports import LOOPBACK, listen
from wsl.progress import loading

log = logging.getLogger("wsl")

_MAX_UPLOAD = "20mb"
_A_WHILE = 300


def serve(config: DemoConfig) -> None:
    """Serve the page until the process is stopped.

    It listens on 127.0.0.1 and refuses requests for other host names. Uploads and downloads are kept in a temporary
    folder: an upload until another image replaces it, all of them at most for an hour, or until the process ends.

    Raises:
        UserError: an unknown model, or gradio is not installed.
        RunError: the port cannot be used.
        KeyboardInterrupt: it was stopped.
    """
    host = LOOPBACK[0]
    # Errors before seconds are spent on loading.
    lost = next((name for name in config.models if is_path(name) and not Path(name).exists()), None)
    if lost is not None:
        raise no_model(lost)
    listen(host, config.port).close()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import, which reads it
    with tempfile.TemporaryDirectory(prefix="wsl-page-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            import gradio  # noqa: F401 - which the layout takes for granted
        except ImportError as error:
            raise UserError("the page needs the demo extra: pip install 'wsl-toolkit[demo]'") from error
        with loading("the page"):
            from starlette.middleware import Middleware
            from starlette.middleware.trustedhost import TrustedHostMiddleware

            from wsl.page.controls import Controls
            from wsl.page.layout import STYLE, page, theme
            from wsl.page.shelf import Shelf

        controls = Controls(Shelf(config.models, config.local_weights), Path(folder))
        blocks = page(controls)
        # Protects from DNS rebinding, by which a page of another site could read along.
        trusted = Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
        try:
            blocks.launch(
                server_name=host,
                server_port=config.port,
                max_file_size=_MAX_UPLOAD,
                theme=theme(),
                css=STYLE,
                share=False,
                quiet=True,
                app_kwargs={"middleware": [trusted]},
                prevent_thread_lock=True,  # gradio's own wait ends with code 0 on every signal
            )
            log.info("http://%s:%d in a browser of this machine; Ctrl-C ends it", host, config.port)
            while True:
                time.sleep(_A_WHILE)
        finally:
            controls.close()
            if (server := getattr(blocks, "server", None)) is not None:  # absent until it has started
                server.close()
