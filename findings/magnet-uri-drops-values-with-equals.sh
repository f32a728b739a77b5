#!/usr/bin/env bash
# Versions: magnet-uri 7.0.10 (npm), Node.js 20.
#
# A query may hold `=`, `?`, `/` and `:` as they are (RFC 3986, section 3.4), and it may hold them percent-encoded.
# magnet-uri reads only one of the two forms, and another one for `tr` than for `xt`:
# - A parameter with a second `=` is dropped without a word. Trackers with a key in their query
#   (`tr=http://tracker/announce?key=1`) are such parameters: the download then has no tracker.
# - `xt` is not percent-decoded. A link built with a general encoder of queries (`xt=urn%3Abtih%3A...`, as
#   URLSearchParams and Python's urlencode write it) has no info hash.
#
# Output seen:
#   tracker, encoded: hash aaaa..., trackers ["http://127.0.0.1/announce?key=1"]
#   tracker, plain: hash aaaa..., trackers []
#   link of URLSearchParams: hash undefined, trackers ["http://127.0.0.1/announce?key=1"]
#
# What a client does about it: as a reader it splits a parameter at its first `=` and decodes name and value of every
# parameter. As a writer it encodes the `=` of a tracker's address, and leaves the colons of `xt` as they are.
#
# Exit: 0 as described, 1 it changed, 2 the packages could not be installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$dir/cache" magnet-uri@7.0.10 >/dev/null || exit 2

cat > main.mjs <<'JS'
import magnet from 'magnet-uri'

const hash = 'aa'.repeat(20)
const tracker = 'http://127.0.0.1/announce?key=1'
const attempt = (name, link) => {
  const { infoHash, announce } = magnet(link)
  console.log(`${name}: hash ${infoHash}, trackers ${JSON.stringify(announce)}`)
  return { infoHash, tracker: announce[0] }
}

const encoded = attempt('tracker, encoded', `magnet:?xt=urn:btih:${hash}&tr=${encodeURIComponent(tracker)}`)
const plain = attempt('tracker, plain', `magnet:?xt=urn:btih:${hash}&tr=${tracker}`)
const general = attempt('link of URLSearchParams', `magnet:?${new URLSearchParams({ xt: `urn:btih:${hash}`, tr: tracker })}`)
const asDescribed = encoded.infoHash === hash && encoded.tracker === tracker &&
  plain.infoHash === hash && plain.tracker === undefined &&
  general.infoHash === undefined && general.tracker === tracker
process.exit(asDescribed ? 0 : 1)
JS
node main.mjs || exit 1
