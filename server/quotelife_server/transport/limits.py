"""Bounds, and texts of refusals, that both gRPC front ends have."""

from quotelife_server.rpc import Code, RpcError

BACKLOG_MAX = 256
"""Messages of a stream that wait to be written."""
BACKLOG_BYTES_MAX = 1024**2
"""And their bytes (native front end)."""
HOLD_S = 0.4
"""How long a client that does not read, or still writes, has to see why its call has ended."""
METADATA_BYTES_MAX = 8192

# Of the native front end alone.
PREFACE_S = 5.0
"""From the connection to the client's first SETTINGS."""
FRAME_S = 10.0
"""A frame, or a block of headers, that has begun."""
MESSAGE_S = 10.0
"""A message that has begun, and the one of a unary call from its headers on."""
STALL_S = 20.0
"""A client that takes nothing of what waits for it."""
BEGUN_MAX = 4096
"""Unary calls of all connections whose message has not come whole."""
EXPIRED_MAX = 256
"""Calls that end in one look at all connections because their message has not come: more would keep others waiting."""


def draining() -> RpcError:
    return RpcError(Code.UNAVAILABLE, "the service is draining")


def too_many_streams() -> RpcError:
    return RpcError(Code.RESOURCE_EXHAUSTED, "too many streams are open")


def not_read() -> RpcError:
    return RpcError(Code.RESOURCE_EXHAUSTED, "the client does not read its messages")


def too_many_begun() -> RpcError:
    return RpcError(Code.RESOURCE_EXHAUSTED, "too many calls wait for their messages")


def no_message() -> RpcError:
    return RpcError(Code.INVALID_ARGUMENT, "the call carries no message")
