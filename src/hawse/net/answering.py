"""From a request that is whole to its answer, whichever version of HTTP it came by."""

import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from hawse.net.grpc import Code, GrpcError, of_http
from hawse.net.head import Incoming, decoded
from hawse.net.http import HttpError, Response

if TYPE_CHECKING:
    from hawse.net.http2.messages import Messages
    from hawse.net.listener import Listener

log = logging.getLogger("hawse.net.server")


async def handled(incoming: Incoming, listener: "Listener", *, raises: bool = False) -> Response:
    """The handler's response; a failure is answered with 500 and told once, here.

    What a handler raises to have the connection cut (ConnectionAbortedError) goes on. With `raises`, all that is no
    response is raised as GrpcError.
    """
    request = incoming.request
    mount = incoming.route.mount
    try:
        _check_running(incoming)
        return await incoming.route.handler(await decoded(incoming, listener.budget))
    except HttpError as error:
        if error.limit:
            listener.refused(error.limit)
        if raises:
            raise of_http(error) from None
        return mount.explain(request, error) if mount.explain and error.limit else error.response
    except ConnectionAbortedError:
        raise  # the handler wants this connection cut without an answer
    except GrpcError:
        if raises:
            raise
        log.exception("%s: a gRPC error in answer to HTTP", mount.owner)
    except Exception:
        log.exception("%s: %s %s from %s failed", mount.owner, request.method, request.path, request.peer)
    if raises:
        raise GrpcError(Code.INTERNAL, "internal error; the server's log has details")
    return Response(500, "internal error; the server's log has details\n", content_type="text/plain")


async def streamed(incoming: Incoming, listener: "Listener", messages: "Messages") -> AsyncGenerator[bytes, None]:
    """What the handler of a call with many messages yields. All that goes wrong is raised as GrpcError."""
    request, mount = incoming.request, incoming.route.mount
    assert incoming.route.stream is not None
    try:
        _check_running(incoming)
        answers = incoming.route.stream(request, messages)
        try:
            async for message in answers:
                yield message
        finally:
            aclose = getattr(answers, "aclose", None)
            if aclose is not None:
                await aclose()
    except HttpError as error:
        if error.limit:
            listener.refused(error.limit)
        raise of_http(error) from None
    except (GrpcError, ConnectionAbortedError):
        raise
    except Exception:
        log.exception("%s: %s %s from %s failed", mount.owner, request.method, request.path, request.peer)
        raise GrpcError(Code.INTERNAL, "internal error; the server's log has details") from None


def _check_running(incoming: Incoming) -> None:
    mount = incoming.route.mount
    if len(mount.running) > (most := mount.settings.max_concurrent_requests):
        message = f"{most} requests are being answered already"
        raise HttpError(503, message, {"retry-after": "1"}, limit="max_concurrent_requests")
