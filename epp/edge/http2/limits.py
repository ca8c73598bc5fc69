"""How much of everything a peer may ask of one HTTP/2 connection; beyond that the connection ends.

Our peers are gateways: one connection carries thousands of requests, and a storm of clients that leave at once looks
like an attack. The defaults are what no gateway does, and what costs us little while it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Bounds of one connection. `_burst` is what may come at once, `_per_s` what may go on forever after it.

    receive_bytes_max, send_bytes_max: of one message in each direction, after decompression
    streams_max: streams open at once, which the peer is told; one more is refused
    refused_burst: streams beyond it that are refused before the connection ends
    header_block_bytes_max: HPACK bytes of one header block, over all its frames; header_list_bytes_max and
        header_count_max: what it may say (RFC 9113's size: 32 bytes beside name and value)
    continuations_max: CONTINUATION frames of one header block
    resets_burst, resets_per_s: streams that end with a reset, by the peer or for its mistake, before we answered
    pings_burst, pings_per_s; settings_burst, settings_per_s: frames that want an answer
    idle_frames_burst, idle_frames_per_s: frames that bring nothing on: empty DATA, PRIORITY, unknown ones, window
        updates beyond what our own DATA earns
    crumb_bytes, crumbs_burst, crumbs_per_s: our DATA frames smaller than that because of the peer's windows
    buffered_bytes_max: of messages half come, come and not read, and not yet sent, all streams together
    unsent_bytes_max: of one stream, before whoever writes to it waits
    control_bytes_max: of answers to PING and SETTINGS that the peer does not take
    stream_window_bytes, connection_window_bytes: what the peer may send before we have read it
    preface_s: from the connection to its first SETTINGS, with the TLS handshake
    keepalive_s, keepalive_timeout_s: silence before we ask whether the peer is there, and for its answer
    stall_s: how long a connection may take nothing of what waits for it
    age_s, age_jitter, age_grace_s: how old a connection gets before it is told to make way (0: as old as it likes),
        give or take this fraction; and how long its streams then have (0: as long as they need)
    """

    receive_bytes_max: int = 64 * 2**20
    send_bytes_max: int = 64 * 2**20
    streams_max: int = 40_000
    refused_burst: int = 1_000
    header_block_bytes_max: int = 65_536
    header_list_bytes_max: int = 65_536
    header_count_max: int = 256
    continuations_max: int = 16
    resets_burst: int = 40_000  # every stream there may be, at once
    resets_per_s: float = 1_000.0
    pings_burst: int = 1_000  # gRPC libraries send one with each estimate of the bandwidth
    pings_per_s: float = 50.0
    settings_burst: int = 100
    settings_per_s: float = 1.0
    idle_frames_burst: int = 10_000
    idle_frames_per_s: float = 1_000.0
    crumb_bytes: int = 256
    crumbs_burst: int = 10_000
    crumbs_per_s: float = 100.0
    buffered_bytes_max: int = 1 << 30  # twice what --body-bytes-total-max lets undecided requests hold
    unsent_bytes_max: int = 65_536
    control_bytes_max: int = 65_536
    stream_window_bytes: int = 1 << 20
    connection_window_bytes: int = 16 << 20
    preface_s: float = 10.0
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    stall_s: float = 300.0
    age_s: float = 0.0
    age_jitter: float = 0.1
    age_grace_s: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name not in _MAY_BE_ZERO):
                raise ValueError(f"{field.name} must be more than 0, not {value}")
        for name in ("stream_window_bytes", "connection_window_bytes"):
            if getattr(self, name) < 65_535:
                raise ValueError(f"{name} must be at least 65535: so much a peer may send before it hears of it")
        for name in ("stream_window_bytes", "connection_window_bytes", "streams_max", "header_list_bytes_max"):
            if getattr(self, name) >= 2**31:
                raise ValueError(f"{name} must be less than 2^31")
        if self.age_jitter >= 1:
            raise ValueError("age_jitter must be less than 1")


_MAY_BE_ZERO = ("age_s", "age_jitter", "age_grace_s", "refused_burst", "continuations_max")
