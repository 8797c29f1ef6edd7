# wire: frames of enfilade.proto over mutual TLS 1.3, or over a node's control socket.
"""Numbers and caps of the message types are read from proto/message.h, their only home. Every wait has a deadline."""
import functools
import re
import select
import socket
import time

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto

from enfilade_ref import proto
from enfilade_ref.refuse import Refused, SOURCE_ROOT, need
from enfilade_ref.th import sha256

EXPORTER_LABEL = b"EXPERIMENTAL-enfilade-v1"
WAIT_S = 15.0


@functools.lru_cache(maxsize=None)
def types():
    """{message name as in enfilade.proto: (type byte, largest protobuf in bytes)} of the framed types."""
    text = (SOURCE_ROOT / "proto/message.h").read_text(encoding="utf-8")
    rows = re.findall(r"X\(([A-Z_]+), (0x[0-9a-f]+), \w+, ([0-9* ]+)\)", text)
    out = {"".join(word.capitalize() for word in name.split("_")): (int(number, 16), eval_product(most))
           for name, number, most in rows}
    need(len(out) >= 20 and set(out) <= set(proto.schema()[0]), "internal", "message table of message.h cannot be read")
    return out


def eval_product(text):
    product = 1
    for factor in text.split("*"):
        product *= int(factor)
    return product


def frame(name, values):
    return frame_raw(types()[name][0], proto.pack(name, values))


def frame_raw(number, body):
    return (len(body) + 1).to_bytes(4, "big") + bytes([number]) + body


class Closed(Exception):
    """The peer ended the connection; the text says how."""


class Stream:
    """Frames over something with send_some and receive_some."""

    def __init__(self):
        self.pending = b""

    def send(self, name, values):
        self.send_raw(frame(name, values))

    def receive(self, wait_s=WAIT_S):
        """-> (message name, dict); Closed when the peer closed, Refused("deadline") after wait_s."""
        until = time.monotonic() + wait_s
        while True:
            if len(self.pending) >= 4:
                length = int.from_bytes(self.pending[:4], "big")
                need(1 <= length <= 1 + max(most for _, most in types().values()), "too-long", "frame of the peer")
                if len(self.pending) >= 4 + length:
                    body, self.pending = self.pending[4:4 + length], self.pending[4 + length:]
                    return self.unpack(body)
            self.pending += self.receive_some(until)

    def unpack(self, body):
        for name, (number, most) in types().items():
            if number == body[0]:
                need(len(body) - 1 <= most, "too-long", name)
                return name, proto.unpack(name, body[1:])
        raise Refused("format", f"unknown type {body[0]}")


class Control(Stream):
    """A node's control socket: frames without TLS."""

    def __init__(self, path):
        super().__init__()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(str(path))

    def send_raw(self, data):
        self.socket.sendall(data)

    def receive_some(self, until):
        self.socket.settimeout(max(0.01, until - time.monotonic()))
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("end of file")
        return data

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, name, values, wanted):
        self.send(name, values)
        got, answer = self.receive()
        need(got == wanted, "order", f"{got} instead of {wanted}: {answer}")
        return answer


def address_parse(text):
    """'127.0.0.11:7600' or '[::1]:7600' -> (host, port)"""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def spki_hash(certificate):
    return sha256(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


class Connection(Stream):
    """TLS to one node that the roster's `identity` (DER) vouches for; identity None: any peer (attackers do not care).

    certificate, key: x509 and private key objects, or None for no certificate."""

    def __init__(self, address, identity, certificate, key, source=None, least=SSL.TLS1_3_VERSION, most=SSL.TLS1_3_VERSION,
                 tune=None):
        super().__init__()
        host, port = address_parse(address)
        self.certificate = certificate
        self.raw = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.raw.settimeout(WAIT_S)
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if source is not None:
                self.raw.bind((source, 0))
            self.raw.connect((host, port))
            self.raw.setblocking(False)
            self.tls = SSL.Connection(self.context(identity, certificate, key, least, most, tune), self.raw)
            self.tls.set_connect_state()
            self.drive(self.tls.do_handshake, time.monotonic() + WAIT_S)
        except BaseException:
            self.raw.close()
            raise
        self.server_leaf = self.tls.get_peer_certificate().to_cryptography()
        self.server_key_hash = spki_hash(self.server_leaf)

    def context(self, identity, certificate, key, least, most, tune):
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(least)
        context.set_max_proto_version(most)
        if certificate is not None:
            context.use_certificate(crypto.X509.from_cryptography(certificate))
            context.use_privatekey(crypto.PKey.from_cryptography_key(key))
        if identity is None:
            context.set_verify(SSL.VERIFY_NONE)
        else:
            # The one anchor is the identity itself: whoever verifies is this node, whatever names its leaf has.
            anchor = crypto.X509.from_cryptography(x509.load_der_x509_certificate(identity))
            context.get_cert_store().add_cert(anchor)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *args: args[-1])
        if tune is not None:
            tune(context)
        return context

    def drive(self, call, until):
        while True:
            try:
                return call()
            except SSL.WantReadError:
                ready = select.select([self.raw], [], [], max(0.0, until - time.monotonic()))
            except SSL.WantWriteError:
                ready = select.select([], [self.raw], [], max(0.0, until - time.monotonic()))
            except SSL.ZeroReturnError as error:
                raise Closed("close_notify") from error
            except (SSL.SysCallError, ConnectionError) as error:
                raise Closed(f"connection lost: {error}") from error
            except SSL.Error as error:
                reasons = error.args[0] if error.args else []
                raise Closed("TLS: " + "; ".join(str(r[-1]) for r in reasons)) from error
            need(any(ready), "deadline", "the peer is silent")

    def send_raw(self, data):
        until = time.monotonic() + WAIT_S
        while data:
            part = data[:16384]
            sent = self.drive(lambda p=part: self.tls.send(p), until)
            data = data[sent:]

    def receive_some(self, until):
        return self.drive(lambda: self.tls.recv(65536), until)

    def exporter(self, nonce):
        return self.tls.export_keying_material(EXPORTER_LABEL, 32, nonce)

    def close(self):
        try:
            self.tls.shutdown()
        except (SSL.Error, OSError):
            pass
        self.raw.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
