"""libtorrent as a peer of the interop tests and measurements.

    peer.py create PATH OUT PIECE_LENGTH [private]  a v1 torrent without trackers
    peer.py leech TORRENT DIR IP PORT [RATE]    download into DIR, then seed until killed
    peer.py seed TORRENT DIR IP PORT [RATE]     seed what is in DIR until killed

TORRENT is a file or a magnet link. RATE is bytes a second sent. In the environment:
    ENCRYPTION=off                  plain connections only
    ENCRYPTION=rc4, =handshake      encrypted ones only; the second with everything behind the handshake in plain
    PRESET=high_performance_seed    libtorrent's own settings of that name
    DHT=IP:PORT                     the DHT, with this router; empty or absent: none
    PEX=on, LSD=on                  peer exchange, local discovery; else neither
    PEERS=IP:PORT,...               peers to connect to
The info dictionary of a magnet link goes to the file `info` in the current folder once it is known. One JSON object a line
on standard output:
{"done": bool, "uploaded": payload bytes, "downloaded": payload bytes, "peers": n, "pieces": verified ones, "state": text}
"""

import json
import os
import signal
import sys
import time

import libtorrent as lt


def create(path, out, piece_length, private):
    path = os.path.abspath(path)
    files = lt.file_storage()
    lt.add_files(files, path)
    torrent = lt.create_torrent(files, piece_length, lt.create_torrent.v1_only)
    torrent.set_priv(private)
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    with open(out, "wb") as file:
        file.write(lt.bencode(torrent.generate()))


def run(mode, torrent, folder, ip, port, rate):
    preset = os.environ.get("PRESET")
    router = os.environ.get("DHT", "")
    session = lt.session((getattr(lt, preset)() if preset else {}) | {
        "listen_interfaces": f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}",
        "enable_dht": router != "",
        "dht_bootstrap_nodes": router,
        # It asks once, before it knows anybody, and then after a quarter of an hour.
        "dht_announce_interval": 5,
        "enable_lsd": os.environ.get("LSD") == "on",
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.tracker_notification
                      | lt.alert.category_t.status_notification | lt.alert.category_t.storage_notification,
        "active_tracker_limit": -1,
        "min_reconnect_time": 1,
        "max_failcount": 50,
    })
    # Policies: 0 demands encryption, 2 forbids it. Levels: 1 plaintext, 2 RC4.
    policy, level = {"off": (2, 3), "rc4": (0, 2), "handshake": (0, 1)}.get(os.environ.get("ENCRYPTION"), (1, 3))
    session.apply_settings({"in_enc_policy": policy, "out_enc_policy": policy, "allowed_enc_level": level})
    if torrent.startswith("magnet:"):
        options = lt.parse_magnet_uri(torrent)
    else:
        options = lt.add_torrent_params()
        options.ti = lt.torrent_info(torrent)
    options.save_path = folder
    if os.environ.get("PEX") != "on":
        options.flags |= lt.torrent_flags.disable_pex
    options.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    if mode == "seed":
        options.flags &= ~lt.torrent_flags.apply_ip_filter
    handle = session.add_torrent(options)
    # A session's limit does not hold for peers of the local network, a torrent's does.
    handle.set_upload_limit(rate)
    for peer in filter(None, os.environ.get("PEERS", "").split(",")):
        host, _, peer_port = peer.rpartition(":")
        handle.connect_peer((host.strip("[]"), int(peer_port)))
    ends = []
    signal.signal(signal.SIGTERM, lambda *_: ends.append(True))
    last, flushing, flushed = None, False, False
    while not ends:
        for alert in session.pop_alerts():
            print(f"# {alert.message()}", file=sys.stderr, flush=True)
            flushed = flushed or (flushing and isinstance(alert, lt.cache_flushed_alert))
            if isinstance(alert, lt.metadata_received_alert):
                with open("info", "wb") as file:
                    file.write(handle.torrent_file().info_section())
        status = handle.status()
        # It says that it has everything before the last pieces are in their file.
        if status.is_seeding and not flushing:
            handle.flush_cache()
            flushing = True
        line = json.dumps({
            "done": status.is_seeding and flushed,
            "uploaded": status.total_payload_upload,
            "downloaded": status.total_payload_download,
            "peers": status.num_peers,
            "pieces": status.num_pieces,
            "state": str(status.state),
        })
        if line != last:
            print(line, flush=True)
            last = line
        session.wait_for_alert(20)
        time.sleep(0.005)


def main():
    if sys.argv[1] == "create":
        create(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:] == ["private"])
    else:
        mode, torrent, folder, ip, port = sys.argv[1:6]
        run(mode, torrent, folder, ip, int(port), int(sys.argv[6]) if len(sys.argv) > 6 else 0)


main()
