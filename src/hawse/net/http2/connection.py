"""A client's HTTP/2 connection to our server: frames in, requests to their handlers, answers out as they are ready."""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from hawse.net import grpc
from hawse.net.http import HttpError
from hawse.net.http2 import frames, request
from hawse.net.http2.answer import Answers
from hawse.net.http2.fields import FieldReader
from hawse.net.http2.flood import Patience
from hawse.net.http2.frames import Code, ConnectionFailed, StreamFailed
from hawse.net.http2.messages import Messages
from hawse.net.http2.stream import Stream
from hawse.net.writer import LINGER, LINGER_BYTES
from hawse.wire import Buffer

if TYPE_CHECKING:
    from hawse.net.listener import Listener

log = logging.getLogger("hawse.net.server")

_LARGEST_FRAME = 1 << 20  # of data, which is taken as it comes
_LARGEST_CONTROL = 64 << 10  # of a frame that must be whole to be read
_STREAM_WINDOW = 4 << 20
_WINDOW = 16 << 20
_TABLE = 4096
_CONTINUATIONS = 32
_UNSENT = 1 << 20  # bytes that may wait for a client that is slow to read,
_UNREAD = 64 << 10  # and of answers to control frames behind them
_REQUEST = 1 << 10  # bytes that our own objects take for a request
_YOUNG = 1.0
_UNTOLD = 10
_RATE_GRACE = 10.0


class Http2Connection(Answers):
    """Takes over from the connection that found the preface in its first bytes."""

    def __init__(self, listener: "Listener", transport: asyncio.Transport, peer: str) -> None:
        super().__init__(listener)
        self._transport = transport
        self.peer = peer
        self._rest = b""  # the beginning of what is not whole yet
        self._greeted = False
        self._fields = FieldReader(_TABLE, int(self._settings.max_header_bytes))
        self._patience = Patience()
        self._data: Stream | None = None  # whose DATA frame is coming
        self._data_left = self._padding_left = 0
        self._data_ends = False
        self._block: tuple[int, bool, list[bytes], int] | None = None  # stream, END_STREAM, fragments, their size
        self._last = 0
        self._window = _WINDOW
        self._unacknowledged = 0
        self._unread = 0
        self._draining = False
        self.deadline = float("inf")
        self._idle_since = self._heard = listener.loop.time()
        self._asked = float("-inf")  # when we sent a PING; unanswered while nothing has been heard since
        # Until the client has read our limit of streams, it may well open more, and gRPC's clients fail calls that are
        # refused.
        self._most_now = _UNTOLD * self._most_streams
        self._lingering = 0  # bytes thrown away since the connection has ended for us

    def begin(self, data: bytes) -> None:
        """Greet, and read what has come so far, preface included."""
        values = {
            frames.MAX_CONCURRENT_STREAMS: self._most_streams,
            frames.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
            frames.MAX_FRAME_SIZE: _LARGEST_FRAME,
            frames.MAX_HEADER_LIST_SIZE: int(self._settings.max_header_bytes),
        }
        opened = frames.window_update(0, _WINDOW - frames.DEFAULT_WINDOW)
        self._transport.write(frames.settings(values) + opened)
        self._set_deadline()
        self._take(data)

    # --- asyncio's callbacks ------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._listener.scratch

    def buffer_updated(self, nbytes: int) -> None:
        self._take(self._listener.scratch[:nbytes])

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closed = True
        for stream in list(self._streams.values()):
            self._forget(stream)
        self._wake()
        self._listener.closed(self)

    # --- frames -------------------------------------------------------------------------------------------------

    def _take(self, data: Buffer) -> None:
        if self._closed:
            self._lingering += len(data)
            if self._lingering > LINGER_BYTES:
                self._transport.abort()
            return
        if self._rest:
            data = self._rest + bytes(data)
            self._rest = b""
        self._heard = self._listener.loop.time()
        try:
            at = self._parse(memoryview(data))
        except ConnectionFailed as error:
            self._fail(error)
            return
        if at < len(data):
            self._rest = bytes(data[at:])

    def _parse(self, data: memoryview) -> int:
        """Take all frames that are whole, and what has come of a DATA frame; return where the rest begins."""
        at, end = 0, len(data)
        if not self._greeted:
            if end < len(frames.PREFACE):
                if not frames.PREFACE.startswith(data):
                    raise ConnectionFailed(Code.PROTOCOL_ERROR, "the connection does not begin with the preface")
                return 0
            if data[: len(frames.PREFACE)] != frames.PREFACE:
                raise ConnectionFailed(Code.PROTOCOL_ERROR, "the connection does not begin with the preface")
            self._greeted = True
            at = len(frames.PREFACE)
        while at < end:
            if self._data_left or self._padding_left:
                at = self._body(data, at)
                continue
            if end - at < frames.HEAD:
                break
            size, kind, flags, stream = frames.read_head(data, at)
            if self._block is not None and kind != frames.CONTINUATION:
                raise ConnectionFailed(Code.PROTOCOL_ERROR, "a header block is followed by something else")
            if kind == frames.DATA:
                padded = flags & frames.PADDED
                if end - at < frames.HEAD + bool(padded):
                    break
                padding = data[at + frames.HEAD] if padded else 0
                at += frames.HEAD + bool(padded)
                self._begin_data(stream, size, flags, padding)
                continue
            if size > _LARGEST_CONTROL:
                raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"a frame of {size} bytes that is no DATA")
            if end - at - frames.HEAD < size:
                break
            at += frames.HEAD
            try:
                self._frame(kind, flags, stream, bytes(data[at : at + size]))
            except StreamFailed as error:
                self._reset(error)
            at += size
        return at

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.HEADERS:
            self._headers(flags, stream, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, stream, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._open_window(stream, payload)
        elif kind == frames.SETTINGS:
            self._their_settings(flags, stream, payload)
        elif kind == frames.PING:
            self._ping(flags, stream, payload)
        elif kind == frames.RST_STREAM:
            self._rst(stream, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "clients push nothing")
        elif kind == frames.PRIORITY and (stream == 0 or len(payload) != 5):
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a malformed PRIORITY frame")
        else:  # PRIORITY, GOAWAY, and kinds that we do not know (5.5)
            self._spend()

    def _spend(self, cost: float = 1.0) -> None:
        if not self._patience.spend(self._listener.loop.time(), cost):
            self._listener.refused("http2_flood")
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    # --- requests: header blocks --------------------------------------------------------------------------------

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream & 1:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"clients have no stream {stream}")
        start, end = 0, len(payload)
        if flags & frames.PADDED:
            start, end = 1, end - (payload[0] if payload else 0)
        if flags & frames.WITH_PRIORITY:
            start += 5
        if start > end:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a HEADERS frame with more padding than payload")
        block = payload[start:end]
        ends = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._header_block(stream, block, ends=ends)
        else:
            self._block = (stream, ends, [block], len(block))
            self._set_deadline()

    def _continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a CONTINUATION frame that continues nothing")
        _, ends, fragments, size = self._block
        fragments.append(payload)
        size += len(payload)
        if len(fragments) > _CONTINUATIONS or size > self._settings.max_header_bytes:
            self._listener.refused("max_header_bytes")
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "a header block does not end")
        self._block = (stream, ends, fragments, size)
        if flags & frames.END_HEADERS:
            self._block = None
            self._header_block(stream, b"".join(fragments), ends=ends)

    def _header_block(self, id_: int, block: bytes, *, ends: bool) -> None:
        if len(block) > self._settings.max_header_bytes:
            self._listener.refused("max_header_bytes")
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "the header has more than max_header_bytes")
        fields = self._fields.read(block)  # whatever becomes of the request: the table must be kept in step
        known = self._streams.get(id_)
        if known is not None:
            if known.ended or not ends:
                raise StreamFailed(id_, Code.STREAM_CLOSED if known.ended else Code.PROTOCOL_ERROR)
            self._whole(known)  # trailers say nothing that we use
            return
        if id_ <= self._last:
            self._spend()
            raise StreamFailed(id_, Code.STREAM_CLOSED)
        self._last = id_
        if self._draining or self._full_of_streams():
            self._spend(5)
            raise StreamFailed(id_, Code.REFUSED_STREAM)
        self._open(id_, fields, ends=ends)

    def _full_of_streams(self) -> bool:
        """A client counts a stream as closed when our answer has left, which we may not have come round to."""
        most = self._most_now
        if len(self._streams) < most:
            return False
        return len(self._streams) >= 2 * most or sum(not one.answered for one in self._streams.values()) >= most

    def _open(self, id_: int, fields: list[tuple[bytes, bytes]], *, ends: bool) -> None:
        now = self._listener.loop.time()
        stream = Stream(id_, None, _STREAM_WINDOW, self._initial_window, now)
        stream.is_grpc = any(n == b"content-type" and v.startswith(b"application/grpc") for n, v in fields)
        self._streams[id_] = stream
        try:
            most = self._settings.max_header_count + len(request._PSEUDO)
            head = request.read(id_, fields, self._listener.routes, self.peer, ended=ends, most=most)
            stream.incoming, stream.is_grpc, stream.timeout = head.incoming, head.is_grpc, head.timeout
            stream.incoming.held = _REQUEST + sum(len(name) + len(value) for name, value in fields)
            self._listener.budget.charge(stream.incoming.held)
            if head.incoming.route.stream is None:
                self._check_length(head.incoming)
            else:
                self._begin_messages(stream, head.incoming)
        except StreamFailed:
            del self._streams[id_]
            raise
        except HttpError as error:
            self._refuse(stream, error)
        if ends:
            self._whole(stream)
        self._set_deadline()

    def _begin_messages(self, stream: Stream, incoming: request.Incoming) -> None:
        """The handler of a call with many messages begins with its head."""
        stream.messages = Messages(incoming, self._listener, partial(self._open_for, stream))
        incoming.route.mount.streams.add(stream.messages)
        self._begin_answer(stream, incoming)

    def _open_for(self, stream: Stream, size: int) -> None:
        if stream.id in self._streams and not stream.ended:
            self._transport.write(frames.window_update(stream.id, size))
            stream.receive_window += size

    def _check_length(self, incoming: request.Incoming) -> None:
        most = incoming.route.mount.settings.max_request_body_size
        if incoming.length is not None and incoming.length > most:
            raise HttpError(
                413, f"the body has {incoming.length} bytes, {most} are allowed", limit="max_request_body_size"
            )

    # --- requests: bodies ---------------------------------------------------------------------------------------

    def _begin_data(self, id_: int, size: int, flags: int, padding: int) -> None:
        if size > _LARGEST_FRAME:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"a DATA frame of {size} bytes")
        if id_ == 0 or id_ > self._last:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"a DATA frame for stream {id_}, which is not open")
        behind_head = size - 1 if flags & frames.PADDED else size
        if padding > behind_head or (flags & frames.PADDED and not size):
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a DATA frame with more padding than payload")
        self._window -= size
        if self._window < 0:
            raise ConnectionFailed(Code.FLOW_CONTROL_ERROR, "more data than the connection's window")
        stream = self._streams.get(id_)
        if stream is not None and stream.ended:
            self._reset(StreamFailed(id_, Code.STREAM_CLOSED))
            stream = None
        if stream is not None:
            stream.receive_window -= size
            if stream.receive_window < 0:
                self._reset(StreamFailed(id_, Code.FLOW_CONTROL_ERROR))
                stream = None
        if behind_head - padding < 1 and not flags & frames.END_STREAM:
            self._spend()
        self._data, self._data_ends = stream, bool(flags & frames.END_STREAM)
        self._data_left, self._padding_left = behind_head - padding, padding
        self._unacknowledged += size
        if stream is not None and stream.messages is not None:
            stream.messages.padded(size - self._data_left)
        elif stream is not None:
            stream.unacknowledged += size
        if not behind_head:
            self._end_data()

    def _body(self, data: memoryview, at: int) -> int:
        """Take what has come of a DATA frame."""
        size = min(self._data_left, len(data) - at)
        if size and self._data is not None and self._data.incoming is not None:
            try:
                self._store(self._data, self._data.incoming, data[at : at + size])
            except HttpError as error:
                self._refuse(self._data, error)
        self._data_left -= size
        at += size
        if not self._data_left and self._padding_left:
            skipped = min(self._padding_left, len(data) - at)
            self._padding_left -= skipped
            at += skipped
        if not (self._data_left or self._padding_left):
            self._end_data()
        return at

    def _store(self, stream: Stream, incoming: request.Incoming, piece: memoryview) -> None:
        if stream.messages is not None:
            stream.messages.feed(piece)
            return
        most = incoming.route.mount.settings.max_request_body_size
        if stream.size + len(piece) > most + (grpc.PREFIX if stream.is_grpc else 0):
            raise HttpError(413, f"the body has more than {most} bytes", limit="max_request_body_size")
        if not self._listener.budget.acquire(len(piece), incoming.held):
            raise request.no_room()
        incoming.held += len(piece)
        if stream.is_grpc and stream.size < grpc.PREFIX:  # kept apart, so that the message need not be copied
            own = grpc.PREFIX - stream.size
            stream.prefix += piece[:own]
            stream.body.write(piece[own:])
        else:
            stream.body.write(piece)
        stream.size += len(piece)

    def _end_data(self) -> None:
        stream, self._data = self._data, None
        if self._unacknowledged >= _WINDOW // 2:
            self._transport.write(frames.window_update(0, self._unacknowledged))
            self._window += self._unacknowledged
            self._unacknowledged = 0
        if stream is None or stream.id not in self._streams:
            return
        if self._data_ends:
            self._whole(stream)
        elif stream.unacknowledged >= _STREAM_WINDOW // 2:
            self._transport.write(frames.window_update(stream.id, stream.unacknowledged))
            stream.receive_window += stream.unacknowledged
            stream.unacknowledged = 0

    def _whole(self, stream: Stream) -> None:
        """The client has sent all of a request."""
        stream.ended = True
        if stream.messages is not None:
            stream.messages.end()
        elif stream.answered:
            self._forget(stream)
        elif (incoming := stream.incoming) is not None:
            self._patience.earn()
            self._begin_answer(stream, incoming)

    def _begin_answer(self, stream: Stream, incoming: request.Incoming) -> None:
        task = self._listener.loop.create_task(self._answer(stream, incoming))
        stream.task = task
        incoming.route.mount.running.add(task)
        task.add_done_callback(partial(self._done, stream, incoming))

    def _done(self, stream: Stream, incoming: request.Incoming, task: asyncio.Task[None]) -> None:
        incoming.route.mount.running.discard(task)
        stream.task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an answer over HTTP/2 failed", exc_info=error)
        if stream.messages is not None and not stream.ended and stream.id in self._streams and not self._closed:
            self._transport.write(frames.rst_stream(stream.id, Code.NO_ERROR))  # the answer is whole (8.1)
        self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        """The stream is over."""
        if self._streams.pop(stream.id, None) is None:
            return
        if stream.task is not None:
            stream.task.cancel()
        stream.wake()
        if stream.messages is not None and stream.incoming is not None:
            stream.messages.close()
            stream.incoming.route.mount.streams.discard(stream.messages)
        if stream.incoming is not None:
            self._listener.budget.release(stream.incoming.held)
            stream.incoming.held = 0
        if not self._streams:
            self._idle_since = self._listener.loop.time()
            if self._draining and not self._closed:
                self._transport.close()
        self._set_deadline()

    def _refuse(self, stream: Stream, error: HttpError) -> None:
        """Answer a request before it is whole; what still comes of it is thrown away."""
        if error.limit:
            self._listener.refused(error.limit)
        incoming = stream.incoming
        if incoming is not None:
            if incoming.route.mount.explain is not None and not stream.is_grpc:
                error.response = incoming.route.mount.explain(incoming.request, error)
            self._listener.budget.release(incoming.held)
            incoming.held = 0
            stream.incoming = None
        self._write_refusal(stream, error)
        stream.answered = True
        if stream.ended:
            self._forget(stream)
        else:  # NO_ERROR: stop sending, the answer is whole (8.1)
            self._control(frames.rst_stream(stream.id, Code.NO_ERROR))
            self._forget(stream)

    def _reset(self, error: StreamFailed) -> None:
        self._control(frames.rst_stream(error.stream, error.code))
        if (stream := self._streams.get(error.stream)) is not None:
            self._forget(stream)

    # --- control frames -----------------------------------------------------------------------------------------

    def _control(self, frame: bytes) -> None:
        """Answer a frame; a client that sends without reading is cut off."""
        self._unread = self._unread + len(frame) if self._transport.get_write_buffer_size() > _UNSENT else 0
        if self._unread > _UNREAD:
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "answers are not read")
        self._transport.write(frame)

    def _their_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a SETTINGS frame on a stream")
        self._spend()
        if flags & frames.ACK:
            self._most_now = self._most_streams
            return
        for key, value in frames.read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                if value > frames.LARGEST_WINDOW:
                    raise ConnectionFailed(Code.FLOW_CONTROL_ERROR, "a window of over 2^31-1")
                for one in self._streams.values():
                    one.send_window += value - self._initial_window
                    one.wake()
                self._initial_window = value
            elif key == frames.MAX_FRAME_SIZE:
                if not frames.DEFAULT_FRAME <= value <= frames.LARGEST_FRAME:
                    raise ConnectionFailed(Code.PROTOCOL_ERROR, f"a largest frame of {value}")
                self._frame_size = value
            elif key == frames.ENABLE_PUSH and value > 1:
                raise ConnectionFailed(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        self._control(frames.SETTINGS_ACK)

    def _ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream or len(payload) != 8:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR if not stream else Code.PROTOCOL_ERROR, "a malformed PING")
        self._spend()
        if not flags & frames.ACK:
            self._control(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _open_window(self, id_: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, "a malformed WINDOW_UPDATE")
        self._spend(0.2)
        size = frames.read_u32(payload) & frames.LARGEST_WINDOW
        if id_ == 0:
            self._send_window += size
            if not size or self._send_window > frames.LARGEST_WINDOW:
                raise ConnectionFailed(Code.FLOW_CONTROL_ERROR if size else Code.PROTOCOL_ERROR, "a wrong window")
            for one in self._streams.values():
                one.wake()
        elif (stream := self._streams.get(id_)) is not None:
            stream.send_window += size
            if not size or stream.send_window > frames.LARGEST_WINDOW:
                raise StreamFailed(id_, Code.FLOW_CONTROL_ERROR if size else Code.PROTOCOL_ERROR)
            stream.wake()
        elif id_ > self._last:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"a window for stream {id_}, which is not open")

    def _rst(self, id_: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, "a malformed RST_STREAM")
        if id_ == 0 or id_ > self._last:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"stream {id_} is reset, which is not open")
        stream = self._streams.get(id_)
        self._spend(5 if stream is not None else 1)
        if stream is not None:
            self._forget(stream)

    # --- time ---------------------------------------------------------------------------------------------------

    def _set_deadline(self) -> None:
        """When the sweep should look: soon while requests come, else when we have been idle for too long."""
        if self._closed:
            return
        now = self._listener.loop.time()
        if self._streams or self._block is not None or not self._greeted:
            self.deadline = now + 1.0
        else:
            limit = self._settings.idle_timeout
            self.deadline = self._idle_since + limit if limit else float("inf")

    def late(self) -> None:
        """The deadline has passed."""
        if self._closed:
            self._transport.abort()
            return
        now = self._listener.loop.time()
        settings = self._settings
        patience = settings.read_header_timeout
        if patience and (self._block is not None or not self._greeted) and now - self._idle_since > patience:
            self._listener.refused("read_header_timeout")
            self._fail(ConnectionFailed(Code.ENHANCE_YOUR_CALM, "the header was not complete in time"))
            return
        if settings.idle_timeout and self._streams and not self._is_there(now, settings.idle_timeout):
            return
        for stream in [one for one in self._streams.values() if not one.ended and one.messages is None]:
            if (limit := self._slow(stream, now)) is not None:
                message = f"the request was not complete in time: {stream.size} bytes in {now - stream.began:.0f}s"
                self._refuse(stream, HttpError(408, message, limit=limit))
        idle = not self._streams and self._block is None and self._greeted
        if idle and settings.idle_timeout and now - self._idle_since >= settings.idle_timeout:
            self.shut()
            return
        self._set_deadline()

    def _is_there(self, now: float, patience: float) -> bool:
        """Whether the client of calls that may go on for ever still is: it is asked when it has been quiet."""
        if self._asked > self._heard:
            if now - self._asked > patience:
                self._listener.refused("idle_timeout")
                self.abort()
                return False
        elif now - self._heard > patience:
            self._asked = now
            self._transport.write(frames.frame(frames.PING, 0, 0, bytes(8)))
        return True

    def _slow(self, stream: Stream, now: float) -> str | None:
        took = now - stream.began
        settings = self._settings
        if settings.min_body_rate and took > _RATE_GRACE + stream.size / settings.min_body_rate:
            return "min_body_rate"
        return "read_timeout" if settings.read_timeout and took > settings.read_timeout else None

    @property
    def waits_since(self) -> float:
        """Since when no request is under way, as loop time; infinity if one is, or it is too new."""
        young = self._listener.loop.time() - self._idle_since <= _YOUNG
        return float("inf") if self._streams or young else self._idle_since

    def turn_away(self, message: str, limit: str) -> None:
        """Too many connections."""
        self._listener.refused(limit)
        self._fail(ConnectionFailed(Code.ENHANCE_YOUR_CALM, message))

    def shut(self) -> None:
        """Say that no more is taken, and close when all that has been taken is answered."""
        if self._draining or self._closed:
            return
        self._draining = True
        self._transport.write(frames.goaway(self._last, Code.NO_ERROR))
        if not self._streams:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        self._closed = True
        self._transport.abort()

    def _fail(self, error: ConnectionFailed) -> None:
        """The connection ends, and the client is told why."""
        if error.code is not Code.ENHANCE_YOUR_CALM:
            self._listener.refused("malformed")
        self._transport.write(frames.goaway(self._last, error.code, error.reason))
        self._closed = True
        for stream in list(self._streams.values()):
            self._forget(stream)
        if self._transport.can_write_eof():
            with suppress(OSError):  # reset by the client meanwhile, as we are about to hear
                self._transport.write_eof()
            self.deadline = self._listener.loop.time() + LINGER
        else:
            self._transport.close()
