"""TLS on the ext_proc port: a pair from files, followed if wanted, or one that we sign ourselves.

Must stay true: a pair is used only when its key belongs to its certificate; a pair that goes bad changes nothing and
is reported once; a good one later is taken up by itself. Connections keep the pair they began with.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from epp.domain import ConfigError
from epp.edge.watched_file import WatchedFile, identity
from epp.flag_values import is_address

log = logging.getLogger(__name__)

CERTIFICATE, KEY = "tls.crt", "tls.key"
FILE_BYTES_MAX = 1 << 20
TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # what HTTP/2 does not forbid (RFC 9113, appendix A)
SELF_SIGNED_FOR = timedelta(days=3650)  # as the Go picker's; a restart makes a new one


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain and its key, both PEM; `expires` is the leaf's."""

    chain: bytes
    key: bytes
    expires: datetime


def self_signed(names: Iterable[str]) -> Pair:
    """A new pair for these names and addresses, besides localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OneHop, self-signed")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a gateway's clock may be behind
        .not_valid_after(now + SELF_SIGNED_FOR)
        .add_extension(x509.SubjectAlternativeName(_alternative_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM), secret, certificate.not_valid_after_utc)


def load(folder: Path) -> Pair:
    """The pair in `folder`. Raises ConfigError with the path of the file that is wrong."""
    chain, secret = _read(folder / CERTIFICATE), _read(folder / KEY)
    parts = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public, expires = leaf.public_key().public_bytes(*parts), leaf.not_valid_after_utc
    except UnsupportedAlgorithm as unknown:
        raise ConfigError(str(folder / CERTIFICATE), f"has a key of a kind we do not know: {unknown}") from unknown
    except (ValueError, IndexError) as unusable:
        raise ConfigError(str(folder / CERTIFICATE), "holds no PEM certificate") from unusable
    try:
        key = load_pem_private_key(secret, password=None)
    except UnsupportedAlgorithm as unknown:
        raise ConfigError(str(folder / KEY), f"is a key of a kind we do not know: {unknown}") from unknown
    except TypeError as encrypted:
        raise ConfigError(str(folder / KEY), "is encrypted; give the key without a passphrase") from encrypted
    except ValueError as unusable:
        raise ConfigError(str(folder / KEY), "holds no PEM private key") from unusable
    if key.public_key().public_bytes(*parts) != public:
        raise ConfigError(str(folder / KEY), f"is not the key of the certificate in {CERTIFICATE}")
    return Pair(chain, secret, expires)


class PairFolder(WatchedFile[Pair]):
    """The pair in a folder, as it was when it was last good; both files are followed as one."""

    def __init__(self, folder: Path, *, poll_s: float = 0.5, settle_s: float = 0.1) -> None:
        super().__init__(folder, lambda: load(folder), self._take, what="TLS pair", poll_s=poll_s, settle_s=settle_s)
        self._take(load(folder))
        log.info("TLS pair of %s in use%s", folder, self._said(self.pair))

    def _take(self, pair: Pair) -> None:
        self.pair = pair
        if pair.expires < datetime.now(UTC):
            log.warning("the TLS pair of %s has expired", self.path)

    def _said(self, built: Pair) -> str:
        return f", valid until {built.expires.isoformat()}"

    def _identity(self) -> Hashable:
        return tuple(identity(self.path / name) for name in (CERTIFICATE, KEY))


class Contexts:
    """Called for each handshake: a server's context with the current pair. Raises OSError or `ssl.SSLError` never
    after it was made, since a pair was read before it is current.

    `minimum` is `VersionTLS12` or `VersionTLS13`; `suites` are those of TLS 1.2 by IANA's names and commas.
    """

    def __init__(self, current: Callable[[], Pair], minimum: str = "VersionTLS12", suites: str | None = None) -> None:
        self._current = current
        self._minimum = ssl.TLSVersion.TLSv1_3 if minimum == "VersionTLS13" else ssl.TLSVersion.TLSv1_2
        self._ciphers = TLS12_CIPHERS if suites is None else ":".join(map(_openssl_name, suites.split(",")))
        self._pair = current()
        self._made = self._make()

    def __call__(self) -> ssl.SSLContext:
        pair = self._current()
        if pair is not self._pair:
            self._pair = pair
            self._made = self._make()
        return self._made

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum
        context.set_ciphers(self._ciphers)
        context.set_alpn_protocols(["h2"])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        with _as_files(self._pair) as (chain, key):
            context.load_cert_chain(chain, key)
        return context


@contextmanager
def _as_files(pair: Pair) -> Iterator[tuple[Path, Path]]:
    """The pair where `ssl` can read it: in memory where the system has files there, else in a folder of our own."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("chain"), "wb") as chain, open(os.memfd_create("key"), "wb") as key:  # noqa: PTH123
            for file, content in ((chain, pair.chain), (key, pair.key)):
                file.write(content)
                file.flush()
            yield Path(f"/proc/self/fd/{chain.fileno()}"), Path(f"/proc/self/fd/{key.fileno()}")
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / CERTIFICATE).write_bytes(pair.chain)
        (folder / KEY).write_bytes(pair.key)
        yield folder / CERTIFICATE, folder / KEY


def _openssl_name(suite: str) -> str:
    """`TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` is `ECDHE-RSA-AES128-GCM-SHA256` to OpenSSL."""
    exchange, _, cipher = suite.removeprefix("TLS_").partition("_WITH_")
    cipher = cipher.replace("AES_128", "AES128").replace("AES_256", "AES256").replace("POLY1305_SHA256", "POLY1305")
    return f"{exchange}-{cipher}".replace("_", "-")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror or error}") from error


def _alternative_names(names: Iterable[str]) -> list[x509.GeneralName]:
    wanted = dict.fromkeys(["localhost", "127.0.0.1", "::1", *names])
    return [x509.IPAddress(ipaddress.ip_address(n)) if is_address(n) else x509.DNSName(n) for n in wanted if n]
