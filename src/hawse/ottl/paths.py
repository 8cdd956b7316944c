"""What a condition may look at, in each of OTTL's contexts, and the enums it may compare with.

A path is of the resource or of the item (record, span, metric, point). What is read of an item has a name here, which
is that of the attribute of the object that a test is given (`hawse.ottl.items`).
"""

from collections.abc import Mapping

from hawse.codecs.otlp_schema import ENUMS

CONTEXTS = ("resource", "log", "span", "metric", "datapoint")

# Context → path without keys → what it reads. "resource" is an attribute of the resource, "attributes" one of the item.
_RESOURCE = {"resource.attributes": "resource"}
_METRIC = {f"metric.{field}": field for field in ("name", "type", "unit", "description")}
PATHS: Mapping[str, Mapping[str, str]] = {
    "resource": {**_RESOURCE, "attributes": "resource"},
    "log": {
        **_RESOURCE,
        **{
            prefix + field: field
            for prefix in ("", "log.")
            for field in ("attributes", "body", "severity_number", "severity_text")
        },
    },
    "span": {
        **_RESOURCE,
        **{prefix + field: field for prefix in ("", "span.") for field in ("attributes", "name", "kind")},
        "status.code": "status_code",
        "span.status.code": "status_code",
    },
    "metric": {**_RESOURCE, **_METRIC, **{field: field for field in _METRIC.values()}},
    "datapoint": {
        **_RESOURCE,
        **_METRIC,
        **{prefix + field: field for prefix in ("", "datapoint.") for field in ("attributes", "flags")},
    },
}

METRIC_TYPES = ("NONE", "GAUGE", "SUM", "HISTOGRAM", "EXPONENTIAL_HISTOGRAM", "SUMMARY")
ENUM_VALUES: Mapping[str, int] = {
    **{f"METRIC_DATA_TYPE_{name}": number for number, name in enumerate(METRIC_TYPES)},
    "FLAG_NONE": 0,
    "FLAG_NO_RECORDED_VALUE": 1,
    **{
        name: number
        for enum in ("logs.SeverityNumber", "trace.Span.SpanKind", "trace.Status.StatusCode")
        for number, name in enumerate(ENUMS[enum])
    },
}
