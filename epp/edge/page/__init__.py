"""The live page's files, as they are served: no build step, nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

HTML = "page.html"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    # Nothing but our own files, no code in attributes, no evaluation, in nobody's frame.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


def add_to(app: web.Application) -> None:
    """`GET /`, and the files that it names below `/page/`."""
    here = files(__name__)
    found = {each.name: each.read_bytes() for each in here.iterdir() if each.name.endswith(tuple(TYPES))}

    def served(name: str) -> web.Response:
        kind = TYPES[name[name.rindex(".") :]]
        return web.Response(body=found[name], content_type=kind, charset="utf-8", headers=HEADERS)

    async def page(_: web.Request) -> web.Response:
        return served(HTML)

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in found:
            raise web.HTTPNotFound
        return served(name)

    app.router.add_get("/", page)
    app.router.add_get("/page/{name}", file)
