"""What passes a network device, for tests of what must not.

    capture.py DEVICE    until killed

A line `ready`, then one JSON object a line: every UDP packet, and the TCP packets that offer peer exchange (BEP 11):
{"at": seconds since 1970, "protocol": "udp" or "tcp", "from": "IP", "to": "IP", "port": destination's, "data": hex}
"""

import ipaddress
import json
import socket
import sys
import time

ALL = 0x0003
TCP, UDP = 6, 17
OFFER = b"6:ut_pex"


def transport(frame):
    """Addresses, protocol and transport layer; None for anything but whole packets of IP."""
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00" and len(packet) >= 20:
        head = 4 * (packet[0] & 15)
        total = int.from_bytes(packet[2:4], "big")
        return packet[12:16], packet[16:20], packet[9], packet[head:total or None]
    if kind == b"\x86\xdd" and len(packet) >= 40:
        return packet[8:24], packet[24:40], packet[6], packet[40:]
    return None


def main():
    device = sys.argv[1]
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
    tap.bind((device, 0))
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    print("ready", flush=True)
    while True:
        found = transport(tap.recv(1 << 17))
        if found is None:
            continue
        source, target, protocol, data = found
        if protocol == UDP:
            data = data[8:]
        elif protocol != TCP or OFFER not in data:
            continue
        else:
            # The part about the extensions is enough.
            at = data.index(OFFER)
            data = data[max(0, at - 200):at + 200]
        print(json.dumps({
            "at": time.time(),
            "protocol": "udp" if protocol == UDP else "tcp",
            "from": str(ipaddress.ip_address(source)),
            "to": str(ipaddress.ip_address(target)),
            "port": int.from_bytes(found[3][2:4], "big"),
            "data": data.hex(),
        }), flush=True)


main()
