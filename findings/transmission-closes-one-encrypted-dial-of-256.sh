#!/usr/bin/env bash
# Versions: transmission-daemon 3.00-2.1+deb12u1 (Debian 12, unpacked into a temporary folder), Python 3.
#
# An encrypted dial begins with a public key of 96 bytes that look random, a plain one with the byte 19 and the words
# "BitTorrent protocol". Transmission looks at the first byte alone: a key that begins with 19 is a plain handshake
# to it, and a wrong one, so it ends the connection without an answer. One encrypted dial of 256 goes this way, and with a
# Transmission that demands encryption there is no other way in. The key of an answer may begin with any byte: there Transmission
# compares all twenty.
#
# Output seen:
#   keys that begin with 18: 8 of 8 dials answered
#   keys that begin with 19: 0 of 8 dials answered
#   keys that begin with 20: 8 of 8 dials answered
#   dialled by Transmission, answered with a key that begins with 19: goes on
#
# What a client does about it: when it dials it draws another key until the first byte is not 19. When it is dialled it
# decides by all twenty bytes.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed or no namespace could be made.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -o APT::Sandbox::User=root download -qq transmission-daemon=3.00-2.1+deb12u1 libminiupnpc17 libnatpmp1 libevent-2.1-7 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"
"$dir/root/usr/bin/transmission-daemon" --version 2>/dev/null || exit 2
unshare --map-root-user --net true || exit 2

cat > main.py <<'PY'
import base64, hashlib, http.server, json, os, socket, struct, subprocess, sys, tempfile, threading, time
import urllib.error, urllib.request

CLIENT, PEER, TRACKER, PORT = "10.77.0.1", "10.77.0.2", "10.77.0.3", 7001
PRIME = int("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
            "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563", 16)

def sha1(*parts):
    return hashlib.sha1(b"".join(parts)).digest()

def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"

def public_key(first):
    while True:
        secret = int.from_bytes(os.urandom(20), "big")
        key = pow(2, secret, PRIME).to_bytes(96, "big")
        if key[0] == first:
            return secret, key

def answered(first):
    with socket.create_connection((CLIENT, PORT), timeout=60, source_address=(PEER, 0)) as connection:
        connection.sendall(public_key(first)[1])
        try:
            return len(connection.recv(1)) == 1
        except ConnectionError:
            return False

def goes_on(connection, first):
    """Answers a dial, and looks whether it goes on to name the torrent."""
    connection.settimeout(60)
    other = b""
    while len(other) < 96:
        part = connection.recv(96 - len(other))
        if not part:
            return False
        other += part
    secret, key = public_key(first)
    connection.sendall(key)
    mark = sha1(b"req1", pow(int.from_bytes(other, "big"), secret, PRIME).to_bytes(96, "big"))
    data = b""
    # Padding stands before it.
    while mark not in data:
        part = connection.recv(4096)
        if not part:
            return False
        data += part
    return True

class Tracker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = bencode({b"interval": 1800, b"peers": socket.inet_aton(PEER) + struct.pack(">H", PORT)})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

def add(metainfo):
    body, headers = json.dumps({"method": "torrent-add", "arguments": {"metainfo": base64.b64encode(metainfo).decode()}}).encode(), {}
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

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for address in (CLIENT, PEER, TRACKER):
    subprocess.run(["ip", "address", "add", f"{address}/24", "dev", "lo"], check=True)
server = http.server.ThreadingHTTPServer((TRACKER, 0), Tracker)
threading.Thread(target=server.serve_forever, daemon=True).start()
info = {b"length": 16384, b"name": b"a", b"piece length": 16384, b"pieces": bytes(20)}
with tempfile.TemporaryDirectory() as folder, socket.create_server((PEER, PORT)) as listener:
    daemon = subprocess.Popen([sys.argv[1], "--foreground", "--config-dir", f"{folder}/config", "--download-dir", folder,
                               "--rpc-bind-address", "127.0.0.1", "--port", "9091", "--peerport", str(PORT),
                               "--bind-address-ipv4", CLIENT, "--encryption-required", "--no-dht", "--no-lpd", "--no-portmap", "--no-utp"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, HOME=folder))
    try:
        add(bencode({b"announce": b"http://%s:%d/announce" % (TRACKER.encode(), server.server_port), b"info": info}))
        listener.settimeout(60)
        dialled = goes_on(listener.accept()[0], 19)
        counts = {first: sum(answered(first) for _ in range(8)) for first in (18, 19, 20)}
    finally:
        daemon.kill()
        daemon.wait()
for first, count in counts.items():
    print(f"keys that begin with {first}: {count} of 8 dials answered")
print(f"dialled by Transmission, answered with a key that begins with 19: {'goes on' if dialled else 'closed'}")
sys.exit(0 if counts == {18: 8, 19: 0, 20: 8} and dialled else 1)
PY
TMPDIR=$dir unshare --map-root-user --net --pid --fork --kill-child \
    python3 main.py "$dir/root/usr/bin/transmission-daemon" || exit 1
