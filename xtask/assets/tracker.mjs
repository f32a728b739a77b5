// npm's bittorrent-tracker: `node tracker.mjs FOLDER_OF_THE_PACKAGE PORT`. Its own program would load its client side too, which needs
// WebRTC that is built or fetched when it is installed.
import { pathToFileURL } from 'node:url'

const [folder, port] = process.argv.slice(2)
const { default: Server } = await import(pathToFileURL(`${folder}/server.js`))
const server = new Server({ http: true, udp: true, ws: false, stats: false })
server.on('error', error => { console.error(error); process.exit(1) })
server.on('warning', warning => console.log(String(warning)))
server.listen(Number(port))
