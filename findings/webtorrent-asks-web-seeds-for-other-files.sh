#!/usr/bin/env bash
# Versions: webtorrent 3.0.21 with bencode 4.0.1 (npm), Node.js 20. Its native module for WebRTC, which is not used
# here, is replaced by nothing.
#
# A file's address at a web seed is the address of the folder and the file's path (BEP 19), and a path in an address is
# percent-encoded (RFC 3986). WebTorrent puts the path there as it is and leaves the encoding to its HTTP library, which
# encodes what cannot be in an address, such as a space, but cannot know that a `#`, `?` or `%` belongs to a name. So for
# `a#b` it asks for `a`, for `q?r` for `q`, and for `50%20` for the file `50 `. The server has no such files, or other
# ones, and a torrent with one such name never gets complete from web seeds: WebTorrent asks again and again.
#
# Output seen:
#   plain plus+: asks for /top/plain /top/plus+, 100 %
#   plain a#b q?r 50%20 c%d: asks for /top/50%20 /top/a /top/c%d /top/plain /top/q?r, 20 %
#
# What a client does about it: it encodes every byte of a name that is not unreserved in RFC 3986, at each web seed of a
# folder. Who makes a torrent for WebTorrent with web seeds keeps `#`, `?` and `%` out of file names.
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
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import bencode from 'bencode'
import WebTorrent from 'webtorrent'

const pieceLength = 16384

const attempt = async names => {
  const files = new Map(names.map(name => [name, randomBytes(pieceLength)]))
  const asked = new Set()
  const server = http.createServer((request, response) => {
    asked.add(request.url)
    // The name between the folder and a query, decoded, as servers of files do.
    const path = request.url.split('?')[0].replace('/top/', '')
    let data
    try { data = files.get(decodeURIComponent(path)) } catch { }
    const range = /bytes=(\d+)-(\d+)/.exec(request.headers.range)
    if (!data || !range) return response.writeHead(404).end()
    const body = data.subarray(+range[1], +range[2] + 1)
    response.writeHead(206, { 'content-range': `bytes ${range[1]}-${range[2]}/${data.length}`, 'content-length': body.length })
    response.end(body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const pieces = Buffer.concat([...files.values()].map(data => createHash('sha1').update(data).digest()))
  const info = { files: names.map(name => ({ length: pieceLength, path: [name] })), name: 'top', 'piece length': pieceLength, pieces }
  const metainfo = Buffer.from(bencode.encode({ info, 'url-list': [`http://127.0.0.1:${server.address().port}/`] }))
  const client = new WebTorrent({ dht: false, lsd: false, natUpnp: false, natPmp: false, tracker: false, utp: false })
  const torrent = client.add(metainfo, { path: `${process.argv[2]}/${names.length}` })
  const limit = new Promise(resolve => setTimeout(resolve, 25000))
  await Promise.race([once(torrent, 'done'), limit])
  const progress = Math.round(torrent.progress * 100)
  await new Promise(resolve => client.destroy(resolve))
  server.closeAllConnections()
  server.close()
  console.log(`${names.join(' ')}: asks for ${[...asked].sort().join(' ')}, ${progress} %`)
  return [progress, ...[...asked].sort()].join(' ')
}

const plain = await attempt(['plain', 'plus+'])
const odd = await attempt(['plain', 'a#b', 'q?r', '50%20', 'c%d'])
process.exit(plain === '100 /top/plain /top/plus+' && odd === '20 /top/50%20 /top/a /top/c%d /top/plain /top/q?r' ? 0 : 1)
JS
node --import ./without-webrtc.mjs main.mjs "$dir/downloads" || exit 1
