"""The private descriptor pool of this project's protobuf messages.

Protobuf's default pool holds one definition per name in a process. TensorFlow and the official
client register `tensorflow.TensorProto` and others in the default pool. This project's messages
have the same names but a pool of their own, so all of them work in one process, in any order of
import.
"""

from typing import Any

from google.protobuf import any_pb2, message_factory, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

POOL = DescriptorPool()
for _module in (any_pb2, wrappers_pb2):
    POOL.AddSerializedFile(_module.DESCRIPTOR.serialized_pb)


def define(serialized: bytes, namespace: dict[str, Any]) -> None:
    """Put a .proto file's messages and enums into a module.

    The module then has the same names as a module made by protoc, without the check that ties
    protoc's output to one release of the protobuf library.

    Args:
        serialized: The file as a serialized FileDescriptorProto; the files that it imports must be
            in the pool already.
        namespace: `globals()` of the module.
    """
    POOL.AddSerializedFile(serialized)
    file = POOL.FindFileByName(FileDescriptorProto.FromString(serialized).name)
    namespace["DESCRIPTOR"] = file
    for name, message in file.message_types_by_name.items():
        namespace[name] = message_factory.GetMessageClass(message)
    for name, enum in file.enum_types_by_name.items():
        namespace[name] = EnumTypeWrapper(enum)
        namespace.update(namespace[name].items())
