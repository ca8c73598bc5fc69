"""HTTP/2 and gRPC as a server of ext_proc needs them: bytes in, events and bytes out; asyncio only at the rim.

Pure, without clock or socket: `frames`, `limits`, `budget`, `bounds`, `blocks`, `closed`, `head`, `stream`, `outbound`,
`inbound`, `connection`.
At the rim: `drive` and `call` (one coroutine a stream), `declined` (what is no call), `link` (one connection), `secure`
(TLS), `server`.
"""
