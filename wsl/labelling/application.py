"""The HTTP interface that Label Studio expects of a backend: health, setup and predictions in JSON."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from wsl.documents import parse_json
from wsl.errors import UserError
from wsl.labelling.answers import Annotator
from wsl.labelling.interface import Interface

log = logging.getLogger("wsl")

_LARGEST = 32 << 20  # bytes of a request
_EXPECTED = "a request of Label Studio"


def application(annotator: Annotator, hosts: Sequence[str]) -> Starlette:
    """Create the backend's web application, which answers only to the host names in `hosts`."""
    one_at_a_time = threading.Lock()

    def answer(tasks: Sequence[Any], interface: str) -> list[dict[str, Any]]:
        with one_at_a_time:
            return annotator.answer(tasks, interface)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "UP", "model_class": "wsl-toolkit", "model_version": annotator.version})

    async def setup(request: Request) -> JSONResponse:
        body = await _body(request)
        schema = body.get("schema")
        try:
            if isinstance(schema, str):
                Interface.read(schema, annotator.predictor.classes)
        except UserError as error:  # the project may get its labels later
            log.warning("%s", error)
        return JSONResponse({"model_version": annotator.version})

    async def predict(request: Request) -> JSONResponse:
        body = await _body(request)
        tasks, interface = body.get("tasks"), body.get("label_config")
        if not isinstance(tasks, list) or not isinstance(interface, str):
            raise UserError(f"the request has no tasks or no label_config; expected {_EXPECTED} for predictions")
        return JSONResponse({"results": await run_in_threadpool(answer, tasks, interface)})

    async def versions(_: Request) -> JSONResponse:
        return JSONResponse({"versions": [annotator.version]})

    async def webhook(_: Request) -> JSONResponse:
        return JSONResponse({})  # annotations are read by wsl-export

    async def told(_: Request, error: Exception) -> JSONResponse:
        log.warning("refused: %s", error)
        return JSONResponse({"error": str(error)}, status_code=400)

    return Starlette(
        routes=[
            Route("/", health),
            Route("/health", health),
            Route("/versions", versions),
            Route("/setup", setup, methods=["POST"]),
            Route("/predict", predict, methods=["POST"]),
            Route("/webhook", webhook, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={UserError: told},
    )


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        UserError: the request is larger than 32 MiB, or is not a JSON object.
    """
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > _LARGEST:
            raise UserError(f"the request has more than {_LARGEST} bytes; expected {_EXPECTED}")
    body = parse_json(bytes(data), "the request", _EXPECTED)
    if not isinstance(body, dict):
        raise UserError(f"the request is not a JSON object; expected {_EXPECTED}")
    return body
