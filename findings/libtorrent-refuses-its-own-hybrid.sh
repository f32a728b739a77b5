#!/usr/bin/env bash
# Versions: libtorrent 2.1.1 (PyPI wheel), Python 3.
#
# A hybrid torrent lists its files twice: as a list (v1) and as a tree (v2). Both must have the same order. libtorrent
# sorts the list by whole paths, so `a.txt` comes before `a/x`, since `.` sorts before `/`. The tree is sorted by
# single names, so the folder `a` comes before `a.txt`. A folder with both gives a torrent with two orders. libtorrent
# makes it without a word, and then refuses to load it. A folder without such a pair works.
#
# Output seen:
#   a/x + b.txt: list a/x b.txt, tree a b.txt, loaded
#   a/x + a.txt: list a.txt a/x, tree a a.txt, refused: the v1 and v2 file metadata does not match [libtorrent:213]
#
# What a client does about it: as a creator it sorts the v1 list by single names too, as the tree does, and loads what
# it made before it tells of success. As a reader it says that the two orders differ; the user did nothing wrong.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2

cat > "$dir/main.py" <<'PY'
import os, sys, tempfile
import libtorrent as lt

def attempt(files):
    with tempfile.TemporaryDirectory() as parent:
        top = os.path.join(parent, "top")
        for name in files:
            path = os.path.join(top, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(name.encode() * 5000)
        torrent = lt.create_torrent(lt.list_files(top), 16384, 0)
        lt.set_piece_hashes(torrent, parent)
        encoded = lt.bencode(torrent.generate())
    info = lt.bdecode(encoded)[b"info"]
    order = [b"/".join(file[b"path"]).decode() for file in info[b"files"] if b"attr" not in file]
    tree = [name.decode() for name in info[b"file tree"]]
    try:
        lt.load_torrent_buffer(encoded)
        result = "loaded"
    except RuntimeError as error:
        result = f"refused: {error}"
    print(f"{' + '.join(files)}: list {' '.join(order)}, tree {' '.join(tree)}, {result}")
    return result

plain = attempt(["a/x", "b.txt"])
pair = attempt(["a/x", "a.txt"])
sys.exit(0 if plain == "loaded" and "v1 and v2 file metadata does not match" in pair else 1)
PY
TMPDIR=$dir "$dir/venv/bin/python" -W ignore "$dir/main.py" || exit 1
