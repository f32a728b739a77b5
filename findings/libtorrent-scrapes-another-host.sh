#!/usr/bin/env bash
# Versions: libtorrent 2.1.1 (PyPI wheel), Python 3.
#
# The scrape address of a tracker is its announce address with `announce` after the last slash replaced by `scrape`
# (BEP 48). libtorrent replaces the first `announce` of the whole address instead, wherever it stands. If the host is
# called `announce.something`, as some trackers are, it asks the host `scrape.something`, at `/announce`: another
# machine, if there is one, and never an answer to the scrape. If a folder above is called so, the tracker gets what
# looks like an announce without a peer.
#
# Here libtorrent has an HTTP proxy on loopback, which writes down what it is asked for and asks nobody else. (For that
# libtorrent's `ssrf_mitigation` is off: see libtorrent-blocks-trackers-behind-a-local-proxy.sh.)
#
# Output seen:
#   http://tracker.example/announce: scrape http://tracker.example/scrape
#   http://announce.example/announce: scrape http://scrape.example/announce
#   http://tracker.example/announcements/announce: scrape http://tracker.example/scrapements/announce
#
# What a client does about it: it replaces `announce` only where the last part of the path begins with it, and knows
# otherwise that the tracker cannot be scraped. Who runs a tracker gives it a host name without `announce` in it.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2

cat > "$dir/main.py" <<'PY'
import http.server, queue, sys, tempfile, threading, time
import libtorrent as lt

requests = queue.Queue()

class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        requests.put(self.path)
        body = b"d8:intervali1800e5:peers0:e"
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass

proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=proxy.serve_forever, daemon=True).start()
info = {b"length": 16384, b"name": b"a", b"piece length": 16384, b"pieces": bytes(20)}

def attempt(tracker):
    with tempfile.TemporaryDirectory() as folder:
        params = lt.load_torrent_buffer(lt.bencode({b"announce": tracker.encode(), b"info": info}))
        params.save_path = folder
        session = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False,
                              "enable_upnp": False, "enable_natpmp": False, "proxy_type": int(lt.proxy_type_t.http),
                              "proxy_hostname": "127.0.0.1", "proxy_port": proxy.server_port,
                              "proxy_hostnames": True, "proxy_tracker_connections": True, "ssrf_mitigation": False})
        handle = session.add_torrent(params)
        # An announce has a peer_id, a scrape has none. A scrape asked for too early is dropped.
        limit = time.monotonic() + 60
        found = "peer_id="
        while "peer_id=" in found:
            if time.monotonic() > limit:
                raise TimeoutError
            handle.scrape_tracker()
            try:
                found = requests.get(timeout=1)
            except queue.Empty:
                pass
        del handle, session
    found = found.split("?")[0]
    print(f"{tracker}: scrape {found}")
    return found

plain = attempt("http://tracker.example/announce")
host = attempt("http://announce.example/announce")
folder = attempt("http://tracker.example/announcements/announce")
sys.exit(0 if (plain, host, folder) == ("http://tracker.example/scrape", "http://scrape.example/announce",
                                        "http://tracker.example/scrapements/announce") else 1)
PY
TMPDIR=$dir "$dir/venv/bin/python" -W ignore "$dir/main.py" || exit 1
