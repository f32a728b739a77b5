"""libtorrent as nodes of a DHT, and as somebody who asks it.

    dht.py ROUTER ADDRESS...    a node at each address (IP:PORT, [IP]:PORT), until killed

ROUTER is the node that the others begin with; it may be one of these. Two files in the current folder are followed: info
hashes, a line each, in `wanted` are looked up each second by one node after the other; nodes (IP PORT) in `known` are told to all.
One JSON object a line on standard output, when it changes:
{"nodes": good nodes that each knows, "peers": {info hash: addresses that were found, oldest first}}
With ALONE in the environment the nodes do not limit what they answer, follow no files and say nothing: for measurements.
"""

import json
import os
import signal
import sys
import time

import libtorrent as lt


def node(router, address):
    alone = {
        "dht_upload_rate_limit": 100_000_000,
        "dht_block_ratelimit": 100_000,
        "alert_mask": 0,
    } if os.environ.get("ALONE") else {}
    return lt.session({
        "listen_interfaces": address,
        "dht_bootstrap_nodes": "" if router == address else router,
        "enable_dht": True,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "alert_mask": lt.alert.category_t.dht_operation_notification | lt.alert.category_t.stats_notification
                      | lt.alert.category_t.error_notification,
    } | alone)


def introduce(session, address, addresses):
    # A router is asked and not kept, and one that was just asked names nobody whom it has not pinged.
    for other in addresses:
        if other != address:
            ip, port = other.rsplit(":", 1)
            session.add_dht_node((ip.strip("[]"), int(port)))


def lines(name):
    if not os.path.exists(name):
        return []
    with open(name) as file:
        return [line.strip() for line in file if line.endswith("\n")]


def main():
    router, *addresses = sys.argv[1:]
    sessions = [node(router, address) for address in addresses]
    for session, address in zip(sessions, addresses):
        introduce(session, address, addresses)
    counts = [0] * len(sessions)
    peers, last, turn, told, asked = {}, None, 0, 0, 0.0
    ends = []
    signal.signal(signal.SIGTERM, lambda *_: ends.append(True))
    while os.environ.get("ALONE") and not ends:
        time.sleep(1)
    while not ends:
        for n, session in enumerate(sessions):
            for alert in session.pop_alerts():
                if isinstance(alert, lt.dht_get_peers_reply_alert):
                    found = peers.setdefault(str(alert.info_hash), [])
                    for ip, port in alert.peers():
                        address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
                        if address not in found:
                            found.append(address)
                elif isinstance(alert, lt.dht_stats_alert):
                    counts[n] = sum(bucket["num_nodes"] for bucket in alert.routing_table)
                elif not isinstance(alert, lt.session_stats_alert):
                    print(f"# {addresses[n]}: {alert.message()}", file=sys.stderr, flush=True)
        if asked + 1.0 < time.monotonic():
            asked = time.monotonic()
            turn += 1
            for session in sessions:
                session.post_dht_stats()
            for known in lines("known")[told:]:
                told += 1
                ip, port = known.split(" ")
                for session in sessions:
                    session.add_dht_node((ip, int(port)))
            for info_hash in lines("wanted"):
                sessions[turn % len(sessions)].dht_get_peers(lt.sha1_hash(bytes.fromhex(info_hash)))
        line = json.dumps({"nodes": counts, "peers": peers})
        if line != last:
            print(line, flush=True)
            last = line
        time.sleep(0.05)


main()
