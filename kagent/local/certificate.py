"""A certificate for this machine's own name, made anew for each service.

The only place that needs `cryptography`, and only when TLS was asked for.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import ssl
import tempfile
import weakref


class Identity:
    """A key, and a certificate that is its own CA, in files that live as long as this object."""

    def __init__(self) -> None:
        directory = tempfile.mkdtemp(prefix="kagent-local-")  # 0700
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.ca_file = os.path.join(directory, "ca.pem")
        key_file = os.path.join(directory, "key.pem")
        for path, content in zip((self.ca_file, key_file), _self_signed(), strict=True):
            with open(path, "wb") as file:
                file.write(content)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # https://docs.aws.amazon.com/streams/latest/dev/infrastructure-security.html, 2026-11
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(self.ca_file, key_file)


def _self_signed() -> tuple[bytes, bytes]:
    """Return a certificate for localhost, 127.0.0.1 and ::1, valid for a day, and its key."""
    from cryptography import x509  # an optional dependency
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kagent.local")])
    now = dt.datetime.now(dt.UTC)
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem
