#!/usr/bin/env bash
# Versions: libtorrent 2.1.1 (PyPI wheel), Python 3.
#
# libtorrent protects services of the own machine from torrents that name them as trackers: a request to loopback must
# be for `/announce` (its setting `ssrf_mitigation`, which is on). With an HTTP proxy that listens on loopback, as local
# proxies do, it takes the proxy's address for the tracker's. So it never announces to a tracker with another path,
# such as one with a passkey in front (`/KEY/announce`) or `/announce.php`, and a scrape, whose path is always another,
# reaches no tracker at all. The message does not tell that the proxy is meant.
#
# Output seen:
#   http://tracker.example/announce: the proxy is asked, scrape: blocked by SSRF mitigation
#   http://tracker.example/KEY/announce: blocked by SSRF mitigation
#   http://tracker.example/announce.php?key=KEY: blocked by SSRF mitigation
#   http://tracker.example/KEY/announce, setting off: the proxy is asked, scrape: the proxy is asked
#
# What a client does about it: it judges the address that a torrent names, and where a proxy finds that out, the name
# alone. The address of a proxy, which its user chose, is never judged. A refusal says what was refused, and why.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check libtorrent==2.1.1 || exit 2

cat > "$dir/main.py" <<'PY'
import http.server, queue, sys, tempfile, threading, time
import libtorrent as lt

class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.put(self.path.split("info_hash=")[0].rstrip("?&"))
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

def attempt(tracker, mitigation=True):
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    proxy.asked = queue.Queue()
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    info = {b"length": 16384, b"name": b"a", b"piece length": 16384, b"pieces": bytes(20)}
    with tempfile.TemporaryDirectory() as folder:
        params = lt.load_torrent_buffer(lt.bencode({b"announce": tracker.encode(), b"info": info}))
        params.save_path = folder
        session = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False,
                              "enable_upnp": False, "enable_natpmp": False, "proxy_type": int(lt.proxy_type_t.http),
                              "proxy_hostname": "127.0.0.1", "proxy_port": proxy.server_port,
                              "proxy_hostnames": True, "proxy_tracker_connections": True,
                              "ssrf_mitigation": mitigation, "alert_mask": lt.alert.category_t.all_categories})
        handle = session.add_torrent(params)
        announced = first_end(session, lt.tracker_reply_alert, lt.tracker_error_alert)
        scraped = None
        if announced == "reply":
            handle.scrape_tracker()
            # The proxy answers as a tracker that cannot be scraped: that is an end as well.
            scraped = first_end(session, lt.scrape_reply_alert, lt.scrape_failed_alert)
        del handle, session
    asked = list(proxy.asked.queue)
    words = ["the proxy is asked" if tracker in asked else announced]
    if scraped:
        words.append("scrape: " + ("the proxy is asked" if tracker.replace("announce", "scrape") in asked else scraped))
    print(f"{tracker}{'' if mitigation else ', setting off'}: {', '.join(words)}")
    return words

def first_end(session, reply, failure):
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        session.wait_for_alert(1000)
        for alert in session.pop_alerts():
            if isinstance(alert, reply):
                return "reply"
            if isinstance(alert, failure):
                return alert.error.message()
    return "no end"

plain = attempt("http://tracker.example/announce")
key = attempt("http://tracker.example/KEY/announce")
php = attempt("http://tracker.example/announce.php?key=KEY")
off = attempt("http://tracker.example/KEY/announce", mitigation=False)
ASKED, BLOCKED = "the proxy is asked", "blocked by SSRF mitigation"
sys.exit(0 if (plain, key, php, off) == ([ASKED, f"scrape: {BLOCKED}"], [BLOCKED], [BLOCKED], [ASKED, f"scrape: {ASKED}"]) else 1)
PY
TMPDIR=$dir "$dir/venv/bin/python" -W ignore "$dir/main.py" || exit 1
