"""A local answer to `apresolve.spotify.com`, without which go-librespot ends at once: nothing of it leads anywhere.

`python -m librespot_guard.lab._resolver CA_FILE` writes a certificate authority made for this one run to CA_FILE (go-librespot takes it
by SSL_CERT_FILE), listens on 127.0.0.1:443, prints `ready`, and names 127.0.0.1:9 for every service.
"""

import datetime as dt
import http.server
import json
import ssl
import sys
import tempfile
from pathlib import Path

NAME = "apresolve.spotify.com"
NOWHERE = {"accesspoint": ["127.0.0.1:9"], "dealer": ["127.0.0.1:9"], "spclient": ["127.0.0.1:9"]}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(NOWHERE).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def certify() -> tuple[bytes, bytes]:
    """A self-signed certificate for NAME and its key, both PEM, good for a day."""
    from cryptography import x509  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pkcs8 = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return certificate.public_bytes(serialization.Encoding.PEM), pkcs8


def main(ca_file: str) -> None:
    """Serve until the end of the sandbox."""
    certificate, key = certify()
    Path(ca_file).write_bytes(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as both:
        both.write(certificate + key)
        both.flush()
        context.load_cert_chain(both.name)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 443), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
