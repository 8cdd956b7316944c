"""Message classes for upb, out of tables: one line a message, its fields as `number type name`.

`*` behind a name repeats it, `?` marks a field whose absence means something, `name|one` makes it a member of the oneof
`one`; a type with a capital is a message of the same table. Each table has a pool of its own, so that no other
program's classes of the same name are in the way.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def classes(package: str, table: str) -> dict[str, Any]:
    """The class of each message of a table, by its name. A line that begins with spaces goes on with the one before."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for line in table.replace(",\n   ", ",").replace(":\n   ", ":").splitlines():
        name, _, fields = line.partition(":")
        made = file.message_type.add(name=name)
        for text in fields.split(","):
            _add(package, made, *text.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{message.name}"))
        for message in file.message_type
    }


def _add(package: str, made: descriptor_pb2.DescriptorProto, number: str, type_: str, text: str) -> None:
    name, _, oneof = text.rstrip("*?").partition("|")
    field = made.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if text.endswith("*") else field.LABEL_OPTIONAL
    if text.endswith("?"):
        field.proto3_optional, oneof = True, f"_{name}"  # how proto3 marks presence
    if type_[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".{package}.{type_}"
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{type_.upper()}")
    if oneof:
        known = [one.name for one in made.oneof_decl]
        if oneof not in known:
            made.oneof_decl.add(name=oneof)
            known.append(oneof)
        field.oneof_index = known.index(oneof)
