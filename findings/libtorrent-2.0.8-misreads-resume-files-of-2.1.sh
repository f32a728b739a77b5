#!/usr/bin/env bash
# Versions: libtorrent 2.1.1 (PyPI wheel) and libtorrent 2.0.8 (Debian 12, python3-libtorrent 2.0.8-1+b1, unpacked into a
# temporary folder; qBittorrent of Debian 12 uses it too), Python 3.
#
# libtorrent's resume files have a `file-format`, the same in 2.0 and 2.1, and a `file-version`, 1 in 2.0 and 2 in 2.1.
# What changed is `pieces`: a byte for each piece in version 1, a bit for each piece in version 2. libtorrent 2.0.8 does
# not look at the version. It takes each byte for a piece, so it believes that it has pieces that it has not, and checks
# on disk only those for which no byte is left. Who goes back from 2.1, or carries a resume folder over to 2.0.8, ends
# with a download that is complete and not whole, and seeds it. (2.0.11 reads both versions.)
#
# Here 2.1.1 has pieces 7 and 15 of 16, as its check found, and writes a resume file. 2.0.8 goes on from it, with a seed
# at hand.
#
# Output seen:
#   2.1.1 has pieces [7, 15], resume file-version 2, pieces 0101
#   2.0.8 has pieces [0, 1, 7, 15], of which on disk [7, 15]
#   2.0.8 with a seed: complete, pieces that are wrong on disk [0, 1]
#
# What a client does about it: it reads `pieces` by `file-version`, and hashes what it takes over from another client
# before it offers it to anybody. When the form of a field changes, the name of the field or of the format changes too.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2
apt-get -o APT::Sandbox::User=root download -qq python3-libtorrent=2.0.8-1+b1 libtorrent-rasterbar2.0=2.0.8-1+b1 libboost-python1.74.0 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
old() {
    LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu" PYTHONPATH="$dir/root/usr/lib/python3/dist-packages" \
        /usr/bin/python3 -W ignore "$@"
}
old -c "import libtorrent" || exit 2

cat > common.py <<'PY'
import hashlib, os, time
import libtorrent as lt

PIECE, COUNT = 16384, 16

def session():
    return lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False,
                       "enable_upnp": False, "enable_natpmp": False, "alert_mask": lt.alert.category_t.all_categories})

def wait_until(condition):
    limit = time.monotonic() + 60
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError
        time.sleep(0.05)

def pieces(handle):
    return [at for at, have in enumerate(handle.status().pieces) if have]

def checked(handle):
    return handle.status().state not in (lt.torrent_status.states.checking_files,
                                         lt.torrent_status.states.checking_resume_data)

def right_on_disk(path, hashes):
    with open(path, "rb") as file:
        return [at for at in range(COUNT) if hashlib.sha1(file.read(PIECE)).digest() == hashes[at]]
PY
cat > new.py <<'PY'
import hashlib, os, sys
import libtorrent as lt
from common import COUNT, PIECE, checked, pieces, session, wait_until

folder = sys.argv[1]
data = os.urandom(PIECE * COUNT)
hashes = [hashlib.sha1(data[at:at + PIECE]).digest() for at in range(0, len(data), PIECE)]
os.mkdir(f"{folder}/seed")
os.mkdir(f"{folder}/partial")
with open(f"{folder}/seed/a", "wb") as out:
    out.write(data)
with open(f"{folder}/partial/a", "wb") as out:
    for at in range(COUNT):
        out.write(data[at * PIECE:(at + 1) * PIECE] if at in (7, 15) else bytes(PIECE))
info = {b"length": len(data), b"name": b"a", b"piece length": PIECE, b"pieces": b"".join(hashes)}
with open(f"{folder}/a.torrent", "wb") as out:
    out.write(lt.bencode({b"info": info}))

params = lt.load_torrent_file(f"{folder}/a.torrent")
params.save_path = f"{folder}/partial"
ours = session()
handle = ours.add_torrent(params)
wait_until(lambda: checked(handle) and pieces(handle))
handle.save_resume_data(lt.save_resume_flags_t.save_info_dict)
saved = []
def is_saved():
    saved.extend(alert for alert in ours.pop_alerts() if isinstance(alert, lt.save_resume_data_alert))
    return saved
wait_until(is_saved)
resume = lt.write_resume_data_buf(saved[0].params)
with open(f"{folder}/resume", "wb") as out:
    out.write(resume)
state = lt.bdecode(resume)
print(f"2.1.1 has pieces {pieces(handle)}, resume file-version {state[b'file-version']}, pieces {state[b'pieces'].hex()}")
sys.exit(0 if pieces(handle) == [7, 15] and state[b"file-version"] == 2 and state[b"pieces"] == b"\1\1" else 1)
PY
cat > old.py <<'PY'
import sys
import libtorrent as lt
from common import COUNT, checked, pieces, right_on_disk, session, wait_until

folder = sys.argv[1]
with open(f"{folder}/a.torrent", "rb") as file:
    joined = lt.bdecode(file.read())[b"info"][b"pieces"]
hashes = [joined[at:at + 20] for at in range(0, len(joined), 20)]
with open(f"{folder}/resume", "rb") as file:
    params = lt.read_resume_data(file.read())
ours = session()
handle = ours.add_torrent(params)
wait_until(lambda: checked(handle) and pieces(handle))
had = pieces(handle)
true = [at for at in right_on_disk(f"{folder}/partial/a", hashes) if at in had]
print(f"2.0.8 has pieces {had}, of which on disk {true}")

seed = session()
source = seed.add_torrent({"ti": lt.torrent_info(f"{folder}/a.torrent"), "save_path": f"{folder}/seed"})
wait_until(lambda: source.status().is_seeding and seed.listen_port())
handle.resume()
handle.connect_peer(("127.0.0.1", seed.listen_port()))
wait_until(lambda: handle.status().is_seeding)
del handle, ours
right = right_on_disk(f"{folder}/partial/a", hashes)
wrong = [at for at in range(COUNT) if at not in right]
print(f"2.0.8 with a seed: complete, pieces that are wrong on disk {wrong}")
sys.exit(0 if (had, true, wrong) == ([0, 1, 7, 15], [7, 15], [0, 1]) else 1)
PY
mkdir work
venv/bin/python -W ignore new.py work || exit 1
old old.py work || exit 1
