#!/usr/bin/python3
# attack_input: bytes that no honest workload sends: TLS that is not ours, frames and protobuf that are malformed, messages out of order.
"""Whatever comes before a good Begin closes the connection, or is refused in the handshake: no denial, no entry, no memory."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import world as worlds  # noqa: E402  (sets the path of enfilade_ref)
from attacker import GROWTH_MAX, attack, closed, denied, main, must  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402
from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: E402
from enfilade_ref import proto, wire  # noqa: E402
from enfilade_ref.refuse import Refused  # noqa: E402
from OpenSSL import SSL, crypto  # noqa: E402
import ctypes  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import socket  # noqa: E402
import ssl  # noqa: E402
import time  # noqa: E402


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


@attack("-")
def challenge_made(a):
    """For challenge_grown_old, far below: its half minute passes while the others run."""
    s = a.session()
    connection, begin = s.connect("n1"), s.begin("n1", 1, 1)
    challenge = s.ask_begin(connection, begin)
    must(0 < challenge["ttl_ms"] <= 30000, f"a challenge for {challenge['ttl_ms']} ms")
    a.made["old"] = s, connection, a.attest(s, connection, begin, challenge), time.monotonic()


# ---- TLS

def shaken(a, **connect):
    """A handshake and the first answer: with TLS 1.3 the server's refusal of a client comes after the client's end."""
    s = a.session()
    with s.connect("n1", **connect) as connection:
        connection.send("GetDocuments", {"wants": [{"type": "status"}]})
        return connection.receive()


@attack("48", "NO_CERT")
def no_client_certificate(a):
    closed(shaken, a, certificate=None, key=None)


@attack("48", "ANY_CERT")
def certificate_of_another_ca(a):
    key, ca_key = new_key(), new_key()
    name, _ = a.device_ca()
    other = a.certificate(ca_key, issuer=(name, ca_key), name="ca", ca=True)
    fake = x509.CertificateBuilder(issuer_name=name.subject, subject_name=name.subject, public_key=ca_key.public_key(),
                                   serial_number=1, not_valid_before=name.not_valid_before, not_valid_after=name.not_valid_after,
                                   extensions=list(name.extensions)).sign(ca_key, name.signature_hash_algorithm)
    closed(shaken, a, certificate=a.certificate(key, issuer=(fake, ca_key)), key=key)  # the CA's very name, another key
    closed(shaken, a, certificate=a.certificate(key, issuer=(other, ca_key)), key=key)
    closed(shaken, a, certificate=a.certificate(key, issuer=(a.certificate(key), key)), key=key)  # self-signed


@attack("48", "ANY_CERT")
def certificate_not_fit(a):
    """Of the right CA, but expired, not yet valid, for servers, or itself a CA's."""
    key = new_key()
    for changes in ({"start_s": -7200, "end_s": -60}, {"start_s": 3600, "end_s": 7200}, {"usage": ExtendedKeyUsageOID.SERVER_AUTH},
                    {"usage": ExtendedKeyUsageOID.CODE_SIGNING}):
        closed(shaken, a, certificate=a.certificate(key, **changes), key=key)


@attack("48 13", "ANY_CERT")
def certificate_under_a_device(a):
    """A device that issues: its certificate sent along as an intermediate, or twenty of them, or one of a megabyte."""
    key, middle_key = new_key(), new_key()
    for ca in (False, True):
        middle = a.certificate(middle_key, ca=ca, name="middle")
        leaf = a.certificate(key, issuer=(middle, middle_key))
        for count in (1, 20):
            def chain(context, m=middle, n=count):
                for _ in range(n):
                    context.add_extra_chain_cert(crypto.X509.from_cryptography(m))
            closed(shaken, a, certificate=leaf, key=key, tune=chain)
    large = rsa.generate_private_key(65537, 3072)
    sprawling = a.certificate(large)
    def padded(context):
        for _ in range(30):
            context.add_extra_chain_cert(crypto.X509.from_cryptography(sprawling))
    closed(shaken, a, certificate=sprawling, key=large, tune=padded)


@attack("48", "DEVICE_CA")
def node_as_a_client(a):
    """A leaf that a configuration server's identity issued may fetch documents (nodes do) and passes no door, not even when its
    key is an enrolled device's."""
    folder, key = a.world.net / "nodes/c1", a.client.config.key
    identity = (x509.load_pem_x509_certificate((folder / "identity.pem").read_bytes()),
                load_pem_private_key((folder / "identity.key").read_bytes(), None))
    leaf = a.certificate(key, issuer=identity, name="c1")
    name, _ = shaken(a, certificate=leaf, key=key)
    must(name == "Documents", f"{name} instead of Documents")
    s = a.session()
    s.certificate, s.device_key = leaf, key
    denied("device", a.visit, s, "n1")
    closed(shaken, a, certificate=identity[0], key=identity[1])  # the identity itself is a CA and no client


@attack("49", "TLS12")
def older_tls(a):
    closed(shaken, a, least=SSL.TLS1_2_VERSION, most=SSL.TLS1_2_VERSION)
    closed(shaken, a, least=SSL.TLS1_VERSION, most=SSL.TLS1_1_VERSION,
           tune=lambda context: context.set_cipher_list(b"ALL:@SECLEVEL=0"))


@attack("49")
def no_tickets(a):
    """No ticket is sent, so there is nothing to resume and no early data."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    device = a.world.net / "devices/web-1"
    context.load_cert_chain(device / "device.pem", device / "device.key")
    host, port = a.world.address("n1"), worlds.PORT
    with context.wrap_socket(socket.create_connection((host, port), 5, (a.source, 0))) as connection:
        connection.sendall(wire.frame("GetDocuments", {"wants": [{"type": "status"}]}))
        must(len(connection.recv(65536)) > 5, "an answer")
        must(connection.version() == "TLSv1.3", connection.version())
        must(connection.session is None or not connection.session.has_ticket, "a session ticket")
    with context.wrap_socket(socket.create_connection((host, port), 5, (a.source, 0)), session=None) as connection:
        must(not connection.session_reused, "a session was resumed")


@attack("49", "KEY_UPDATES")
def key_update_flood(a):
    """Thousands of key updates that each ask for one in return, and nobody who reads: cut off; others are served meanwhile."""
    library = ctypes.CDLL("libssl.so.3")  # the very library of python3-openssl, which does not show this call
    library.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    s, updates = a.session(), 0
    with s.connect("n1") as connection:
        pointer = int(SSL._ffi.cast("uintptr_t", connection.tls._ssl))
        for _ in range(10000):
            if library.SSL_key_update(pointer, 1) != 1:
                break
            try:
                connection.drive(connection.tls.do_handshake, time.monotonic() + 2)
            except (wire.Closed, Refused):
                break
            updates += 1
        a.answers("n1")
        must(updates > 16, f"only {updates} key updates were sent")
        closed(a.documents_on, connection)


@attack("46 47")
def no_tls_at_all(a):
    address = (a.world.address("n1"), worlds.PORT)
    for data in (b"GET / HTTP/1.1\r\nHost: n1\r\n\r\n", b"\x00" * 4096, b"\x16\x03\x01\xff\xff" + b"\x01" * 65535, os.urandom(65536),
                 b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", b"\x80" * 20):
        with socket.create_connection(address, 5, (a.source, 0)) as raw:
            raw.settimeout(8)
            try:
                raw.sendall(data)
                while raw.recv(4096):
                    pass
            except ConnectionError:
                pass
    a.answers("n1")


# ---- frames

def frame(number, body=b"", length=None):
    return (len(body) + 1 if length is None else length).to_bytes(4, "big") + bytes([number]) + body


def refused(a, *frames):
    """A connection of its own on which these bytes end it."""
    return closed(a.raw, a.session(), "n1", *frames)


@attack("46", "FRAME_CAP")
def lengths_that_lie(a):
    for number in (0x01, 0x05, 0x06, 0x09):
        for length in (0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, (4 << 20) + 2):
            refused(a, frame(number, b"\x0a", length))
    most = wire.types()["GetDocuments"][1]
    refused(a, frame(0x09, b"\x0a" * (most + 1)))
    for length in (0, 0xFFFFFFFF):
        refused(a, length.to_bytes(4, "big") + b"\x01")
    refused(a, b"\x00\x00\x00\x00" * 1000)


@attack("2", "ORDER")
def types_out_of_order(a):
    """Everything but Begin and document exchange first; tokend's and the operator's messages never."""
    for number in (*range(0, 0x0A), *range(0x20, 0x27), *range(0x40, 0x4B), 0x7F, *range(0x80, 0x86), 0xFF):
        if number in (0x01, 0x05, 0x09):
            continue
        refused(a, frame(number))
        refused(a, frame(number, b"\x0a\x01x"))


@attack("2", "ORDER")
def messages_out_of_order(a):
    """After a Challenge nothing but Attest may come, and while a request is judged nothing at all counts."""
    s = a.session()
    begin = wire.frame("Begin", s.begin("n1", 1, 1))
    for second in ("Begin", "GetDocuments", "Documents"):
        with s.connect("n1") as connection:
            connection.send_raw(begin)
            name, _ = connection.receive()
            must(name == "Challenge", name)
            connection.send_raw(begin if second == "Begin" else wire.frame(second, {}))
            closed(connection.receive)
    with s.connect("n1") as connection:  # Begin twice in one packet
        connection.send_raw(begin * 2)
        name, _ = connection.receive()
        must(name == "Challenge", name)
        closed(connection.receive)
    with s.connect("n1") as connection:  # Attest in the packet of Begin: it cannot know the nonce
        connection.send_raw(begin + wire.frame("Attest", {}))
        name, _ = connection.receive()
        must(name == "Challenge", name)
        try:
            connection.receive()
        except wire.Closed:
            return
        except Refused as error:
            must(False, str(error))


# ---- protobuf

def begin_bytes(a):
    s = a.session()
    return s, proto.pack("Begin", s.begin("n1", 1, 1))


@attack("46 23", "PRESCAN")
def protobuf_that_is_not_ours(a):
    """One encoding per value: duplicates, other orders, defaults, unknown fields, other wire types, varints too long."""
    _, body = begin_bytes(a)
    network = body[:2 + body[1]]
    rest = body[len(network):]
    for data in (network + body, rest + network, body + b"\x0a\x00", body + b"\x52\x01x", body + b"\x9a\x06\x01x", b"\x0b" + body + b"\x0c",
                 b"\x08\x01" + rest, b"\x0d\x01\x02\x03\x04" + rest, b"\x09" + bytes(8) + rest, b"\x8a\x00" + body[1:],
                 body[:1] + bytes([body[1] | 0x80, 0x00]) + body[2:], b"\x0a\xff\xff\xff\xff\x0f" + body[2:], b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                 b"\xff" * 11, b"\x00" + body, b"\x02\x00" + body, body[:-1], body + b"\x00", b"\x80" * 100, body + body):
        refused(a, frame(0x01, data))
    refused(a, frame(0x09, b"\x0a\x00\x0a\x00\x12\x00"))


@attack("46")
def protobuf_bombs(a):
    """As much as a frame may hold of what costs a parser most; memory is looked at after every attack."""
    s = a.session()
    body = proto.pack("Begin", {**s.begin("n1", 1, 1), "versions": []})
    for bomb in (b"\x42\x00" * 100000, b"\x42\x02\x0a\x00" * 100000, b"\x4a\x00" * 300000, b"\x42\x03\x0a\x01x" * 241,
                 b"\x4a\x04\x0a\x02ab" * 65, b"\x42" + b"\x80" * 9 + b"\x01"):
        refused(a, frame(0x01, body + bomb))
        refused(a, frame(0x01, bomb))
    nested = b""
    while len(nested) < 200000:
        nested = b"\x42" + proto.varint_pack(len(nested)) + nested
    refused(a, frame(0x01, nested))
    refused(a, frame(0x05, b"\x0a\x00" * 2000000))
    refused(a, frame(0x05, b"\x0a\x02\x0a\x00" * 2049))
    for wants in (65, 4000):
        refused(a, frame(0x09, b"\x0a\x06\x0a\x04root" * wants))


@attack("61", "PRINTABLE")
def names_with_control_characters(a):
    """What stands in names reaches logs and explanations: it is printable, or it does not come in."""
    s = a.session()
    def named(field, raw):
        begin = s.begin("n1", 1, 1)
        data = proto.pack("Begin", {**begin, field: "@" * len(raw)})
        return data.replace(b"@" * len(raw), raw)
    for raw in (b"n1\nwarn forged line", b"\x1b[31mn1", b"n1\x00n2", b"\xff\xfe", b"n1\r", b"\x7f", "n\u2028".encode(), b"\xc0\xae", b"\t"):
        for field in ("network", "node"):
            refused(a, frame(0x01, named(field, raw)))
        refused(a, frame(0x09, b"\x0a" + bytes([2 + len(raw)]) + b"\x0a" + bytes([len(raw)]) + raw))
    for length in (65, 1000, 65536):
        refused(a, frame(0x01, named("node", b"n" * length)))
    text = a.world.log("n1").encode()
    must(b"\x1b" not in text and b"forged line\n" not in text.replace(b"forged line\" ", b""), "a line of ours in the log")


@attack("46 61")
def begins_with_random_damage(a):
    """Some hundred Begins with one to three bytes changed, cut or put in: closed, denied, or asked for what they name."""
    dice = random.Random(20261124)
    s, body = begin_bytes(a)
    outcomes = {"closed": 0, "denied": 0, "asked": 0}
    for i in range(250):
        if i % 50 == 0:
            a.move()
            s.source = a.source
        data = bytearray(body)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(data))
            dice.choice((lambda: data.__setitem__(at, dice.randrange(256)), lambda: data.__delitem__(at),
                         lambda: data.insert(at, dice.randrange(256)), lambda: data.__setitem__(at, data[at] ^ 1 << dice.randrange(8))))()
        try:
            name, answer = a.raw(s, "n1", frame(0x01, bytes(data)))
            must(name in ("Deny", "Challenge", "NeedDocuments"), f"{name} for a damaged Begin")
            must(name != "Deny" or len(answer["denial_id"]) == 16, "a denial without id")
            outcomes["denied" if name == "Deny" else "asked"] += 1
        except wire.Closed:
            outcomes["closed"] += 1
    must(outcomes["closed"] > 50 and outcomes["denied"] > 20, f"{outcomes}")
    a.answers("n1")


# ---- time and space

@attack("47")
def idle_connections(a):
    """As many connections as one address may have, and more; others are served meanwhile."""
    address, kept = (a.world.address("n1"), worlds.PORT), []
    for source in range(8):
        a.move()
        kept += [socket.create_connection(address, 5, (a.source, 0)) for _ in range(80)]
    a.move()
    a.answers("n1")
    for raw in kept:
        raw.close()


@attack("47")
def slow_ones(a):
    """Stalled in the handshake, before a request, in a frame's header, in its body; half-closed. All end in time."""
    s = a.session()
    address, started = (a.world.address("n1"), worlds.PORT), time.monotonic()
    raws = [socket.create_connection(address, 5, (a.source, 0)) for _ in range(3)]
    raws[1].sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    raws[2].sendall(b"\x16")
    lines = [s.connect("n1") for _ in range(5)]
    begin = wire.frame("Begin", s.begin("n1", 1, 1))
    for line, data in zip(lines, (b"", b"\x00", begin[:5], begin[:-1], begin[:100])):
        if data:
            line.send_raw(data)
    lines[4].raw.shutdown(socket.SHUT_WR)
    a.answers("n1")
    for raw in raws:
        raw.settimeout(12)
        must(raw.recv(4096) == b"" or raw.recv(4096) == b"", "a stalled handshake that goes on")
    must(time.monotonic() - started < 8, "a stalled handshake is kept too long")
    for line in lines:
        try:
            line.receive(14)
            must(False, "an answer to nothing")
        except wire.Closed:
            pass
    must(time.monotonic() - started < 16, "a stalled frame is kept too long")


@attack("46 47")
def frames_half_sent(a):
    """Every connection of an address holds back the last byte of the largest frame there is."""
    before = a.resident("n1")
    s, most = a.session(), wire.types()["Documents"][1]
    lines = [s.connect("n1") for _ in range(24)]
    for line in lines:
        line.send_raw(frame(0x05, b"\x0a" * (most - 1), most + 1))
    a.move()
    a.answers("n1")
    grown = a.resident("n1") - before
    for line in lines:
        line.raw.close()
    worlds.until(lambda: a.resident("n1") - before < GROWTH_MAX, 5, f"memory is given back ({grown >> 20} MiB were held)")
    must(grown < 24 * (most + 65536) + GROWTH_MAX, f"{grown >> 20} MiB for {len(lines)} frames of {most >> 20} MiB")


@attack("59")
def someone_elses_session(a):
    """There is no Cancel: another device that knows E, nonce and chain of a session has a session of its own, and no say in it."""
    s = a.session()
    a.honest(s, "n1")
    key = new_key()
    other = a.session(session_key=s.key, client_nonce=s.client_nonce)
    other.certificate, other.device_key = a.certificate(key), key
    must(other.sid != s.sid, "the device does not enter the session")
    denied("device", a.visit, other, "n1")
    denied("link", a.begin_only, other, "n3", lambda begin: {**begin, "links": [s.visits[0].link]})
    a.honest(s, "n3")


@attack("1 2")
def challenge_grown_old(a):
    """Evidence for a challenge of half a minute ago: its connection is closed by then, and it counts on no other."""
    if "old" not in a.made:
        challenge_made(a)
    s, connection, message, made = a.made.pop("old")
    time.sleep(max(0.0, made + 31 - time.monotonic()))
    closed(s.ask_attest, connection, "n1", message)
    with s.connect("n1") as other:
        s.ask_begin(other, s.begin("n1", 1, 1))
        denied("bind", s.ask_attest, other, "n1", message)


@attack("-")
def honest_afterwards(a):
    s = a.session()
    for node in ("n1", "n3", "n4", "n6"):
        a.honest(s, node)
    must(len(s.open()) == 65, "the secret")


if __name__ == "__main__":
    sys.exit(main("attack-input"))
