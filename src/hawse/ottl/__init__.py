"""The part of the OpenTelemetry Transformation Language (OTTL) that filters and routers need: conditions, read only.

Written from pkg/ottl/LANGUAGE.md of opentelemetry-collector-contrib. What is not here is refused when a configuration
is checked, with what would do instead; docs/ottl.md tells users.
"""

from hawse.ottl.condition import Condition, parse, parse_statement
from hawse.ottl.grammar import OttlError

__all__ = ["Condition", "OttlError", "parse", "parse_statement"]
