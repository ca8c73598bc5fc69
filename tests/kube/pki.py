"""A certificate authority for one test run: the API server's certificate, and those of users who show one."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = datetime.timedelta(days=1)


class Authority:
    """Signs certificates and writes them, with their keys, into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self._certificate = (
            self._begin(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.crt"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self) -> tuple[Path, Path]:
        """Certificate and key of a server on loopback."""
        return self._issue(
            "server", [(NameOID.COMMON_NAME, "kube-apiserver")], [ExtendedKeyUsageOID.SERVER_AUTH], loopback()
        )

    def peer(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of one that serves on loopback, and asks others like it."""
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(name, [(NameOID.COMMON_NAME, name)], purposes, loopback())

    def user(self, name: str, group: str) -> tuple[Path, Path]:
        """Certificate and key of a user, as Kubernetes reads them."""
        subject = [(NameOID.ORGANIZATION_NAME, group), (NameOID.COMMON_NAME, name)]
        return self._issue(name, subject, [ExtendedKeyUsageOID.CLIENT_AUTH], None)

    def _begin(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - LIFE)
            .not_valid_after(now + LIFE)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _issue(
        self,
        file: str,
        subject: list[tuple[x509.ObjectIdentifier, str]],
        purposes: list[x509.ObjectIdentifier],
        names: x509.SubjectAlternativeName | None,
    ) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        building = (
            self._begin(x509.Name([x509.NameAttribute(oid, value) for oid, value in subject]), key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        )
        if names is not None:
            building = building.add_extension(names, critical=False)
        made = building.sign(self._key, hashes.SHA256())
        certificate, private = self._folder / f"{file}.crt", self._folder / f"{file}.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        write_key(private, key)
        return certificate, private


def loopback() -> x509.SubjectAlternativeName:
    """The names of this machine to itself."""
    return x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])


def write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """The key, readable by its owner alone, in the form that Kubernetes also finds the public half in."""
    file.touch(mode=0o600)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def signing_key(file: Path) -> Path:
    """A fresh key for service account tokens."""
    write_key(file, ec.generate_private_key(ec.SECP256R1()))
    return file


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What a key is for: certificates, or handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
