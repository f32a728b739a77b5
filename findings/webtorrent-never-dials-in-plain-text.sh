#!/usr/bin/env bash
# Versions: webtorrent 3.0.21 with bencode 4.0.1 (npm), Node.js 20. Its native module for WebRTC, which is not used
# here, is replaced by nothing.
#
# WebTorrent 3 has three levels of encryption: off, "PE + plaintext fallback", and RC4 only. The second is what it
# starts with. For the connections that it makes there is no fallback: each of its attempts begins with the key exchange
# of Message Stream Encryption, which is no BitTorrent handshake, also after a peer that knows no encryption closed
# the first ones. So WebTorrent with its own settings never connects to such a peer. It takes plain connections from
# others, and with encryption off it dials in plain text.
#
# Output seen (25 seconds each):
#   its own settings: encrypted, encrypted, encrypted, encrypted
#   encryption off: plain, plain, plain, plain
#   dialled in plain text: plain
#
# What a client does about it: it understands encryption on what comes in, even if it never uses it on its own. A peer
# without encryption can only dial WebTorrent, and never be dialled by it: behind a router it is not reached at all.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$dir/cache" webtorrent@3.0.21 bencode@4.0.1 >/dev/null || exit 2

cat > without-webrtc.mjs <<'JS'
import { register } from 'node:module'

const stub = 'export const RTCPeerConnection = undefined, RTCSessionDescription = undefined, RTCIceCandidate = undefined'
register('data:text/javascript,' + encodeURIComponent(`
const stub = 'data:text/javascript,' + encodeURIComponent(${JSON.stringify(stub)})
export const resolve = (name, context, next) => name === 'webrtc-polyfill' ? { url: stub, shortCircuit: true } : next(name, context)
`))
JS
cat > main.mjs <<'JS'
import { once } from 'node:events'
import net from 'node:net'
import bencode from 'bencode'
import WebTorrent from 'webtorrent'

const protocol = Buffer.from('\x13BitTorrent protocol')

const attempt = async (name, options) => {
  const seen = []
  const enough = new Promise(resolve => setTimeout(resolve, 25000))
  const peer = net.createServer(connection => {
    connection.on('error', () => {})
    // A peer without encryption: whatever is no handshake of BitTorrent is the end.
    connection.once('data', data => {
      seen.push(data.subarray(0, 20).equals(protocol) ? 'plain' : 'encrypted')
      connection.destroy()
    })
  }).listen(0, '127.0.0.1')
  await once(peer, 'listening')
  const info = { length: 16384, name: 'a', 'piece length': 16384, pieces: Buffer.alloc(20) }
  const client = new WebTorrent({ dht: false, lsd: false, natUpnp: false, natPmp: false, tracker: false, utp: false, ...options })
  const torrent = client.add(Buffer.from(bencode.encode({ info })), { path: process.argv[2] })
  await once(torrent, 'ready')
  torrent.addPeer(`127.0.0.1:${peer.address().port}`)
  await enough
  await new Promise(resolve => client.destroy(resolve))
  peer.close()
  console.log(`${name}: ${seen.join(', ')}`)
  return seen
}

const dialIn = async () => {
  const client = new WebTorrent({ dht: false, lsd: false, natUpnp: false, natPmp: false, tracker: false, utp: false })
  const info = { length: 16384, name: 'a', 'piece length': 16384, pieces: Buffer.alloc(20) }
  const torrent = client.add(Buffer.from(bencode.encode({ info })), { path: process.argv[2] })
  await once(torrent, 'ready')
  const connection = net.connect(client.torrentPort, '127.0.0.1')
  connection.write(Buffer.concat([protocol, Buffer.alloc(8), Buffer.from(torrent.infoHash, 'hex'), Buffer.alloc(20, 'x')]))
  const [answer] = await Promise.race([once(connection, 'data'), new Promise(resolve => setTimeout(resolve, 25000, [Buffer.alloc(0)]))])
  connection.destroy()
  await new Promise(resolve => client.destroy(resolve))
  const way = answer.subarray(0, 20).equals(protocol) ? 'plain' : 'no plain answer'
  console.log(`dialled in plain text: ${way}`)
  return way
}

const own = await attempt('its own settings', {})
const off = await attempt('encryption off', { secure: 0 })
const incoming = await dialIn()
process.exit(own.length >= 3 && own.every(way => way === 'encrypted') && off[0] === 'plain' && incoming === 'plain' ? 0 : 1)
JS
node --import ./without-webrtc.mjs main.mjs "$dir/downloads" || exit 1
