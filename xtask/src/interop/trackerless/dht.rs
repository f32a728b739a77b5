//! A DHT of thirty nodes, a third of them ours, and magnet links between clients that have nothing else in common.
//!
//! A download is measured from the start of its program to its first verified piece; it knows one node. Ten seconds are what
//! ours gets. Transmission as the seed adds its ten: it unchokes newcomers in a round of ten seconds and not between rounds
//! (3.00; 11.3 s were seen on a link). Other clients are slow for reasons of their own, and get what they need and some more:
//! libtorrent, qBittorrent and aria2 look a few seconds after their start; rtorrent looks once it has been up for half
//! a minute; Transmission asks for no peers until it knows nine nodes, of which it pings one every fifteen seconds.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::payload::{Payload, info_bytes, info_hash};
use super::super::scene::{PATIENCE, Scene};
use super::{Case, first_piece, is_wanted, magnet, run_all};
use crate::clients::{self, Client, Discovery, Kind, PEER_PORT, Place};
use crate::lab::{self, Family, Host, Process, Segment, Terrain};
use crate::report::{Tally, say};

/// Of all nodes, in groups: libtorrent's, Transmission's, ours.
const NODES: [u16; 3] = [14, 8, 8];

/// From the start of the nodes until each of libtorrent's knows most of them.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a seed takes until others find it, at most; Transmission needs most of it.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(180);

/// Bytes of a torrent; what matters is its beginning.
const LENGTH: u64 = 1 << 20;

/// Runs the directions that were asked for, in one network: the slow ones all at once, beside the others one by one.
pub(super) fn run(scene: &Scene<'_>, family: Family) -> Tally {
    let hub = scene.options.hub;
    let directions: Vec<(Kind, Kind)> = directions(hub, family)
        .into_iter()
        .filter(|direction| is_wanted(scene, &name(*direction, family)))
        .collect();
    let dead = format!("dead trackers and a DHT, {}", version(family));
    let dead = is_wanted(scene, &dead).then_some(dead);
    if directions.is_empty() && dead.is_none() {
        return Tally::default();
    }
    let start = Instant::now();
    let dht = match Dht::start(scene, family, NODES) {
        Ok(dht) => dht,
        Err(error) => {
            say(&format!("  FAIL  {:5.1} s  the DHT\n{error:#}", start.elapsed().as_secs_f64()));
            return Tally { passed: 0, failed: 1 };
        }
    };
    let (slow, fast): (Vec<_>, Vec<_>) =
        directions.into_iter().partition(|(seed, leech)| is_slow(*seed) || is_slow(*leech));
    let cases = |directions: Vec<(Kind, Kind)>| -> Vec<Case<'_>> {
        let dht = &dht;
        let case = |direction| {
            Case::new(name(direction, family), move |scene: &Scene<'_>| dht.download(scene, direction))
        };
        directions.into_iter().map(case).collect()
    };
    let (slow, mut fast) = (cases(slow), cases(fast));
    fast.extend(dead.map(|name| Case::new(name, |scene: &Scene<'_>| dht.dead_trackers(scene))));
    thread::scope(|scope| {
        let width = slow.len();
        let slow = scope.spawn(move || run_all(scene, slow, width));
        let mut tally = run_all(scene, fast, 1);
        tally += slow.join().unwrap_or(Tally { passed: 0, failed: 1 });
        tally
    })
}

fn name((seed, leech): (Kind, Kind), family: Family) -> String {
    format!("magnet over the DHT, {}: {seed} to {leech}", version(family))
}

fn version(family: Family) -> &'static str {
    if family == Family::V4 { "IPv4" } else { "IPv6" }
}

/// Who seeds and who downloads. rtorrent's DHT is of IPv4 only, and so is that of Debian's aria2 in practice.
fn directions(hub: Kind, family: Family) -> Vec<(Kind, Kind)> {
    let others: &[Kind] = match family {
        Family::V4 => &Kind::FOREIGN,
        Family::V6 => &[Kind::Libtorrent],
    };
    let others = others.iter().copied().filter(|kind| *kind != hub);
    let pairs = others.flat_map(|kind| [(kind, hub), (hub, kind)]).chain([(hub, hub)]);
    // rtorrent 0.9.8 takes the length before the first peer of an answer ("6:") for a part of its address, and dials 54.58.x.x:
    // as a downloader it is only found by others, when they announce again.
    pairs.filter(|(_, leech)| *leech != Kind::Rtorrent).collect()
}

fn is_slow(kind: Kind) -> bool {
    matches!(kind, Kind::Transmission | Kind::Rtorrent)
}

/// From the start of a downloader to its first piece.
fn first_piece_limit(seed: Kind, leech: Kind) -> Duration {
    Duration::from_secs(match (seed, leech) {
        (Kind::Transmission, Kind::Ferriswarm) => 20,
        (_, Kind::Ferriswarm) => 10,
        (_, Kind::Transmission) => 180,
        _ => 40,
    })
}

/// The network. Everything in it ends with this value.
pub(crate) struct Dht {
    segment: Segment,
    /// libtorrent's nodes, which can be asked.
    asked: Process,
    home: PathBuf,
    transmission: Vec<clients::Transmission>,
    ours: Vec<Process>,
    /// Of the nodes; a host goes with its value.
    hosts: Vec<Arc<Host>>,
    router: SocketAddr,
}

impl Dht {
    /// Starts so many nodes of libtorrent's, of Transmission's and of ours, and waits until they know each other.
    ///
    /// # Errors
    /// When a program does not start or the nodes do not find each other.
    pub(crate) fn start(scene: &Scene<'_>, family: Family, nodes: [u16; 3]) -> Result<Self> {
        let [mut libtorrent, transmission, mut ours] = nodes;
        if scene.options.hub != Kind::Ferriswarm {
            (libtorrent, ours) = (libtorrent + ours, 0);
        }
        let segment = Segment::new(scene.lab, Terrain::Internet, family)?;
        let host = segment.host(libtorrent)?;
        let home = scene.folder("dht")?;
        let router = SocketAddr::from((host.peer_ip(), PEER_PORT));
        let mut command = host.command(&scene.options.tools.python);
        command.arg(scene.options.tools.peer_script.with_file_name("dht.py")).arg(router.to_string());
        command
            .args(host.segment_addresses().iter().map(|ip| SocketAddr::from((*ip, PEER_PORT)).to_string()));
        command.current_dir(&home).stdout(File::create(home.join("out"))?);
        let log = home.join("log");
        command.stderr(File::create(&log)?);
        let asked = Process::start_with_its_own_output(&mut command, &log)?;
        let hosts = vec![Arc::new(host)];
        let (foreign, own) = (Vec::new(), Vec::new());
        let mut dht = Self { segment, asked, home, transmission: foreign, ours: own, hosts, router };
        for n in 0..transmission {
            let mut client = clients::Transmission::new(dht.place(scene, &format!("transmission-{n}"))?);
            client.launch()?;
            dht.tell(client.peer_address())?;
            dht.transmission.push(client);
        }
        for n in 0..ours {
            let place = dht.place(scene, &format!("node-{n}"))?;
            dht.ours.push(node(&place, router)?);
            dht.hosts.push(place.host);
        }
        // Each is told of the others of libtorrent's, and does not keep its router; that it knows half of them proves that they talk.
        let least = u64::from((libtorrent / 2).min(12));
        let outcome = lab::wait_until(START_LIMIT, "the nodes to know each other", || {
            dht.asked.ensure_running()?;
            let line = dht.said()?;
            let counts = line["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
            Ok(!counts.is_empty() && counts.iter().all(|count| count.as_u64() >= Some(least)))
        });
        outcome.with_context(|| format!("they said {}", dht.said().unwrap_or_default()))?;
        Ok(dht)
    }

    /// Where its hosts are.
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The one node that a client knows.
    pub(crate) fn router(&self) -> SocketAddr {
        self.router
    }

    /// A host of its own and a home folder for a client that has the DHT and nothing else.
    ///
    /// # Errors
    /// When addresses are used up.
    pub(crate) fn place(&self, scene: &Scene<'_>, name: &str) -> Result<Place> {
        let discovery = Discovery { dht: Some(self.router), ..Discovery::default() };
        scene.place_on(&self.segment, name, discovery)
    }

    /// A host of its own, for programs that are started there one after the other.
    ///
    /// # Errors
    /// When addresses are used up.
    pub(crate) fn host(&self) -> Result<Arc<Host>> {
        Ok(Arc::new(self.segment.host(1)?))
    }

    /// Waits until a lookup of libtorrent's finds this peer.
    ///
    /// # Errors
    /// When it does not come.
    pub(crate) fn wait_for(&self, torrent: &Path, peer: SocketAddr) -> Result<()> {
        let hash = info_hash(torrent)?;
        // A line in one piece: the script reads while we write.
        let mut file = File::options().create(true).append(true).open(self.home.join("wanted"))?;
        file.write_all(format!("{hash}\n").as_bytes())?;
        let outcome = lab::wait_until(ANNOUNCE_LIMIT, &format!("{peer} to be in the DHT"), || {
            let line = self.said()?;
            let found = line["peers"][&hash].as_array().map(Vec::as_slice).unwrap_or_default();
            Ok(found.iter().any(|found| *found == peer.to_string()))
        });
        outcome.with_context(|| format!("found were {}", self.said().unwrap_or_default()["peers"][&hash]))
    }

    /// Tells libtorrent's nodes of another.
    fn tell(&self, node: SocketAddr) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.home.join("known"))?;
        Ok(file.write_all(format!("{} {}\n", node.ip(), node.port()).as_bytes())?)
    }

    /// The newest whole line of what it says.
    fn said(&self) -> Result<Value> {
        let text = fs::read_to_string(self.home.join("out"))?;
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let Some(line) = whole.lines().next_back() else { return Ok(Value::Null) };
        serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))
    }

    /// One seeds, the other downloads.
    fn download(&self, scene: &Scene<'_>, (seed, leech): (Kind, Kind)) -> Result<String> {
        let payload = scene.own_payload(LENGTH)?;
        let start = Instant::now();
        let mut seeder = self.seeder(scene, &payload, seed)?;
        let announced = start.elapsed();
        let first = self.leech(scene, &payload, (seed, leech), &magnet(&payload.torrent)?)?;
        let mut said = format!(
            "first piece after {:.1} s; the seed was found {:.1} s after its start",
            first.as_secs_f64(),
            announced.as_secs_f64()
        );
        if leech == Kind::Ferriswarm {
            self.convert(scene, &payload).context("a torrent of the magnet link")?;
            said.push_str("; the torrent of the magnet link has the same info");
        }
        seeder.stop();
        Ok(said)
    }

    /// One tracker that no server is at, one that refuses, one whose name leads nowhere.
    fn dead_trackers(&self, scene: &Scene<'_>) -> Result<String> {
        /// No host has the segment's last address.
        const NOBODY: u16 = 199;
        let payload = scene.own_payload(LENGTH)?;
        let mut seeder = self.seeder(scene, &payload, Kind::Libtorrent)?;
        let bytes = fs::read(&payload.torrent)?;
        let tiers: String = [
            format!("http://{}/announce", SocketAddr::from((self.segment.address(NOBODY)?, 80))),
            format!("http://{}/announce", SocketAddr::from((self.router.ip(), 80))),
            "udp://tracker.invalid:80/announce".to_owned(),
        ]
        .iter()
        .map(|url| format!("l{}:{url}e", url.len()))
        .collect();
        // It sorts before every other key that the torrent has.
        let torrent = scene.work.join("dead.torrent");
        fs::write(&torrent, [format!("d13:announce-listl{tiers}e").as_bytes(), &bytes[1..]].concat())?;
        let first = self.leech(scene, &payload, (Kind::Libtorrent, scene.options.hub), &torrent)?;
        seeder.stop();
        Ok(format!("first piece after {:.1} s", first.as_secs_f64()))
    }

    /// A seed that a lookup finds.
    fn seeder(&self, scene: &Scene<'_>, payload: &Payload, kind: Kind) -> Result<Box<dyn Client>> {
        let place = self.place(scene, "seed")?;
        let mut seeder = clients::make(kind, place.clone())?;
        seeder.start_seed(&payload.torrent, &payload.dir).context("starting the seeder")?;
        seeder.wait_done(PATIENCE).context("the seeder")?;
        let log = |seeder: &mut dyn Client| seeder.process().map(|process| process.log_tail());
        self.wait_for(&payload.torrent, place.peer_address())
            .with_context(|| format!("the seeder wrote\n{}", log(seeder.as_mut()).unwrap_or_default()))?;
        Ok(seeder)
    }

    /// Downloads everything; the time to the first piece. A client of others whose first lookup comes before its node knows
    /// others does not look again for minutes: one that gets no first piece is started anew once.
    fn leech(
        &self,
        scene: &Scene<'_>,
        payload: &Payload,
        (seed, kind): (Kind, Kind),
        source: &Path,
    ) -> Result<Duration> {
        let begin = |name| self.begin(scene, (seed, kind), (name, source));
        let (mut client, dir, first) = match begin("leech") {
            Err(_) if kind != Kind::Ferriswarm => begin("leech-again").context("at its second start too")?,
            begun => begun?,
        };
        client.wait_done(PATIENCE)?;
        client.stop();
        payload.compare(&dir, kind != Kind::Ferriswarm).context("what was written")?;
        Ok(first)
    }

    /// A downloader that has its first piece, where it downloads to, and the time that the piece took.
    fn begin(
        &self,
        scene: &Scene<'_>,
        (seed, kind): (Kind, Kind),
        (name, source): (&str, &Path),
    ) -> Result<(Box<dyn Client>, PathBuf, Duration)> {
        let place = self.place(scene, name)?;
        let dir = place.home.join("download");
        fs::create_dir_all(&dir)?;
        let mut client = clients::make(kind, place)?;
        let start = Instant::now();
        client.start_leech(source, &dir).context("starting the downloader")?;
        let first = first_piece(client.as_mut(), start, first_piece_limit(seed, kind))?;
        Ok((client, dir, first))
    }

    /// `torrent` makes of the link what the link was made of, and `magnet` the link again.
    fn convert(&self, scene: &Scene<'_>, payload: &Payload) -> Result<()> {
        let place = self.place(scene, "torrent")?;
        let (link, out) = (magnet(&payload.torrent)?, place.home.join("made.torrent"));
        let mut command = place.host.command(&place.tools.ferriswarm);
        command.arg("torrent").arg(&link).arg("-o").arg(&out);
        command.args(["--port", &PEER_PORT.to_string(), "--bind", &place.host.peer_ip().to_string()]);
        command.args(["--dht-router", &self.router.to_string()]);
        command.args(["--no-lsd", "--no-port-mapping", "--state-dir"]).arg(place.home.join("state"));
        let mut process = Process::start(&mut command, &place.home.join("log"))?;
        let status = process.wait(PATIENCE)?;
        ensure!(status.success(), "it ended with {status}\n{}", process.log_tail());
        ensure!(info_bytes(&out)? == info_bytes(&payload.torrent)?, "the info dictionary is another");
        let output = std::process::Command::new(&place.tools.ferriswarm).arg("magnet").arg(&out).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let hash = info_hash(&payload.torrent)?;
        ensure!(text.contains(&format!("urn:btih:{hash}")), "`magnet` printed {text:?}, the hash is {hash}");
        Ok(())
    }
}

/// `ferriswarm dht node` in this place.
///
/// # Errors
/// When it does not start.
pub(super) fn node(place: &Place, router: SocketAddr) -> Result<Process> {
    let mut command = place.host.command(&place.tools.ferriswarm);
    command.args(["dht", "node", "--json", "--dht-port", &PEER_PORT.to_string()]);
    command.args(["--bind", &place.host.peer_ip().to_string(), "--dht-router", &router.to_string()]);
    command.arg("--state-dir").arg(place.home.join("state")).current_dir(&place.home);
    Process::start(&mut command, &place.home.join("log"))
}
