#!/usr/bin/env bash
# Versions: transmission-daemon 3.00-2.1+deb12u1 and aria2 1.36.0-1 (Debian 12, unpacked into a temporary folder),
# libtorrent 2.1.1 (PyPI wheel), Python 3 (its http.server is the web seed).
#
# A web seed is asked for ranges of a file (BEP 19). A server that knows no ranges, as Python's http.server, answers
# with status 200 and the whole file, which HTTP allows. Transmission asks such a server for a piece, takes the whole file,
# and keeps nothing of it, since it is not what it asked for. It does this for several pieces at once and counts all of it
# as downloaded. So a download of 8 MiB has fetched 64 MiB after seconds and stands at 0 %. aria2 and libtorrent get the
# same file from the same server with one request.
#
# Output seen:
#   aria2: 100 %, 1 requests, the file sent 1.0 times
#   libtorrent: 100 %, 1 requests, the file sent 1.0 times
#   transmission: 0 %, 8 requests, the file sent 8.0 times, 67108864 bytes counted as downloaded
#
# What a client does about it: it judges an answer by its status and `Content-Range` before it reads the body. The body of
# a 200 is good from the file's start on. What is not asked for is not read, and that server rests.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed or no namespace could be made.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2
apt-get -o APT::Sandbox::User=root download -qq transmission-daemon=3.00-2.1+deb12u1 libminiupnpc17 libnatpmp1 libevent-2.1-7 \
    aria2=1.36.0-1 libaria2-0=1.36.0-1 libc-ares2 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"
"$dir/root/usr/bin/transmission-daemon" --version 2>/dev/null || exit 2
"$dir/root/usr/bin/aria2c" --version >/dev/null || exit 2
unshare --map-root-user --net true || exit 2

cat > main.py <<'PY'
import base64, functools, hashlib, http.server, json, os, subprocess, sys, tempfile, threading, time
import urllib.error, urllib.request
import libtorrent as lt

PIECE, COUNT = 262144, 32
SECONDS = 30

class WebSeed(http.server.SimpleHTTPRequestHandler):
    """Python's server of files, which counts what it sends."""
    protocol_version = "HTTP/1.1"

    def copyfile(self, source, outputfile):
        self.server.requests += 1
        try:
            while part := source.read(65536):
                outputfile.write(part)
                self.server.sent += len(part)
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

def wait(is_done):
    limit = time.monotonic() + SECONDS
    while time.monotonic() < limit and not is_done():
        time.sleep(0.1)

def transmission(folder, torrent):
    daemon = subprocess.Popen([sys.argv[1], "--foreground", "--config-dir", f"{folder}/config", "--download-dir", folder,
                               "--rpc-bind-address", "127.0.0.1", "--port", "9091", "--no-dht", "--no-lpd", "--no-portmap"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, HOME=folder))
    try:
        call("torrent-add", filename=torrent)
        state = lambda: call("torrent-get", fields=["percentDone", "downloadedEver"])["torrents"][0]
        wait(lambda: state()["percentDone"] == 1)
        return state()["percentDone"], f", {state()['downloadedEver']} bytes counted as downloaded"
    finally:
        daemon.terminate()
        daemon.wait()

def aria2(folder, torrent):
    done = subprocess.run([sys.argv[2], "--no-conf", "--seed-time=0", f"--bt-stop-timeout={SECONDS}", "--enable-dht=false",
                           "--enable-dht6=false", "--bt-enable-lpd=false", "--enable-peer-exchange=false",
                           "--interface=127.0.0.1", "--quiet", "-d", folder, torrent],
                          env=dict(os.environ, HOME=folder), check=False)
    return int(done.returncode == 0), ""

def libtorrent(folder, torrent):
    params = lt.load_torrent_file(torrent)
    params.save_path = folder
    session = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False,
                          "enable_upnp": False, "enable_natpmp": False})
    handle = session.add_torrent(params)
    wait(lambda: handle.status().is_seeding)
    return handle.status().progress, ""

def attempt(client):
    with tempfile.TemporaryDirectory() as served, tempfile.TemporaryDirectory() as folder:
        data = os.urandom(PIECE * COUNT)
        with open(f"{served}/a", "wb") as out:
            out.write(data)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(WebSeed, directory=served))
        server.requests = server.sent = 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pieces = b"".join(hashlib.sha1(data[at:at + PIECE]).digest() for at in range(0, len(data), PIECE))
        info = {b"length": len(data), b"name": b"a", b"piece length": PIECE, b"pieces": pieces}
        with open(f"{folder}/a.torrent", "wb") as out:
            out.write(lt.bencode({b"info": info, b"url-list": f"http://127.0.0.1:{server.server_port}/a".encode()}))
        done, more = client(folder, f"{folder}/a.torrent")
        server.shutdown()
        server.server_close()
    times = server.sent / len(data)
    print(f"{client.__name__}: {int(done * 100)} %, {server.requests} requests, the file sent {times:.1f} times{more}")
    return done, times

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
fine = [attempt(client) for client in (aria2, libtorrent)]
done, times = attempt(transmission)
sys.exit(0 if all(done == 1 and times < 2 for done, times in fine) and done == 0 and times > 3 else 1)
PY
TMPDIR=$dir unshare --map-root-user --net --pid --fork --kill-child \
    venv/bin/python -W ignore main.py "$dir/root/usr/bin/transmission-daemon" "$dir/root/usr/bin/aria2c" || exit 1
