"""AdminService on an address of its own, and what the shared addresses take of it then.

gRPC hands calls over first come, first served, listener by listener: a kill on the shared one waits behind every
request that came before it, on its own one behind none. Who may reach it is the network's to say. The shared
addresses go on taking what only stops or only reads: an emergency is no time to look for an address, and a kill is
refused nowhere.
"""

from collections.abc import Callable
from dataclasses import replace

from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2

from quote_expiry.v1 import admin_service_pb2
from quotelife_server.handlers import Service
from quotelife_server.reflection import Reflection
from quotelife_server.rpc import CallContext, Code, MethodTable, RpcError, Unary

ADMIN = "/quote_expiry.v1.AdminService/"
SHARED = frozenset({"Kill", "GetStatus", "ListOverrides"})


def administration(service: Service) -> MethodTable:
    """AdminService, health and reflection. Its calls take no places in flight from requests, nor wait for any."""
    files = (admin_service_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR)
    table: MethodTable = {**service.health.methods(), **Reflection(files).methods()}
    for path, entry in service.methods.items():
        if path.startswith(ADMIN):
            table[path] = replace(entry, bounded=False) if isinstance(entry, Unary) else entry
    return table


def shared(service: Service, where: Callable[[], str]) -> MethodTable:
    """Everything, but that AdminService beyond ``SHARED`` is refused by naming ``where`` it is served."""

    def refusal(method: str) -> Unary:
        def refuse(payload: bytes, context: CallContext) -> bytes:
            raise RpcError(
                Code.PERMISSION_DENIED, f"{method} is served at server.admin_address alone: {where()}"
            )

        return Unary(refuse, bounded=False, needs_serving=False)

    table = dict(service.methods)
    for path in service.methods:
        method = path.removeprefix(ADMIN)
        if method != path and method not in SHARED:
            table[path] = refusal(method)
    return table
