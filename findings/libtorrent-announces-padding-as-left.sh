#!/usr/bin/env bash
# Versions: libtorrent 2.1.1 (PyPI wheel), Python 3.
#
# A tracker is told in `left` how many bytes a client still has to download (BEP 3). Padding files are zeros that
# nobody downloads (BEP 47). libtorrent counts them in `left` all the same, though its own status does not count them
# as wanted. Many small files with large pieces make the difference big: here three files of 100 bytes, in pieces of
# 64 KiB. As a v1 torrent they announce 300 bytes, as a hybrid torrent of the same files 196608.
#
# Output seen:
#   v1: wanted 300, announced left 300
#   hybrid: wanted 300, announced left 196608
#
# What a client does about it: it never compares `left` of an announce with the size of the real files, neither in its
# own tracker nor in statistics. It takes only zero (a seed) and not zero (no seed) from the `left` of others.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2

cat > "$dir/main.py" <<'PY'
import http.server, os, queue, sys, tempfile, threading, urllib.parse
import libtorrent as lt

class Tracker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, encoding="latin-1")
        if query.get("event") == ["started"]:
            self.server.left.put(int(query["left"][0]))
        body = b"d8:intervali1800e5:peers0:e"
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # The last announce of a session that ends does not wait for its answer.
            self.close_connection = True

    def log_message(self, *_):
        pass

def attempt(name, flags):
    tracker = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tracker)
    tracker.left = queue.Queue()
    threading.Thread(target=tracker.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as parent, tempfile.TemporaryDirectory() as empty:
        top = os.path.join(parent, "top")
        os.mkdir(top)
        for file in "abc":
            with open(os.path.join(top, file), "wb") as out:
                out.write(b"x" * 100)
        torrent = lt.create_torrent(lt.list_files(top), 65536, flags)
        lt.set_piece_hashes(torrent, parent)
        torrent.add_tracker(f"http://127.0.0.1:{tracker.server_port}/announce")
        params = lt.load_torrent_buffer(lt.bencode(torrent.generate()))
        params.save_path = empty
        session = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False,
                              "enable_upnp": False, "enable_natpmp": False})
        handle = session.add_torrent(params)
        left = tracker.left.get(timeout=30)
        wanted = handle.status().total_wanted
        del handle, session
    tracker.shutdown()
    print(f"{name}: wanted {wanted}, announced left {left}")
    return wanted, left

v1 = attempt("v1", lt.create_torrent.v1_only)
hybrid = attempt("hybrid", 0)
sys.exit(0 if v1 == (300, 300) and hybrid == (300, 3 * 65536) else 1)
PY
TMPDIR=$dir "$dir/venv/bin/python" -W ignore "$dir/main.py" || exit 1
