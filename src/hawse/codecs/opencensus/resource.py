"""Node and Resource as OTLP's resource: labels first, then the node's attributes, then what has a field of its own."""

from hawse.batch import AttributeValue, Resource
from hawse.codecs.opencensus.messages import parse, rfc3339, text

_LANGUAGES = ("", "cpp", "dotnet", "erlang", "go", "java", "nodejs", "php", "python", "ruby", "webjs")
_RENAMED = {"cloud.zone": "cloud.availability_zone"}
_MOST_KEPT, _LONGEST_KEPT = 1024, 4096


class Resources:
    """Resources, remembered by the bytes that they come from."""

    def __init__(self, most_parts: int) -> None:
        """`most_parts` bounds labels and attributes of each."""
        self._most_parts = most_parts
        self._known: dict[tuple[bytes, bytes], Resource] = {}

    def of(self, node: bytes, resource: bytes) -> Resource:
        """A Node and a Resource message, b"" for one that is not there. Raises WireError."""
        key = (node, resource)
        found = self._known.get(key)
        if found is None:
            found = Resource.of(self._read(node, resource))
            if len(node) + len(resource) <= _LONGEST_KEPT:
                if len(self._known) >= _MOST_KEPT:
                    self._known.clear()
                self._known[key] = found
        return found

    def _read(self, raw_node: bytes, raw_resource: bytes) -> dict[str, AttributeValue]:
        node = parse("Node", raw_node, self._most_parts)
        resource = parse("Resource", raw_resource, self._most_parts)
        made: dict[str, AttributeValue] = {}
        for label in resource.labels:
            key = text(label.key)
            made[_RENAMED.get(key, key)] = text(label.value)
        made.update((text(label.key), text(label.value)) for label in node.attributes)
        identifier, library = node.identifier, node.library_info
        language = library.language
        told: dict[str, AttributeValue] = {
            "service.name": text(node.service_info.name),
            "opencensus.starttime": rfc3339(identifier.start_timestamp)
            if identifier.HasField("start_timestamp")
            else "",
            "host.name": text(identifier.host_name),
            "process.pid": identifier.pid,
            "telemetry.sdk.version": text(library.core_library_version),
            "opencensus.exporterversion": text(library.exporter_version),
            "telemetry.sdk.language": _LANGUAGES[language] if 0 <= language < len(_LANGUAGES) else "",
            "opencensus.resourcetype": text(resource.type),
        }
        made.update((key, value) for key, value in told.items() if value)
        return made
