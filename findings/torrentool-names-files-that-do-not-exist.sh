#!/usr/bin/env bash
# Versions: torrentool 1.2.0 (PyPI), Python 3.
#
# torrentool gets a file's path within a torrent by cutting the folder's path out of the file's path, wherever it stands
# in it. Called with a relative path of one name, as `Torrent.create_from("music")`, it cuts out every later `music` too,
# and the torrent names files that do not exist. The pieces are right, so the torrent looks good and can be downloaded,
# to wrong names; but nobody can seed it, with the very folder that it was made of. With the absolute path of the same
# folder every name is right.
#
# Output seen:
#   absolute path: music/cover.jpg music/live/music-2.ogg music/music.ogg
#   relative path: music/.ogg music/cover.jpg music/live/-2.ogg
#
# What a client does about it: as a maker it takes paths apart by their components and replaces no text in them. When
# files of a torrent are missing it looks for others of the same length in the folder, and offers to use them.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check torrentool==1.2.0 || exit 2
mkdir -p "$dir/work/music/live"
cd "$dir/work"
printf one > music/music.ogg
printf second > music/live/music-2.ogg
printf cover > music/cover.jpg

cat > main.py <<'PY'
import os, sys
from torrentool.api import Torrent

def attempt(name, folder):
    made = Torrent.from_string(Torrent.create_from(folder).to_string())
    found = sorted(file.name for file in made.files)
    print(f"{name}: {' '.join(found)}")
    return found

absolute = attempt("absolute path", os.path.abspath("music"))
relative = attempt("relative path", "music")
sys.exit(0 if absolute == ["music/cover.jpg", "music/live/music-2.ogg", "music/music.ogg"] and
         relative == ["music/.ogg", "music/cover.jpg", "music/live/-2.ogg"] else 1)
PY
"$dir/venv/bin/python" main.py || exit 1
