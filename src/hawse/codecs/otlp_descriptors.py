"""OTLP's message classes for upb, for those who must see records.

They live in a pool of their own: a program that also loads opentelemetry-proto has two sets of classes and no clash.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from hawse.codecs.otlp_schema import ENUMS, PACKAGES, Field, messages

_Type = descriptor_pb2.FieldDescriptorProto
_DEPENDENCIES = {"common": (), "resource": ("common",)}


@cache
def message(full_name: str, *, text_as_bytes: bool = False) -> Any:
    """The class of a message by its name in OTLP: `opentelemetry.proto.logs.v1.ResourceLogs`. Raises KeyError.

    With `text_as_bytes`, text fields hold bytes: else one stray byte makes upb refuse the whole message.
    """
    return message_factory.GetMessageClass(_pool(text_as_bytes=text_as_bytes).FindMessageTypeByName(full_name))


@cache
def _pool(*, text_as_bytes: bool) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for package in PACKAGES:
        pool.Add(_file(package, text="bytes" if text_as_bytes else "string"))
    return pool


def _file(package: str, text: str = "string") -> descriptor_pb2.FileDescriptorProto:
    """`text` is the type of text fields."""
    needed = _DEPENDENCIES.get(package, ("common", "resource"))
    file = descriptor_pb2.FileDescriptorProto(
        name=_path(package), package=f"opentelemetry.proto.{package}.v1", syntax="proto3", dependency=map(_path, needed)
    )
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name, fields in messages().items():
        owner, _, plain = name.rpartition(".")
        if name.startswith(package + "."):
            parent = made[owner].nested_type if owner in made else file.message_type
            made[name] = parent.add(name=plain)
            _add_fields(made[name], fields, text)
    for name, values in ENUMS.items():
        owner, _, plain = name.rpartition(".")
        if name.startswith(package + "."):
            enum = made.get(owner, file).enum_type.add(name=plain)
            for number, value in enumerate(values):
                enum.value.add(name=value, number=number)
    return file


def _path(package: str) -> str:
    return f"opentelemetry/proto/{package}/v1/{package}.proto"


def _add_fields(target: descriptor_pb2.DescriptorProto, fields: tuple[Field, ...], text: str) -> None:
    oneofs: list[str] = []
    for field in fields:
        if field.oneof and field.oneof not in oneofs:
            oneofs.append(field.oneof)
    oneofs += [f"_{field.name}" for field in fields if field.optional]  # how proto3 marks presence
    for name in oneofs:
        target.oneof_decl.add(name=name)
    for field in fields:
        added = target.field.add(name=field.name, number=field.number)
        added.label = _Type.LABEL_REPEATED if field.repeated else _Type.LABEL_OPTIONAL
        if "." in field.type:
            added.type = _Type.TYPE_ENUM if field.type in ENUMS else _Type.TYPE_MESSAGE
            package, _, rest = field.type.partition(".")
            added.type_name = f".opentelemetry.proto.{package}.v1.{rest}"
        else:
            type_ = text if field.type == "string" else field.type
            added.type = _Type.Type.Value(f"TYPE_{type_.upper()}")
        if field.oneof or field.optional:
            added.oneof_index = oneofs.index(field.oneof or f"_{field.name}")
            added.proto3_optional = field.optional
