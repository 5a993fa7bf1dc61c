//! Where a contender is measured: its namespace, and the one around it that has the far ends of its two links.
//!
//! ```text
//!   far namespace                      gateway namespace
//!   vxbNuf ─────────────────────────── vxbNu   underlay: endpoint ─ gateway
//!   vxbNpf ─────────────────────────── vxbNp   uplink:   router ─── gateway
//!   core 0: source, sink               core 1: the contender, and reception for it
//! ```

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lab::{Lab, Namespace, Offloads, Topology, VethEnd, VethOptions, set_offloads, veth, wait_until};
use sys::netdev::CounterTable;
use vxgate_bench::frames::Direction;
use vxgate_bench::population::Family;
use wire::MacAddr;

use crate::Error;

/// Core of the source and the sink.
pub(crate) const OUTSIDE: usize = 0;
/// Core of the contender and of the reception for it.
pub(crate) const INSIDE: usize = 1;

/// Number of the endpoint on the underlay.
const ENDPOINT: u8 = 11;

/// A link of the gateway's.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Name of the gateway's end.
    pub(crate) near: String,
    pub(crate) near_mac: MacAddr,
    /// Name of the end in the far namespace.
    pub(crate) far: String,
    pub(crate) far_mac: MacAddr,
    pub(crate) far_index: u32,
}

/// One contender's place.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) gateway: Namespace,
    pub(crate) far: Namespace,
    pub(crate) underlay: Link,
    pub(crate) uplink: Link,
}

pub(crate) fn family(family: Family) -> lab::Family {
    match family {
        Family::V4 => lab::Family::V4,
        Family::V6 => lab::Family::V6,
    }
}

/// The gateway's address on the underlay.
pub(crate) fn vtep(of: Family) -> IpAddr {
    Topology::UNDERLAY.address(family(of), Topology::GATEWAY)
}

/// The endpoint's address.
pub(crate) fn endpoint(of: Family) -> IpAddr {
    Topology::UNDERLAY.address(family(of), ENDPOINT)
}

/// The outer router's address on the uplink.
pub(crate) fn router(of: Family) -> IpAddr {
    Topology::UPLINK.address(family(of), Topology::ROUTER)
}

impl Stage {
    /// Makes both namespaces and links; `number` tells the stages of a lab apart.
    pub(crate) fn new(lab: &Lab, number: usize) -> Result<Self, Error> {
        let gateway = lab.namespace(&format!("gw{number}"))?;
        let far = lab.namespace(&format!("far{number}"))?;
        far.set("net.ipv6.conf.all.disable_ipv6", "1")?;
        far.set("net.ipv6.conf.default.disable_ipv6", "1")?;
        let link = |letter, mtu| -> Result<Link, Error> {
            let (near, away) = (format!("vxb{number}{letter}"), format!("vxb{number}{letter}f"));
            let (near_end, far_end) = (VethEnd::new(&gateway, &near), VethEnd::new(&far, &away));
            veth(near_end, far_end, VethOptions { mtu, ..VethOptions::default() })?;
            // Reception by a thread of its own needs it.
            far.run("ethtool", &["-K", &away, "gro", "on"])?;
            let (near_mac, far_mac) = (near_end.mac, far_end.mac);
            let far_index = index(&far, &away)?;
            Ok(Link { near, near_mac, far: away, far_mac, far_index })
        };
        let (underlay, uplink) = (link('u', Topology::UNDERLAY_MTU)?, link('p', 1500)?);
        let stage = Self { gateway, far, underlay, uplink };
        stage.address()?;
        for link in [&stage.underlay, &stage.uplink] {
            pin_reception(&stage.far, &link.far, OUTSIDE)?;
        }
        Ok(stage)
    }

    /// Addresses, the default routes, and neighbours that need no resolution.
    fn address(&self) -> Result<(), Error> {
        let mut lines = String::new();
        for (subnets, link) in [(Topology::UNDERLAY, &self.underlay), (Topology::UPLINK, &self.uplink)] {
            for address in subnets.addresses(Topology::GATEWAY) {
                lines += &format!("address add {address} dev {}\n", link.near);
            }
        }
        for of in [Family::V4, Family::V6] {
            for (address, link) in [(endpoint(of), &self.underlay), (router(of), &self.uplink)] {
                let Link { near, far_mac, .. } = link;
                lines += &format!("neighbour replace {address} lladdr {far_mac} dev {near} nud permanent\n");
            }
            lines += &format!("route add default via {}\n", router(of));
        }
        Ok(self.gateway.ip(&lines)?)
    }

    /// The links that frames of a direction come in and go out by.
    pub(crate) fn way(&self, direction: Direction) -> (&Link, &Link) {
        match direction {
            Direction::Decapsulate => (&self.underlay, &self.uplink),
            Direction::Encapsulate => (&self.uplink, &self.underlay),
        }
    }

    /// Lets a thread on the inside core receive for both of the gateway's netdevs, which have XDP programs by now or
    /// are given GRO: the threads.
    pub(crate) fn thread_reception(&self, gro: bool) -> Result<Vec<Task>, Error> {
        let thread = |link: &Link| {
            if gro {
                self.gateway.run("ethtool", &["-K", &link.near, "gro", "on"])?;
            }
            pin_reception(&self.gateway, &link.near, INSIDE).map(Task::Thread)
        };
        [&self.underlay, &self.uplink].into_iter().map(thread).collect()
    }

    /// The gateway's netdevs as a kernel that forwards needs them.
    pub(crate) fn offloads_off(&self) -> Result<(), Error> {
        for link in [&self.underlay, &self.uplink] {
            set_offloads(&self.gateway, &link.near, Offloads::Off)?;
        }
        Ok(())
    }
}

/// The index of a netdev.
pub(crate) fn index(namespace: &Namespace, interface: &str) -> Result<u32, Error> {
    let links = namespace.ip_json(&["link", "show", "dev", interface])?;
    Ok(links[0]["ifindex"].as_u64().and_then(|index| index.try_into().ok()).ok_or("a netdev has an index")?)
}

/// Gives a netdev's reception a thread of its own (`threaded` NAPI), on a core; its number.
///
/// The sink goes first on its core: else what the contender sent could be lost behind it.
fn pin_reception(namespace: &Namespace, interface: &str, core: usize) -> Result<u32, Error> {
    namespace.run("sh", &["-c", &format!("echo 1 > /sys/class/net/{interface}/threaded")])?;
    let name = format!("napi/{interface}-");
    let thread = wait_until(&format!("a thread {name}"), Duration::from_secs(5), || thread_named(&name))?;
    namespace.run("taskset", &["-cp", &core.to_string(), &thread.to_string()])?;
    Task::Thread(thread).go_first(core == OUTSIDE)?;
    Ok(thread)
}

/// The one thread whose name begins like this.
fn thread_named(start: &str) -> Result<u32, String> {
    let mut found = vec![];
    for entry in fs::read_dir("/proc").map_err(|error| error.to_string())? {
        let Some(pid) = entry.ok().and_then(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) else {
            continue;
        };
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with(start) {
            found.push(pid);
        }
    }
    match found[..] {
        [one] => Ok(one),
        _ => Err(format!("threads {found:?}")),
    }
}

/// What takes a core's time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// All threads of a process.
    Process(u32),
    /// A thread: a kernel's, or one of this process.
    Thread(u32),
}

impl Task {
    /// Gives it precedence over all that has none, or takes that away.
    pub(crate) fn go_first(self, first: bool) -> Result<(), Error> {
        let (all, id) = match self {
            Self::Process(pid) => ("--all-tasks", pid.to_string()),
            Self::Thread(tid) => ("--verbose", tid.to_string()),
        };
        let policy = if first { ["--fifo", "--pid", "1"] } else { ["--other", "--pid", "0"] };
        let output = Command::new("chrt").arg(all).args(policy).arg(id).output()?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    }

    /// Nanoseconds that it has had a core, in its life.
    pub(crate) fn processor_time(self) -> u64 {
        let of_thread = |path: PathBuf| {
            let text = fs::read_to_string(path.join("schedstat")).ok()?;
            text.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        match self {
            Self::Thread(tid) => of_thread(format!("/proc/{tid}/task/{tid}").into()).unwrap_or(0),
            Self::Process(pid) => {
                let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
                threads.filter_map(|thread| of_thread(thread.path())).sum()
            }
        }
    }
}

/// The counters of a namespace's netdevs, read again and again from anywhere.
pub(crate) fn counters(namespace: &Namespace) -> Result<CounterTable, Error> {
    Ok(namespace.enter(CounterTable::open)??)
}
