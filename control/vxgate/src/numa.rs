//! NUMA nodes, as /sys tells them. A system without NUMA has none, or one.

use std::fs;
use std::path::Path;

use sys::ethtool::Ethtool;

/// The node of a core.
pub(crate) fn node_of_core(core: usize) -> Option<u32> {
    let entries = fs::read_dir(format!("/sys/devices/system/cpu/cpu{core}")).ok()?.flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.find_map(|name| name.strip_prefix("node")?.parse().ok())
}

/// The node that a device at this place of the PCI bus is attached to.
pub(crate) fn node_of_bus(bus: &str) -> Option<u32> {
    // By the bus and not by /sys/class/net, which shows another network namespace sometimes. A negative number is no
    // node.
    fs::read_to_string(Path::new("/sys/bus/pci/devices").join(bus).join("numa_node"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The node that a netdev is attached to; none if it is no piece of hardware.
pub(crate) fn node_of_netdev(interface: &str) -> Option<u32> {
    node_of_bus(&Ethtool::open().ok()?.driver(interface).ok()?.bus)
}
