#!/usr/bin/env bash
# Versions: deluge 2.2.0 with libtorrent 2.1.1, Twisted 24.7.0 and pyOpenSSL 24.2.1, deluge-client 1.10.2 (PyPI), Python 3.
#
# Deluge takes a torrent with other names for its files, given in the option `mapped_files`; the dialog of its
# GTK interface does that when a file is renamed before the torrent is added. The torrent is then downloaded and seeded
# under these names, and Deluge does not keep them. After the next start of the daemon, also after an orderly end, it looks for
# the old names, does not find them, and the torrent stands in the state "Error", with "Missing or invalid torrent
# data!", the data whole on disk. A file that is renamed a moment after the torrent was added keeps its new name.
#
# Output seen:
#   renamed when added: Seeding, OK, files given/b given/new
#   after a restart: Error, Missing or invalid torrent data!, files given/a given/b
#   on disk: b new
#   renamed later, after a restart: Seeding, OK, on disk b new
#
# What a client does about it: it stores a rename with the torrent before it uses the name. When it imports torrents from
# Deluge it cannot learn such names from any file of Deluge's, so it looks for files of the right length in the
# torrent's folder and hashes them, before it calls data missing.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed or no namespace could be made.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv && venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check deluge==2.2.0 libtorrent==2.1.1 \
    Twisted==24.7.0 pyOpenSSL==24.2.1 deluge-client==1.10.2 setuptools==75.1.0 || exit 2
unshare --map-root-user --net true || exit 2

cat > main.py <<'PY'
import base64, hashlib, os, subprocess, sys, time
import libtorrent as lt
from deluge_client import DelugeRPCClient

PIECE, PORT = 16384, 58846
FOLDER = sys.argv[1]
DATA = {"a": os.urandom(30000), "b": os.urandom(20000)}

def wait_until(condition):
    limit = time.monotonic() + 60
    while not (found := condition()):
        if time.monotonic() > limit:
            raise TimeoutError
        time.sleep(0.2)
    return found

def start():
    daemon = subprocess.Popen(["venv/bin/deluged", "--do-not-daemonize", "--config", f"{FOLDER}/config", "--port", str(PORT),
                               "--ui-interface", "127.0.0.1", "--logfile", f"{FOLDER}/log"], env=dict(os.environ, HOME=FOLDER))
    def connected():
        try:
            with open(f"{FOLDER}/config/auth") as file:
                password = next(line.split(":")[1] for line in file if line.startswith("localclient:"))
            client = DelugeRPCClient("127.0.0.1", PORT, "localclient", password, automatic_reconnect=False)
            client.connect()
            return client
        except (OSError, StopIteration):
            # It has not begun to listen.
            return None
    return daemon, wait_until(connected)

def make(name):
    data = b"".join(DATA.values())
    pieces = b"".join(hashlib.sha1(data[at:at + PIECE]).digest() for at in range(0, len(data), PIECE))
    files = [{b"length": len(content), b"path": [file.encode()]} for file, content in DATA.items()]
    info = {b"files": files, b"name": name.encode(), b"piece length": PIECE, b"pieces": pieces}
    return base64.b64encode(lt.bencode({b"info": info})).decode()

def state(client, torrent):
    found = client.call("core.get_torrent_status", torrent, ["state", "message", "files"])
    return found[b"state"].decode(), found[b"message"].decode(), sorted(file[b"path"].decode() for file in found[b"files"])

def settled(client, torrent):
    wait_until(lambda: state(client, torrent)[0] in ("Seeding", "Error", "Downloading"))
    time.sleep(2)
    return state(client, torrent)

os.mkdir(f"{FOLDER}/config")
for name, first in (("given", "new"), ("later", "a")):
    os.makedirs(f"{FOLDER}/data/{name}")
    for file, content in zip((first, "b"), DATA.values()):
        with open(f"{FOLDER}/data/{name}/{file}", "wb") as out:
            out.write(content)

daemon, client = start()
try:
    options = {"download_location": f"{FOLDER}/data"}
    given = client.call("core.add_torrent_file", "given.torrent", make("given"), options | {"mapped_files": {0: "given/new"}})
    later = client.call("core.add_torrent_file", "later.torrent", make("later"), options)
    before = settled(client, given)
    settled(client, later)
    client.call("core.rename_files", later, [[0, "later/new"]])
    wait_until(lambda: os.path.exists(f"{FOLDER}/data/later/new"))
    time.sleep(2)
    client.call("daemon.shutdown")
    daemon.wait(60)
    daemon, client = start()
    after, control = settled(client, given), settled(client, later)
finally:
    daemon.kill()
    daemon.wait()
for name, (word, message, files) in (("renamed when added", before), ("after a restart", after)):
    print(f"{name}: {word}, {message}, files {' '.join(files)}")
print("on disk:", *sorted(os.listdir(f"{FOLDER}/data/given")))
print(f"renamed later, after a restart: {control[0]}, {control[1]}, on disk", *sorted(os.listdir(f"{FOLDER}/data/later")))
sys.exit(0 if before == ("Seeding", "OK", ["given/b", "given/new"]) and control[:2] == ("Seeding", "OK") and
         after == ("Error", "Missing or invalid torrent data!", ["given/a", "given/b"]) else 1)
PY
mkdir work
TMPDIR=$dir unshare --map-root-user --net --pid --fork --kill-child \
    bash -c 'ip link set lo up && venv/bin/python -W ignore main.py "$1"' bash "$dir/work" || exit 1
