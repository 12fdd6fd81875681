"""Keys, signatures, and the certificates of a federation's own authority.

One Ed25519 key (RFC 8032) is a member's identity. It is made where it is used, is readable by its owner alone, and
never leaves. It signs messages and requests, and the authority's X.509 certificate for it opens the TLS connection.
"""

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from accord.core.errors import FederationError, MessageError
from accord.transport.messages import M, Signed, signed_bytes

_CA_DAYS = 3650
CERTIFICATE_DAYS = 365
"""Days for which a member's certificate is valid. `accord site renew` asks for the next one."""


def make_key(path: Path) -> Ed25519PrivateKey:
    """Makes a key and writes it, readable by its owner alone.

    Raises:
        FederationError: there is a file already, which is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        # Created with its mode, since between writing and chmod anyone could read it.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise FederationError(
            f"{path}: there is a key already, which is not overwritten; use another folder"
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return key


def load_key(path: Path) -> Ed25519PrivateKey:
    """Reads a key.

    Raises:
        FederationError: it is missing, readable by others, or no Ed25519 key.
    """
    if not path.is_file():
        raise FederationError(f"{path}: no key; make one with accord site init or accord federation join")
    if path.stat().st_mode & 0o077:
        raise FederationError(f"{path}: others on this machine can read it; run chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise FederationError(f"{path}: not a private key; put back the one that was enrolled") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise FederationError(f"{path}: not an Ed25519 key; put back the one that was enrolled")
    return key


def public_hex(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Returns the public key, 32 bytes in hexadecimal."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def fingerprint(public: str) -> str:
    """Returns what people compare of a public key: 16 bytes of its SHA-256, in groups of four digits.

    >>> fingerprint("00" * 32)
    '6668-7aad-f862-bd77-6c8f-c18b-8e9f-8e20'
    """
    digits = sha256(bytes.fromhex(public)).hexdigest()[:32]
    return "-".join(digits[i : i + 4] for i in range(0, 32, 4))


def sign(key: Ed25519PrivateKey, signer: str, message: M) -> Signed[M]:
    """Signs a message in the name of `signer`."""
    return Signed(message, signer, key.sign(signed_bytes(signer, message)).hex())


def verify(signed: Signed[M], public: str, signer: str) -> M:
    """Returns a message whose signature is `signer`'s.

    Args:
        signed: the message as it came.
        public: the signer's enrolled key, 32 bytes in hexadecimal.
        signer: who must have signed it.

    Raises:
        MessageError: someone else signed it, or it was changed since.
    """
    if signed.signer != signer:
        raise MessageError(f"signed by {signed.signer!r}, but {signer!r} must sign it")
    if not valid(public, signed.signature, signed.covered()):
        raise MessageError(f"the signature of {signer!r} does not fit: another key, or changed on the way")
    return signed.message


def valid(public: str, signature: str, content: bytes) -> bool:
    """Whether a signature in hexadecimal is the key's over these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def certified_key(certificate: bytes) -> str:
    """Returns the public key in a certificate, as PEM: 32 bytes in hexadecimal.

    Raises:
        ValueError: it is no certificate of an Ed25519 key.
    """
    public = x509.load_pem_x509_certificate(certificate).public_key()
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("not a certificate of an Ed25519 key")  # noqa: TRY004 - as for anything else that is none
    return public_hex(public)


def days_left(certificate: bytes) -> float:
    """Returns for how many days a certificate, as PEM, is still valid. Negative where it has ended."""
    ends = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    return (ends - datetime.now(UTC)).total_seconds() / 86400


@dataclass(frozen=True)
class Authority:
    """A federation's certificate authority.

    Attributes:
        key: its key, which never leaves the coordinator.
        certificate: its own certificate, which every member has.
    """

    key: Ed25519PrivateKey
    certificate: x509.Certificate

    def issue(self, name: str, public: str, hosts: tuple[str, ...] = (), days: int = CERTIFICATE_DAYS) -> bytes:
        """Issues a certificate, as PEM.

        Args:
            name: the member, which becomes the subject's common name.
            public: its key.
            hosts: names and addresses of a server. A member's certificate has none, and cannot serve.
            days: validity.
        """
        now = datetime.now(UTC)
        # The coordinator also asks itself whether it works, where connections need a certificate.
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        made = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self.certificate.subject)
            .public_key(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))
            .serial_number(x509.random_serial_number())
            # Members' clocks may be behind.
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if hosts:
            made = made.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        return made.sign(self.key, None).public_bytes(serialization.Encoding.PEM)


def make_authority(folder: Path, name: str) -> Authority:
    """Makes a certificate authority: `key.pem` and `certificate.pem` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    key, now = make_key(folder / "key.pem"), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(f"{name} authority"))
        .issuer_name(_name(f"{name} authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False),  # signs certificates and lists
            critical=True,
        )
        .sign(key, None)
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(key, certificate)


def load_authority(folder: Path) -> Authority:
    """Reads the authority in `folder`."""
    certificate = x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())
    return Authority(load_key(folder / "key.pem"), certificate)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
