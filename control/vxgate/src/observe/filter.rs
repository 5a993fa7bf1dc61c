//! Which packets are to be seen, as the command line and the control socket say it.

use std::net::IpAddr;
use std::num::NonZeroU32;

use clap::{Args, ValueEnum};
use engine::{Direction, PortIndex, ProtocolFilter, TapFilter};
use serde::{Deserialize, Serialize};
use wire::{IpProtocol, MacAddr, Vni};

/// Conditions, all of which must be met.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterArguments {
    /// At this port (by default at all); may be given more than once.
    #[arg(long = "port", value_name = "NAME")]
    pub(crate) ports: Vec<String>,
    /// Of this overlay: VXLAN with this VNI, and plain packets from or to its subnets.
    #[arg(long, value_name = "N", value_parser = crate::cli::vni)]
    pub(crate) vni: Option<u32>,
    /// From or to this address, inside VXLAN or outside.
    #[arg(long, value_name = "ADDR")]
    pub(crate) host: Option<IpAddr>,
    /// From or to this MAC address, inside VXLAN or outside.
    #[arg(long, value_name = "MAC", value_parser = checked_mac)]
    pub(crate) mac: Option<String>,
    /// Protocol of the innermost packet: tcp, udp, icmp (ICMPv6 too), or a number.
    #[arg(long, value_name = "PROTO", value_parser = checked_protocol)]
    pub(crate) proto: Option<String>,
    /// Source or destination port of the innermost packet.
    #[arg(long, value_name = "N")]
    pub(crate) l4_port: Option<u16>,
}

/// Which way at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TapDirection {
    /// Received frames.
    Rx,
    /// Transmitted frames.
    Tx,
    /// All.
    Both,
}

impl TapDirection {
    fn only(self) -> Option<Direction> {
        match self {
            Self::Rx => Some(Direction::Received),
            Self::Tx => Some(Direction::Transmitted),
            Self::Both => None,
        }
    }
}

impl FilterArguments {
    /// The engine's filter. `interfaces` are the names of its ports.
    ///
    /// # Errors
    /// A sentence for the operator: a port that is none, or what no command line of ours would ask for.
    pub(crate) fn resolve(
        &self,
        interfaces: &[String],
        direction: TapDirection,
        dropped: bool,
        every: Option<NonZeroU32>,
    ) -> Result<TapFilter, String> {
        let port = |name: &String| match interfaces.iter().position(|interface| interface == name) {
            Some(index) => Ok(PortIndex(index as u8)),
            None => Err(format!("there is no port {name}: the ports are {}", interfaces.join(" and "))),
        };
        let vni = self.vni.map(|vni| Vni::new(vni).ok_or_else(|| format!("{vni} is no VNI")));
        Ok(TapFilter {
            ports: self.ports.iter().map(port).collect::<Result<_, _>>()?,
            direction: direction.only(),
            vni: vni.transpose()?,
            host: self.host,
            mac: self.mac.as_deref().map(mac).transpose()?,
            protocol: self.proto.as_deref().map(protocol).transpose()?,
            l4_port: self.l4_port,
            dropped,
            every,
        })
    }
}

/// A filter as the command line says it; empty: everything.
pub(crate) fn describe(filter: &TapFilter, interfaces: &[String]) -> String {
    let TapFilter { ports, direction, vni, host, mac, protocol, l4_port, dropped, every } = filter;
    let port = |port: &PortIndex| interfaces.get(usize::from(port.0)).map(|name| format!("--port {name}"));
    let protocol = protocol.map(|protocol| match protocol {
        ProtocolFilter::Icmp => "--proto icmp".into(),
        ProtocolFilter::Number(number) => format!("--proto {number}"),
    });
    let direction = direction.map(|direction| match direction {
        Direction::Received => "--direction rx".into(),
        Direction::Transmitted => "--direction tx".into(),
    });
    let words = [
        direction,
        vni.map(|vni| format!("--vni {vni}")),
        host.map(|host| format!("--host {host}")),
        mac.map(|mac| format!("--mac {mac}")),
        protocol,
        l4_port.map(|port| format!("--l4-port {port}")),
        dropped.then(|| "--dropped".into()),
        every.filter(|every| every.get() > 1).map(|every| format!("--every {every}")),
    ];
    ports.iter().filter_map(port).chain(words.into_iter().flatten()).collect::<Vec<_>>().join(" ")
}

fn mac(text: &str) -> Result<MacAddr, String> {
    text.parse().map_err(|_| format!("{text} is no MAC address: write it as 02:00:00:00:00:01"))
}

fn protocol(text: &str) -> Result<ProtocolFilter, String> {
    Ok(match text {
        "icmp" => ProtocolFilter::Icmp,
        "tcp" => ProtocolFilter::Number(IpProtocol::Tcp.into()),
        "udp" => ProtocolFilter::Number(IpProtocol::Udp.into()),
        number => {
            let number = number.parse().map_err(|_| "a protocol is tcp, udp, icmp or a number up to 255")?;
            ProtocolFilter::Number(number)
        }
    })
}

fn checked_mac(text: &str) -> Result<String, String> {
    mac(text).map(|mac| mac.to_string())
}

fn checked_protocol(text: &str) -> Result<String, String> {
    protocol(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_the_engine_knows() {
        let interfaces = ["underlay0", "uplink0"].map(String::from);
        let arguments = FilterArguments {
            ports: vec!["uplink0".into()],
            vni: Some(7),
            mac: Some("02:00:00:00:00:09".into()),
            proto: Some("icmp".into()),
            ..FilterArguments::default()
        };
        let filter = arguments.resolve(&interfaces, TapDirection::Tx, true, None).unwrap();
        let words = "--port uplink0 --direction tx --vni 7 --mac 02:00:00:00:00:09 --proto icmp --dropped";
        assert_eq!(describe(&filter, &interfaces), words);
        assert_eq!((filter.ports, filter.direction), (vec![PortIndex(1)], Some(Direction::Transmitted)));
        assert_eq!((filter.vni, filter.mac), (Vni::new(7), Some(MacAddr([2, 0, 0, 0, 0, 9]))));
        assert_eq!((filter.protocol, filter.dropped), (Some(ProtocolFilter::Icmp), true));
        for (text, number) in [("tcp", 6), ("udp", 17), ("132", 132)] {
            assert_eq!(protocol(text), Ok(ProtocolFilter::Number(number)));
        }
        let bad = [
            FilterArguments { ports: vec!["eth9".into()], ..FilterArguments::default() },
            FilterArguments { vni: Some(0), ..FilterArguments::default() },
            FilterArguments { mac: Some("02:00".into()), ..FilterArguments::default() },
            FilterArguments { proto: Some("256".into()), ..FilterArguments::default() },
        ];
        let errors = bad.map(|bad| bad.resolve(&interfaces, TapDirection::Both, false, None).unwrap_err());
        assert_eq!(errors[0], "there is no port eth9: the ports are underlay0 and uplink0");
        assert!(errors[1].contains("no VNI") && errors[2].contains("02:00") && errors[3].contains("255"));
    }
}
