#!/usr/bin/env bash
# Versions: torf 4.3.1 and libtorrent 2.1.1 (PyPI), Python 3.
#
# torf writes and reads magnet links. It refuses a link with a parameter that it does not know, and it knows fewer than
# it writes: a link that it wrote itself with a peer's address (`x.pe`, BEP 9) has an "Unknown parameter". So has one
# that selects files (`so`, BEP 53). The link of a hybrid torrent has two info hashes in two `xt` (BEP 52), and
# libtorrent, and with it qBittorrent, writes it so: to torf these are "Multiple exact topics", and the v1 hash, which
# it knows and could use, is lost with the other.
#
# Output seen:
#   own link, a hash alone: hash aaaa...
#   own link, with a peer: MagnetError, x.pe: Unknown parameter
#   selected files: MagnetError, so: Unknown parameter
#   libtorrent's link of a hybrid torrent: MagnetError, Multiple exact topics ("xt")
#
# What a client does about it: as a reader it passes over parameters that it does not know, and takes what it
# understands of several `xt`. A link that any tool must read has one `xt`, with the v1 hash, and no `x.pe` or `so`.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check torf==4.3.1 libtorrent==2.1.1 || exit 2

cat > "$dir/main.py" <<'PY'
import os, sys, tempfile
import libtorrent as lt
import torf

HASH = "aa" * 20

def attempt(name, link):
    try:
        found = torf.Magnet.from_string(link).infohash
        print(f"{name}: hash {found}")
    except torf.MagnetError as error:
        found = str(error).removeprefix(f"{link}: ")
        print(f"{name}: MagnetError, {found}")
    return found

def hybrid_link():
    with tempfile.TemporaryDirectory() as parent:
        with open(os.path.join(parent, "a"), "wb") as out:
            out.write(bytes(20000))
        torrent = lt.create_torrent(lt.list_files(os.path.join(parent, "a")), 16384, 0)
        lt.set_piece_hashes(torrent, parent)
        return lt.make_magnet_uri(lt.load_torrent_buffer(lt.bencode(torrent.generate())))

alone = attempt("own link, a hash alone", str(torf.Magnet(xt=HASH)))
peer = attempt("own link, with a peer", str(torf.Magnet(xt=HASH, x_pe="127.0.0.1:6881")))
selection = attempt("selected files", f"magnet:?xt=urn:btih:{HASH}&so=0,2-4")
hybrid = attempt("libtorrent's link of a hybrid torrent", hybrid_link())
sys.exit(0 if (alone, peer, selection, hybrid) == (HASH, "x.pe: Unknown parameter", "so: Unknown parameter",
                                                   'Multiple exact topics ("xt")') else 1)
PY
TMPDIR=$dir "$dir/venv/bin/python" -W ignore "$dir/main.py" || exit 1
