"""Zipkin's spans, in all four encodings (openzipkin/zipkin-api), as groups of OTLP's.

`Translator` is what receivers use. The encodings have a module each (`json_v2`, `proto`, `json_v1`, `thrift`); those of
version 1, whose spans are told by annotations, meet in `version_1`; all meet in `spans`, where a span is written.
"""

from hawse.codecs.zipkin.limits import Limits, TooMany
from hawse.codecs.zipkin.spans import Conventions
from hawse.codecs.zipkin.translator import Translator

__all__ = ["Conventions", "Limits", "TooMany", "Translator"]
