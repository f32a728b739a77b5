#!/usr/bin/env bash
# Versions: @ctrl/transmission 7.4.0 (npm), transmission-daemon 3.00-2.1+deb12u1 (Debian 12, unpacked into a temporary
# folder), Node.js 20.
#
# `torrent-add` of Transmission's RPC may name a folder, and without one the daemon uses the folder that its owner set.
# @ctrl/transmission always names one: `/downloads`, unless its caller gives another. So what is added through it goes to
# `/downloads`, whatever the daemon's settings say. `normalizedAddTorrent`, its call that is the same for clients of other
# kinds, takes no folder at all: with it there is no way to the daemon's own.
#
# Output seen:
#   folder of the daemon: DIR/data
#   added without a folder: downloadDir /downloads
#   normalizedAddTorrent: downloadDir /downloads
#   added with download-dir: undefined: downloadDir DIR/data
#
# What a client does about it: it leaves out what its caller did not give. A server that speaks this RPC lets its owner
# say which folders may be used, and names the folder when it refuses one.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed or no namespace could be made.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$dir/cache" @ctrl/transmission@7.4.0 >/dev/null || exit 2
apt-get -o APT::Sandbox::User=root download -qq transmission-daemon=3.00-2.1+deb12u1 libminiupnpc17 libnatpmp1 libevent-2.1-7 || exit 2
for package in *.deb; do
    dpkg-deb -x "$package" root || exit 2
done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"
"$dir/root/usr/bin/transmission-daemon" --version 2>/dev/null || exit 2
unshare --map-root-user --net true || exit 2

cat > main.mjs <<'JS'
import { spawn } from 'node:child_process'
import { Transmission } from '@ctrl/transmission'

const [program, dir] = process.argv.slice(2)
const daemon = spawn(program, ['--foreground', '--config-dir', `${dir}/config`, '--download-dir', `${dir}/data`,
  '--rpc-bind-address', '127.0.0.1', '--port', '9091', '--no-dht', '--no-lpd', '--no-portmap'],
{ stdio: 'ignore', env: { ...process.env, HOME: dir } })
const client = new Transmission({ baseUrl: 'http://127.0.0.1:9091/', username: '', password: '' })
const torrent = name => Buffer.from(`d4:infod6:lengthi16384e4:name1:${name}12:piece lengthi16384e6:pieces20:${'p'.repeat(20)}ee`)

const begun = async () => {
  for (let tries = 0; ; tries++) {
    try {
      return await client.getSession()
    } catch (error) {
      if (tries === 600) throw error
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  }
}

const added = async (how, name, options) => {
  // Stopped: nothing is to be written there.
  const { hashString } = (await client.addTorrent(torrent(name), { paused: true, ...options })).arguments['torrent-added']
  const folder = (await client.getTorrent(hashString)).savePath
  console.log(`${how}: downloadDir ${folder.replace(dir, 'DIR')}`)
  return folder
}

try {
  const own = (await begun()).arguments['download-dir']
  console.log(`folder of the daemon: ${own.replace(dir, 'DIR')}`)
  const without = await added('added without a folder', 'a', {})
  const normalized = (await client.normalizedAddTorrent(torrent('c'), { startPaused: true })).savePath
  console.log(`normalizedAddTorrent: downloadDir ${normalized}`)
  const undef = await added('added with download-dir: undefined', 'b', { 'download-dir': undefined })
  process.exitCode = own === `${dir}/data` && without === '/downloads' && normalized === '/downloads' && undef === own ? 0 : 1
} finally {
  daemon.kill('SIGKILL')
}
JS
unshare --map-root-user --net --pid --fork --kill-child \
    bash -c 'ip link set lo up && node main.mjs "$@"' bash "$dir/root/usr/bin/transmission-daemon" "$dir" || exit 1
