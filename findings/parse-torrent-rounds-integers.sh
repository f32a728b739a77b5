#!/usr/bin/env bash
# Versions: parse-torrent 11.0.24 with bencode 4.0.1 (npm), Node.js 20.
#
# The info hash is the SHA-1 of the info dictionary as its bytes stand in the file. parse-torrent decodes the file,
# encodes the dictionary again, and hashes that. Its decoder puts each integer into a JavaScript number, which is
# exact only to 2^53. So one integer above that in the info dictionary, whatever its key, changes the info hash: the
# program looks for a swarm that does not exist. Nothing warns of it. Bencoded integers have no upper bound (BEP 3).
#
# Output seen:
#   salt 9007199254740992: file 310c88ae..., parse-torrent 310c88ae...
#   salt 9007199254740993: file ad17c12d..., parse-torrent 310c88ae...
# Two different torrents get one info hash.
#
# What a client does about it: it hashes the bytes of the info dictionary as they came and never encodes it anew. As a
# creator it writes no integer above 2^53 into the info dictionary.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$dir/cache" parse-torrent@11.0.24 bencode@4.0.1 >/dev/null || exit 2

cat > main.mjs <<'JS'
import { createHash } from 'node:crypto'
import parseTorrent from 'parse-torrent'

const attempt = async salt => {
  const info = `d6:lengthi16384e4:name1:a12:piece lengthi16384e6:pieces20:${'p'.repeat(20)}4:salti${salt}ee`
  const file = createHash('sha1').update(info).digest('hex')
  const parsed = (await parseTorrent(Buffer.from(`d4:info${info}e`))).infoHash
  console.log(`salt ${salt}: file ${file}, parse-torrent ${parsed}`)
  return { file, parsed }
}

const exact = await attempt('9007199254740992')
const rounded = await attempt('9007199254740993')
const asDescribed = exact.file === exact.parsed && rounded.file !== rounded.parsed && rounded.parsed === exact.parsed
process.exit(asDescribed ? 0 : 1)
JS
node main.mjs || exit 1
