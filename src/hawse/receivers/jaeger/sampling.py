"""Remote sampling: answers clients from a file, and looks at the file again and again."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hawse.codecs.jaeger_proto import sampling_response, sampling_service
from hawse.component import Context
from hawse.diagnostics import HawseError
from hawse.net.grpc import METHOD, Code, GrpcError
from hawse.net.http import Handler, HttpError, Request, Response
from hawse.receivers.jaeger.config import RemoteSampling
from hawse.receivers.jaeger.strategies import Strategies, as_json, parse
from hawse.wire import WireError

_LARGEST = 8 << 20  # bytes of a file
_CALL = "/jaeger.api_v2.SamplingManager/GetSamplingStrategy"


class Sampling:
    """The strategies, and the routes that tell them."""

    def __init__(self, config: RemoteSampling, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._failed = context.meter.counter(
            "hawse_receiver_sampling_reload_failures", "How often the file of strategies could not be read again."
        )
        self._data = b""
        self._strategies = Strategies()

    def load(self, path: str) -> None:
        """Read the file for the first time. Raises HawseError, placed at `path`."""
        if not self._config.strategy_file:
            return
        try:
            self._data = self._read()
            self._strategies = parse(self._data)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise HawseError.of(
                "HW330",
                f"sampling strategies cannot be read from {self._config.strategy_file}: {_reason(error)}",
                fix="write Jaeger's JSON of strategies there, or leave strategy_file out",
                path=f"{path}.strategy_file",
            ) from None

    async def follow(self) -> None:
        """Read the file again whenever it has changed. What is wrong then leaves the strategies as they are."""
        interval = self._config.strategy_file_reload_interval
        if not self._config.strategy_file or not interval:
            return
        told = ""
        while True:
            await asyncio.sleep(interval)
            try:
                data = await asyncio.to_thread(self._read)
                if data != self._data:
                    self._strategies = await asyncio.to_thread(parse, data)
                    self._data = data
                    self._log.info("read sampling strategies again from %s", self._config.strategy_file)
                told = ""
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                self._failed.add(1)
                if (reason := _reason(error)) != told:
                    told = reason
                    self._log.warning(
                        "%s cannot be read, the strategies stay as they were: %s", self._config.strategy_file, reason
                    )

    def _read(self) -> bytes:
        with Path(self._config.strategy_file).open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST} bytes")
        return data

    def http(self) -> Mapping[tuple[str, str], Handler]:
        """What an agent answers: /sampling, and / for old clients."""
        return {("GET", "/sampling"): self._answer, ("GET", "/"): self._answer_legacy}

    def collector(self) -> Mapping[tuple[str, str], Handler]:
        """What a collector answers over HTTP."""
        return {("GET", "/api/sampling"): self._answer}

    def grpc(self) -> Mapping[tuple[str, str], Handler]:
        """SamplingManager."""
        return {(METHOD, _CALL): self._call}

    async def _answer(self, request: Request) -> Response:
        return Response(200, as_json(self._strategies.of(_service(request))), content_type="application/json")

    async def _answer_legacy(self, request: Request) -> Response:
        answer = as_json(self._strategies.of(_service(request)), legacy=True)
        return Response(200, answer, content_type="application/json")

    async def _call(self, request: Request) -> Response:
        try:
            service = sampling_service(request.body)
        except WireError as error:
            raise GrpcError(Code.INVALID_ARGUMENT, f"malformed SamplingStrategyParameters: {error}") from None
        strategy = self._strategies.of(service)
        own = strategy.operations
        operations = None if own is None else (own.default, own.own)
        return Response(200, sampling_response(strategy.kind, strategy.rate, operations))


def _service(request: Request) -> str:
    services = request.query.get("service", [])
    if len(services) != 1:
        raise HttpError(400, "'service' parameter must be provided once")
    return services[0]


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
