#!/usr/bin/env bash
# Versions: bittorrent-tracker 11.2.3 (npm), Node 18 or later, Python 3.
#
# An announce over UDP is answered with peers of the family that it came by: 18 bytes each over IPv6 (BEP 15).
# bittorrent-tracker listens for UDP on IPv6, takes announces there and counts who sends them, but puts only the IPv4 peers
# of the swarm into the answer, 6 bytes each, whoever asks. So clients that share a torrent over IPv6 are told how many
# there are and of nobody; and where IPv4 peers are in the swarm too, a client reads three of them as one IPv6 address.
#
# Output seen:
#   second IPv6 client: 1 seed, 1 other, 0 bytes of peers
#   it again, with 3 IPv4 clients in the swarm: 18 bytes of peers
#   that is [7f00:1:1a51:7f00:1:1a53:7f00:1]:6738 (or in another order), made of 127.0.0.1:6737 127.0.0.1:6738 127.0.0.1:6739
#   a third IPv6 client, over HTTP: 54 bytes of IPv6 peers, itself among them
#
# What a client does about it: it does not take counts without peers for a failure, asks such a tracker over HTTP or
# IPv4 too, and dials what it is told with the patience that wrong addresses deserve.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed (or there is no IPv6 loopback).
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
server=
cd "$dir"
python3 -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' || exit 2
npm install --silent --no-audit --no-fund --ignore-scripts --omit=optional bittorrent-tracker@11.2.3 >/dev/null || exit 2
cat > server.mjs <<'JS'
import Server from './node_modules/bittorrent-tracker/server.js'
const server = new Server({ http: true, udp: true, ws: false, stats: false })
const loopback = { http: '::1', udp: '127.0.0.1', udp6: '::1' }
server.listen(0, loopback, () => {
  console.log(server.http.address().port, server.udp4.address().port, server.udp6.address().port)
})
JS
mkfifo ports
node server.mjs > ports &
server=$!
read -r ports < ports

cat > main.py <<'PY'
import re, socket, struct, sys, urllib.request
from ipaddress import ip_address

http, udp4, udp6 = map(int, sys.argv[1:])
HASH = b"abcdefghijklmnopqrst"

def announce(address, port, left, number):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect((address, port))
        client.send(struct.pack(">QII", 0x41727101980, 0, 7))
        connection = client.recv(99)[8:16]
        peer = struct.pack(">QQQIIIIH", 0, left, 0, 2, 0, number, 50, number)
        client.send(connection + struct.pack(">II", 1, 8) + HASH + b"-XX0001-%012d" % number + peer)
        answer = client.recv(4096)
    _, _, _, others, seeds = struct.unpack(">IIIII", answer[:20])
    return seeds, others, answer[20:]

announce("::1", udp6, 0, 7001)
seeds, others, alone = announce("::1", udp6, 9, 7002)
print(f"second IPv6 client: {seeds} seed, {others} other, {len(alone)} bytes of peers")
for number in (6737, 6738, 6739):
    announce("127.0.0.1", udp4, 9, number)
_, _, mixed = announce("::1", udp6, 9, 7002)
print(f"it again, with 3 IPv4 clients in the swarm: {len(mixed)} bytes of peers")
name = lambda peer: str(ip_address(peer[:-2])) if len(peer) == 6 else f"[{ip_address(peer[:-2])}]"
port = lambda peer: int.from_bytes(peer[-2:], "big")
parts = sorted(f"{name(peer)}:{port(peer)}" for peer in (mixed[at:at + 6] for at in range(0, len(mixed), 6)))
print(f"that is {name(mixed)}:{port(mixed)} (or in another order), made of {' '.join(parts)}")
query = f"info_hash={HASH.decode()}&peer_id=-XX0001-000000007003&port=7003&left=9&uploaded=0&downloaded=0&compact=1"
answer = urllib.request.urlopen(f"http://[::1]:{http}/announce?{query}", timeout=20).read()
over_http = int(re.search(rb"6:peers6(\d+):", answer)[1])
print(f"a third IPv6 client, over HTTP: {over_http} bytes of IPv6 peers, itself among them")
expected = [f"127.0.0.1:{number}" for number in (6737, 6738, 6739)]
sys.exit(0 if (seeds, others, alone, parts, over_http) == (1, 1, b"", expected, 54) else 1)
PY
# shellcheck disable=SC2086
python3 main.py $ports || exit 1
