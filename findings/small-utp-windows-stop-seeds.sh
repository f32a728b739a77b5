#!/usr/bin/env bash
# Versions: libtorrent 2.1.1 (PyPI wheel), transmission-daemon 3.00-2.1+deb12u1 (Debian 12, unpacked into a temporary
# folder), Python 3.
#
# Each packet of uTP says how many bytes its sender still has room for (BEP 29). One would think that a seed fills a room of
# 1300 bytes with 1300 bytes. Transmission sends only datagrams of full size: into a window of 1300 bytes it sends nothing,
# not even the 68 bytes of its handshake. libtorrent makes its datagrams smaller, down to about 550 bytes, and stops in the
# middle of a block when the window is smaller than that. Neither tries again by itself while the window stays
# as it is, nor when it is 0: for 20 seconds no byte comes, so a lost packet that opens the window would be the end. After a
# packet that opens it both go on at once.
# And Transmission cannot be dialled with 65535 as connection id, one of 65536: it takes the SYN, and resets what follows.
#
# Output seen:
#   libtorrent, window 1048576: handshake, 65536 bytes
#   libtorrent, window 1300: handshake, 65536 bytes
#   libtorrent, window 500: handshake, less than 65536 bytes, after opening all
#   libtorrent, window 0: nothing, after opening all
#   transmission, window 1048576: handshake, 65536 bytes
#   transmission, window 1300: nothing, after opening all
#   transmission, window 0: nothing, after opening all
#   libtorrent, connection id 65535: handshake, 65536 bytes
#   transmission, connection id 65535: reset
#
# What a client does about it: its window is 0 or holds a whole datagram of the largest size, and it opens from 0 to
# several of them in one step. It repeats the packet that opens its window until data comes. As a sender it
# tries a small or closed window from time to time. It draws another connection id instead of 65535.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed or no namespace could be made.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2
apt-get -o APT::Sandbox::User=root download -qq transmission-daemon=3.00-2.1+deb12u1 libminiupnpc17 libnatpmp1 libevent-2.1-7 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
libraries="$dir/root/usr/lib/$(uname -m)-linux-gnu"
LD_LIBRARY_PATH=$libraries root/usr/bin/transmission-daemon --version >/dev/null 2>&1 || exit 2
unshare --map-root-user --net true || exit 2

cat > lt.py <<'PY'
import signal, sys
import libtorrent as lt

params = lt.load_torrent_file(sys.argv[1])
params.save_path = sys.argv[2]
session = lt.session({"listen_interfaces": f"{sys.argv[3]}:{sys.argv[4]}", "enable_dht": False, "enable_lsd": False,
                      "enable_upnp": False, "enable_natpmp": False})
handle = session.add_torrent(params)
signal.pause()
PY
cat > main.py <<'PY'
import base64, hashlib, json, os, socket, struct, subprocess, sys, time, urllib.error, urllib.request

CLIENT, PORT = "10.77.0.1", 7001
DATA, FIN, STATE, RESET, SYN = range(5)
BLOCK, BLOCKS, OPEN = 16384, 4, 1 << 20
folder = os.getcwd()
last_address = 1

def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"

class Reset(Exception):
    pass

class Connection:
    """Dials, keeps to the window that it is given, and counts what comes."""
    def __init__(self, window, identifier):
        global last_address
        # Another address each time: to a client one address is one peer.
        last_address += 1
        self.window, self.identifier, self.sequence, self.seen, self.delay = window, identifier, 1, 0, 0
        self.waiting, self.stream, self.handshake, self.blocks = {}, b"", False, set()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((f"10.77.0.{last_address}", 0))
        self.socket.connect((CLIENT, PORT))
        self.send(SYN, identifier)
        self.sequence += 1

    def send(self, kind, identifier=None, payload=b""):
        identifier = (self.identifier + 1) & 0xffff if identifier is None else identifier
        self.socket.send(struct.pack(">BBHIIIHH", kind << 4 | 1, 0, identifier, int(time.time() * 1e6) & 0xffffffff, self.delay,
                                     self.window, self.sequence, self.seen) + payload)

    def write(self, payload):
        self.send(DATA, payload=payload)
        self.sequence += 1

    def receive(self, quiet):
        """Takes what comes until `quiet` seconds pass without data. Returns whether everything came."""
        until = time.monotonic() + quiet
        while len(self.blocks) < BLOCKS:
            self.socket.settimeout(max(until - time.monotonic(), 0.001))
            try:
                packet = self.socket.recv(65536)
            except TimeoutError:
                return False
            kind, extension, _, sent, _, _, sequence, _ = struct.unpack(">BBHIIIHH", packet[:20])
            self.delay = (int(time.time() * 1e6) - sent) & 0xffffffff
            at = 20
            while extension:
                extension, at = packet[at], at + 2 + packet[at + 1]
            if kind >> 4 == RESET:
                raise Reset
            if kind >> 4 == STATE and not self.seen:
                self.seen = (sequence - 1) & 0xffff
                self.write(b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-XX0001-" + os.urandom(12))
                self.write(struct.pack(">IB", 1, 2))
            if kind >> 4 == DATA and self.seen:
                until = time.monotonic() + quiet
                if (sequence - self.seen - 1) & 0xffff < 1000:
                    self.waiting[sequence] = packet[at:]
                while (self.seen + 1) & 0xffff in self.waiting:
                    self.seen = (self.seen + 1) & 0xffff
                    self.stream += self.waiting.pop(self.seen)
                self.parse()
                self.send(STATE)
        return True

    def parse(self):
        if not self.handshake and len(self.stream) >= 68:
            self.handshake, self.stream = True, self.stream[68:]
        while self.handshake and len(self.stream) >= 4:
            length = struct.unpack(">I", self.stream[:4])[0]
            if len(self.stream) < 4 + length:
                return
            message, self.stream = self.stream[4:4 + length], self.stream[4 + length:]
            if message[:1] == b"\x01":
                self.write(b"".join(struct.pack(">IBIII", 13, 6, 0, index * BLOCK, BLOCK) for index in range(BLOCKS)))
            if message[:1] == b"\x07":
                self.blocks.add(message[5:9])

def attempt(name, window, identifier):
    connection = Connection(window, identifier)
    try:
        if connection.receive(20):
            result = "handshake, 65536 bytes"
        else:
            result = "handshake, less than 65536 bytes" if connection.handshake else "nothing"
            connection.window = OPEN
            connection.send(STATE)
            result += ", after opening all" if connection.receive(60) else ", after opening not all"
        connection.send(RESET)
    except Reset:
        result = "reset"
    return result

def add_to_transmission(file):
    with open(file, "rb") as source:
        body = json.dumps({"method": "torrent-add", "arguments": {"metainfo": base64.b64encode(source.read()).decode()}}).encode()
    headers = {}
    limit = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:9091/transmission/rpc", body, headers), timeout=60).close()
        except urllib.error.HTTPError as refusal:
            headers = {"X-Transmission-Session-Id": refusal.headers["X-Transmission-Session-Id"]}
        except OSError:
            # It has not begun to listen.
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)

def start(name, file):
    if name == "libtorrent":
        return subprocess.Popen([f"{folder}/venv/bin/python", "-W", "ignore", f"{folder}/lt.py", file, folder, CLIENT, str(PORT)])
    os.mkdir(f"{folder}/config")
    with open(f"{folder}/config/settings.json", "w") as out:
        json.dump({"encryption": 0, "lpd-enabled": False, "dht-enabled": False, "pex-enabled": False, "port-forwarding-enabled": False,
                   "utp-enabled": True, "peer-port": PORT, "download-dir": folder, "rpc-bind-address": "127.0.0.1"}, out)
    process = subprocess.Popen([f"{folder}/root/usr/bin/transmission-daemon", "--foreground", "--config-dir", f"{folder}/config"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=dict(os.environ, HOME=folder, LD_LIBRARY_PATH=sys.argv[1]))
    add_to_transmission(file)
    return process

def wait_for_seed():
    """Waits until all comes through a wide window: the data is checked."""
    limit = time.monotonic() + 90
    while True:
        try:
            connection = Connection(OPEN, 1000)
            whole = connection.receive(15)
            connection.send(RESET)
            if whole:
                return
        except (Reset, OSError):
            time.sleep(0.2)
        if time.monotonic() > limit:
            raise TimeoutError("no seed")

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for last in range(1, 100):
    subprocess.run(["ip", "address", "add", f"10.77.0.{last}/24", "dev", "lo"], check=True)
data = os.urandom(BLOCK * BLOCKS)
info = {b"length": len(data), b"name": b"data", b"piece length": len(data), b"pieces": hashlib.sha1(data).digest()}
info_hash = hashlib.sha1(bencode(info)).digest()
with open("data", "wb") as out:
    out.write(data)
with open("a.torrent", "wb") as out:
    out.write(bencode({b"info": info}))
seen = []
for name, windows in (("libtorrent", (OPEN, 1300, 500, 0)), ("transmission", (OPEN, 1300, 0))):
    process = start(name, f"{folder}/a.torrent")
    try:
        wait_for_seed()
        for window in windows:
            seen.append(f"{name}, window {window}: {attempt(name, window, 2000)}")
        last = f"{name}, connection id 65535: {attempt(name, OPEN, 65535)}"
    finally:
        process.kill()
        process.wait()
    seen.append(last)
seen.sort(key=lambda line: "id 65535" in line)
print("\n".join(seen))
sys.exit(0 if seen == [
    "libtorrent, window 1048576: handshake, 65536 bytes",
    "libtorrent, window 1300: handshake, 65536 bytes",
    "libtorrent, window 500: handshake, less than 65536 bytes, after opening all",
    "libtorrent, window 0: nothing, after opening all",
    "transmission, window 1048576: handshake, 65536 bytes",
    "transmission, window 1300: nothing, after opening all",
    "transmission, window 0: nothing, after opening all",
    "libtorrent, connection id 65535: handshake, 65536 bytes",
    "transmission, connection id 65535: reset",
] else 1)
PY
unshare --map-root-user --net --pid --fork --kill-child python3 main.py "$libraries" || exit 1
