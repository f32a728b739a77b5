#!/usr/bin/env bash
# Versions: transmission-daemon 3.00-2.1+deb12u1 (Debian 12, unpacked into a temporary folder), Python 3.
#
# The specification of Transmission's RPC says that an empty `ids` is shorthand for all torrents, and that just so an
# empty `files-unwanted` is shorthand for all files. The daemon reads an empty list in three ways: in `ids` as no torrent
# at all, in `files-unwanted` of `torrent-set` as every file, and in `files-unwanted` of `torrent-add` as no file. The
# answer is always "success". So a program that hands over the list its user ticked, and nothing is ticked, adds a
# torrent of which everything is wanted, and switches the download of the same torrent off when it sets the list again.
#
# Output seen:
#   added with an empty files-unwanted: wanted [1, 1, 1]
#   set with an empty files-unwanted: success, wanted [0, 0, 0]
#   torrents listed without ids: 1, with empty ids: 0
#   stopped with empty ids: success, status before 4, after 4
#
# What a client does about it: it leaves a list out instead of sending an empty one. A server that speaks this RPC reads
# an empty list where Transmission does: the clients that exist were tried against it and not against its description.
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
import base64, json, os, subprocess, sys, tempfile, time, urllib.error, urllib.request

def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"

def call(method, **arguments):
    body = json.dumps({"method": method, "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}).encode()
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

def first(field):
    return call("torrent-get", fields=[field])["arguments"]["torrents"][0][field]

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
info = {b"files": [{b"length": 16384, b"path": [name]} for name in (b"a", b"b", b"c")], b"name": b"top",
        b"piece length": 16384, b"pieces": bytes(60)}
with tempfile.TemporaryDirectory() as folder:
    daemon = subprocess.Popen([sys.argv[1], "--foreground", "--config-dir", f"{folder}/config", "--download-dir", folder,
                               "--rpc-bind-address", "127.0.0.1", "--port", "9091", "--no-dht", "--no-lpd", "--no-portmap"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, HOME=folder))
    try:
        metainfo = base64.b64encode(bencode({b"info": info})).decode()
        added = call("torrent-add", metainfo=metainfo, files_unwanted=[])["arguments"]["torrent-added"]["id"]
        after_add = first("wanted")
        print(f"added with an empty files-unwanted: wanted {after_add}")
        result = call("torrent-set", ids=[added], files_unwanted=[])["result"]
        after_set = first("wanted")
        print(f"set with an empty files-unwanted: {result}, wanted {after_set}")
        call("torrent-set", ids=[added], files_wanted=[0, 1, 2])
        without = len(call("torrent-get", fields=["id"])["arguments"]["torrents"])
        empty = len(call("torrent-get", fields=["id"], ids=[])["arguments"]["torrents"])
        print(f"torrents listed without ids: {without}, with empty ids: {empty}")
        limit = time.monotonic() + 60
        while (before := first("status")) != 4 and time.monotonic() < limit:
            time.sleep(0.1)
        stopped = call("torrent-stop", ids=[])["result"]
        time.sleep(2)
        after = first("status")
        print(f"stopped with empty ids: {stopped}, status before {before}, after {after}")
    finally:
        daemon.kill()
        daemon.wait()
sys.exit(0 if (after_add, result, after_set) == ([1, 1, 1], "success", [0, 0, 0]) and (without, empty) == (1, 0) and
         (stopped, before, after) == ("success", 4, 4) else 1)
PY
TMPDIR=$dir unshare --map-root-user --net --pid --fork --kill-child \
    python3 main.py "$dir/root/usr/bin/transmission-daemon" || exit 1
