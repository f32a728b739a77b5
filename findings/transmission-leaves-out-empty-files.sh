#!/usr/bin/env bash
# Versions: transmission-daemon 3.00-2.1+deb12u1 (Debian 12, unpacked into a temporary folder), libtorrent 2.1.1 (PyPI
# wheel), Python 3.
#
# A torrent may hold empty files, as folders of programs do. Transmission lists them, counts the torrent as
# complete, seeds it, and never makes these files: no byte of a torrent is in them, and it makes a file when the first
# byte comes. What was downloaded is not what was shared. A client that goes on with the folder misses a file in a
# torrent that another client called complete. libtorrent makes the file.
#
# Output seen:
#   libtorrent: 100 % of 3 files, on disk a empty z
#   transmission: 100 % of 3 files, on disk a z
#
# What a client does about it: it makes the empty files of a torrent itself, and when it takes over a folder from another
# client it makes those that are missing instead of calling the download damaged.
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
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"
"$dir/root/usr/bin/transmission-daemon" --version 2>/dev/null || exit 2
unshare --map-root-user --net true || exit 2

cat > main.py <<'PY'
import base64, hashlib, http.server, json, os, re, subprocess, sys, tempfile, threading, time, urllib.error, urllib.request
import libtorrent as lt

PIECE = 16384
FILES = {"a": os.urandom(40000), "empty": b"", "z": os.urandom(20000)}

class WebSeed(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        data = FILES.get(self.path.removeprefix("/top/"))
        wish = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        status, body, span = 404, b"", None
        if data and wish:
            first, last = int(wish[1]), int(wish[2])
            status, body, span = 206, data[first:last + 1], f"bytes {first}-{last}/{len(data)}"
        try:
            self.send_response(status)
            if span:
                self.send_header("Content-Range", span)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass

def call(method, **arguments):
    body = json.dumps({"method": method, "arguments": arguments}).encode()
    headers = {}
    limit = time.monotonic() + 60
    while True:
        try:
            request = urllib.request.Request("http://127.0.0.1:9091/transmission/rpc", body, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["arguments"]
        except urllib.error.HTTPError as refusal:
            if refusal.code != 409:
                raise
            headers = {"X-Transmission-Session-Id": refusal.headers["X-Transmission-Session-Id"]}
        except OSError:
            # It has not begun to listen.
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)

def wait_until(condition):
    limit = time.monotonic() + 60
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError
        time.sleep(0.1)

def transmission(folder, torrent):
    daemon = subprocess.Popen([sys.argv[1], "--foreground", "--config-dir", f"{folder}/config", "--download-dir", folder,
                               "--rpc-bind-address", "127.0.0.1", "--port", "9091", "--no-dht", "--no-lpd", "--no-portmap"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, HOME=folder))
    try:
        call("torrent-add", metainfo=base64.b64encode(torrent).decode())
        # 6: it seeds.
        wait_until(lambda: call("torrent-get", fields=["status"])["torrents"][0]["status"] == 6)
        state = call("torrent-get", fields=["percentDone", "files"])["torrents"][0]
        # It closes its files, and would have made the others.
        call("torrent-stop")
        wait_until(lambda: call("torrent-get", fields=["status"])["torrents"][0]["status"] == 0)
        time.sleep(2)
    finally:
        daemon.terminate()
        daemon.wait()
    return int(state["percentDone"] * 100), len(state["files"])

def libtorrent(folder, torrent):
    params = lt.load_torrent_buffer(torrent)
    params.save_path = folder
    session = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False,
                          "enable_upnp": False, "enable_natpmp": False})
    handle = session.add_torrent(params)
    wait_until(lambda: handle.status().is_seeding)
    return int(handle.status().progress * 100), params.ti.num_files()

def attempt(client):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WebSeed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    data = b"".join(FILES.values())
    pieces = b"".join(hashlib.sha1(data[at:at + PIECE]).digest() for at in range(0, len(data), PIECE))
    info = {b"files": [{b"length": len(data), b"path": [file.encode()]} for file, data in FILES.items()], b"name": b"top",
            b"piece length": PIECE, b"pieces": pieces}
    torrent = lt.bencode({b"info": info, b"url-list": f"http://127.0.0.1:{server.server_port}/".encode()})
    with tempfile.TemporaryDirectory() as folder:
        done, listed = client(folder, torrent)
        there = sorted(os.listdir(f"{folder}/top"))
    server.shutdown()
    print(f"{client.__name__}: {done} % of {listed} files, on disk {' '.join(there)}")
    return done, listed, there

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
sys.exit(0 if attempt(libtorrent) == (100, 3, ["a", "empty", "z"]) and attempt(transmission) == (100, 3, ["a", "z"]) else 1)
PY
TMPDIR=$dir unshare --map-root-user --net --pid --fork --kill-child \
    venv/bin/python -W ignore main.py "$dir/root/usr/bin/transmission-daemon" || exit 1
