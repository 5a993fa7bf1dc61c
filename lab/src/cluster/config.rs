//! Configurations of a cluster's gateways.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Cluster;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::process::run;
use crate::scene::{ROUTER_MAC, Scene};
use crate::topology::{Family, Subnets, Topology};

/// What a gateway is known by to the others of its cluster.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Its private key.
    pub key: PathBuf,
    /// Its certificate.
    pub certificate: PathBuf,
    /// What the others are told of it: `sha256:…`.
    pub pin: String,
}

impl Credentials {
    /// By `vxgate cluster keygen`.
    pub(super) fn generate(namespace: &Namespace, binary: &Path) -> Result<Self> {
        let directory = namespace.lab().directory().join(format!("keys-{}", namespace.name()));
        let output = run(Command::new(binary).args(["cluster", "keygen", "--out"]).arg(&directory))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let pin = text.split("pin = \"").nth(1).and_then(|rest| rest.split('"').next());
        let Some(pin) = pin.map(str::to_owned) else {
            return Err(Error::Output { program: "vxgate", output: text.into_owned() });
        };
        Ok(Self { key: directory.join("cluster.key"), certificate: directory.join("cluster.crt"), pin })
    }
}

impl Cluster {
    /// A whole configuration (TOML) of a gateway: ports, blocks, overlays as one block, and BGP with reflector and router.
    /// `block` are more keys of the block of overlays, a line each: `"owner = false\n"`; `tables` is what else there is:
    /// [`membership`](Self::membership).
    pub fn config(&self, number: u8, block: &str, tables: &str) -> String {
        let member = self.member(number);
        let (asn, upstream, overlays) = (Self::ASN, Self::UPSTREAM_ASN, self.options.overlays);
        let bfd =
            self.options.bfd.map(|interval| format!("bfd = {{ interval = {} }}\n", interval.as_millis()));
        let session = format!("hold-time = 3\nconnect-retry = 1\n{}", bfd.unwrap_or_default());
        format!(
            "[gateway]\nrouter-mac = \"{ROUTER_MAC}\"\nblocks = {:?}\nsocket = \"{}\"\npolling = \"adaptive\"\n\n\
             [[port]]\ninterface = \"underlay0\"\nrole = \"underlay\"\n\n\
             [[port]]\ninterface = \"uplink0\"\nrole = \"uplink\"\n\n\
             [[overlay-block]]\nvnis = \"1-{overlays}\"\nipv4 = {{ range = \"10.0.0.0/8\", length = 24 }}\n\
             ipv6 = {{ range = \"fd00::/48\", length = 64 }}\nown-mac = \"{}\"\n{block}\n\
             [bgp]\nasn = {asn}\nrouter-id = \"{}\"\ncluster-number = {}\n\n\
             [[bgp.peer]]\naddress = \"{}\"\nremote-asn = {asn}\n{session}\n\
             [[bgp.peer]]\naddress = \"{}\"\nremote-asn = {upstream}\nfamilies = [\"ipv4\", \"ipv6\"]\ningress = {}\n{session}\n\
             {tables}",
            Scene::BLOCKS,
            member.gateway.socket().display(),
            member.own_mac(),
            Topology::UNDERLAY.address(Family::V4, number),
            Self::NUMBER,
            Topology::UNDERLAY.address(Family::V4, Self::REFLECTOR),
            Topology::UPLINK.address(Family::V4, Topology::ROUTER),
            self.options.ingress,
        )
    }

    /// The tables `[cluster]` and `[[cluster.gateway]]` of a gateway: sessions of this family with all others, which are
    /// watched on underlay and uplink over both. `keys` are more keys of `[cluster]`, a line each: `"mode =
    /// \"announce\"\n"`.
    pub fn membership(&self, number: u8, session: Family, keys: &str) -> String {
        let Credentials { key, certificate, .. } = &self.member(number).credentials;
        let mut tables = format!(
            "[cluster]\nnumber = {}\nid = {number}\nkey = {key:?}\ncertificate = {certificate:?}\n{keys}\n",
            Self::NUMBER
        );
        for other in self.gateways.iter().filter(|other| other.number != number) {
            let addresses = |subnets: Subnets| subnets.both(other.number).map(|address| address.to_string());
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                tables,
                "[[cluster.gateway]]\nid = {}\nsession = \"{}\"\npin = \"{}\"\nunderlay = {:?}\nuplink = {:?}\n",
                other.number,
                Topology::UNDERLAY.address(session, other.number),
                other.credentials.pin,
                addresses(Topology::UNDERLAY),
                addresses(Topology::UPLINK),
            );
        }
        tables
    }

    /// BFD between gateways that is slow: for what is not about time, on a machine that may be busy.
    pub const SLOW_BFD: &str = "[cluster.bfd]\ninterval = 200\nmultiplier = 5\n";

    /// BFD between gateways at its default pace, signed.
    pub const SIGNED_BFD: &str = "[cluster.bfd]\nkeys = [{ id = 1, secret = \"known to all\" }]\n";

    /// Mode `announce`, in which overlays may move as often as gateways come and go: a key, before any table.
    pub const ANNOUNCE: &str = "mode = \"announce\"\nmove-limit = { moves = 255, window = 1 }\n\n";

    /// Mode `floating` with so many shards, which have their VTEP addresses in these ranges: a key, and a table after it.
    pub fn floating(shards: u16, vteps: &[&str]) -> String {
        format!(
            "mode = \"floating\"\n\n[cluster.floating]\nshards = {shards}\nvtep = {vteps:?}\nuplink = {:?}\n\n",
            Self::SHARD_UPLINKS
        )
    }
}
