#!/usr/bin/env bash
# Versions: aria2 1.36.0-1 with libaria2-0, nginx 1.22.1-9+deb12u11 and apache2-bin 2.4.71-1~deb12u1 (Debian 12, unpacked
# into a temporary folder), Python 3.
#
# aria2 has a switch for compressed answers of web servers, `--http-accept-gzip`, and then asks web seeds for them too,
# together with a range. nginx with `gzip on`, as Debian sets it up, answers a range of an HTML file with 200 and the whole
# file compressed; a file of another kind it sends as it is. Apache with mod_deflate answers 206 and a range all
# the same, counted in compressed bytes: `bytes 0-979/980` of a file of 380000. aria2 takes neither, does not ask again, and
# waits for peers to come. Without the switch both servers send what is wanted.
#
# Output seen:
#   nginx: exit code 0, files whole: a.html b.bin c.txt
#   nginx, gzip: exit code 1, files whole: c.txt, answers 200 gzip, 206 bytes 0-299999/300000, 206 bytes 13216-299999/300000
#   apache: exit code 0, files whole: a.html b.bin c.txt
#   apache, gzip: exit code 8, files whole: none, answers 206 bytes 13216-299999/300000, 206 gzip bytes 0-N/N,
#     206 gzip bytes 0-N/N
# (b.bin lacks its first piece, which begins in a.html. `--bt-stop-timeout=10` is there to see an end.)
#
# What a client does about it: with a range it asks for `Accept-Encoding: identity`. It judges an answer by its
# `Content-Encoding` before it believes its `Content-Range`, and asks for the piece again elsewhere or later. Whoever
# publishes web seeds switches compression off for that folder.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed or no namespace could be made.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -o APT::Sandbox::User=root download -qq aria2=1.36.0-1 libaria2-0=1.36.0-1 libc-ares2 nginx=1.22.1-9+deb12u11 \
    apache2-bin=2.4.71-1~deb12u1 libapr1 libaprutil1 liblua5.4-0 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"
root/usr/bin/aria2c --version >/dev/null && root/usr/sbin/nginx -v 2>/dev/null && root/usr/sbin/apache2 -v >/dev/null || exit 2
unshare --map-root-user --net true || exit 2

cat > main.py <<'PY'
import hashlib, os, re, socket, subprocess, sys, time

HOST, PORT, PIECE = "127.0.0.1", 8080, 65536
folder = os.getcwd()
FILES = {"a.html": b"<p>hello world</p>\n" * 20000, "b.bin": os.urandom(300000), "c.txt": b"some text here\n" * 20000}

def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"

NGINX = f"""
user root; daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors; events {{}}
http {{
    types {{ text/html html; text/plain txt; }}
    default_type application/octet-stream;
    gzip on;
    log_format answers '$status $sent_http_content_encoding $sent_http_content_range';
    access_log {folder}/answers answers;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen {HOST}:{PORT}; root {folder}/www; }}
}}
"""
MODULES = "".join(f"LoadModule {name}_module {folder}/root/usr/lib/apache2/modules/mod_{name}.so\n"
                  for name in ("mpm_event", "authz_core", "mime", "filter", "deflate"))
APACHE = f"""
ServerRoot {folder}
PidFile {folder}/pid
Listen {HOST}:{PORT}
ServerName localhost
ErrorLog {folder}/errors
{MODULES}
TypesConfig /dev/null
AddType text/html .html
AddType text/plain .txt
AddOutputFilterByType DEFLATE text/html text/plain
DocumentRoot {folder}/www
LogFormat "%>s %{{Content-Encoding}}o %{{Content-Range}}o" answers
CustomLog {folder}/answers answers
"""

def start(server):
    with open(f"{folder}/{server}.conf", "w") as out:
        out.write(NGINX if server == "nginx" else APACHE)
    programs = f"{folder}/root/usr/sbin"
    command = {"nginx": [f"{programs}/nginx", "-p", folder, "-c", f"{folder}/nginx.conf"],
               "apache": [f"{programs}/apache2", "-X", "-f", f"{folder}/apache.conf"]}[server]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((HOST, PORT)).close()
            return process
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)

def attempt(server, gzip):
    target = f"{folder}/{server}-{gzip}"
    os.mkdir(target)
    open(f"{folder}/answers", "w").close()
    code = subprocess.run([f"{folder}/root/usr/bin/aria2c", "--no-conf", f"--http-accept-gzip={gzip}", "--seed-time=0", "--enable-dht=false",
                           "--bt-stop-timeout=10", "--file-allocation=none", "-d", target, f"{folder}/a.torrent"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, HOME=folder)).returncode
    whole = []
    for name, data in FILES.items():
        try:
            with open(f"{target}/top/{name}", "rb") as file:
                whole += [name] if file.read() == data else []
        except FileNotFoundError:
            pass
    with open(f"{folder}/answers") as file:
        answers = [line.replace(" -", "").strip() for line in file]
    # How well it is compressed is of no interest here.
    answers = [re.sub(r"gzip bytes 0-\d{1,5}/\d{1,5}$", "gzip bytes 0-N/N", answer) for answer in answers if not answer.startswith("4")]
    # Their order is a matter of chance.
    return code, whole, sorted(answers)

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
os.makedirs(f"{folder}/www/top")
for name, data in FILES.items():
    with open(f"{folder}/www/top/{name}", "wb") as out:
        out.write(data)
blob = b"".join(FILES.values())
info = {b"files": [{b"length": len(data), b"path": [name.encode()]} for name, data in FILES.items()], b"name": b"top", b"piece length": PIECE,
        b"pieces": b"".join(hashlib.sha1(blob[at:at + PIECE]).digest() for at in range(0, len(blob), PIECE))}
with open(f"{folder}/a.torrent", "wb") as out:
    out.write(bencode({b"info": info, b"url-list": b"http://%s:%d/" % (HOST.encode(), PORT)}))
seen = {}
for server in ("nginx", "apache"):
    process = start(server)
    try:
        for gzip in ("false", "true"):
            code, whole, answers = seen[server, gzip] = attempt(server, gzip)
            print(f"{server}{', gzip' if gzip == 'true' else ''}: exit code {code}, files whole: {' '.join(whole) or 'none'}"
                  + (f", answers {', '.join(answers)}" if gzip == "true" else ""), flush=True)
    finally:
        process.kill()
        process.wait()
plain = ["206 bytes 0-299999/300000", "206 bytes 13216-299999/300000"]
ok = all(seen[server, "false"][:2] == (0, list(FILES)) for server in ("nginx", "apache"))
ok &= seen["nginx", "true"] == (1, ["c.txt"], ["200 gzip", *plain])
ok &= seen["apache", "true"] == (8, [], [plain[1], "206 gzip bytes 0-N/N", "206 gzip bytes 0-N/N"])
sys.exit(0 if ok else 1)
PY
unshare --map-root-user --net --pid --fork --kill-child python3 main.py || exit 1
