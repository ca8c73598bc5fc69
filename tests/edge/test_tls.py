"""TLS on the ext_proc port, by real handshakes and real gRPC connections."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc

from epp.domain import ConfigError
from epp.edge import tls
from epp.edge.health import Health
from epp.settings import TLS12_SUITES
from tests.edge.transports import TRANSPORTS, served
from tests.edge.until import until


def write(folder: Path, pair: tls.Pair) -> None:
    (folder / tls.CERTIFICATE).write_bytes(pair.chain)
    (folder / tls.KEY).write_bytes(pair.key)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@contextlib.asynccontextmanager
async def serving(transport: str, pair: Callable[[], tls.Pair]) -> AsyncIterator[int]:
    health = Health()
    health.set(ready=True)
    async with served(transport, health.methods(), pair=pair) as port:
        yield port


async def ask(port: int, trusted: bytes, name: str = "localhost") -> int:
    """Health over a new connection whose certificate is verified for `name`."""
    options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
    trust = grpc.ssl_channel_credentials(trusted)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trust, options) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    return int(answer.status)


async def handshake(port: int, at_most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[str, str, bytes]:
    """Version, ALPN protocol and certificate (DER) of a new connection that verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = at_most
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = writer.get_extra_info("ssl_object")
    told = found.version(), found.selected_alpn_protocol(), found.getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return told


def der(pair: tls.Pair) -> bytes:
    return x509.load_pem_x509_certificate(pair.chain).public_bytes(Encoding.DER)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "picker.inference.svc", "10.1.2.3"])
async def test_a_self_signed_certificate_is_good_for_its_names(name: str, transport: str) -> None:
    pair = tls.self_signed(["picker.inference.svc", "10.1.2.3", ""])
    async with serving(transport, lambda: pair) as port:
        status = await ask(port, pair.chain, name)

    assert status == health_pb2.HealthCheckResponse.SERVING


async def test_a_client_that_expects_another_name_or_authority_refuses_us(transport: str) -> None:
    pair, other = tls.self_signed([]), tls.self_signed([])
    async with serving(transport, lambda: pair) as port:
        for trusted, name in ((pair.chain, "elsewhere.example"), (other.chain, "localhost")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask(port, trusted, name)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_both_tls_versions_agree_on_http2(transport: str) -> None:
    pair = tls.self_signed([])
    async with serving(transport, lambda: pair) as port:
        newest, older = await handshake(port), await handshake(port, ssl.TLSVersion.TLSv1_2)

    assert newest == ("TLSv1.3", "h2", der(pair))
    assert older == ("TLSv1.2", "h2", der(pair))


def test_a_self_signed_certificate_lasts_and_has_a_fresh_key() -> None:
    one, two = tls.self_signed([]), tls.self_signed([])

    assert (one.expires - datetime.now(UTC)).days > 3640
    assert one.key != two.key


async def test_a_given_pair_is_served(tmp_path: Path, transport: str) -> None:
    pair = tls.self_signed(["given.example"])
    write(tmp_path, pair)
    folder = tls.PairFolder(tmp_path)
    async with serving(transport, lambda: folder.pair) as port:
        status = await ask(port, pair.chain, "given.example")

    assert status == health_pb2.HealthCheckResponse.SERVING


async def test_new_connections_use_a_new_pair_and_old_ones_go_on(tmp_path: Path, transport: str) -> None:
    before, after = tls.self_signed([]), tls.self_signed([])
    write(tmp_path, before)
    folder = tls.PairFolder(tmp_path, poll_s=0.01, settle_s=0.01)
    watching = asyncio.create_task(folder.watch())
    trust = grpc.ssl_channel_credentials(before.chain)
    options = [("grpc.ssl_target_name_override", "localhost")]
    async with serving(transport, lambda: folder.pair) as port:
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trust, options) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest())
            write(tmp_path, after)
            await until(lambda: folder.pair.chain == after.chain)
            await stub.Check(health_pb2.HealthCheckRequest())
        presented = (await handshake(port))[2]
        await ask(port, after.chain)
    watching.cancel()

    assert presented == der(after)


async def test_a_mounted_secret_is_followed_through_its_symlink(tmp_path: Path) -> None:
    pairs = {name: tls.self_signed([]) for name in ("1", "2")}
    for name, pair in pairs.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name, pair)
    (tmp_path / "..data").symlink_to("1")
    for file in (tls.CERTIFICATE, tls.KEY):
        (tmp_path / file).symlink_to(f"..data/{file}")
    folder = tls.PairFolder(tmp_path, poll_s=0.01, settle_s=0.01)
    watching = asyncio.create_task(folder.watch())
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "..data")
    await until(lambda: folder.pair.chain == pairs["2"].chain)
    watching.cancel()


async def test_a_bad_pair_keeps_the_old_one_and_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = tls.self_signed([]), tls.self_signed([])
    write(tmp_path, before)
    folder = tls.PairFolder(tmp_path, poll_s=0.01, settle_s=0.01)
    watching = asyncio.create_task(folder.watch())
    with caplog.at_level(logging.WARNING):
        (tmp_path / tls.KEY).write_bytes(after.key)
        await until(lambda: folder.last_error)
        why, kept = folder.last_error, folder.pair
        (tmp_path / tls.KEY).touch()  # looked at again, found as bad as before
        await asyncio.sleep(0.2)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    write(tmp_path, after)
    await until(lambda: folder.pair.chain == after.chain)
    watching.cancel()

    assert why == f"{tmp_path}/tls.key: is not the key of the certificate in tls.crt"
    assert kept.chain == before.chain
    assert warnings == [f"the TLS pair is not used, the one before stays: {why}"]
    assert folder.last_error is None


def _encrypted(pair: tls.Pair) -> bytes:
    key = load_pem_private_key(pair.key, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def _on_a_curve_nobody_speaks(pem: bytes) -> bytes:
    """The same key or certificate, its curve P-256 renamed into SM2."""
    first, *middle, last = pem.decode().strip().splitlines()
    known, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a811ccf5501822d")
    der = base64.b64decode("".join(middle))
    assert known in der
    return "\n".join([first, base64.encodebytes(der.replace(known, unknown)).decode().strip(), last, ""]).encode()


def _rsa() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("tls.crt", None, "tls.crt: cannot be read: No such file or directory"),
        ("tls.key", None, "tls.key: cannot be read: No such file or directory"),
        ("tls.crt", b"nonsense", "tls.crt: holds no PEM certificate"),
        ("tls.key", b"nonsense", "tls.key: holds no PEM private key"),
        ("tls.key", _encrypted(tls.self_signed([])), "tls.key: is encrypted"),
        ("tls.key", _rsa(), "tls.key: is not the key of the certificate in tls.crt"),
        ("tls.crt", _on_a_curve_nobody_speaks(tls.self_signed([]).chain), "tls.crt: has a key of a kind"),
        ("tls.key", _on_a_curve_nobody_speaks(tls.self_signed([]).key), "tls.key: is a key of a kind"),
    ],
)
def test_a_mistake_names_the_file(tmp_path: Path, file: str, content: bytes | None, why: str) -> None:
    write(tmp_path, tls.self_signed([]))
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)

    with pytest.raises(ConfigError) as mistake:
        tls.load(tmp_path)
    assert str(mistake.value).startswith(f"{tmp_path}/{why}")


SERVER = """
import asyncio, sys
from epp.cli.serve import _instruct_grpc
from epp.settings import parse
settings = parse(["--discovery-file=none", "--bind-address=127.0.0.1", *sys.argv[1:]])
_instruct_grpc(settings)
from epp.edge.health import Health
from epp.settings import TLS12_SUITES
from epp.telemetry import Telemetry
from epp.transport import Transport
from tests.make import fleet, pool

async def main():
    server = Transport(settings, None, Telemetry(fleet(pool("a")))).listen(0, Health().methods(), plaintext=False)
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def start(flags: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SERVER, *flags], stdout=subprocess.PIPE)


@contextlib.asynccontextmanager
async def instructed(*flags: str) -> AsyncIterator[int]:
    """A server in a process of its own, since gRPC reads such things from the environment when it is imported."""
    process = start(flags)
    try:
        assert process.stdout is not None
        yield int(await asyncio.to_thread(process.stdout.readline))
    finally:
        process.kill()
        process.communicate()


async def test_a_minimum_of_1_3_refuses_1_2(transport: str) -> None:
    async with instructed(f"--transport={transport}", "--tls-min-version=VersionTLS13") as port:
        version, protocol, _ = await handshake(port)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(port, ssl.TLSVersion.TLSv1_2)

    assert (version, protocol) == ("TLSv1.3", "h2")


async def test_chosen_suites_are_the_only_ones_of_1_2(transport: str) -> None:
    suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    async with instructed(f"--transport={transport}", f"--tls-cipher-suites={suites}") as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):  # our key is an ECDSA one
            await handshake(port, ssl.TLSVersion.TLSv1_2)
    suites = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    async with instructed(f"--transport={transport}", f"--tls-cipher-suites={suites}") as port:
        version = (await handshake(port, ssl.TLSVersion.TLSv1_2))[0]

    assert version == "TLSv1.2"


@pytest.mark.parametrize("suite", sorted(TLS12_SUITES))
def test_every_suite_that_can_be_chosen_is_known_to_openssl_by_its_own_name(suite: str) -> None:
    pair = tls.self_signed([])
    context = tls.Contexts(lambda: pair, suites=suite)()
    chosen = [cipher for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]

    assert len(chosen) == 1


async def test_a_pair_that_has_expired_is_used_and_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "SELF_SIGNED_FOR", timedelta(seconds=-1))
    pair = tls.self_signed([])
    write(tmp_path, pair)
    folder = tls.PairFolder(tmp_path)

    assert folder.pair.chain == pair.chain
    assert f"the TLS pair of {tmp_path} has expired" in caplog.messages
