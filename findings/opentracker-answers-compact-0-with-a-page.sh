#!/usr/bin/env bash
# Versions: opentracker 0.0~git20210823.110868e-3 with libowfat0 0.32-4 (Debian 12, unpacked into a temporary folder), Python 3.
#
# A client that wants peers as a list of dictionaries says `compact=0` (BEP 23); a tracker may answer in compact form all
# the same, and what it refuses it refuses with a bencoded `failure reason` (BEP 3). opentracker answers such an announce
# with status 400 and a web page, and does not register the peer. Without the parameter, and with `compact=1`, it answers
# in compact form. And it ends the connection after every answer, though that is HTTP/1.1 and does not say
# `Connection: close`: a second request on it is lost.
#
# Output seen:
#   without compact: HTTP/1.1 200 OK, incomplete 1
#   compact=1: HTTP/1.1 200 OK, incomplete 1
#   compact=0: HTTP/1.0 400 Invalid Request, <title>Invalid Request</title>
#   compact=0 of another peer, then a scrape: incomplete 1
#   a second request on a connection: no answer, Connection header: none
#
# What a client does about it: it always says `compact=1`, and takes a web page for a refusal that may be of the form of its
# question. It sends a request again on a fresh connection when a kept one ends without an answer.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
server=
cd "$dir"
apt-get -o APT::Sandbox::User=root download -qq opentracker=0.0~git20210823.110868e-3 libowfat0=0.32-4 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
export LD_LIBRARY_PATH="$dir/root/lib:$dir/root/usr/lib:$dir/root/usr/lib/$(uname -m)-linux-gnu"
port=$(python3 -c 'import socket; probe = socket.socket(); probe.bind(("127.0.0.1", 0)); print(probe.getsockname()[1])')
printf '%s\n' 6162636465666768696a6b6c6d6e6f7071727374 > whitelist
chmod -R a+rX .
"$dir/root/usr/bin/opentracker" -i 127.0.0.1 -p "$port" -d "$dir" -w whitelist >log 2>&1 &
server=$!

cat > main.py <<'PY'
import re, socket, sys, time

PORT = int(sys.argv[1])
HASH = "info_hash=abcdefghijklmnopqrst"

def connect():
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", PORT), 20)
        except ConnectionRefusedError:
            time.sleep(0.1)
    sys.exit(2)

def get(path, connection=None):
    connection = connection or connect()
    try:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: tracker\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(4096):
            answer += part
    except ConnectionError:
        return "", {}, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return status, dict(line.lower().split(": ", 1) for line in lines), body

def announce(words, port=7001):
    return f"/announce?{HASH}&peer_id=-XX0001-{port:012}&port={port}&uploaded=0&downloaded=0&left=9{words}"

def incomplete(body):
    return int(re.search(rb"10:incompletei(\d+)e", body)[1])

seen = []
for name, words in (("without compact", ""), ("compact=1", "&compact=1")):
    status, headers, body = get(announce(words))
    seen.append((status, incomplete(body)))
    print(f"{name}: {status}, incomplete {incomplete(body)}")
status, _, page = get(announce("&compact=0"))
print(f"compact=0: {status}, {page.decode().strip()}")
get(announce("&compact=0", 7002))
known = incomplete(get(f"/scrape?{HASH}")[2])
print(f"compact=0 of another peer, then a scrape: incomplete {known}")
kept = connect()
_, headers, _ = get(announce(""), kept)
second, _, _ = get(announce(""), kept)
says = headers.get("connection", "none")
print(f"a second request on a connection: {second or 'no answer'}, Connection header: {says}")
ok = ("HTTP/1.1 200 OK", 1)
sys.exit(0 if (seen, status[9:12], page[:6], known, second, says) == ([ok, ok], "400", b"<title", 1, "", "none") else 1)
PY
python3 main.py "$port"
