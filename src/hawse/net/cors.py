"""Cross-origin requests of web pages (fetch.spec.whatwg.org, "CORS protocol"), for OTLP from browsers."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from hawse.net.http import Request, Response
from hawse.net.settings import Cors

_ALWAYS = ("accept", "content-type", "content-encoding", "x-requested-with")


def allows(settings: Cors, origin: str) -> bool:
    """Whether pages of this origin may send requests."""
    return any(fnmatchcase(origin.lower(), pattern.lower().replace("[", "[[]")) for pattern in settings.allowed_origins)


def preflight(settings: Cors, request: Request, methods: Sequence[str]) -> Response:
    """The answer to a preflight: without the headers that allow, the browser refuses."""
    if not allows(settings, request.headers.get("origin", "")):
        return Response(204, headers={"vary": "origin"})
    names = "*" if "*" in settings.allowed_headers else ", ".join((*_ALWAYS, *settings.allowed_headers))
    if names == "*":  # with credentials "*" is a literal, so what was asked for is echoed
        names = request.headers.get("access-control-request-headers", "")
    headers = {"access-control-allow-methods": ", ".join(methods), "access-control-allow-headers": names}
    if settings.max_age:
        headers["access-control-max-age"] = str(settings.max_age)
    return Response(204, headers=headers)


def headers(settings: Cors, origin: str) -> dict[str, str]:
    """What each answer to a page of this origin carries."""
    if not allows(settings, origin):
        return {"vary": "origin"}
    allowed = {"access-control-allow-origin": origin, "vary": "origin", "access-control-allow-credentials": "true"}
    if settings.exposed_headers:
        allowed["access-control-expose-headers"] = ", ".join(settings.exposed_headers)
    return allowed
