#!/usr/bin/env bash
# Versions: libtorrent 2.1.1 (PyPI wheel), Python 3.
#
# A peer that cannot be dialled is reached by a hole punch (BEP 55): a peer that both sides are connected to is asked to
# introduce them, by the address that it told in peer exchange, where it also marks who understands hole punches. libtorrent
# names in peer exchange the address that a peer listens at. Asked to introduce that same address, it says that it
# is not connected to it (error 2): there it looks for the port that the peer's connection came from. Over TCP that is
# another one, so none who dialled it by TCP can be introduced. And if that port is named, what it tells the other side
# is the port that the asker's connection came from, where nobody listens. Over uTP both ports are one, and it works.
# Its `connect` messages have 8 bytes: the four of the error code, which BEP 55 wants in every message, are missing.
#
# Here peers come over TCP from a port of the system's choice, or from the port that they listen at.
#
# Output seen:
#   peer exchange names 127.0.0.4:6666, flags 08
#   from any port, listening port named: error 2
#   from any port, source port named: connect of 8 bytes to both, the asker's listening port told: False
#   from the listening port: connect of 8 bytes to both, the asker's listening port told: True
#   the same, asked with 12 bytes: connect of 8 bytes to both, the asker's listening port told: True
#
# What a client does about it: it asks for introductions over uTP, or binds its TCP dials to the port that it listens at. It
# asks a relay of libtorrent's by every port that it knows of a peer. It reads a `connect` of 8 bytes and of 12. As a
# relay it finds peers by what they listen at as well, and tells that.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2

cat > "$dir/main.py" <<'PY'
import hashlib, os, socket, struct, sys, tempfile, time
import libtorrent as lt

ASKER, TARGET = ("127.0.0.3", 5555), ("127.0.0.4", 6666)
RENDEZVOUS, CONNECT, FAILED = 0, 1, 2
OUR_ID = 4

def compact(address):
    return socket.inet_aton(address[0]) + struct.pack(">H", address[1])

class Peer:
    def __init__(self, port, info_hash, listening, source_port):
        self.listening = listening
        self.connection = socket.socket()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.connection.bind((listening[0], source_port))
        self.connection.settimeout(60)
        self.connection.connect(("127.0.0.1", port))
        self.source = self.connection.getsockname()
        self.connection.sendall(b"\x13BitTorrent protocol" + bytes(5) + b"\x10\0\0" + info_hash + b"-XX0001-" + os.urandom(12))
        self.read(68)
        extensions = lt.bencode({"m": {"ut_holepunch": OUR_ID, "ut_pex": 1}, "p": listening[1]})
        self.send(b"\x14\0" + extensions)
        self.id = lt.bdecode(self.extended(0))[b"m"][b"ut_holepunch"]

    def read(self, length):
        data = b""
        while len(data) < length:
            part = self.connection.recv(length - len(data))
            if not part:
                raise OSError("closed")
            data += part
        return data

    def send(self, message):
        self.connection.sendall(struct.pack(">I", len(message)) + message)

    def extended(self, kind):
        while True:
            length = struct.unpack(">I", self.read(4))[0]
            message = self.read(length) if length else b""
            if message[:2] == bytes([20, kind]):
                return message[2:]

    def ask(self, address, error_code=b""):
        self.send(bytes([20, self.id, RENDEZVOUS, 0]) + compact(address) + error_code)
        return self.extended(OUR_ID)

def meet(port, info_hash, asker_source, target_source):
    return Peer(port, info_hash, ASKER, asker_source), Peer(port, info_hash, TARGET, target_source)

def part(session, handle, *peers):
    for peer in peers:
        peer.connection.close()
    limit = time.monotonic() + 60
    while handle.get_peer_info():
        if time.monotonic() > limit:
            raise TimeoutError
        time.sleep(0.05)

with tempfile.TemporaryDirectory() as parent:
    with open(os.path.join(parent, "a"), "wb") as out:
        out.write(os.urandom(100000))
    torrent = lt.create_torrent(lt.list_files(os.path.join(parent, "a")), 16384, lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, parent)
    params = lt.load_torrent_buffer(lt.bencode(torrent.generate()))
    params.save_path = parent
    session = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False,
                          "enable_upnp": False, "enable_natpmp": False})
    handle = session.add_torrent(params)
    limit = time.monotonic() + 60
    while not (handle.status().is_seeding and session.listen_port()):
        if time.monotonic() > limit:
            raise TimeoutError
        time.sleep(0.05)
    port, info_hash = session.listen_port(), handle.info_hashes().v1.to_bytes()

    asker, target = meet(port, info_hash, 0, 0)
    exchanged = lt.bdecode(asker.extended(1))
    while compact(TARGET) not in exchanged[b"added"]:
        exchanged = lt.bdecode(asker.extended(1))
    flags = exchanged[b"added.f"][exchanged[b"added"].index(compact(TARGET)) // 6]
    print(f"peer exchange names {TARGET[0]}:{TARGET[1]}, flags {flags:02x}")

    answer = asker.ask(TARGET)
    error = struct.unpack(">I", answer[8:12])[0] if answer[0] == FAILED else None
    print(f"from any port, listening port named: error {error}")

    def introduced(label, asker, target, address, error_code=b""):
        got, told = asker.ask(address, error_code), target.extended(OUR_ID)
        both = got == bytes([CONNECT, 0]) + compact(address) and told[:2] == bytes([CONNECT, 0]) and len(told) == 8
        right = told[2:8] == compact(ASKER)
        print(f"{label}: {'connect of 8 bytes to both' if both else 'other'}, the asker's listening port told: {right}")
        return both, right

    by_source = introduced("from any port, source port named", asker, target, target.source)
    part(session, handle, asker, target)
    asker, target = meet(port, info_hash, ASKER[1], TARGET[1])
    by_both = introduced("from the listening port", asker, target, TARGET)
    long = introduced("the same, asked with 12 bytes", asker, target, TARGET, bytes(4))
sys.exit(0 if (flags & 8, error, by_source, by_both, long) == (8, 2, (True, False), (True, True), (True, True)) else 1)
PY
TMPDIR=$dir "$dir/venv/bin/python" -W ignore "$dir/main.py" || exit 1
