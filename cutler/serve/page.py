"""Two pages that need nothing but this server: one to try the bundles on, one that lists what can be asked."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

HERE = Path(__file__).parent
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
PAGES = {"/": "page.html", "/docs": "docs.html"}


def routes() -> APIRouter:
    """The pages, each under a policy that lets it run its own script and ask this server, and nothing else."""
    router = APIRouter()
    for path, name in PAGES.items():
        text = (HERE / name).read_text(encoding="utf-8")
        router.add_api_route(path, _showing(text), methods=["GET"], include_in_schema=False, name=name)
    return router


def _showing(text: str) -> Callable[[], Awaitable[Response]]:
    content, policy = text.encode(), {"Content-Security-Policy": policy_of(text), "Cache-Control": "no-cache"}

    async def show() -> Response:
        return HTMLResponse(content, headers=policy)

    return show


def policy_of(text: str) -> str:
    """The content security policy of a page with one script in it."""
    found = SCRIPT.search(text)
    digest = base64.b64encode(hashlib.sha256((found[1] if found else "").encode()).digest()).decode("ascii")
    return (f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")  # fmt: skip
