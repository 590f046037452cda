"""The address that the server listens on."""

import ipaddress
import socket

from core.errors import MachineError


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that has its address, and does not listen yet.

    Raises:
        MachineError: the address is in use, not allowed, or none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Without the protocol's number asyncio would not switch off Nagle's algorithm, by which the
        # body of an answer waits 40 ms for its head to be acknowledged.
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
        raise failure(host, port, error) from None
    return bound


def url(bound: socket.socket) -> str:
    """Where a socket can be reached."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"http://{host}:{port}"


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ipaddress.ip_address(bound.getsockname()[0]).is_loopback


def failure(host: str, port: int, error: Exception) -> MachineError:
    """What is told when an address cannot be used."""
    return MachineError(
        f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
        remedy="choose another --port or --host",
    )
