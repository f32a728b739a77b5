#!/usr/bin/env bash
# Versions: opentracker 0.0~git20210823.110868e-3 with libowfat0 0.32-4 (Debian 12, unpacked into a temporary folder), Python 3.
#
# A tracker without `-i` listens on all addresses of its machine. Over UDP opentracker does not look to which of them a request
# was sent, and the system picks the address that an answer leaves from. On a machine with two addresses on one interface
# (or a stable and a temporary IPv6 address) the answer comes from the first one, whichever was asked. A client whose socket
# is connected, or that compares addresses, as it must against forgery, never hears from a tracker named by the second one.
# Over HTTP both work, so the machine looks right.
#
# Here a tracker has 10.77.0.1 and 10.77.0.2 in a network namespace of its own, joined to a client in another; neither has a way out.
#
# Output seen:
#   asked 10.77.0.1: answered from 10.77.0.1
#   asked 10.77.0.2: answered from 10.77.0.1
#
# What a tracker does about it: it has the kernel say where each datagram was sent (IP_PKTINFO), and answers from there.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed or no namespace could be made (it needs root).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
apt-get -o APT::Sandbox::User=root download -qq opentracker=0.0~git20210823.110868e-3 libowfat0=0.32-4 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"
unshare --net true || exit 2

cat > client.py <<'PY'
import socket, struct, subprocess

print("ready", flush=True)
input()
subprocess.run("ip addr add 10.77.0.9/24 dev client0 && ip link set client0 up", shell=True, check=True)

def answered_from(asked):
    """Not connected, so that it hears whoever answers. Asks until the tracker is up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        for _ in range(20):
            client.sendto(struct.pack(">QII", 0x41727101980, 0, 7), (asked, 6969))
            try:
                return client.recvfrom(100)[1][0]
            except (TimeoutError, ConnectionError):
                pass
    return "nowhere"

for asked in ("10.77.0.1", "10.77.0.2"):
    print(f"asked {asked}: answered from {answered_from(asked)}", flush=True)
PY

cat > main.py <<'PY'
import subprocess, sys

program, folder = sys.argv[1:]
with open(folder + "/hashes", "w") as hashes:
    hashes.write("01" * 20 + "\n")
client = subprocess.Popen(["unshare", "--net", "python3", folder + "/client.py"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True)
assert client.stdout.readline() == "ready\n"
# Two hosts, joined by a cable.
subprocess.run("ip link add tracker0 type veth peer name client0 && ip addr add 10.77.0.1/24 dev tracker0 "
               "&& ip addr add 10.77.0.2/24 dev tracker0 && ip link set tracker0 up "
               f"&& ip link set client0 netns {client.pid}", shell=True, check=True)
tracker = subprocess.Popen([program, "-p", "6969", "-P", "6969", "-d", folder, "-w", "/hashes"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    seen, _ = client.communicate("\n", timeout=60)
    assert tracker.poll() is None, "the tracker ended"
finally:
    tracker.kill()
print(seen, end="")
sys.exit(0 if seen == "asked 10.77.0.1: answered from 10.77.0.1\nasked 10.77.0.2: answered from 10.77.0.1\n" else 1)
PY
unshare --net --pid --fork --kill-child --mount-proc python3 main.py "$dir/root/usr/bin/opentracker" "$dir"
