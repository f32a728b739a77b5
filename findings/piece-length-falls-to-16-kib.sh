#!/usr/bin/env bash
# Versions: piece-length 2.0.1 (npm; create-torrent 6.1.3, and with it WebTorrent, uses it), libtorrent 2.1.1 (PyPI
# wheel), Node.js 20, Python 3.
#
# piece-length tells create-torrent how long pieces shall be, so that there are about a thousand of them: the larger the
# data, the longer the pieces. From 1449 GiB on its number overflows 31 bits, and the pieces are of 16 KiB, the shortest
# that there are: 95 million pieces, a .torrent file of 1.9 GB. And already from 363 GiB on they are of 512 MiB or more,
# which libtorrent 2.1.1, and so a client that stands on it, refuses with "invalid or missing 'piece length'" (2.0.8 still
# takes 512 MiB).
#
# Output seen:
#   1 GiB: 1024 pieces of 1024 KiB, libtorrent takes them
#   362 GiB: 1448 pieces of 262144 KiB, libtorrent takes them
#   363 GiB: 726 pieces of 524288 KiB, libtorrent: invalid or missing 'piece length' entry in torrent file
#   1448 GiB: 1448 pieces of 1048576 KiB, libtorrent: invalid or missing 'piece length' entry in torrent file
#   1449 GiB: 94961664 pieces of 16 KiB, 1899 MB of hashes
#
# What a client does about it: as a maker it stops at a length of pieces that every client takes, and lets their number
# grow from there. As a reader it takes longer pieces than it would make.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$dir/cache" piece-length@2.0.1 >/dev/null || exit 2
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2

cat > main.mjs <<'JS'
import pieceLength from 'piece-length'

for (const gibibytes of [1, 362, 363, 1448, 1449]) console.log(gibibytes, pieceLength(gibibytes * 2 ** 30))
JS
cat > check.py <<'PY'
import sys
import libtorrent as lt

REFUSED = "libtorrent: invalid or missing 'piece length' entry in torrent file"

def verdict(piece, count):
    if count > 10**6:
        return f"{20 * count // 10**6} MB of hashes"
    # Two pieces are enough to try their length.
    info = {b"length": 2 * piece, b"name": b"a", b"piece length": piece, b"pieces": bytes(40)}
    try:
        lt.load_torrent_buffer(lt.bencode({b"info": info}))
        return "libtorrent takes them"
    except RuntimeError as error:
        return "libtorrent: " + str(error).split(" [")[0]

seen = []
for line in sys.stdin:
    gibibytes, piece = map(int, line.split())
    count = -(-gibibytes * 2**30 // piece)
    seen.append((piece >> 10, verdict(piece, count)))
    print(f"{gibibytes} GiB: {count} pieces of {seen[-1][0]} KiB, {seen[-1][1]}")
sys.exit(0 if seen == [(1024, "libtorrent takes them"), (262144, "libtorrent takes them"), (524288, REFUSED),
                       (1048576, REFUSED), (16, "1899 MB of hashes")] else 1)
PY
node main.mjs | venv/bin/python -W ignore check.py || exit 1
