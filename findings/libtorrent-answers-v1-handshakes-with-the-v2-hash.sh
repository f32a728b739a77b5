#!/usr/bin/env bash
# Versions: libtorrent 2.1.1 (PyPI wheel), Python 3.
#
# A hybrid torrent has a v1 info hash and a v2 info hash, and a swarm under each (BEP 52). Who dials names one of them
# in its handshake, and the answer names the same one: that is how a peer knows that it reached the right torrent
# (BEP 3). libtorrent remembers for each IP address that a peer there once spoke v2, and answers every later handshake
# from that address with the v2 hash, also a v1 handshake of a client that cannot know v2 (all reserved bits 0).
# That client sees a foreign info hash and hangs up. Two programs behind one address are enough: a client with v2 and
# one without at home behind a router, or the same client after it was exchanged for another.
#
# Output seen:
#   127.0.0.2 asks for v1: answer v1
#   127.0.0.3 asks for v2: answer v2
#   127.0.0.3 asks for v1: answer v2
#   127.0.0.2 asks for v1: answer v1
#
# What a client does about it: in an answer it takes either info hash of a hybrid torrent, whichever one it asked for,
# and speaks on with the version of the answer.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2

cat > "$dir/main.py" <<'PY'
import os, socket, sys, tempfile, time
import libtorrent as lt

PROTOCOL = b"\x13BitTorrent protocol"

def read(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise OSError(f"closed after {len(data)} bytes")
        data += part
    return data

def wait_until(condition):
    limit = time.monotonic() + 60
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError
        time.sleep(0.05)

with tempfile.TemporaryDirectory() as parent:
    with open(os.path.join(parent, "a"), "wb") as out:
        out.write(os.urandom(100000))
    torrent = lt.create_torrent(lt.list_files(os.path.join(parent, "a")), 16384, 0)
    lt.set_piece_hashes(torrent, parent)
    params = lt.load_torrent_buffer(lt.bencode(torrent.generate()))
    params.save_path = parent
    session = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False,
                          "enable_upnp": False, "enable_natpmp": False})
    handle = session.add_torrent(params)
    wait_until(lambda: handle.status().is_seeding and session.listen_port())
    hashes = handle.info_hashes()
    names = {"v1": hashes.v1.to_bytes(), "v2": hashes.v2.to_bytes()[:20]}

    def ask(address, version):
        with socket.create_connection(("127.0.0.1", session.listen_port()), timeout=60, source_address=(address, 0)) as peer:
            peer.sendall(PROTOCOL + bytes(8) + names[version] + b"-XX0001-" + os.urandom(12))
            found = read(peer, 68)[28:48]
        answer = next((name for name, value in names.items() if value == found), "another hash")
        print(f"{address} asks for {version}: answer {answer}")
        wait_until(lambda: not handle.get_peer_info())
        return answer

    seen = [ask("127.0.0.2", "v1"), ask("127.0.0.3", "v2"), ask("127.0.0.3", "v1"), ask("127.0.0.2", "v1")]
sys.exit(0 if seen == ["v1", "v2", "v2", "v1"] else 1)
PY
TMPDIR=$dir "$dir/venv/bin/python" -W ignore "$dir/main.py" || exit 1
