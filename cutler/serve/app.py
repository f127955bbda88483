"""The application: every protocol over the same bundles, and what holds for all of them: keys, errors, counting."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cutler import __version__
from cutler.errors import CutlerError
from cutler.serve import hugging_face, open_inference, openai, own, page
from cutler.serve.asked import json_response
from cutler.serve.refused import Busy, NoKey, Unfit, status_of
from cutler.serve.served import Serving

OPEN = ("/", "/docs", "/health", "/ready", "/v2/health/live", "/v2/health/ready")
"""Paths that need no key: they tell nothing of what is served."""
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"),
           (b"x-frame-options", b"DENY")]  # fmt: skip
DO = "look at /docs for what there is"
log = logging.getLogger(__name__)


def app_of(serving: Serving) -> FastAPI:
    """The application that serves these bundles."""

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        for served in serving.served.values():
            served.queue.start()
        yield
        for served in serving.served.values():
            await served.queue.stop()

    app = FastAPI(title="cutler", version=__version__, docs_url=None, redoc_url=None, lifespan=living,
                  description=f"Serves {', '.join(serving.served)}.")  # fmt: skip
    for router in (own.routes(serving), hugging_face.routes(serving), open_inference.routes(serving),
                   openai.routes(serving), page.routes(), _state(serving)):  # fmt: skip
        app.include_router(router)
    app.add_exception_handler(CutlerError, _refused)
    app.add_exception_handler(HTTPException, _no_such)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(Guard, serving=serving)
    return app


def _state(serving: Serving) -> APIRouter:
    """Whether it lives, whether it answers, and what it did."""
    router = APIRouter(tags=["State"])

    @router.get("/health", summary="Whether the server lives")
    async def health() -> Response:
        return json_response('{"live": true}')

    @router.get("/ready", summary="Whether it answers")
    async def ready() -> Response:
        return json_response(json.dumps({"ready": True, "models": len(serving.served)}))

    @router.get("/metrics", summary="Numbers for Prometheus", response_class=PlainTextResponse,
                responses={401: {"description": "No key"}})  # fmt: skip
    async def metrics() -> Response:
        return Response(serving.counted.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


class Guard:
    """Lets in who has a key, counts what is answered, and adds the headers that all answers have."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self.app, self.serving = app, serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            await (self.app if self._admits(scope) else _no_key(scope["path"]))(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.serving.counted.request(route, status, time.perf_counter() - began)

    def _admits(self, scope: Scope) -> bool:
        if not self.serving.keys or scope["path"] in OPEN:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return self.serving.keys.admit(given)


def _no_key(path: str) -> Response:
    error = NoKey("a key of this server, as Authorization: Bearer KEY", found="none that it knows",
                  do="ask who runs the server for one")  # fmt: skip
    return _answer(path, error, {"WWW-Authenticate": "Bearer"})


def _answer(path: str, error: CutlerError, headers: dict[str, str] | None = None) -> Response:
    """An error as the protocol of the path says it."""
    status = status_of(error)
    if path.startswith("/v1/") or path.endswith("/v1/chat/completions"):
        status = 400 if status == 422 else status
        told: dict[str, Any] = openai.problem(status, str(error))
    elif path.startswith(("/v2", "/models/")):
        told = {"error": str(error)}
        status = 400 if status == 422 and path.startswith("/v2") else status
    else:
        told = own.problem(error.expected, error.found, error.do)
    return json_response(json.dumps(told, ensure_ascii=False), status=status, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, CutlerError)
    wait = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Busy) else None
    if status_of(error) >= 500:
        log.warning("%s was not answered: %s", request.url.path, error)
    return _answer(request.url.path, error, wait)


async def _no_such(request: Request, error: Exception) -> Response:
    """Of a path that there is not, or another method."""
    assert isinstance(error, HTTPException)
    found = _with_status(error.status_code, HTTPStatus(error.status_code).phrase.lower())
    return _answer(request.url.path, found, dict(error.headers or {}))


async def _unfit(request: Request, error: Exception) -> Response:
    """Of a query, which FastAPI reads."""
    assert isinstance(error, RequestValidationError)
    said = str(error.errors()[0]["msg"])[:160]
    return _answer(request.url.path, Unfit("a query as /docs describes it", found=said, do=DO))


async def _failed(request: Request, error: Exception) -> Response:
    """Of what nobody foresaw; what it was stands in the log, not in the answer."""
    return _answer(request.url.path, _with_status(500, f"an error of the server ({type(error).__name__})"))


def _with_status(status: int, found: str) -> CutlerError:
    error = CutlerError("a request that is served here", found=found, do=DO)
    error.status = status  # type: ignore[attr-defined]
    return error
