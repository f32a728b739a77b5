#!/usr/bin/env bash
# Versions: aria2 1.36.0-1 (Debian 12, packages aria2 and libaria2-0, unpacked into a temporary folder), Python 3.
#
# Padding files are zeros between the files of a torrent and are on no disk (BEP 47). Nearly every hybrid torrent of
# several files has them. A web seed serves the real files alone. aria2 asks the web seed for the padding as for any
# other file, and gets 404. So it writes each real file whole from the web seed, and still reports failure, since the
# padding is missing. Without padding the same server is enough.
#
# Output seen:
#   without padding: requests /top/a /top/b, files whole, exit code 0
#   with padding: requests /top/a /top/.pad/35536 /top/b, files whole, exit code 3
#
# What a client does about it: it knows padding by `attr` and fills in the zeros itself. Whoever publishes a hybrid
# torrent with web seeds for everybody keeps a seeder running, or also serves the padding files under `.pad/`.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -o APT::Sandbox::User=root download -qq aria2=1.36.0-1 libaria2-0=1.36.0-1 libc-ares2 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"
"$dir/root/usr/bin/aria2c" --version >/dev/null || exit 2

cat > main.py <<'PY'
import hashlib, http.server, os, re, socket, subprocess, sys, tempfile, threading

LENGTH, PIECE = 30000, 65536
FILES = {"a": os.urandom(LENGTH), "b": os.urandom(LENGTH)}
asked = []

class WebSeed(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path not in asked:
            asked.append(self.path)
        data = FILES.get(self.path.removeprefix("/top/"))
        status, body, span = (404, b"", None) if data is None else (200, data, None)
        wish = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if data is not None and wish:
            first, last = int(wish[1]), int(wish[2] or len(data) - 1)
            status, body, span = 206, data[first:last + 1], f"bytes {first}-{last}/{len(data)}"
        self.send_response(status)
        if span:
            self.send_header("Content-Range", span)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

def attempt(name, padded):
    asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WebSeed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pad = PIECE - LENGTH
    files = [{"length": LENGTH, "path": ["a"]}, {"length": LENGTH, "path": ["b"]}]
    data = FILES["a"] + FILES["b"]
    if padded:
        files.insert(1, {"attr": "p", "length": pad, "path": [".pad", str(pad)]})
        data = FILES["a"] + bytes(pad) + FILES["b"]
    pieces = b"".join(hashlib.sha1(data[at:at + PIECE]).digest() for at in range(0, len(data), PIECE))
    info = {"files": files, "name": "top", "piece length": PIECE, "pieces": pieces}
    with tempfile.TemporaryDirectory() as folder:
        torrent = os.path.join(folder, "top.torrent")
        with open(torrent, "wb") as out:
            out.write(bencode({"info": info, "url-list": f"http://127.0.0.1:{server.server_port}/"}))
        done = subprocess.run(
            [sys.argv[1], "--no-conf", "--seed-time=0", "--bt-stop-timeout=5", "--enable-dht=false", "--enable-dht6=false",
             "--bt-enable-lpd=false", "--enable-peer-exchange=false", "--interface=127.0.0.1", "--quiet", "-d", folder,
             f"--listen-port={free_port()}", torrent],
            env=dict(os.environ, HOME=folder), timeout=60, check=False)
        whole = True
        for file, expected in FILES.items():
            with open(os.path.join(folder, "top", file), "rb") as written:
                whole &= written.read() == expected
    server.shutdown()
    print(f"{name}: requests {' '.join(asked)}, files {'whole' if whole else 'NOT whole'}, exit code {done.returncode}")
    return any("/.pad/" in path for path in asked), whole, done.returncode == 0

plain = attempt("without padding", False)
padded = attempt("with padding", True)
sys.exit(0 if plain == (False, True, True) and padded == (True, True, False) else 1)
PY
TMPDIR=$dir python3 main.py "$dir/root/usr/bin/aria2c" || exit 1
