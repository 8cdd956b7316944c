"""One request on an HTTP/2 connection, while it comes and while it is answered."""

import io
from typing import TYPE_CHECKING

from hawse.net.head import Incoming

if TYPE_CHECKING:
    import asyncio

    from hawse.net.http2.messages import Messages


class Stream:
    """What the connection knows of a request. `incoming` is None where it has been refused already."""

    __slots__ = (
        "answered",
        "began",
        "body",
        "ended",
        "id",
        "incoming",
        "is_grpc",
        "messages",
        "prefix",
        "receive_window",
        "send_window",
        "size",
        "task",
        "timeout",
        "unacknowledged",
        "waiter",
    )

    def __init__(self, id_: int, incoming: Incoming | None, receive_window: int, send_window: int, now: float) -> None:
        self.id = id_
        self.incoming = incoming
        self.is_grpc = False
        self.messages: Messages | None = None  # of a call that has many, instead of `body`
        self.body = io.BytesIO()
        self.prefix = b""  # of a gRPC message
        self.size = 0
        self.ended = False  # the client has sent all
        self.answered = False  # we have sent all, or begun to
        self.receive_window = receive_window
        self.unacknowledged = 0  # bytes received for which the window has not been opened again
        self.send_window = send_window
        self.task: asyncio.Task[None] | None = None
        self.waiter: asyncio.Future[None] | None = None  # for the send window
        self.timeout: float | None = None
        self.began = now

    def wake(self) -> None:
        """The client takes more."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
