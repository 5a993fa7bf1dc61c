//! Veth pairs.

use std::fmt::Write;
use std::time::Duration;

use wire::MacAddr;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::wait::wait_until;

/// Indices from here on are those of the first ends of veth pairs.
const FIRST_INDEX: u32 = 1000;

/// How long a link may take to come up.
const LINK_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the kernel may leave segmentation and checksums to a "hardware" that a veth does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offloads {
    /// Frames are as on a wire: whole checksums, nothing longer than the MTU.
    #[default]
    Off,
    /// Frames may be unfinished: partial checksums, up to 64 KB of many segments.
    On,
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Its name there, at most 15 bytes.
    pub interface: &'a str,
    /// Its MAC address.
    pub mac: MacAddr,
}

impl<'a> VethEnd<'a> {
    /// An end with a MAC address made of the names: locally administered, the same in every run.
    pub fn new(namespace: &'a Namespace, interface: &'a str) -> Self {
        Self { namespace, interface, mac: mac_of(namespace.name(), interface) }
    }
}

/// What both ends of a veth pair have in common.
#[derive(Clone, Copy, Debug)]
pub struct VethOptions {
    /// Bytes of the longest IP packet.
    pub mtu: u16,
    /// Receive queues, and as many for transmission. What a kernel sends is spread over them by a hash of its flows, as
    /// a NIC does that receives it: on a veth the sender's queue is the receiver's.
    pub queues: u16,
    /// Whether frames may be unfinished.
    pub offloads: Offloads,
}

impl Default for VethOptions {
    fn default() -> Self {
        Self { mtu: 1500, queues: 1, offloads: Offloads::Off }
    }
}

/// Makes a veth pair between two namespaces (or inside one), both ends up and carrying frames.
///
/// # Errors
/// [`Error::Command`](crate::Error::Command) if a name is taken or too long.
pub fn veth(one: VethEnd<'_>, other: VethEnd<'_>, options: VethOptions) -> Result<()> {
    let VethOptions { mtu, queues, offloads } = options;
    let common = format!("mtu {mtu} numtxqueues {queues} numrxqueues {queues}");
    // Of netdevs that have the index of their other end the kernel tells the carrier up to a second late: it takes them
    // for such as have none (`linkwatch_urgent_event`). Other ends count from 1.
    let index = FIRST_INDEX + u32::from(one.namespace.lab().unique_number());
    let mut lines =
        format!("link add {} index {index} address {} {common} type veth ", one.interface, one.mac);
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        lines,
        "peer name {} address {} {common} netns {}",
        other.interface,
        other.mac,
        other.namespace.full_name()
    );
    one.namespace.ip(&lines)?;
    for end in [one, other] {
        set_offloads(end.namespace, end.interface, offloads)?;
        if queues > 1 {
            spread(end, queues)?;
        }
        end.namespace.ip(&format!("link set {} up", end.interface))?;
    }
    [one, other].into_iter().try_for_each(|end| wait_link_up(end.namespace, end.interface))
}

/// Lets each core send on all queues, so that flows decide (Linux, Documentation/networking/scaling.rst, XPS): what is
/// forwarded would else stay on the queue that it was received on.
fn spread(end: VethEnd<'_>, queues: u16) -> Result<()> {
    let script = format!(
        "cores=$(getconf _NPROCESSORS_CONF)\n\
         mask=$(printf %x $(( (1 << (cores < 32 ? cores : 32)) - 1 )))\n\
         for queue in $(seq 0 {}); do echo $mask > /sys/class/net/{}/queues/tx-$queue/xps_cpus || exit; done",
        queues - 1,
        end.interface
    );
    end.namespace.run("sh", &["-c", &script]).map(drop)
}

/// Waits until a netdev that was set up carries frames: the kernel notices a carrier only after a while, and
/// drops what is sent before.
///
/// # Errors
/// [`Error::Timeout`](crate::Error::Timeout) if it does not within seconds: set down, or its far end is.
pub fn wait_link_up(namespace: &Namespace, interface: &str) -> Result<()> {
    let what = format!("{interface} in {} up", namespace.name());
    wait_until(&what, LINK_TIMEOUT, || {
        let links =
            namespace.ip_json(&["link", "show", "dev", interface]).map_err(|error| error.to_string())?;
        let link = &links[0];
        // A port of a bridge forwards a moment later than it is up, and a virtual netdev never says "UP".
        let port = &link["linkinfo"]["info_slave_data"]["state"];
        let up = matches!(link["operstate"].as_str(), Some("UP" | "UNKNOWN"));
        let ready = up && link["qdisc"] != "noop" && (port.is_null() || port == "forwarding");
        if ready { Ok(()) } else { Err(format!("{}, {}, port {port}", link["operstate"], link["qdisc"])) }
    })
}

/// What ethtool calls the offloads; the last two are those of the service tag (IEEE 802.1ad).
const FEATURES: [&str; 8] =
    ["tx", "tso", "gso", "gro", "rxvlan", "txvlan", "tx-vlan-stag-hw-insert", "rx-vlan-stag-hw-parse"];

/// Sets whether the kernel may send and receive unfinished frames on a netdev.
///
/// # Errors
/// [`Error::Command`](crate::Error::Command) if there is no such netdev.
pub fn set_offloads(namespace: &Namespace, interface: &str, offloads: Offloads) -> Result<()> {
    let value = match offloads {
        Offloads::Off => "off",
        Offloads::On => "on",
    };
    let mut arguments = vec!["-K", interface];
    for feature in FEATURES {
        arguments.extend([feature, value]);
    }
    namespace.run("ethtool", &arguments).map(drop)
}

/// A MAC address made of two names (FNV-1a).
fn mac_of(namespace: &str, interface: &str) -> MacAddr {
    let bytes = namespace.bytes().chain([b'/']).chain(interface.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    MacAddr([0x02, a, b, c, d, e])
}
