"""libtorrent as a seeder that writes down what it is asked for.

    witness.py seed TORRENT DIR IP PORT RATE    seed what is in DIR until killed

RATE is bytes a second sent, 0 for no limit. Standard output is that of peer.py, ten lines a second at most. The file
`requests` in the current folder gets a line as things happen:
    TIME connect | TIME gone                    a peer came, a peer went
    TIME PIECE BEGIN LENGTH                     it asked for these bytes
with TIME in seconds since 1970.
"""

import json
import re
import signal
import sys
import time

import libtorrent as lt

REQUEST = re.compile(r"piece: (\d+) start: (\d+) length: (\d+)")


def main():
    _, torrent, folder, ip, port, rate = sys.argv[1:7]
    kinds = lt.alert.category_t
    session = lt.session({
        "listen_interfaces": f"{ip}:{port}",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        "allow_multiple_connections_per_ip": True,
        "alert_queue_size": 1_000_000,
        "alert_mask": kinds.error_notification | kinds.status_notification | kinds.connect_notification
                      | kinds.incoming_request_notification,
    })
    options = lt.add_torrent_params()
    options.ti = lt.torrent_info(torrent)
    options.save_path = folder
    options.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed | lt.torrent_flags.apply_ip_filter)
    handle = session.add_torrent(options)
    # A session's limit does not hold for peers of the local network, a torrent's does.
    handle.set_upload_limit(int(rate))
    ends = []
    signal.signal(signal.SIGTERM, lambda *_: ends.append(True))
    last, told = None, 0.0
    with open("requests", "w") as requests:
        while not ends:
            for alert in session.pop_alerts():
                what, text = alert.what(), alert.message()
                found = REQUEST.search(text) if what == "incoming_request" else None
                if found:
                    requests.write(f"{time.time():.6f} {' '.join(found.groups())}\n")
                elif what == "peer_connect":
                    requests.write(f"{time.time():.6f} connect\n")
                elif what == "peer_disconnected":
                    requests.write(f"{time.time():.6f} gone\n")
                if not found:
                    print(f"# {what}: {text}", file=sys.stderr, flush=True)
            requests.flush()
            if told + 0.1 < time.time():
                status = handle.status()
                line = json.dumps({
                    "done": status.is_seeding,
                    "uploaded": status.total_payload_upload,
                    "downloaded": status.total_payload_download,
                    "peers": status.num_peers,
                    "state": str(status.state),
                })
                if line != last:
                    print(line, flush=True)
                    last = line
                told = time.time()
            session.wait_for_alert(50)
            time.sleep(0.002)


main()
