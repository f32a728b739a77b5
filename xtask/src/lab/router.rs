//! A home behind a router: two network namespaces, of which only the router is on the bridge.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Host, Lab, ip, run};

/// A router between the lab and a home with one machine. It translates addresses (masquerade), and lets in only what
/// the machine asks it to let in, in the chains that miniupnpd fills. Dropping it removes both namespaces.
///
/// There is one in a lab at a time.
#[derive(Debug)]
pub(crate) struct Router(());

impl Router {
    /// Where the hosts of the lab find it: an address such as routers of the world have, for miniupnpd maps nothing to a
    /// private one.
    pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(44, 0, 0, 1);
    /// Where the machine at home finds it.
    pub(crate) const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
    /// The machine at home.
    pub(crate) const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
    /// Its interface at home.
    pub(crate) const HOME_LINK: &str = "home";
    /// Its interface to the lab.
    pub(crate) const WORLD_LINK: &str = "world";
    /// The table of its rules, with chains for miniupnpd.
    pub(crate) const TABLE: &str = "router";

    /// Builds both.
    ///
    /// # Errors
    /// When `ip` or `nft` fails, as while there is another one.
    pub(crate) fn new(_lab: &Lab) -> Result<Self> {
        let (home, world, table) = (Self::HOME_LINK, Self::WORLD_LINK, Self::TABLE);
        let (outside, inside, machine) = (Self::OUTSIDE, Self::INSIDE, Self::MACHINE);
        ip(&[
            "netns add router".into(),
            "netns add home".into(),
            format!("link add vrouter master lab type veth peer name {world} netns router"),
            "link set vrouter up".into(),
            format!("link add {home} netns router type veth peer name eth0 netns home"),
        ])?;
        let router = Self(());
        let rules = format!(
            "table inet {table} {{
                 chain forward {{
                     type filter hook forward priority 0; policy drop;
                     ct state established,related accept
                     iifname {home} accept
                     jump let_in
                 }}
                 chain prerouting {{ type nat hook prerouting priority -100; jump forward_in; }}
                 chain postrouting {{
                     type nat hook postrouting priority 100
                     jump forward_out
                     oifname {world} masquerade
                 }}
                 chain let_in {{ }}
                 chain forward_in {{ }}
                 chain forward_out {{ }}
             }}"
        );
        let script = format!(
            "ip link set lo up && ip addr add {inside}/24 dev {home} && ip link set {home} up && \
             ip addr add {outside}/32 dev {world} && ip link set {world} up && \
             ip route add 10.77.0.0/24 dev {world} src {outside} && \
             echo 1 > /proc/sys/net/ipv4/ip_forward && echo '{rules}' | nft -f -"
        );
        run("nsenter", &["--net=/run/netns/router", "sh", "-c", &script])?;
        let script = format!(
            "ip link set lo up && ip addr add {machine}/24 dev eth0 && ip link set eth0 up && \
             ip route add default via {inside}"
        );
        run("nsenter", &["--net=/run/netns/home", "sh", "-c", &script])?;
        Ok(router)
    }

    /// A command that will run on the router.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        inside("router", program)
    }

    /// A command that will run on the machine at home.
    pub(crate) fn home_command(&self, program: impl AsRef<OsStr>) -> Command {
        inside("home", program)
    }

    /// Lets a host of the lab find the router.
    ///
    /// # Errors
    /// When `ip` fails.
    pub(crate) fn introduce(&self, host: &Host) -> Result<()> {
        let to = format!("{}/32", Self::OUTSIDE);
        let output = host.command("ip").args(["route", "add", &to, "dev", "eth0"]).output()?;
        ensure!(output.status.success(), "ip route: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Its rules, as `nft` prints them.
    ///
    /// # Errors
    /// When `nft` fails.
    pub(crate) fn rules(&self) -> Result<String> {
        let mut nft = self.command("nft");
        let output = nft.args(["list", "table", "inet", Self::TABLE]).output().context("starting nft")?;
        ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = ip(&["link del vrouter".into(), "netns del router".into(), "netns del home".into()]);
    }
}

fn inside(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
    command
}
