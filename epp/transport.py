"""Which transport carries the ports: our own HTTP/2, or grpcio, which is not even imported where nobody wants it."""

from __future__ import annotations

import logging
import socket
from typing import Protocol

from epp.edge import tls
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.server import NativeServer
from epp.edge.http2.tally import Tally
from epp.edge.methods import Limits, Methods, Server
from epp.settings import Settings

log = logging.getLogger(__name__)


class Certificates(Protocol):
    """Has the pair of the moment."""

    @property
    def pair(self) -> tls.Pair | None: ...


def address_of(settings: Settings, port: int) -> str:
    """`host:port` to listen at."""
    host = settings.bind_address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Transport:
    """Makes servers as the settings want them. `certificates` has the TLS pair, where we need not sign one."""

    def __init__(self, settings: Settings, certificates: Certificates | None, tally: Tally) -> None:
        self._settings = settings
        self._tally = tally
        self._certificates = certificates
        self._self_signed: tls.Pair | None = None
        if settings.secure_serving and certificates is None:
            self._self_signed = tls.self_signed([socket.gethostname(), *settings.tls_names.split(",")])
            log.info("the certificate of the ext_proc port is self-signed: clients cannot verify it by an authority")
        self._contexts = None
        if settings.secure_serving and settings.transport == "native":
            self._contexts = tls.Contexts(self.pair, settings.tls_min_version, settings.tls_cipher_suites)

    def listen(self, port: int, methods: Methods, *, plaintext: bool) -> Server:
        """A server for these methods, not started. Raises OSError for a port that is taken."""
        settings = self._settings
        address = address_of(settings, port)
        if settings.transport == "grpc":
            return self._grpc(address, methods, secure=settings.secure_serving and not plaintext)
        return self.native(address, methods, plaintext=plaintext)

    def native(self, address: str | None, methods: Methods, *, plaintext: bool) -> NativeServer:
        """One over our own HTTP/2; without an address for connections that are handed to it."""
        settings = self._settings
        secure = settings.secure_serving and not plaintext
        return NativeServer(
            address,
            methods,
            limits=self._limits(),
            contexts=self._contexts if secure else None,
            detects=settings.detect_tls,
            tally=self._tally,
        )

    def _grpc(self, address: str, methods: Methods, *, secure: bool) -> Server:
        from epp.edge.server import GrpcServer, credentials  # noqa: PLC0415  # only who asks for it pays for grpc

        settings = self._settings
        limits = Limits(settings.grpc_max_recv_msg_size, settings.grpc_max_send_msg_size, settings.streams_max)
        return GrpcServer(address, methods, tls=credentials(self.pair) if secure else None, limits=limits)

    def _limits(self) -> Http2Limits:
        settings = self._settings
        return Http2Limits(
            receive_bytes_max=settings.grpc_max_recv_msg_size,
            send_bytes_max=settings.grpc_max_send_msg_size,
            streams_max=settings.streams_max,
            age_s=settings.max_connection_age,
            **dict(settings.http2_limit),  # type: ignore[arg-type]  # whole where that is wanted: `http2_limits.bound`
        )

    def pair(self) -> tls.Pair:
        """The one that new connections are to use."""
        pair = self._self_signed if self._certificates is None else self._certificates.pair
        assert pair is not None, "without TLS nobody asks"
        return pair
