#!/usr/bin/env bash
# Versions: transmission-daemon 3.00-2.1+deb12u1 (Debian 12, unpacked into a temporary folder), Python 3.
#
# A number that does not fit into a field of Transmission's RPC is neither refused nor cut to the largest value: what is
# over is dropped bit by bit, and the answer is "success". Limits of peers, minutes and ports have 16 bits, limits of speed
# become bytes a second in 32 bits. So a large number meant as "no limit" is a small one, or 0, and 0 kB/s or 0
# peers is a torrent that stands still. Four million kB/s are 34 Gbit/s, which a person does not type, but a program does that
# knows its limits in bytes a second and hands them over unconverted, as 4294968 is 4.3 MB/s.
# Here it is shown what that does: a limit of 4294968 kB/s stops a download that a limit of 4294967 lets run.
#
# Output seen (the answer was "success" each time):
#   peer-limit 65536: 0
#   peer-limit 70000: 4464
#   seedIdleLimit 70000: 4464
#   downloadLimit 4294967: 4294967, 1048576 bytes came
#   downloadLimit 4294968: 0, 0 bytes came
#   downloadLimit 5000000: 705032
#   session peer-port 70000: 4464
#   session speed-limit-down 4294968: 0
#
# What a client does about it: it sends no number above 65535, or above 4294967 for a speed, and turns a limit off by its
# switch (`downloadLimited` and the like) instead of making it large. It reads back what it set. A server that speaks
# this RPC takes such numbers for the largest value that it knows.
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
import base64, hashlib, http.server, json, os, re, subprocess, sys, tempfile, threading, time, urllib.error, urllib.request

SERVER = "10.77.0.2"
DATA = os.urandom(1 << 20)

def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"

def call(method, **arguments):
    body = json.dumps({"method": method, "arguments": arguments}).encode()
    headers = {}
    limit = time.monotonic() + 60
    while True:
        try:
            request = urllib.request.Request("http://127.0.0.1:9091/transmission/rpc", body, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            if refusal.code != 409:
                raise
            headers = {"X-Transmission-Session-Id": refusal.headers["X-Transmission-Session-Id"]}
        except OSError:
            # It has not begun to listen.
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)

class WebSeed(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        first, last = map(int, re.match(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(DATA)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(DATA[first:last + 1])

    def log_message(self, *_):
        pass

def get(torrent, field):
    return call("torrent-get", ids=[torrent], fields=[field])["arguments"]["torrents"][0][field]

def set_torrent(torrent, field, value):
    result = call("torrent-set", ids=[torrent], **{field: value})["result"]
    return result if result != "success" else get(torrent, field)

def set_session(field, value):
    result = call("session-set", **{field: value})["result"]
    return result if result != "success" else call("session-get")["arguments"][field]

def add(number):
    """Each is another torrent of the same data."""
    pieces = b"".join(hashlib.sha1(DATA[at:at + 65536]).digest() for at in range(0, len(DATA), 65536))
    info = {b"length": len(DATA), b"name": b"data%d" % number, b"piece length": 65536, b"pieces": pieces}
    metainfo = bencode({b"info": info, b"url-list": b"http://%s:%d/data" % (SERVER.encode(), server.server_port)})
    return call("torrent-add", metainfo=base64.b64encode(metainfo).decode(), paused=True)["arguments"]["torrent-added"]["id"]

def download(number, limit):
    """Returns what became of the limit, and the bytes that came: all, or those of ten seconds."""
    torrent = add(number)
    call("torrent-set", ids=[torrent], downloadLimited=True)
    value = set_torrent(torrent, "downloadLimit", limit)
    call("torrent-start", ids=[torrent])
    until = time.monotonic() + (60 if value else 10)
    while (came := get(torrent, "haveValid")) < len(DATA) and time.monotonic() < until:
        time.sleep(0.2)
    return value, came

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for address in ("10.77.0.1", SERVER):
    subprocess.run(["ip", "address", "add", f"{address}/24", "dev", "lo"], check=True)
server = http.server.ThreadingHTTPServer((SERVER, 0), WebSeed)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = []
with tempfile.TemporaryDirectory() as folder:
    daemon = subprocess.Popen([sys.argv[1], "--foreground", "--config-dir", f"{folder}/config", "--download-dir", folder,
                               "--rpc-bind-address", "127.0.0.1", "--port", "9091", "--no-dht", "--no-lpd", "--no-portmap"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, HOME=folder))
    try:
        torrent = add(0)
        for field, value in (("peer-limit", 65536), ("peer-limit", 70000), ("seedIdleLimit", 70000)):
            seen.append(f"{field} {value}: {set_torrent(torrent, field, value)}")
        for number, limit in ((1, 4294967), (2, 4294968)):
            value, came = download(number, limit)
            seen.append(f"downloadLimit {limit}: {value}, {came} bytes came")
        seen.append(f"downloadLimit 5000000: {set_torrent(torrent, 'downloadLimit', 5000000)}")
        for field, value in (("peer-port", 70000), ("speed-limit-down", 4294968)):
            seen.append(f"session {field} {value}: {set_session(field, value)}")
    finally:
        daemon.kill()
        daemon.wait()
print("\n".join(seen))
sys.exit(0 if seen == [
    "peer-limit 65536: 0", "peer-limit 70000: 4464", "seedIdleLimit 70000: 4464", "downloadLimit 4294967: 4294967, 1048576 bytes came",
    "downloadLimit 4294968: 0, 0 bytes came", "downloadLimit 5000000: 705032", "session peer-port 70000: 4464",
    "session speed-limit-down 4294968: 0",
] else 1)
PY
TMPDIR=$dir unshare --map-root-user --net --pid --fork --kill-child \
    python3 main.py "$dir/root/usr/bin/transmission-daemon" || exit 1
