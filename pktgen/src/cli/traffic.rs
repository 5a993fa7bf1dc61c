//! What is to be sent: a profile, or one stream by flags.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pktgen::profile::{Burst, Field, Limit, LinkSpeed, Outer, Profile, ProfileError, Rate, Ready, Span};
use wire::MacAddr;

use super::Error;

/// What to send, how fast, and for how long. Fields take a value, a range A-B or a list A,B,C: the next one for each
/// packet.
#[derive(Debug, Args)]
pub(crate) struct Traffic {
    /// Profile: a file (TOML), or the name of a ready one (`pktgen profiles`).
    #[arg(long, short, value_name = "FILE|NAME", conflicts_with_all = ["size", "protocol", "vni", "vlan"])]
    profile: Option<String>,

    /// Bytes of a frame on L2 with its FCS, of the inner one with --vni: a number, a range, a list, or "imix".
    #[arg(long, value_name = "SIZE", default_value = "64", help_heading = "Frames")]
    size: String,
    /// What follows IP in the innermost packet.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Protocol::Udp, help_heading = "Frames")]
    protocol: Protocol,
    /// Source MAC address of the outermost frame, that of the interface otherwise; replaces the profile's.
    #[arg(long, value_name = "MAC", help_heading = "Frames")]
    src_mac: Option<String>,
    /// Destination MAC address of the outermost frame; replaces the profile's.
    #[arg(long, value_name = "MAC", help_heading = "Frames")]
    dst_mac: Option<String>,
    /// VLAN of the outermost frame.
    #[arg(long, value_name = "ID", help_heading = "Frames")]
    vlan: Option<String>,
    /// Source address of the outermost packet, IPv4 or IPv6; replaces the profile's.
    #[arg(long, value_name = "ADDRESS", help_heading = "Frames")]
    src: Option<String>,
    /// Destination address of the outermost packet; replaces the profile's.
    #[arg(long, value_name = "ADDRESS", help_heading = "Frames")]
    dst: Option<String>,
    /// Source port of the outermost packet.
    #[arg(long, value_name = "PORT", conflicts_with = "profile", help_heading = "Frames")]
    src_port: Option<String>,
    /// Destination port of the outermost packet.
    #[arg(long, value_name = "PORT", conflicts_with = "profile", help_heading = "Frames")]
    dst_port: Option<String>,

    /// VXLAN network identifier: wraps an inner frame, which the next options are about.
    #[arg(long, value_name = "VNI", help_heading = "VXLAN")]
    vni: Option<String>,
    /// Source MAC address of the inner frame.
    #[arg(
        long,
        value_name = "MAC",
        requires = "vni",
        default_value = "02:00:00:00:01:0a",
        help_heading = "VXLAN"
    )]
    inner_src_mac: String,
    /// Destination MAC address of the inner frame: that of the overlay's router.
    #[arg(
        long,
        value_name = "MAC",
        requires = "vni",
        default_value = "02:00:00:00:00:fe",
        help_heading = "VXLAN"
    )]
    inner_dst_mac: String,
    /// Source address of the inner packet, IPv4 or IPv6.
    #[arg(long, value_name = "ADDRESS", requires = "vni", help_heading = "VXLAN")]
    inner_src: Option<String>,
    /// Destination address of the inner packet.
    #[arg(long, value_name = "ADDRESS", requires = "vni", help_heading = "VXLAN")]
    inner_dst: Option<String>,
    /// Source port of the inner packet.
    #[arg(long, value_name = "PORT", requires = "vni", help_heading = "VXLAN")]
    inner_src_port: Option<String>,
    /// Destination port of the inner packet.
    #[arg(long, value_name = "PORT", requires = "vni", help_heading = "VXLAN")]
    inner_dst_port: Option<String>,

    #[command(flatten)]
    course: Course,
}

/// How fast, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Course {
    /// Rate: 1.5Mpps; 1Gbps (L2, with FCS); "1Gbps l1" (with preamble and gap); 50% (of --link-speed, L1); max.
    #[arg(long, short, value_name = "RATE", help_heading = "Rate", conflicts_with = "burst")]
    pub(crate) rate: Option<Rate>,
    /// Instead of a rate: so many packets at once, again and again, such as 32/1ms.
    #[arg(long, value_name = "N/TIME", help_heading = "Rate")]
    burst: Option<Burst>,
    /// What rates in per cent are of, such as 10Gbps.
    #[arg(long, value_name = "SPEED", help_heading = "Rate")]
    link_speed: Option<LinkSpeed>,
    /// Ends after this time, such as 10s.
    #[arg(long, short, value_name = "TIME", help_heading = "Rate")]
    duration: Option<Span>,
    /// Ends after so many packets.
    #[arg(long, short, value_name = "N", help_heading = "Rate")]
    count: Option<u64>,
}

/// What follows IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Udp,
    Tcp,
    Icmp,
}

impl Course {
    /// The rate, if one is asked for.
    pub(crate) fn rate(&self) -> Result<Option<Rate>, Error> {
        let rate = self.burst.map(Rate::from).or(self.rate);
        Ok(rate.map(|rate| rate.of_link(self.link_speed)).transpose()?)
    }

    /// When to end; what is not said here is as it was.
    pub(crate) fn limit(&self, limit: Limit) -> Limit {
        Limit {
            duration: self.duration.map(|span| span.0).or(limit.duration),
            count: self.count.or(limit.count),
        }
    }
}

impl Traffic {
    /// The profile that is asked for. `own_mac` is the sending interface's.
    pub(crate) fn profile(&self, own_mac: MacAddr) -> Result<Profile, Error> {
        let mut profile = match &self.profile {
            Some(name) => {
                let mut profile = match Ready::named(name) {
                    Some(ready) => ready.profile()?,
                    None => Profile::load(&PathBuf::from(name))?,
                };
                self.replace(&mut profile)?;
                profile
            }
            None => Profile::parse("flags", &self.text(own_mac)?).map_err(without_place)?,
        };
        if let Some(rate) = self.course.rate()? {
            profile.rate = rate;
        }
        profile.limit = self.course.limit(profile.limit);
        Ok(profile)
    }

    /// Replaces addresses of all streams.
    fn replace(&self, profile: &mut Profile) -> Result<(), Error> {
        let mac = |text: &Option<String>| text.as_deref().map(Field::macs).transpose();
        let outer = Outer {
            src_mac: mac(&self.src_mac)?,
            dst_mac: mac(&self.dst_mac)?,
            src: self.src.as_deref().map(addresses).transpose()?,
            dst: self.dst.as_deref().map(addresses).transpose()?,
        };
        for stream in &mut profile.streams {
            stream.replace(&outer)?;
        }
        Ok(())
    }

    /// The profile that the flags stand for, as it would be written.
    pub(crate) fn text(&self, own_mac: MacAddr) -> Result<String, Error> {
        let need = |value: &Option<String>, name: &str| {
            value
                .clone()
                .ok_or_else(|| format!("{name} is missing: say where frames go, or take a --profile"))
        };
        let src_mac = self.src_mac.clone().unwrap_or_else(|| own_mac.to_string());
        let dst_mac = need(&self.dst_mac, "--dst-mac")?;
        let (src, dst) = (need(&self.src, "--src")?, need(&self.dst, "--dst")?);
        let mut text = String::from("[[stream]]\n");
        writeln!(
            text,
            "size = {}",
            self.size.parse::<u16>().map_or_else(|_| quoted(&self.size), |size| size.to_string())
        )?;
        let vlan =
            self.vlan.as_ref().map(|id| format!("vlan = {{ id = {} }}\n", quoted(id))).unwrap_or_default();
        let outer = [link(&src_mac, &dst_mac), vlan, network(&src, &dst)].concat();
        let Some(vni) = &self.vni else {
            text += &outer;
            text += &self.transport(&self.src_port, &self.dst_port);
            return Ok(text);
        };
        text += &link(&self.inner_src_mac, &self.inner_dst_mac);
        text += &network(&need(&self.inner_src, "--inner-src")?, &need(&self.inner_dst, "--inner-dst")?);
        text += &self.transport(&self.inner_src_port, &self.inner_dst_port);
        writeln!(text, "\n[stream.vxlan]\nvni = {}", quoted(vni))?;
        text += &outer;
        text += &ports("udp", &self.src_port, &self.dst_port);
        Ok(text)
    }

    fn transport(&self, src: &Option<String>, dst: &Option<String>) -> String {
        match self.protocol {
            Protocol::Udp => ports("udp", src, dst),
            Protocol::Tcp => ports("tcp", src, dst),
            Protocol::Icmp => "icmp = { sequence = \"0-65535\" }\n".into(),
        }
    }
}

/// Flags have no lines.
fn without_place(error: ProfileError) -> Error {
    match error {
        ProfileError::Syntax { message, .. } => message.into(),
        ProfileError::Invalid { problem, .. } => problem.to_string().into(),
        error @ ProfileError::Read { .. } => error.into(),
    }
}

/// As a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn link(src: &str, dst: &str) -> String {
    format!("ethernet = {{ src = {}, dst = {} }}\n", quoted(src), quoted(dst))
}

/// The family is that of the destination; a wrong source is then said to be wrong.
fn network(src: &str, dst: &str) -> String {
    let family = if dst.contains(':') { "ipv6" } else { "ipv4" };
    format!("{family} = {{ src = {}, dst = {} }}\n", quoted(src), quoted(dst))
}

fn ports(name: &str, src: &Option<String>, dst: &Option<String>) -> String {
    let port =
        |key: &str, port: &Option<String>| port.as_ref().map(|port| format!("{key} = {}", quoted(port)));
    let ports: Vec<_> = [port("src", src), port("dst", dst)].into_iter().flatten().collect();
    format!("{name} = {{ {} }}\n", ports.join(", "))
}

/// Addresses of one family.
fn addresses(text: &str) -> Result<(Field, bool), Error> {
    let is_v6 = text.contains(':');
    Ok((if is_v6 { Field::ipv6(text)? } else { Field::ipv4(text)? }, is_v6))
}
