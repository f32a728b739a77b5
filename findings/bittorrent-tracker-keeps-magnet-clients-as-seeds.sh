#!/usr/bin/env bash
# Versions: bittorrent-tracker 11.2.3 (npm), Node 18 or later, Python 3.
#
# aria2 and rqbit announce a magnet link with `left=0` while they do not know the torrent's size, and say what is left when
# they do. bittorrent-tracker counts them as seeds from then on: no later announce makes an incomplete peer of a complete
# one, not `started` either; only `stopped` or twenty minutes of silence do. Its counts of seeds, and the number of downloads
# that a scrape says (it is the number of seeds), are too high by all of them. And a client that asks for nobody, as many do
# when they leave (`numwant=0`), is named up to 50 peers, while over HTTP `numwant=-1`, which means "as many as you like" over
# UDP, names nobody.
#
# Output seen:
#   left=0, started: complete 1, incomplete 0
#   left=500: complete 1, incomplete 0
#   left=500, started: complete 1, incomplete 0
#   scrape: downloaded 1
#   numwant=0 among 60: 50 peers
#   numwant=-1 among 60: 0 peers
#
# What a client does about it: it trusts no count of seeds, and looks at what peers have. It leaves `numwant` out instead of
# saying -1, and reads no peers in the answer to `stopped`. It may say `stopped` and `started` once it knows the size.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
server=
cd "$dir"
npm install --silent --no-audit --no-fund --ignore-scripts --omit=optional bittorrent-tracker@11.2.3 >/dev/null || exit 2
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
import re, sys, urllib.request

def get(query):
    return urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/{query}", timeout=20).read()

def announce(info_hash, port, words):
    peer = f"peer_id=-XX0001-{port:012}&port={port}&uploaded=0&downloaded=0&compact=1"
    return get(f"announce?info_hash={info_hash}&{peer}&{words}")

def number(answer, key):
    return int(re.search(rb"%d:%si(\d+)e" % (len(key), key), answer)[1])

def peers(answer):
    return int(re.search(rb"5:peers(\d+):", answer)[1]) // 6

counts = []
for words in ("left=0&event=started", "left=500", "left=500&event=started"):
    answer = announce("abcdefghijklmnopqrst", 7001, words)
    counts.append((number(answer, b"complete"), number(answer, b"incomplete")))
    print(f"{words.replace('&event=', ', ')}: complete {counts[-1][0]}, incomplete {counts[-1][1]}")
downloaded = number(get("scrape?info_hash=abcdefghijklmnopqrst"), b"downloaded")
print(f"scrape: downloaded {downloaded}")
for port in range(8001, 8061):
    announce("aaaaaaaaaaaaaaaaaaaa", port, "left=500&event=started")
named = [peers(announce("aaaaaaaaaaaaaaaaaaaa", 8001, f"left=500&numwant={numwant}")) for numwant in (0, -1)]
print(f"numwant=0 among 60: {named[0]} peers")
print(f"numwant=-1 among 60: {named[1]} peers")
sys.exit(0 if (counts, downloaded, named) == ([(1, 0)] * 3, 1, [50, 0]) else 1)
PY
python3 main.py "$port" || exit 1
