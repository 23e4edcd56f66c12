"""gRPC server reflection (v1 and v1alpha) as a handler, for grpcurl, buf curl and the like.

The two versions have the same messages on the wire. Only files that the served services need are shown.
"""

from collections.abc import Iterable
from typing import Any, cast

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2

from quotelife_server.rpc import CallContext, Code, MethodTable, RpcError, Stream, StreamCall

ALPHA = "grpc.reflection.v1alpha.ServerReflection"
STABLE = "grpc.reflection.v1.ServerReflection"


def _stable_file() -> descriptor_pb2.FileDescriptorProto:
    """The file of v1: that of v1alpha under its other package, which grpcio-reflection does not ship."""
    proto = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(proto)
    proto.ClearField("options")
    proto.name = proto.name.replace("v1alpha", "v1")
    proto.package = proto.package.replace("v1alpha", "v1")
    for message in proto.message_type:
        for field in message.field:
            field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return proto


class Reflection:
    """Knows the files of ``files``, of all they import, and of reflection itself."""

    def __init__(self, files: Iterable[FileDescriptor]) -> None:
        self._protos: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        self._file_of_symbol: dict[str, str] = {}
        self.services: list[str] = [STABLE, ALPHA]
        for file in (*files, reflection_pb2.DESCRIPTOR):
            self._add_file(file)
            self.services += [service.full_name for service in file.services_by_name.values()]
        self._add_proto(_stable_file())
        self.services = sorted(set(self.services))

    def methods(self) -> MethodTable:
        stream = Stream(lambda context, call: _Session(self, context, call))
        return {f"/{service}/ServerReflectionInfo": stream for service in (STABLE, ALPHA)}

    def _add_file(self, file: FileDescriptor) -> None:
        if file.name in self._protos:
            return
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        self._add_proto(proto)
        for dependency in file.dependencies:
            self._add_file(dependency)

    def _add_proto(self, proto: descriptor_pb2.FileDescriptorProto) -> None:
        self._protos[proto.name] = proto
        prefix = f"{proto.package}." if proto.package else ""
        for message in proto.message_type:
            self._add_message(proto.name, prefix, message)
        for enum in proto.enum_type:
            self._file_of_symbol[prefix + enum.name] = proto.name
        for service in proto.service:
            self._file_of_symbol[prefix + service.name] = proto.name
            for method in service.method:
                self._file_of_symbol[f"{prefix}{service.name}.{method.name}"] = proto.name

    def _add_message(self, file: str, prefix: str, message: descriptor_pb2.DescriptorProto) -> None:
        name = prefix + message.name
        self._file_of_symbol[name] = file
        for field in message.field:
            self._file_of_symbol[f"{name}.{field.name}"] = file
        for enum in message.enum_type:
            self._file_of_symbol[f"{name}.{enum.name}"] = file
        for nested in message.nested_type:
            self._add_message(file, f"{name}.", nested)

    def answer(self, payload: bytes) -> bytes:
        try:
            request: Any = reflection_pb2.ServerReflectionRequest.FromString(payload)
        except DecodeError:
            raise RpcError(Code.INVALID_ARGUMENT, "the bytes are not a ServerReflectionRequest") from None
        response: Any = reflection_pb2.ServerReflectionResponse(
            valid_host=request.host, original_request=request
        )
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            for service in self.services:
                response.list_services_response.service.add(name=service)
        elif kind == "file_by_filename":
            self._files(request.file_by_filename, response)
        elif kind == "file_containing_symbol":
            self._files(self._file_of_symbol.get(request.file_containing_symbol, ""), response)
        elif (
            kind == "all_extension_numbers_of_type"
            and request.all_extension_numbers_of_type in self._file_of_symbol
        ):
            response.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
        elif kind is None:
            response.error_response.error_code = int(Code.INVALID_ARGUMENT)
            response.error_response.error_message = "no request"
        else:
            _not_found(response)
        return cast(bytes, response.SerializeToString())

    def _files(self, name: str, response: Any) -> None:
        """The file and all it imports, itself first."""
        if name not in self._protos:
            _not_found(response)
            return
        names = [name]
        for each in names:
            names += [
                needed
                for needed in self._protos[each].dependency
                if needed in self._protos and needed not in names
            ]
        response.file_descriptor_response.file_descriptor_proto.extend(
            self._protos[each].SerializeToString() for each in names
        )


def _not_found(response: Any) -> None:
    response.error_response.error_code = int(Code.NOT_FOUND)
    response.error_response.error_message = "not found"


class _Session:
    def __init__(self, reflection: Reflection, context: CallContext, call: StreamCall) -> None:
        self._reflection = reflection
        self._call = call

    def on_message(self, payload: bytes) -> None:
        self._call.send(self._reflection.answer(payload))

    def on_half_close(self) -> None:
        self._call.finish()

    def on_cancel(self) -> None:
        pass
