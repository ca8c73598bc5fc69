"""TLS between a socket's bytes and a connection's, through the standard library's `ssl`; no socket of its own.

Done here and not by the event loop, so that one read of the socket is decrypted, answered and encrypted in one call,
that each handshake takes the newest certificate, and that one port can tell TLS from cleartext.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress

HANDSHAKE_BYTE = 0x16  # the first of a TLS ClientHello; HTTP/2 in cleartext begins with "P"
READ_BYTES = 262_144

Contexts = Callable[[], ssl.SSLContext]


class Secure:
    """One TLS session. Its methods raise `ssl.SSLError` when the peer does not speak TLS as we do."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._shaken = False
        self.ended = False

    def receive(self, data: bytes) -> bytes:
        """What the socket brought; what it says to the connection."""
        self._in.write(data)
        if not self._shaken:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self._shaken = True
        pieces = []
        try:
            while piece := self._tls.read(READ_BYTES):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def send(self, data: bytes) -> None:
        """What the connection says; `take` gives it to the socket."""
        view = memoryview(data)
        while view:  # a record at a time
            view = view[self._tls.write(view) :]

    @property
    def shaken(self) -> bool:
        """Whether the handshake is done: before it nothing can be sent."""
        return self._shaken

    def take(self) -> bytes:
        """Bytes for the socket."""
        return self._out.read()

    def close(self) -> None:
        """Say that nothing follows."""
        with suppress(ssl.SSLError):  # the peer's answer is not waited for
            self._tls.unwrap()
