# capture: every IPv4 packet of one loopback subnet, and the TCP streams in them.
"""A raw socket on `lo` (needs root), so that no tool is needed. What arrives is kept whole; `holes` and `dropped` tell whether
anything is missing, for a search in half of the traffic proves nothing."""
import collections
import ctypes
import ipaddress
import select
import socket
import struct
import threading

ETH_P_ALL, ETHERNET, OUTGOING = 3, 14, 4
ATTACH_FILTER, RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 26, 33, 263, 6
PACKET_MAX = 1 << 17  # bytes; lo's largest is 64 KiB and headers
BUFFER = 128 << 20    # bytes that may wait while this process does something else
FIN, SYN = 1, 2
Segment = collections.namedtuple("Segment", "source source_port target target_port number flags data")


def only_subnet(subnet):
    """The kernel's filter program (classic BPF): IPv4 from or to A.B.C.0/24, whole packets."""
    net = int(ipaddress.ip_address(subnet + ".0"))
    program = [(0x28, 0, 0, 12), (0x15, 0, 7, 0x0800),  # ethertype
               (0x20, 0, 0, ETHERNET + 12), (0x54, 0, 0, 0xFFFFFF00), (0x15, 3, 0, net),  # source
               (0x20, 0, 0, ETHERNET + 16), (0x54, 0, 0, 0xFFFFFF00), (0x15, 0, 1, net),  # target
               (0x06, 0, 0, PACKET_MAX), (0x06, 0, 0, 0)]
    return b"".join(struct.pack("HBBI", *step) for step in program)


def segment(packet):
    """The TCP segment in an Ethernet frame with IPv4, or None."""
    ip = packet[ETHERNET:]
    header = (ip[0] & 15) * 4
    if ip[9] != socket.IPPROTO_TCP:
        return None
    tcp = ip[header:struct.unpack_from("!H", ip, 2)[0] or len(ip)]
    source_port, target_port, number = struct.unpack_from("!HHI", tcp)
    return Segment(socket.inet_ntoa(ip[12:16]), source_port, socket.inet_ntoa(ip[16:20]), target_port, number, tcp[13],
                   tcp[(tcp[12] >> 4) * 4:])


class Capture:
    def __init__(self, subnet):
        code = only_subnet(subnet)
        keep = ctypes.create_string_buffer(code)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HP", len(code) // 8, ctypes.addressof(keep)))
        self.socket.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, BUFFER)
        self.socket.bind(("lo", ETH_P_ALL))
        self.packets, self.segments, self.dropped, self.ended = [], [], 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            ready = select.select([self.socket], [], [], 0.1)[0]
            if not ready and self.ended:
                return
            if ready:
                packet, address = self.socket.recvfrom(PACKET_MAX)
                if address[2] != OUTGOING:  # on lo each one passes twice
                    self.packets.append(packet)
                    self.segments.append(segment(packet))

    def sent_to(self, targets):
        """Bytes of TCP data to these addresses so far."""
        return sum(len(s.data) for s in list(self.segments) if s is not None and s.target in targets)

    def stop(self):
        """Reads what is left, then ends."""
        self.ended = True
        self.thread.join()
        self.dropped = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        self.socket.close()

    def streams(self):
        """{(source, port, target, port, first number): bytes}; and the streams in which something is missing."""
        parts = collections.defaultdict(dict)
        opened = {}
        for s in (s for s in self.segments if s is not None):
            way = (s.source, s.source_port, s.target, s.target_port)
            if s.flags & SYN:
                opened[way] = (s.number + 1) & 0xFFFFFFFF
            key = way + (opened.get(way),)
            at = (s.number - (key[4] or 0)) & 0xFFFFFFFF
            if s.data:
                parts[key][at] = max(parts[key].get(at, b""), s.data, key=len)
            elif s.flags & FIN:
                parts[key].setdefault(at, b"")  # whatever came before it must be there
        whole, holes = {}, []
        for key, pieces in parts.items():
            data = b""
            for at in sorted(pieces):
                if at > len(data) or key[4] is None:
                    holes.append(key)
                    break
                data += pieces[at][len(data) - at:]
            whole[key] = data
        return whole, holes
