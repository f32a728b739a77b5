#!/usr/bin/env bash
# Versions: transmission-cli 3.00-2.1+deb12u1 and mktorrent 1.1-3 (Debian 12, unpacked into a temporary folder); torf
# 4.3.1, dottorrent 1.10.1, torrentool 1.2.0, pyrosimple 2.14.2 and libtorrent 2.1.1 (PyPI); create-torrent 6.1.3 (npm);
# Python 3, Node.js 20.
#
# A torrent of a folder holds the files of the folder, one would think. Six of eight makers leave some out and do not say
# so: empty files (a Python package loses its `__init__.py`), files with a dot in front (a web site loses its
# `.nojekyll`), and mktor of pyrosimple whatever is called `core`, a folder with all that is in it too, or ends in
# `.bak` or `.tmp`. dottorrent leaves out files with a dot in front, and takes those in folders with a dot. What is
# downloaded can be unfit for use although every piece is right. And who has the same folder and makes the torrent again
# with another maker gets another info hash, even with the same pieces.
#
# Output seen:
#   left out by
#   libtorrent: nothing
#   mktorrent: nothing
#   create-torrent: .config/a .nojekyll Thumbs.db readme~
#   dottorrent: .nojekyll __init__.py
#   pyrosimple: .config/a .nojekyll Thumbs.db core/main.c notes.bak readme~ x.tmp
#   torf: .config/a .nojekyll __init__.py
#   torrentool: __init__.py
#   transmission-create: .config/a .nojekyll __init__.py
#
# What a client does about it: as a maker it takes every file, or prints what it leaves out. As the seeder of a folder
# that was there before, it calls a file that the torrent lacks additional, and neither missing nor damaged.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check torf==4.3.1 dottorrent==1.10.1 \
    torrentool==1.2.0 pyrosimple==2.14.2 libtorrent==2.1.1 || exit 2
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$dir/cache" create-torrent@6.1.3 >/dev/null || exit 2
apt-get -o APT::Sandbox::User=root download -qq transmission-cli=3.00-2.1+deb12u1 mktorrent=1.1-3 libminiupnpc17 libnatpmp1 \
    libevent-2.1-7 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
export HOME=$dir LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"
root/usr/bin/transmission-create --version 2>/dev/null || exit 2
root/usr/bin/mktorrent -h >/dev/null || exit 2

mkdir -p made top/.config top/core
: > top/__init__.py
for file in .config/a .nojekyll Thumbs.db core/main.c data notes.bak readme~ x.tmp; do
    echo "$file" > "top/$file"
done
cat > main.py <<'PY'
import os, sys
import dottorrent, torf
import libtorrent as lt
from torrentool.api import Torrent

made = torf.Torrent("top")
made.generate()
made.write("made/torf.torrent")
made = dottorrent.Torrent("top")
made.generate()
with open("made/dottorrent.torrent", "wb") as out:
    made.save(out)
Torrent.create_from(os.path.abspath("top")).to_file("made/torrentool.torrent")
made = lt.create_torrent(lt.list_files(os.path.abspath("top")), 16384, lt.create_torrent.v1_only)
lt.set_piece_hashes(made, ".")
with open("made/libtorrent.torrent", "wb") as out:
    out.write(lt.bencode(made.generate()))
PY
cat > main.mjs <<'JS'
import fs from 'node:fs'
import createTorrent from 'create-torrent'

createTorrent('top', { announceList: [] }, (error, made) => {
  if (error) throw error
  fs.writeFileSync('made/create-torrent.torrent', made)
})
JS
cat > check.py <<'PY'
import os, sys
import libtorrent as lt

there = {os.path.relpath(os.path.join(folder, file), "top") for folder, _, files in os.walk("top") for file in files}
EXPECTED = {
    "libtorrent": "", "mktorrent": "",
    "create-torrent": ".config/a .nojekyll Thumbs.db readme~",
    "dottorrent": ".nojekyll __init__.py",
    "pyrosimple": ".config/a .nojekyll Thumbs.db core/main.c notes.bak readme~ x.tmp",
    "torf": ".config/a .nojekyll __init__.py",
    "torrentool": "__init__.py",
    "transmission-create": ".config/a .nojekyll __init__.py",
}
as_described = True
for maker, expected in EXPECTED.items():
    with open(f"made/{maker}.torrent", "rb") as file:
        files = lt.bdecode(file.read())[b"info"][b"files"]
    left_out = " ".join(sorted(there - {b"/".join(file[b"path"]).decode() for file in files}))
    print(f"{maker}: {left_out or 'nothing'}")
    as_described &= left_out == expected
sys.exit(0 if as_described else 1)
PY
root/usr/bin/transmission-create --outfile made/transmission-create.torrent top >/dev/null 2>&1
root/usr/bin/mktorrent -o made/mktorrent.torrent top >/dev/null
venv/bin/mktor --quiet -o made/pyrosimple.torrent top http://127.0.0.1/announce >/dev/null 2>&1
venv/bin/python -W ignore main.py
node main.mjs
echo "left out by"
venv/bin/python -W ignore check.py || exit 1
