"""Certificates for the tests, generated in each run with `cryptography`."""

from __future__ import annotations

import datetime as dt
import ssl
from ipaddress import IPv6Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


class Authority:
    """A certificate authority that writes PEM files into `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        certificate = self._build(self._name, self._key, ca=True).sign(self._key, hashes.SHA256())
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *addresses: IPv6Address, expired: bool = False, again: bool = False) -> Path:
        """A certificate for that name, and for these addresses, and its key in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._build(subject, key, ca=False, expired=expired)
        names = [x509.DNSName(name), *map(x509.IPAddress, addresses)]
        alternative = x509.SubjectAlternativeName(names)
        certificate = builder.add_extension(alternative, critical=False).sign(self._key, hashes.SHA256())
        path = self._folder / f"{name}{'-expired' * expired}{'-again' * again}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        path.chmod(0o600)
        return path

    def _build(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool, expired: bool = False
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now - DAY if expired else now + DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=ca,
                    crl_sign=ca,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )


class Certificates:
    """The certificates: a server's, a client's, and those that must be refused."""

    def __init__(self, folder: Path) -> None:
        own, foreign = Authority(folder, "own-ca"), Authority(folder, "foreign-ca")
        self.ca = own.path
        self.server = own.issue("localhost")
        self.server_again = own.issue("localhost", again=True)
        self.client = own.issue("client-1")
        self.other_client = own.issue("client-2")
        self.expired = own.issue("client-1", expired=True)
        self.foreign = foreign.issue("client-3")

    def client_context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """A client's context that trusts our server and presents `certificate`."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context
