//! A network in a box: a private set of namespaces joined by a bridge, which vanishes with its process.
//!
//! `command` runs this program again inside new network, mount and process namespaces (and, for someone who is not
//! root, a user namespace). Everything a test starts lives in there: when the inner process ends, for whatever
//! reason, the kernel ends every process and removes every interface, so there is nothing to clean up and nothing
//! stale to find. The inner process watches its standard input, which only the outer one holds open, so Ctrl-C on
//! the outer one ends it too.
//!
//! It does not shape traffic: no loss, no delay.

mod router;
mod segment;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

pub(crate) use router::Router;
pub(crate) use segment::{DEVICE, Family, Segment, Terrain};

/// Set for the inner process, to who the outer one was.
const INSIDE: &str = "XTASK_LAB";

/// `INSIDE` when the outer process belonged to the superuser.
const ROOT: &str = "root";

/// Hosts of one bridge; the last number of 10.77.0.n.
const HOSTS: std::ops::RangeInclusive<u8> = 2..=250;

/// Addresses of peers at the test program's end of a cable or tunnel, after 10.77.0.10.
pub(crate) const CABLE_PEERS_MAX: u8 = 201;

/// The TUN devices that a tunnel is made of; the thread that relays between them makes them.
pub(crate) const TUN_NEAR: &str = "cable";
pub(crate) const TUN_FAR: &str = "far";

/// Between two looks at a condition that a foreign program has to fulfil.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What a program gets to end by itself before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// True in the process that `command` describes.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// True in that process when root is the real one, not one of a user namespace.
pub(crate) fn is_inside_as_root() -> bool {
    std::env::var_os(INSIDE).is_some_and(|who| who == ROOT)
}

/// A command that runs this program with `args` inside fresh namespaces. Its standard input must be a pipe that stays
/// open as long as the lab is wanted.
///
/// # Errors
/// When this program does not know its own path.
pub(crate) fn command<I, S>(args: I) -> Result<Command>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let program = std::env::current_exe().context("finding this program's own path")?;
    // The steps before may have built this program anew, at the same place.
    let program =
        program.to_str().context("a path that is no text")?.trim_end_matches(" (deleted)").to_owned();
    let who = if rustix::process::geteuid().is_root() { ROOT } else { "somebody" };
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    if who != ROOT {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.arg("--").arg(program).args(args).env(INSIDE, who).stdin(Stdio::piped());
    Ok(unshare)
}

/// A bridge in the inner process's own network namespace, at 10.77.0.1, and the hosts on it.
#[derive(Clone, Debug)]
pub(crate) struct Lab {
    free: Arc<Mutex<BTreeSet<u8>>>,
    /// How many segments there were so far.
    segments: Arc<AtomicU16>,
}

impl Lab {
    /// The address of the bridge: the test program itself, as the hosts see it.
    pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

    /// Prepares the namespaces that `command` made. Call once.
    ///
    /// # Errors
    /// When `ip` or `mount` fails.
    pub(crate) fn new() -> Result<Self> {
        prepare()?;
        ip(&[
            "link set lo up".into(),
            "link add lab type bridge".into(),
            format!("addr add {}/24 dev lab", Self::ADDRESS),
            "link set lab up".into(),
        ])?;
        Ok(Self { free: Arc::new(Mutex::new(HOSTS.collect())), segments: Arc::default() })
    }

    /// A new host on the bridge with an address that no other has.
    ///
    /// # Errors
    /// When all addresses are taken or `ip` fails.
    pub(crate) fn host(&self) -> Result<Host> {
        let number = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_first()
            .context("the lab has no free address")?;
        let host = Host { number, free: Arc::clone(&self.free), segment: Vec::new() };
        let name = host.namespace();
        ip(&[
            format!("netns add {name}"),
            // The device's address follows from the host's, so that a host that talked to one that had it before finds
            // this one.
            format!(
                "link add v{number} master lab type veth peer name eth0 address 02:4d:00:00:00:{number:02x} netns {name}"
            ),
            format!("link set v{number} up"),
        ])?;
        host.bring_up("eth0")?;
        Ok(host)
    }

    /// A host joined to the test program by one virtual cable, without a bridge, for measurements. The program's end
    /// has 10.77.0.1 and the `extra` addresses after 10.77.0.10.
    ///
    /// # Errors
    /// When the addresses are taken or `ip` fails.
    pub(crate) fn cable(extra: u8) -> Result<Host> {
        prepare()?;
        let host = Host { number: 2, free: Arc::default(), segment: Vec::new() };
        let name = host.namespace();
        let mut lines = vec![
            "link set lo up".into(),
            format!("netns add {name}"),
            format!("link add cable type veth peer name eth0 netns {name}"),
            format!("addr add {}/24 dev cable", Self::ADDRESS),
        ];
        lines.extend((0..extra).map(|n| format!("addr add 10.77.0.{}/24 dev cable", 11 + n)));
        lines.push("link set cable up".into());
        ip(&lines)?;
        host.bring_up("eth0")?;
        Ok(host)
    }

    /// The same with a tunnel in place of the cable: `TUN_NEAR` stays here, `TUN_FAR` goes to the host.
    ///
    /// # Errors
    /// When the devices are not there or `ip` fails.
    pub(crate) fn tunnel(extra: u8) -> Result<Host> {
        prepare()?;
        let host = Host { number: 2, free: Arc::default(), segment: Vec::new() };
        let name = host.namespace();
        let mut lines = vec![
            "link set lo up".into(),
            format!("netns add {name}"),
            format!("link set {TUN_NEAR} mtu 9000 txqueuelen 10000"),
            format!("link set {TUN_FAR} mtu 9000 txqueuelen 10000"),
            format!("link set {TUN_FAR} netns {name} name eth0"),
            format!("addr add {}/24 dev {TUN_NEAR}", Self::ADDRESS),
        ];
        lines.extend((0..extra).map(|n| format!("addr add 10.77.0.{}/24 dev {TUN_NEAR}", 11 + n)));
        lines.push(format!("link set {TUN_NEAR} up"));
        ip(&lines)?;
        host.bring_up("eth0")?;
        Ok(host)
    }
}

/// One network namespace with one address. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Host {
    number: u8,
    free: Arc<Mutex<BTreeSet<u8>>>,
    /// Its addresses on a segment, if it is on one.
    segment: Vec<IpAddr>,
}

impl Host {
    /// Where the lab and its other hosts find it.
    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    /// Where peers find it: the first of its addresses on a segment, or the one in the lab.
    pub(crate) fn peer_ip(&self) -> IpAddr {
        self.segment.first().copied().unwrap_or_else(|| self.address().into())
    }

    /// Its addresses on a segment.
    pub(crate) fn segment_addresses(&self) -> &[IpAddr] {
        &self.segment
    }

    /// Where the host is or will be that was made `n` after this one, if no other has gone meanwhile.
    pub(crate) fn neighbour(&self, n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number + n)
    }

    /// A command that will run on this host; the process it becomes is the program itself, not a wrapper.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace())).arg("--").arg(program);
        command
    }

    fn namespace(&self) -> String {
        format!("host{}", self.number)
    }

    fn bring_up(&self, device: &str) -> Result<()> {
        let name = self.namespace();
        let script = format!(
            "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up && \
             ip addr add {}/24 dev {device} && ip link set {device} up",
            self.address()
        );
        run("nsenter", &[&format!("--net=/run/netns/{name}"), "sh", "-c", &script])
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The namespace lives on while a program in it does; its name and its address are free at once, so the
        // cable goes first.
        let mut lines = vec![format!("link del v{}", self.number)];
        lines.extend((!self.segment.is_empty()).then(|| format!("link del w{}", self.number)));
        lines.push(format!("netns del {}", self.namespace()));
        let _ = ip(&lines);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number);
    }
}

/// A program of a test: its output goes to a log, and it ends with this value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
    /// Processor time of a process that has ended.
    spent: Duration,
}

impl Process {
    /// Starts `command`; standard output and error both go to `log`.
    ///
    /// # Errors
    /// When the log cannot be made or the program cannot be started.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        Self::start_with_its_own_output(command, log)
    }

    /// Starts `command` whose output the caller has arranged; `log` is what a failure report shows.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(crate) fn start_with_its_own_output(command: &mut Command, log: &Path) -> Result<Self> {
        command.stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self { child, log: log.to_owned(), ended: None, spent: Duration::ZERO })
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not know the process.
    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            // The kernel forgets what a process used once its parent has taken note of its end, so look before.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if waitid(WaitId::Pid(self.pid()?), options)?.is_some() {
                self.spent = cpu_time(self.child.id())?;
                self.ended = Some(self.child.wait()?);
            }
        }
        Ok(self.ended)
    }

    /// Processor time so far, all its threads, user and system; in steps of 10 ms.
    ///
    /// # Errors
    /// When the kernel does not know the process.
    pub(crate) fn cpu_time(&mut self) -> Result<Duration> {
        if self.exit_status()?.is_some() {
            return Ok(self.spent);
        }
        cpu_time(self.child.id())
    }

    /// Processor time so far of the threads that it has, in nanoseconds.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn cpu_time_exactly(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end while we look.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let spent = text.split_whitespace().next().context("an empty schedstat")?;
            sum += Duration::from_nanos(spent.parse()?);
        }
        Ok(sum)
    }

    /// The most memory it had resident so far, in bytes; `None` once it has ended.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    /// Memory that is resident, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn memory(&self) -> Result<u64> {
        self.status("VmRSS:").context("the program has ended")
    }

    /// A size in the kernel's books about it, in bytes.
    fn status(&self, key: &str) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id out of range")
    }

    /// As the lab's processes know it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the end of the log, when the program is no longer running.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.exit_status()? {
            bail!("it ended early: {status}\n{}", self.log_tail());
        }
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it has not ended after `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut ended = None;
        wait_until(limit, "the program to end", || {
            ended = self.exit_status()?;
            Ok(ended.is_some())
        })?;
        ended.context("the program ended")
    }

    /// Sends a signal; a program that is gone already is no error.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if !matches!(self.exit_status(), Ok(None)) {
            return;
        }
        if let Ok(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end with `signal`, waits, and kills it when it does not.
    pub(crate) fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        if self.wait(STOP_LIMIT).is_err() {
            self.kill();
        }
    }

    /// `kill -9`, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.spent = cpu_time(self.child.id()).unwrap_or(self.spent);
        let _ = self.child.kill();
        self.ended = self.child.wait().ok().or(self.ended);
    }

    /// The last lines it wrote.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.exit_status(), Ok(None)) {
            self.kill();
        }
    }
}

/// The last lines of a file, for a report; empty when it cannot be read.
pub(crate) fn tail(path: &Path) -> String {
    const TAIL_BYTES: usize = 3000;
    const TAIL_LINES: usize = 25;
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]).into_owned();
    let lines: Vec<&str> = text.split(['\n', '\r']).filter(|line| !line.trim().is_empty()).collect();
    let mut report = format!("  --- end of {} ---\n", path.display());
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        report.push_str("  | ");
        report.push_str(line);
        report.push('\n');
    }
    report
}

/// Lets TCP buffers grow to `most` bytes, here and on `host`.
///
/// # Errors
/// When the kernel does not let us.
pub(crate) fn set_tcp_buffers(host: &Host, most: u64) -> Result<()> {
    let script = format!(
        "for way in tcp_rmem tcp_wmem; do cd /proc/sys/net/ipv4; read min start _ < $way; \
         echo $min $start {most} > $way; done"
    );
    run("sh", &["-c", &script])?;
    run("nsenter", &[&format!("--net=/run/netns/{}", host.namespace()), "sh", "-c", &script])
}

/// Makes every address of 20.0.0.0/8 one of ours, and `host`, at the other end of the cable, send there.
///
/// # Errors
/// When `ip` fails.
pub(crate) fn own_a_network(host: &Host) -> Result<()> {
    const NETWORK: &str = "20.0.0.0/8";
    run("ip", &["route", "add", "local", NETWORK, "dev", "lo"])?;
    let net = format!("--net=/run/netns/{}", host.namespace());
    run("nsenter", &[&net, "ip", "route", "add", NETWORK, "via", &Lab::ADDRESS.to_string()])
}

/// Makes fd20::/32 this machine's own, so that a program can send from any address of it.
///
/// # Errors
/// When `ip` fails or the kernel does not want it.
pub(crate) fn own_an_ipv6_network() -> Result<()> {
    run("ip", &["-6", "route", "replace", "local", "fd20::/32", "dev", "lo"])?;
    fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").context("ip_nonlocal_bind")
}

/// Looks at a condition until it holds. A program that is too busy to answer when it is asked is asked again.
///
/// # Errors
/// When it fails, or does not hold after `limit`; `what` completes "waited 30 s for ...".
pub(crate) fn wait_until(limit: Duration, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    loop {
        match holds() {
            Ok(true) => return Ok(()),
            Ok(false) => ensure!(start.elapsed() < limit, "waited {} s in vain for {what}", limit.as_secs()),
            Err(error) if is_silence(&error) && start.elapsed() < limit => {}
            Err(error) => return Err(error),
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Whether a host did not answer in time.
fn is_silence(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
}

/// Fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms on every Linux there is.
fn cpu_time(id: u32) -> Result<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The program's name, in parentheses, may have anything in it.
    let (_, fields) = text.rsplit_once(')').context("/proc/.../stat without a name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    ticks.map(|ticks| Ok(TICK * ticks?)).sum()
}

/// What every lab needs first.
fn prepare() -> Result<()> {
    ensure!(is_inside(), "a lab lives in namespaces of its own");
    end_with_the_outer_process();
    // The registry of named namespaces must be ours alone, and writable for someone who is not root.
    run("mount", &["-t", "tmpfs", "-o", "mode=0755", "ferriswarm-lab", "/run"])?;
    fs::create_dir_all("/run/netns").context("creating /run/netns")?;
    name_routers()
}

/// The DHT's well-known routers, which some clients insist on; in the lab they are the first host of any segment. No
/// server answers for other names.
fn name_routers() -> Result<()> {
    const ROUTERS: [&str; 5] = [
        "router.bittorrent.com",
        "router.utorrent.com",
        "dht.transmissionbt.com",
        "dht.libtorrent.org",
        "dht.aelitis.com",
    ];
    let mut hosts = String::from("127.0.0.1 localhost\n");
    for family in [Family::V4, Family::V6] {
        let address = segment::address(Terrain::Internet, family, 0)?;
        hosts.extend(ROUTERS.iter().map(|name| format!("{address} {name}\n")));
    }
    // Transmission resolves nothing, not even numbers, without a name server; none is there.
    let nobody = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n".to_owned();
    for (file, text) in [("hosts", hosts), ("resolv.conf", nobody)] {
        let (ours, theirs) = (format!("/run/{file}"), format!("/etc/{file}"));
        fs::write(&ours, text).with_context(|| format!("writing {ours}"))?;
        // A link leads to where nothing is any more, and then no server answers either.
        if Path::new(&theirs).exists() {
            run("mount", &["--bind", &ours, &theirs])?;
        }
    }
    Ok(())
}

/// The outer process holds our standard input open and writes nothing, so its end is ours.
fn end_with_the_outer_process() {
    thread::spawn(|| {
        let mut byte = [0];
        while io::stdin().read(&mut byte).is_ok_and(|count| count > 0) {}
        std::process::exit(130);
    });
}

/// Runs `ip` once with a batch of commands.
fn ip(lines: &[String]) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting ip (package iproute2)")?;
    let mut text = lines.join("\n");
    text.push('\n');
    child.stdin.take().context("the pipe was asked for")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "ip failed: {}\nbatch: {text}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_too_busy_to_answer_is_asked_again() {
        let mut answers = [
            Err(anyhow::Error::from(io::Error::from(io::ErrorKind::WouldBlock)).context("asking it")),
            Ok(false),
            Ok(true),
        ]
        .into_iter();
        let asked =
            wait_until(Duration::from_secs(60), "it", || answers.next().context("asked too often")?);
        assert!(asked.is_ok() && answers.next().is_none());
        let refused = wait_until(Duration::from_secs(60), "it", || anyhow::bail!("it is gone"));
        assert!(refused.is_err_and(|error| error.to_string() == "it is gone"));
    }
}
