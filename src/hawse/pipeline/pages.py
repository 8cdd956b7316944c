"""What a process shows of itself over HTTP, where `service.telemetry.metrics` says."""

from collections.abc import Mapping

import msgspec

from hawse.config.settings import Prometheus
from hawse.net.http import Handler, Request, Response
from hawse.pipeline.ledger.report import report
from hawse.pipeline.telemetry import CONTENT_TYPE, Telemetry


def pages(telemetry: Telemetry, settings: Prometheus) -> Mapping[tuple[str, str], Handler]:
    """`GET /metrics`, as a reader's settings want it, and `GET /ledger`."""

    async def metrics(_: Request) -> Response:
        bare, unitless = settings.without_type_suffix, settings.without_units
        text = telemetry.render(without_type_suffix=bare, without_units=unitless)
        return Response(200, text, content_type=CONTENT_TYPE)

    async def ledger(request: Request) -> Response:
        """As JSON; with `?by=source`, every source's as well."""
        drawn = report(telemetry.ledger, sources="source" in request.query.get("by", ()))
        return Response(200, msgspec.json.encode(drawn), content_type="application/json")

    return {("GET", "/metrics"): metrics, ("GET", "/ledger"): ledger}
