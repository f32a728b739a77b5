#!/usr/bin/env bash
# Versions: bencode 4.0.1 (npm), libtorrent 2.1.1 (PyPI wheel), Node.js 20, Python 3.
#
# The `piece layers` of a hybrid or v2 torrent are a dictionary whose keys are hashes, 32 bytes each (BEP 52). bencode of
# npm, on which WebTorrent's packages stand, decodes values to bytes and keys to text, and writes a key that is no text
# in hexadecimal digits instead. Encoded again the keys have 64 bytes, and libtorrent refuses the torrent. The info
# dictionary, and with it both info hashes, is untouched, and v1 torrents come through byte for byte: so a program that
# adds a tracker to torrents in this way works, until it gets one of the new kind.
#
# Output seen:
#   v1: 147 bytes, again 147, same info True, keys of the layers [], libtorrent loads it
#   hybrid: 435 bytes, again 467, same info True, keys of the layers [64], libtorrent: a piece layer is invalid
#
# What a client does about it: keys are byte strings to it (BEP 3), and it copies what it does not change as the bytes
# that it read. A hybrid torrent with wrong `piece layers` is still a good v1 torrent: a reader can go on with that half.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$dir/cache" bencode@4.0.1 >/dev/null || exit 2
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2

cat > make.py <<'PY'
import os
import libtorrent as lt

with open("a", "wb") as out:
    out.write(bytes(range(256)) * 256)
for name, flags in (("v1", lt.create_torrent.v1_only), ("hybrid", 0)):
    torrent = lt.create_torrent(lt.list_files(os.path.abspath("a")), 16384, flags)
    lt.set_piece_hashes(torrent, os.getcwd())
    made = torrent.generate()
    made.pop(b"creation date", None)
    with open(f"{name}.torrent", "wb") as out:
        out.write(lt.bencode(made))
PY
cat > main.mjs <<'JS'
import fs from 'node:fs'
import bencode from 'bencode'

for (const name of ['v1', 'hybrid']) {
  fs.writeFileSync(`${name}.again`, bencode.encode(bencode.decode(fs.readFileSync(`${name}.torrent`))))
}
JS
cat > check.py <<'PY'
import sys
import libtorrent as lt

def attempt(name):
    files = {}
    for end in ("torrent", "again"):
        with open(f"{name}.{end}", "rb") as file:
            files[end] = file.read()
    before, after = (lt.bdecode(file) for file in files.values())
    keys = [len(key) for key in after.get(b"piece layers", {})]
    try:
        lt.load_torrent_buffer(files["again"])
        verdict = " loads it"
    except RuntimeError as error:
        verdict = ": " + str(error).split(" [")[0]
    same_info = before[b"info"] == after[b"info"]
    print(f"{name}: {len(files['torrent'])} bytes, again {len(files['again'])}, same info {same_info}, "
          f"keys of the layers {keys}, libtorrent{verdict}")
    return files["torrent"] == files["again"], same_info, keys, verdict

v1, hybrid = attempt("v1"), attempt("hybrid")
sys.exit(0 if v1 == (True, True, [], " loads it") and hybrid == (False, True, [64], ": a piece layer is invalid") else 1)
PY
venv/bin/python -W ignore make.py
node main.mjs
venv/bin/python -W ignore check.py || exit 1
