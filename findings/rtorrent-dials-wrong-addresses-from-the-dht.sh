#!/usr/bin/env bash
# Versions: rtorrent 0.9.8-1 with libtorrent21 0.13.8-2+b1 (Debian 12, unpacked into a temporary folder), Python 3.
#
# A DHT node answers `get_peers` with a bencoded list of peers (BEP 5). Each is a string of six bytes: first `6:`, then
# four bytes of address and two of port. rtorrent reads six bytes from the start of the list for every one of them. So
# it takes `6:` for the first half of the address (54 and 58 as numbers): for a first peer at A.B.C.D it dials
# 54.58.A.B, on the port that C and D make, and it dials none of the peers of the answer. Peers that a tracker tells it
# are dialled rightly. Users met this (rakshasa/rtorrent, issue 759); Debian 12 still ships it.
#
# Here two peers are at 10.77.0.2 and 10.77.0.3, port 7777. All runs in a network namespace of its own, which has a
# loopback device and no way out. The wrong address is put on that device too, to see that it is dialled.
#
# Output seen:
#   told by a tracker: dialled 10.77.0.2:7777 10.77.0.3:7777
#   told by the DHT: dialled 54.58.10.77:2
#
# What a client does about it: such an rtorrent never dials a seeder that it could find by the DHT alone. So the seeder
# must dial: it asks the DHT for peers while it seeds too, and finds the rtorrent there, which announces itself rightly.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed or no namespace could be made.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -o APT::Sandbox::User=root download -qq rtorrent=0.9.8-1 libtorrent21=0.13.8-2+b1 libxmlrpc-core-c3 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"
"$dir/root/usr/bin/rtorrent" -h >/dev/null || exit 2
unshare --map-root-user --net true || exit 2

cat > main.py <<'PY'
import hashlib, http.server, os, pty, queue, signal, socket, struct, subprocess, sys, tempfile, threading

NODE, CLIENT, PEERS, PEER_PORT = "10.77.0.1", "10.77.0.9", ["10.77.0.2", "10.77.0.3"], 7777
COMPACT = [socket.inet_aton(peer) + struct.pack(">H", PEER_PORT) for peer in PEERS]
WRONG = (b"6:" + COMPACT[0])[:6]
WRONG_HOST, WRONG_PORT = socket.inet_ntoa(WRONG[:4]), struct.unpack(">H", WRONG[4:])[0]
TRACKER_PORT, DHT_PORT = 6998, 6999
dialled = queue.Queue()

def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"

def bdecode(data, at=0):
    kind = data[at:at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1:end]), end + 1
    if kind in (b"l", b"d"):
        at, values = at + 1, []
        while data[at:at + 1] != b"e":
            value, at = bdecode(data, at)
            values.append(value)
        return (values if kind == b"l" else dict(zip(values[::2], values[1::2]))), at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1:end], end

def listen(host, port):
    server = socket.create_server((host, port))
    def accept():
        while True:
            server.accept()[0].close()
            dialled.put(f"{host}:{port}")
    threading.Thread(target=accept, daemon=True).start()

class Tracker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = bencode({b"interval": 1800, b"peers": b"".join(COMPACT)})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

def dht_node():
    node = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    node.bind((NODE, DHT_PORT))
    name = hashlib.sha1(b"node").digest()
    while True:
        data, sender = node.recvfrom(4096)
        query = bdecode(data)[0]
        if query.get(b"y") != b"q":
            continue
        answer = {b"id": name}
        if query[b"q"] == b"find_node":
            answer[b"nodes"] = name + socket.inet_aton(NODE) + struct.pack(">H", DHT_PORT)
        if query[b"q"] == b"get_peers":
            answer |= {b"token": b"token", b"values": COMPACT}
        node.sendto(bencode({b"t": query[b"t"], b"y": b"r", b"r": answer}), sender)

def attempt(name, uses_dht):
    with tempfile.TemporaryDirectory() as folder:
        info = {b"length": 16384, b"name": name.encode(), b"piece length": 16384, b"pieces": bytes(20)}
        metainfo = {b"info": info}
        if not uses_dht:
            metainfo[b"announce"] = b"http://%s:%d/announce" % (NODE.encode(), TRACKER_PORT)
        with open(f"{folder}/a.torrent", "wb") as out:
            out.write(bencode(metainfo))
        os.mkdir(f"{folder}/session")
        lines = [f"session.path.set={folder}/session", f"directory.default.set={folder}",
                 f"network.bind_address.set={CLIENT}", "network.port_range.set=7001-7001", "protocol.pex.set=no",
                 f"dht.mode.set={'on' if uses_dht else 'disable'}", "dht.port.set=7002",
                 f'schedule2=load,1,0,"load.start={folder}/a.torrent"']
        if uses_dht:
            lines.append(f'schedule2=node,3,0,"dht.add_node={NODE}:{DHT_PORT}"')
        with open(f"{folder}/rc", "w") as out:
            out.write("\n".join(lines) + "\n")
        ours, theirs = pty.openpty()
        process = subprocess.Popen([sys.argv[1], "-n", "-o", f"import={folder}/rc"], stdin=theirs, stdout=theirs,
                                   stderr=theirs, env=dict(os.environ, HOME=folder, TERM="xterm"))
        os.close(theirs)
        threading.Thread(target=drain, args=(ours,), daemon=True).start()
        found = []
        try:
            # After the first one: a right address dialled after a wrong one would count too.
            while True:
                found.append(dialled.get(timeout=5 if found else 60))
        except queue.Empty:
            pass
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    found = sorted(set(found))
    print(f"{name}: dialled {' '.join(found) or 'nothing'}")
    return found

def drain(terminal):
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass

for host in (NODE, CLIENT, WRONG_HOST, *PEERS):
    subprocess.run(["ip", "address", "add", f"{host}/32", "dev", "lo"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for peer in PEERS:
    listen(peer, PEER_PORT)
listen(WRONG_HOST, WRONG_PORT)
threading.Thread(target=http.server.ThreadingHTTPServer((NODE, TRACKER_PORT), Tracker).serve_forever, daemon=True).start()
threading.Thread(target=dht_node, daemon=True).start()
tracker = attempt("told by a tracker", False)
dht = attempt("told by the DHT", True)
sys.exit(0 if tracker == [f"{peer}:{PEER_PORT}" for peer in PEERS] and dht == [f"{WRONG_HOST}:{WRONG_PORT}"] else 1)
PY
TMPDIR=$dir unshare --map-root-user --net --pid --fork --kill-child \
    python3 main.py "$dir/root/usr/bin/rtorrent" || exit 1
