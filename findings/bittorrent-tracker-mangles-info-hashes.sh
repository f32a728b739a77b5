#!/usr/bin/env bash
# Versions: bittorrent-tracker 11.2.3 with bencode 4.0.1 and uint8-util 2.3.2 (npm), Node 18 or later, Python 3.
#
# The answer to a scrape over HTTP is a dictionary whose keys are info hashes of 20 bytes (BEP 48). bittorrent-tracker holds
# them as strings of one character a byte, and its bencode writes strings as UTF-8: each byte above 127 becomes two. So a
# scrape finds only torrents whose info hash has no such byte, one of a million. Peer ids in answers with `compact=0`
# suffer in the same way. Over UDP, where no info hash is repeated, the same scrape is right.
#
# Output seen:
#   info hash of bytes below 128: key of 20 bytes, the one that was asked for
#   info hash with 3 bytes above 127: key of 23 bytes
#   peer id with 2 bytes above 127: 22 bytes
#
# What a client does about it: it takes keys of 20 bytes and no others, and treats a torrent that is not among them as one
# that the tracker says nothing about, not as one without peers. A tracker escapes nothing: both are byte strings.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
server=
cd "$dir"
npm install --silent --no-audit --no-fund --ignore-scripts --omit=optional \
    bittorrent-tracker@11.2.3 bencode@4.0.1 uint8-util@2.3.2 >/dev/null || exit 2
cat > server.mjs <<'JS'
import Server from './node_modules/bittorrent-tracker/server.js'
const server = new Server({ http: true, udp: false, ws: false, stats: false })
server.listen(0, '127.0.0.1', () => console.log(server.http.address().port))
JS
mkfifo port
node server.mjs > port &
server=$!
read -r port < port

cat > main.py <<'PY'
import re, sys, urllib.parse, urllib.request

def get(path, **query):
    words = "&".join(f"{key}={urllib.parse.quote(value, safe='')}" for key, value in query.items())
    return urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/{path}?{words}", timeout=20).read()

def announce(info_hash, peer_id, port="6881", **more):
    return get("announce", info_hash=info_hash, peer_id=peer_id, port=port, left="0", uploaded="0", downloaded="0", **more)

def key(info_hash):
    announce(info_hash, b"-XX0001-abcdefghijkl", compact="1", event="started")
    answer = get("scrape", info_hash=info_hash)
    begin = re.match(rb"d5:filesd(\d+):", answer)
    return answer[begin.end():begin.end() + int(begin[1])]

low, high = b"abcdefghijklmnopqrst", b"abcdefghijklmnopq\x80\xc3\xff"
low_key, high_key = key(low), key(high)
same = "the one that was asked for" if low_key == low else "another one"
print(f"info hash of bytes below 128: key of {len(low_key)} bytes, {same}")
print(f"info hash with 3 bytes above 127: key of {len(high_key)} bytes")
announce(low, b"-XX0001-abcdefghij\x90\xf0", port="6882", compact="1", event="started")
listed = announce(low, b"-XX0001-abcdefghijkm", port="6883", compact="0")
lengths = [int(length) for length in re.findall(rb"7:peer id(\d+):", listed)]
print(f"peer id with 2 bytes above 127: {max(lengths)} bytes")
sys.exit(0 if (low_key, len(high_key), max(lengths)) == (low, 23, 22) else 1)
PY
python3 main.py "$port" || exit 1
