"""The page: files of this package, served with a policy that lets nothing else in."""

from importlib.resources import files

from hawse.backend.api import check_origin
from hawse.net.http import Handler, Request, Response

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in (
            *("main", "logs", "rows", "metrics", "metricstate", "plot", "other", "state", "charts", "api", "dom"),
            *("traces", "tracestate", "trace", "spantree", "waterfall"),
        )
    },
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

# Logs are hostile input. Should the page ever fail to escape one, this keeps it from running or fetching anything.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


def routes(*, local: bool) -> dict[tuple[str, str], Handler]:
    """The page's routes; `local` as for the Api."""
    return {("GET", path): _serve(name, kind, local=local) for path, (name, kind) in _FILES.items()}


def _serve(name: str, kind: str, *, local: bool) -> Handler:
    content = files("hawse.backend").joinpath("page", name).read_bytes()

    async def serve(request: Request) -> Response:
        check_origin(request, local=local)
        return Response(200, content, _HEADERS, kind)

    return serve
