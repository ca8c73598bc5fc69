"""A wire between a client and a server that can go dead without a word, as real ones do."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

READ_BYTES = 1 << 16


class Relay:
    """Listens on loopback and passes on what it hears."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wires: set[Wire] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *raised: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for wire in self._wires:
            wire.break_off()
        await asyncio.gather(*self._tasks)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def go_dead(self) -> None:
        """The connections there are stay open and say nothing any more; later ones work."""
        for wire in self._wires:
            wire.is_dead = True

    def hang_up(self) -> None:
        """The dead ones end."""
        for wire in self._wires:
            if wire.is_dead:
                wire.break_off()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):  # either side may go when it likes, or not be there
            try:
                there, back = await asyncio.open_connection("127.0.0.1", self._to)
            except OSError:
                writer.transport.abort()
                raise
            wire = Wire(writer, back)
            self._wires.add(wire)
            try:
                await asyncio.gather(wire.carry(reader, back), wire.carry(there, writer))
            finally:
                self._wires.discard(wire)
                await wire.end()


class Wire:
    """One connection: the client's end and the server's."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self._ends = ends
        self.is_dead = False

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """In one direction, until the source ends; a dead wire swallows everything, that end too."""
        while data := await source.read(READ_BYTES):
            if not self.is_dead:
                sink.write(data)
                await sink.drain()
        if not self.is_dead:
            sink.close()

    def break_off(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def end(self) -> None:
        """Returns when both ends are closed."""
        self.break_off()
        for end in self._ends:
            with contextlib.suppress(OSError):
                await end.wait_closed()
