"""A connection of our HTTP/2 client: requests out on streams side by side, answers in, within limits.

What a server may send is bounded: frames by their default size, answers by each call's limit, header blocks, and
frames that bring nothing.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from hawse.net.exchange import Lost
from hawse.net.http2 import frames
from hawse.net.http2.call import Answer, Call, Unprocessed
from hawse.net.http2.fields import FieldReader
from hawse.net.http2.flood import Patience
from hawse.net.http2.frames import Code, ConnectionFailed

_TABLE = 4096
_HEADER = 64 << 10
_CONTINUATIONS = 32
_WINDOW = 1 << 20  # for all answers together, and for each
_STREAMS = 100  # where the server says nothing
_LAST_STREAM = (1 << 31) - 1
_WRITTEN = 256 << 10  # bytes of a request written at once
_UNSENT = 1 << 20  # bytes that may wait for a server that makes us answer frames, but does not read


class Http2Client(asyncio.BufferedProtocol):
    """One connection. `changed` is called when there is room for another call again, or when it has ended."""

    def __init__(self, scratch: memoryview, changed: Callable[[], None]) -> None:
        """`scratch` is the memory that is received into; connections may share it."""
        self._scratch = scratch
        self._changed = changed
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._fields = FieldReader(_TABLE, _HEADER)
        self._patience = Patience()
        self._block: tuple[int, bool, list[bytes], int] | None = None  # stream, END_STREAM, fragments, their size
        self._send_window = frames.DEFAULT_WINDOW
        self._initial_window = frames.DEFAULT_WINDOW
        self._frame_size = frames.DEFAULT_FRAME
        self._most_streams = _STREAMS
        self._window = _WINDOW
        self._owed = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._greeted: asyncio.Future[None] = self._loop.create_future()  # until the server's SETTINGS have come
        self._ended: Lost | None = None
        self._draining = ""  # why no more calls may begin
        self._asked = 0.0  # when the PING was sent that is not answered, 0 for none
        self._keepalive: asyncio.TimerHandle | None = None
        self.heard = self._loop.time()
        self.used = False  # whether a call has ended well on it

    # --- for its channel ------------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Return when the server has greeted. Raises Lost."""
        await asyncio.shield(self._greeted)

    @property
    def usable(self) -> bool:
        """Whether more calls may begin, now or later."""
        return self._ended is None and not self._draining and not self._transport.is_closing()

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._calls)

    @property
    def has_room(self) -> bool:
        """Whether a call may begin now."""
        return self.usable and len(self._calls) < self._most_streams

    async def call(self, fields: bytes, body: bytes, limit: int) -> Answer:
        """Send a request and read its answer; `fields` is its header block, `limit` bounds the answer's body.

        Must be called while there `has_room`. Cancelled, it tells the server so. Raises Lost.
        """
        call = Call(limit)
        call.id, call.send_window, call.window = self._next, self._initial_window, _WINDOW
        self._next += 2
        if self._next > _LAST_STREAM:
            self._draining = "no more stream numbers"
        self._calls[call.id] = call
        try:
            if not await self._send(call, fields, body) and call.complete and self._ended is None:
                self._reset(call.id, Code.NO_ERROR)  # the answer does not need what has not been sent
            return await call.answer()
        finally:
            self._close_stream(call)

    def close(self, reason: str = "the client is closed") -> None:
        """Hang up; calls under way are lost."""
        self._lose(Lost(reason))

    def drain(self, reason: str) -> None:
        """Begin no more calls, and hang up after the last one."""
        self._draining = self._draining or reason
        if not self._calls:
            self._lose(Lost(reason))

    def keep_alive(self, every: float, patience: float, *, idle: bool) -> None:
        """Send a PING when nothing has been heard for `every` seconds, and hang up when none is for `patience` more.

        `idle`: while no calls are under way, too.
        """
        now = self._loop.time()
        if self._asked and self.heard < self._asked:
            if now - self._asked >= patience:
                self._lose(Lost(f"no answer to a PING within {patience:g}s (keepalive)"))
                return
            wait = self._asked + patience - now
        else:
            self._asked = 0.0
            wait = self.heard + every - now
            if wait <= 0:
                wait = every
                if idle or self._calls:
                    self._asked, wait = now, patience
                    self._transport.write(frames.frame(frames.PING, 0, 0, b"hawse up"))
        if self._ended is None:
            again = lambda: self.keep_alive(every, patience, idle=idle)  # noqa: E731
            self._keepalive = self._loop.call_later(max(wait, 0.01), again)

    # --- requests -------------------------------------------------------------------------------------------------

    async def _send(self, call: Call, fields: bytes, body: bytes) -> bool:
        """Write a request, as far as the windows are open at a time. False where the answer came before its end."""
        size = self._frame_size
        head = fields[:size]
        flags = (frames.END_HEADERS if len(fields) <= size else 0) | (0 if body else frames.END_STREAM)
        out = [frames.frame(frames.HEADERS, flags, call.id, head)]
        for at in range(size, len(fields), size):
            last = at + size >= len(fields)
            flags = frames.END_HEADERS if last else 0
            out.append(frames.frame(frames.CONTINUATION, flags, call.id, fields[at : at + size]))
        self._transport.write(b"".join(out))
        at, view = 0, memoryview(body)
        while at < len(body) and not call.over:
            if not self._writable.is_set():
                await self._writable.wait()
                continue
            room = min(self._send_window, call.send_window, _WRITTEN, len(body) - at)
            if room <= 0:
                await call.room()
                continue
            self._transport.write(self._data(call, view[at : at + room], ends=at + room == len(body)))
            at += room
        return at == len(body)

    def _data(self, call: Call, data: memoryview, *, ends: bool) -> bytes:
        self._send_window -= len(data)
        call.send_window -= len(data)
        out: list[bytes | memoryview] = []
        for at in range(0, len(data), self._frame_size):
            piece = data[at : at + self._frame_size]
            last = ends and at + len(piece) == len(data)
            out += (frames.frame_head(len(piece), frames.DATA, frames.END_STREAM if last else 0, call.id), piece)
        return b"".join(out)

    def _close_stream(self, call: Call) -> None:
        """The call is over, or given up."""
        if self._calls.pop(call.id, None) is not None and self._ended is None:
            self._reset(call.id, Code.CANCEL)
        if self._draining and not self._calls and self._ended is None:
            self._lose(Lost(self._draining))
        self._changed()

    # --- asyncio's callbacks ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        values = {
            frames.ENABLE_PUSH: 0,
            frames.INITIAL_WINDOW_SIZE: _WINDOW,
            frames.MAX_HEADER_LIST_SIZE: _HEADER,
        }
        opened = frames.window_update(0, _WINDOW - frames.DEFAULT_WINDOW)
        self._transport.write(frames.PREFACE + frames.settings(values) + opened)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        if self._ended is not None:
            return
        self.heard = self._loop.time()
        data = self._rest + bytes(self._scratch[:nbytes])
        try:
            self._rest = data[self._parse(data) :]
        except ConnectionFailed as error:
            self._transport.write(frames.goaway(0, error.code, error.reason))
            self._lose(Lost(f"the server breaks the rules of HTTP/2: {error.reason}"))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        how = str(getattr(exc, "strerror", None) or exc or "closed by the server").lower()
        if not self._greeted.done() and self._rest:
            how += f" after {self._rest[:60]!r}"
        self._lose(Lost(f"the connection ended: {self._draining or how}", untouched=True))
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _lose(self, lost: Lost) -> None:
        """The connection has ended, for us. What has had nothing of an answer is `untouched` if `lost` is."""
        if self._ended is not None:
            return
        self._ended = lost
        if self._keepalive is not None:
            self._keepalive.cancel()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.lose(Lost(lost.reason, untouched=lost.untouched and not call.touched))
        if not self._greeted.done():
            self._greeted.set_exception(lost)
            self._greeted.exception()  # whoever waits gets it, too; nobody may be waiting any more
        self._writable.set()
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()
        self._changed()

    # --- frames -----------------------------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> int:
        """Take all frames that are whole; return where the rest begins. Raises ConnectionFailed."""
        at, end = 0, len(data)
        while end - at >= frames.HEAD and self._ended is None:
            size, kind, flags, stream = frames.read_head(data, at)
            if not self._greeted.done() and (kind != frames.SETTINGS or flags & frames.ACK or stream):
                what = "it speaks HTTP/1.1" if data.startswith(b"HTTP/1.") else "no SETTINGS frame comes first"
                raise ConnectionFailed(Code.PROTOCOL_ERROR, f"{what}; is it a gRPC endpoint?")
            if size > frames.DEFAULT_FRAME:
                raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            if end - at - frames.HEAD < size:
                break
            at += frames.HEAD + size
            self._frame(kind, flags, stream, data[at - size : at])
        return at

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a header block is followed by something else")
        if kind == frames.DATA:
            self._take_data(flags, stream, payload)
        elif kind == frames.HEADERS:
            start, end = self._inside(flags, payload)
            start += 5 if flags & frames.WITH_PRIORITY else 0
            if start > end:
                raise ConnectionFailed(Code.PROTOCOL_ERROR, "a HEADERS frame with more padding than payload")
            self._headers(stream, flags, [payload[start:end]], ends=bool(flags & frames.END_STREAM))
        elif kind == frames.CONTINUATION:
            if self._block is None or self._block[0] != stream:
                raise ConnectionFailed(Code.PROTOCOL_ERROR, "a CONTINUATION frame that continues nothing")
            _, ends, fragments, _ = self._block
            self._headers(stream, flags, [*fragments, payload], ends=ends)
        elif kind == frames.WINDOW_UPDATE:
            self._open_window(stream, payload)
        elif kind == frames.SETTINGS:
            self._settings(flags, stream, payload)
        elif kind == frames.PING:
            self._ping(flags, stream, payload)
        elif kind == frames.RST_STREAM:
            self._rst(stream, payload)
        elif kind == frames.GOAWAY:
            self._goaway(stream, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a push, which was switched off")
        else:
            self._spend()

    def _spend(self, cost: float = 1.0) -> None:
        if not self._patience.spend(self._loop.time(), cost):
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    def _inside(self, flags: int, payload: bytes) -> tuple[int, int]:
        """Where the payload of a frame is that may be padded."""
        if not flags & frames.PADDED:
            return 0, len(payload)
        if not payload or payload[0] >= len(payload):
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a frame with more padding than payload")
        return 1, len(payload) - payload[0]

    def _known(self, stream: int, what: str) -> Call | None:
        """The call of a stream; None where it is over. Raises ConnectionFailed where there has never been one."""
        if not stream & 1 or stream >= self._next:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"{what} for stream {stream}, which is not open")
        call = self._calls.get(stream)
        if call is None:
            self._spend(0.2)  # what was under way when we gave up
        return call

    def _headers(self, stream: int, flags: int, fragments: list[bytes], *, ends: bool) -> None:
        size = sum(map(len, fragments))
        if len(fragments) > _CONTINUATIONS or size > _HEADER:
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "a header block does not end")
        if not flags & frames.END_HEADERS:
            self._block = (stream, ends, fragments, size)
            return
        self._block = None
        fields = self._fields.read(b"".join(fragments))  # whatever becomes of the call: the table is kept in step
        call = self._known(stream, "a header")
        if call is None:
            return
        call.touched = True
        before = call.status
        try:
            call.fields(fields)
        except ValueError as error:
            self._fail(call, f"the answer's header is malformed: {error}")
            return
        if ends:
            self._finish(call)
        elif before:
            self._fail(call, "the answer's trailers are not its end")
        elif not call.status:
            self._spend()  # 1xx

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        start, end = self._inside(flags, payload)
        call = self._known(stream, "data")
        self._window -= size
        if self._window < 0:
            raise ConnectionFailed(Code.FLOW_CONTROL_ERROR, "more data than the connection's window")
        self._owed += size
        if self._owed >= _WINDOW // 2:
            self._control(frames.window_update(0, self._owed))
            self._window += self._owed
            self._owed = 0
        if start == end and not flags & frames.END_STREAM:
            self._spend()
        if call is None:
            return
        call.window -= size
        call.owed += size
        if call.window < 0 or not call.status:
            self._fail(call, "data before the answer's header" if not call.status else "more data than the window")
        elif len(call.body) + end - start > call.limit:
            self._fail(call, f"the answer has more than {call.limit} bytes")
        else:
            call.body += payload[start:end]
            if flags & frames.END_STREAM:
                self._finish(call)
            elif call.owed >= _WINDOW // 2:
                self._control(frames.window_update(stream, call.owed))
                call.window += call.owed
                call.owed = 0

    def _finish(self, call: Call) -> None:
        if not call.status:
            self._fail(call, "the answer ends before its header")
            return
        self.used = True
        self._patience.earn(2.0)
        del self._calls[call.id]
        call.finish()
        self._changed()

    def _fail(self, call: Call, reason: str) -> None:
        del self._calls[call.id]
        self._reset(call.id, Code.PROTOCOL_ERROR)
        call.lose(Lost(reason))
        self._changed()

    # --- control frames ---------------------------------------------------------------------------------------------

    def _control(self, frame: bytes) -> None:
        """Answer a frame; a server that sends without reading is given up."""
        if self._transport.get_write_buffer_size() > _UNSENT and not self._calls:
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "answers to frames are not read")
        self._transport.write(frame)

    def _reset(self, stream: int, code: Code) -> None:
        if not self._transport.is_closing():
            self._transport.write(frames.rst_stream(stream, code))

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a SETTINGS frame on a stream")
        self._spend()
        if flags & frames.ACK:
            return
        for key, value in frames.read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                if value > frames.LARGEST_WINDOW:
                    raise ConnectionFailed(Code.FLOW_CONTROL_ERROR, "a window of over 2^31-1")
                for call in self._calls.values():
                    call.send_window += value - self._initial_window
                    call.wake()
                self._initial_window = value
            elif key == frames.MAX_FRAME_SIZE:
                if not frames.DEFAULT_FRAME <= value <= frames.LARGEST_FRAME:
                    raise ConnectionFailed(Code.PROTOCOL_ERROR, f"a largest frame of {value}")
                self._frame_size = value
            elif key == frames.MAX_CONCURRENT_STREAMS:
                self._most_streams = value
        self._control(frames.SETTINGS_ACK)
        if not self._greeted.done():
            self._greeted.set_result(None)
        self._changed()

    def _ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream or len(payload) != 8:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a malformed PING")
        self._spend()
        if not flags & frames.ACK:
            self._control(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _open_window(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, "a malformed WINDOW_UPDATE")
        self._spend(0.2)
        size = frames.read_u32(payload) & frames.LARGEST_WINDOW
        if not stream:
            self._send_window += size
            if not size or self._send_window > frames.LARGEST_WINDOW:
                raise ConnectionFailed(Code.FLOW_CONTROL_ERROR, "a wrong window")
            for call in self._calls.values():
                call.wake()
        elif (call_ := self._known(stream, "a window")) is not None:
            call_.send_window += size
            if not size or call_.send_window > frames.LARGEST_WINDOW:
                self._fail(call_, "a wrong window")
            else:
                call_.wake()

    def _rst(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, "a malformed RST_STREAM")
        self._spend()
        call = self._known(stream, "a reset")
        if call is None:
            return
        del self._calls[stream]
        code = _code(frames.read_u32(payload))
        kind = Unprocessed if code == Code.REFUSED_STREAM.name else Lost
        call.lose(kind(f"the server reset the call ({code})"))
        self._changed()

    def _goaway(self, stream: int, payload: bytes) -> None:
        """Streams above the last one named have not been looked at; those below go on (6.8)."""
        if stream or len(payload) < 8:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "a malformed GOAWAY")
        self._spend()
        last, code = frames.read_u32(payload) & frames.LARGEST_WINDOW, frames.read_u32(payload, 4)
        said = payload[8:200].decode("utf-8", "replace")
        reason = "the server closes the connection" + (f" ({_code(code)})" if code else "")
        self._draining = reason + (f": {said}" if said else "")
        for call in [one for one in self._calls.values() if one.id > last]:
            del self._calls[call.id]
            call.lose(Unprocessed(self._draining))
        if not self._calls:
            self._lose(Lost(self._draining, untouched=True))
        self._changed()


def _code(number: int) -> str:
    try:
        return Code(number).name
    except ValueError:
        return str(number)
