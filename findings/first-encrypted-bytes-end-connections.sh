#!/usr/bin/env bash
# Versions: libtorrent 2.1.1 (PyPI wheel), webtorrent 3.0.21 with bencode 4.0.1 (npm; its native module for WebRTC, which
# is not used here, is replaced by nothing), aria2 1.36.0-1, rtorrent 0.9.8-1 with libtorrent21 0.13.8-2+b1 and
# transmission-daemon 3.00-2.1+deb12u1 (Debian 12, unpacked into a temporary folder), Node.js 20, Python 3.
#
# In Message Stream Encryption who dials may put the first bytes of its stream, up to 65535 of them (`IA`), into the key
# exchange, which saves a round trip. All five take a handshake of BitTorrent there, also a part of one. If
# the next message follows in the same `IA`, as it may in any other place of the stream, libtorrent, aria2 and rtorrent end
# the connection without an answer, and WebTorrent answers and forgets the message. Only Transmission reads it.
# The other way round aria2, when it dials, ends the connection if a message comes with the handshake and the end of the
# key exchange in one piece, which is a matter of chance on a stream.
#
# Output seen:
#   libtorrent: 68 bytes answered and unchoked, 73 bytes closed
#   aria2: 68 bytes answered and unchoked, 73 bytes closed
#   rtorrent: 68 bytes answered and unchoked, 73 bytes closed
#   webtorrent: 68 bytes answered and unchoked, 73 bytes answered, unchoked when told again
#   transmission: 68 bytes answered and unchoked, 73 bytes answered and unchoked
#   aria2 dials: handshake with the end of the exchange: goes on, with one message more: closed
#
# What a client does about it: it puts its handshake into `IA`, and nothing behind it. As the one who was dialled it sends
# the end of the exchange and its handshake, and all else when it has read the handshake of the other side. As a reader
# it takes an `IA` of any length and treats it as the beginning of the stream.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed or no namespace could be made.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$dir/cache" webtorrent@3.0.21 bencode@4.0.1 >/dev/null || exit 2
apt-get -o APT::Sandbox::User=root download -qq aria2=1.36.0-1 libaria2-0=1.36.0-1 libc-ares2 rtorrent=0.9.8-1 \
    libtorrent21=0.13.8-2+b1 libxmlrpc-core-c3 transmission-daemon=3.00-2.1+deb12u1 libminiupnpc17 libnatpmp1 libevent-2.1-7 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
libraries="$dir/root/usr/lib/$(uname -m)-linux-gnu"
for program in aria2c transmission-daemon; do
    LD_LIBRARY_PATH=$libraries "root/usr/bin/$program" --version >/dev/null 2>&1 || exit 2
done
LD_LIBRARY_PATH=$libraries root/usr/bin/rtorrent -h >/dev/null || exit 2
unshare --map-root-user --net true || exit 2

cat > lt.py <<'PY'
import signal, sys
import libtorrent as lt

params = lt.load_torrent_file(sys.argv[1])
params.save_path = sys.argv[2]
session = lt.session({"listen_interfaces": f"{sys.argv[3]}:{sys.argv[4]}", "enable_dht": False, "enable_lsd": False,
                      "enable_upnp": False, "enable_natpmp": False, "allow_multiple_connections_per_ip": True})
handle = session.add_torrent(params)
signal.pause()
PY
cat > without-webrtc.mjs <<'JS'
import { register } from 'node:module'

const stub = 'export const RTCPeerConnection = undefined, RTCSessionDescription = undefined, RTCIceCandidate = undefined'
register('data:text/javascript,' + encodeURIComponent(`
const stub = 'data:text/javascript,' + encodeURIComponent(${JSON.stringify(stub)})
export const resolve = (name, context, next) => name === 'webrtc-polyfill' ? { url: stub, shortCircuit: true } : next(name, context)
`))
JS
cat > wt.mjs <<'JS'
import fs from 'node:fs'
import WebTorrent from 'webtorrent'

const client = new WebTorrent({ dht: false, lsd: false, natUpnp: false, natPmp: false, tracker: false, utp: false, torrentPort: +process.argv[4] })
client.add(fs.readFileSync(process.argv[2]), { path: process.argv[3] })
JS
cat > main.py <<'PY'
import base64, hashlib, http.server, json, os, pty, queue, socket, struct, subprocess, sys, threading, time
import urllib.error, urllib.request

CLIENT, PEER, TRACKER, PORT, PEER_PORT = "10.77.0.1", "10.77.0.2", "10.77.0.3", 7001, 7002
PRIME = int("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
            "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563", 16)
INTERESTED, BITFIELD = struct.pack(">IB", 1, 2), struct.pack(">IBB", 2, 5, 0x80)
folder = os.getcwd()

def sha1(*parts):
    return hashlib.sha1(b"".join(parts)).digest()

def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"

def rc4(key):
    state, j, i = list(range(256)), 0, 0
    for k in range(256):
        j = (j + state[k] + key[k % len(key)]) & 255
        state[k], state[j] = state[j], state[k]
    j = 0
    def crypt(data):
        nonlocal i, j
        out = bytearray()
        for byte in data:
            i = (i + 1) & 255
            j = (j + state[i]) & 255
            state[i], state[j] = state[j], state[i]
            out.append(byte ^ state[(state[i] + state[j]) & 255])
        return bytes(out)
    crypt(bytes(1024))
    return crypt

class Closed(Exception):
    pass

class Stream:
    def __init__(self, connection):
        self.connection, self.buffer, self.decrypt = connection, b"", lambda data: data

    def more(self):
        try:
            part = self.connection.recv(65536)
        except ConnectionError:
            part = b""
        if not part:
            raise Closed
        self.buffer += self.decrypt(part)

    def read(self, length):
        while len(self.buffer) < length:
            self.more()
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def read_until(self, mark):
        while mark not in self.buffer:
            self.more()
        self.buffer = self.buffer[self.buffer.index(mark) + len(mark):]

    def switch(self, decrypt):
        self.decrypt, self.buffer = decrypt, decrypt(self.buffer)

    def message(self):
        return self.read(struct.unpack(">I", self.read(4))[0])

def exchange(connection):
    secret = int.from_bytes(os.urandom(20), "big")
    # A first byte of 19 is a matter of its own: see transmission-closes-one-encrypted-dial-of-256.sh.
    while pow(2, secret, PRIME) >> 760 == 19:
        secret += 1
    connection.sendall(pow(2, secret, PRIME).to_bytes(96, "big"))
    stream = Stream(connection)
    other = int.from_bytes(stream.read(96), "big")
    return stream, pow(other, secret, PRIME).to_bytes(96, "big")

def handshake(info_hash):
    return b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-XX0001-" + os.urandom(12)

def dial(info_hash, first):
    connection = socket.create_connection((CLIENT, PORT), timeout=60, source_address=(PEER, 0))
    stream, shared = exchange(connection)
    crypt = rc4(sha1(b"keyA", shared, info_hash))
    decrypt = rc4(sha1(b"keyB", shared, info_hash))
    name = bytes(a ^ b for a, b in zip(sha1(b"req2", info_hash), sha1(b"req3", shared)))
    connection.sendall(sha1(b"req1", shared) + name + crypt(bytes(8) + struct.pack(">IHH", 2, 0, len(first)) + first))
    stream.read_until(decrypt(bytes(8)))
    stream.switch(decrypt)
    stream.read(struct.unpack(">IH", stream.read(6))[1])
    return connection, stream, crypt

def unchoked(stream, limit):
    stream.connection.settimeout(limit)
    try:
        while stream.message()[:1] != b"\x01":
            pass
        return True
    except TimeoutError:
        return False

def attempt(info_hash, with_interested):
    first = handshake(info_hash) + (INTERESTED if with_interested else b"")
    try:
        connection, stream, crypt = dial(info_hash, first)
        with connection:
            stream.read(68)
            if not with_interested:
                connection.sendall(crypt(INTERESTED))
            if unchoked(stream, 20 if with_interested else 60):
                return "answered and unchoked"
            connection.sendall(crypt(INTERESTED))
            return "answered, unchoked when told again" if unchoked(stream, 60) else "answered, never unchoked"
    except Closed:
        return "closed"

def torrent(name, announce):
    data = os.urandom(16384)
    os.makedirs(f"{folder}/{name}")
    with open(f"{folder}/{name}/data", "wb") as out:
        out.write(data)
    info = {b"length": len(data), b"name": b"data", b"piece length": 16384, b"pieces": sha1(data)}
    with open(f"{folder}/{name}.torrent", "wb") as out:
        out.write(bencode({b"announce": announce, b"info": info}))
    return sha1(bencode(info))

def drain(terminal):
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass

def start(name):
    file, home, port = f"{folder}/{name}.torrent", f"{folder}/{name}", str(PORT)
    programs = f"{folder}/root/usr/bin"
    environment = dict(os.environ, HOME=home, TERM="xterm", LD_LIBRARY_PATH=sys.argv[1])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    if name == "libtorrent":
        del environment["LD_LIBRARY_PATH"]
        return subprocess.Popen([f"{folder}/venv/bin/python", "-W", "ignore", f"{folder}/lt.py", file, home, CLIENT, port], **quiet)
    if name == "webtorrent":
        del environment["LD_LIBRARY_PATH"]
        return subprocess.Popen(["node", "--import", "./without-webrtc.mjs", "wt.mjs", file, home, port], **quiet)
    if name.startswith("aria2"):
        return subprocess.Popen([f"{programs}/aria2c", "--no-conf", "--check-integrity=true", "--seed-ratio=0.0", "--enable-dht=false",
                                 "--enable-dht6=false", f"--bt-require-crypto={'true' if 'leech' in name else 'false'}", f"--listen-port={port}",
                                 "-d", home, file], **quiet)
    if name == "rtorrent":
        os.mkdir(f"{home}/session")
        with open(f"{home}/rc", "w") as out:
            out.write(f"session.path.set={home}/session\ndirectory.default.set={home}\nnetwork.bind_address.set={CLIENT}\n"
                      f"network.port_range.set={port}-{port}\nprotocol.encryption.set=allow_incoming\ndht.mode.set=disable\n"
                      f'schedule2=load,1,0,"load.start={file}"\n')
        ours, theirs = pty.openpty()
        process = subprocess.Popen([f"{programs}/rtorrent", "-n", "-o", f"import={home}/rc"], stdin=theirs, stdout=theirs,
                                   stderr=theirs, env=environment)
        os.close(theirs)
        threading.Thread(target=drain, args=(ours,), daemon=True).start()
        return process
    process = subprocess.Popen([f"{programs}/transmission-daemon", "--foreground", "--config-dir", f"{home}/config", "--download-dir", home,
                                "--rpc-bind-address", "127.0.0.1", "--port", "9091", "--peerport", port, "--no-dht", "--no-lpd",
                                "--no-portmap", "--no-utp"], **quiet)
    with open(file, "rb") as source:
        body = json.dumps({"method": "torrent-add", "arguments": {"metainfo": base64.b64encode(source.read()).decode()}}).encode()
    headers = {}
    limit = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:9091/transmission/rpc", body, headers), timeout=60).close()
            return process
        except urllib.error.HTTPError as refusal:
            headers = {"X-Transmission-Session-Id": refusal.headers["X-Transmission-Session-Id"]}
        except OSError:
            # It has not begun to listen.
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)

def wait_for_seed(info_hash):
    """Waits until a plain handshake is answered and a whole bitfield follows: the data is checked."""
    limit = time.monotonic() + 90
    while time.monotonic() < limit:
        try:
            with socket.create_connection((CLIENT, PORT), timeout=10, source_address=(PEER, 0)) as connection:
                stream = Stream(connection)
                connection.sendall(handshake(info_hash))
                stream.read(68)
                while True:
                    message = stream.message()
                    if message[:1] == b"\x05" and message[1] == 0x80:
                        return
        except (OSError, Closed):
            time.sleep(0.2)
    raise TimeoutError("no seed")

class Tracker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = bencode({b"interval": 1800, b"peers": socket.inet_aton(PEER) + struct.pack(">H", PEER_PORT)})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

def be_dialled(name, more):
    server = http.server.ThreadingHTTPServer((TRACKER, 0), Tracker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    info_hash = torrent(name, b"http://%s:%d/announce" % (TRACKER.encode(), server.server_port))
    os.remove(f"{folder}/{name}/data")
    with socket.create_server((PEER, PEER_PORT)) as listener:
        listener.settimeout(60)
        process = start(name)
        try:
            connection = listener.accept()[0]
            connection.settimeout(60)
            stream, shared = exchange(connection)
            crypt = rc4(sha1(b"keyB", shared, info_hash))
            decrypt = rc4(sha1(b"keyA", shared, info_hash))
            stream.read_until(sha1(b"req1", shared))
            stream.read(20)
            stream.switch(decrypt)
            stream.read(struct.unpack(">8sIH", stream.read(14))[2])
            stream.read(struct.unpack(">H", stream.read(2))[0])
            end = bytes(8) + struct.pack(">IH", 2, 0) + handshake(info_hash)
            connection.sendall(crypt(end + BITFIELD if more else end))
            stream.read(68)
            if not more:
                connection.sendall(crypt(BITFIELD))
            while stream.message()[:1] != b"\x02":
                pass
            return "goes on"
        except Closed:
            return "closed"
        finally:
            process.kill()
            process.wait()
            server.shutdown()

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for address in (CLIENT, PEER, TRACKER):
    subprocess.run(["ip", "address", "add", f"{address}/24", "dev", "lo"], check=True)
seen = {}
for name in ("libtorrent", "aria2", "rtorrent", "webtorrent", "transmission"):
    # Nothing listens at this tracker. (rtorrent refuses a torrent without one.)
    info_hash = torrent(name, b"http://%s:1/announce" % TRACKER.encode())
    process = start(name)
    try:
        wait_for_seed(info_hash)
        seen[name] = attempt(info_hash, False), attempt(info_hash, True)
    finally:
        process.kill()
        process.wait()
    print(f"{name}: 68 bytes {seen[name][0]}, 73 bytes {seen[name][1]}", flush=True)
dials = be_dialled("aria2-leech", False), be_dialled("aria2-leech-more", True)
print(f"aria2 dials: handshake with the end of the exchange: {dials[0]}, with one message more: {dials[1]}")
ok, closed = "answered and unchoked", "closed"
expected = {"libtorrent": (ok, closed), "aria2": (ok, closed), "rtorrent": (ok, closed),
            "webtorrent": (ok, "answered, unchoked when told again"), "transmission": (ok, ok)}
sys.exit(0 if seen == expected and dials == ("goes on", "closed") else 1)
PY
unshare --map-root-user --net --pid --fork --kill-child python3 main.py "$libraries" || exit 1
