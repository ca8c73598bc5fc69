"""One bounded GET to a model server, with its failures told apart: nobody there, or an answer of no use.

Must stay true: no answer is read beyond its bound, and `get` raises nothing else for what a server may do.
"""

from __future__ import annotations

import errno
import math
import os

import aiohttp

TIMEOUTS_MAX = 2
READ_BUFFER_BYTES = 1 << 18

# Our own shortage says nothing of the server: without this, running out of descriptors would empty the pool.
_OUR_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class NoAnswer(Exception):
    """Nobody answers; `strikes` is how many of these in a row make the server unreachable, infinite for never."""

    def __init__(self, message: str, strikes: float = 1) -> None:
        super().__init__(message)
        self.strikes = strikes


class BadAnswer(Exception):
    """The server answers, but not with what was asked for."""


def session(connect_timeout_s: float, timeout_s: float) -> aiohttp.ClientSession:
    """A session for many small GETs: no proxy, no cookies, no decompression; the caller bounds the concurrency.

    The connector has no limit of its own, because a wait in its queue would count as the server's time.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_timeout_s),
        headers={"Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=READ_BUFFER_BYTES,
        trust_env=False,
    )


async def get(client: aiohttp.ClientSession, url: str, bytes_max: int) -> bytes:
    """The body of a 200; `NoAnswer` or `BadAnswer` otherwise."""
    try:
        async with client.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise BadAnswer(f"HTTP {response.status}")
            return await _body(response, bytes_max)
    except aiohttp.ConnectionTimeoutError as error:
        raise NoAnswer("no connection in time", TIMEOUTS_MAX) from error
    except TimeoutError as error:
        # A busy engine may well be slow to tell its numbers.
        raise NoAnswer("no answer in time", TIMEOUTS_MAX) from error
    except aiohttp.ClientConnectorDNSError as error:
        raise NoAnswer("the host name does not resolve", TIMEOUTS_MAX) from error
    except aiohttp.ServerDisconnectedError as error:
        raise NoAnswer("connection closed without an answer") from error
    except OSError as error:
        raise NoAnswer(_in_words(error), math.inf if error.errno in _OUR_SHORTAGES else 1) from error
    except aiohttp.ClientPayloadError as error:
        raise BadAnswer("the answer was cut off") from error
    except aiohttp.ClientError as error:
        raise BadAnswer(f"not HTTP as we know it ({type(error).__name__})") from error


async def _body(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size = response.content_length or 0
    if size <= bytes_max:
        size = 0
        while size <= bytes_max and (part := await response.content.readany()):
            parts.append(part)
            size += len(part)
    if size > bytes_max:
        response.close()
        raise BadAnswer(f"the answer is larger than {bytes_max} bytes")
    return b"".join(parts)


def _in_words(error: OSError) -> str:
    if isinstance(error, ConnectionResetError):
        return "connection reset by peer"
    return os.strerror(error.errno).lower() if error.errno else f"no connection ({type(error).__name__})"
