//! What is sent: streams of frames, how fast, and for how long.
//!
//! All that changes from frame to frame is a pure function of the sequence number (see [`Field`]), so that a receiver
//! that has the profile knows what a lost frame was.

mod field;
mod file;
mod headers;
mod problem;
mod rate;
mod ready;
mod schedule;
mod size;
#[cfg(test)]
mod tests;
mod value;

use std::fs;
use std::path::Path;

use port::MAX_FRAME;
use wire::Vni;

use crate::stamp;

pub use field::Field;
pub(crate) use field::{Order, Walk};
pub use headers::{
    Arp, Echo, Ethernet, Exchange, Headers, Ipv4, Ipv6, Network, Tcp, TcpFlag, Transport, Udp, Vlan, Vxlan,
};
pub use problem::{Place, Problem, ProfileError};
pub use rate::{Burst, FCS_LEN, L1_OVERHEAD, Layer, Limit, LinkSpeed, MIN_LEN, Rate, RateError, Span};
pub use ready::{READY, Ready};
pub use schedule::Schedule;

use problem::{Fault, Lines};

/// As many as a stamp can number.
pub const MAX_STREAMS: usize = 1 << 16;
/// Most sizes that a stream's frames have.
const MAX_SIZES: u64 = 65_536;
/// Smallest frame on a wire, with its FCS.
const MIN_FRAME: usize = 64;

/// Streams, and how they are sent.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What it is called: the file's name, or that of a ready one.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// By their numbers.
    pub streams: Vec<Stream>,
    /// How fast, all streams together; never in per cent.
    pub rate: Rate,
    /// When it ends.
    pub limit: Limit,
}

/// Frames that are alike but for what changes by rule.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its number in the profile, which its stamps carry.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// Its share of all packets, against the other streams' weights.
    pub weight: u32,
    /// Headers of the frame, of the inner one with VXLAN.
    pub headers: Headers,
    /// What the frame is wrapped into.
    pub vxlan: Option<Vxlan>,
    /// What follows the headers.
    pub payload: Payload,
    /// Bytes of the frame on L2 with its FCS; with VXLAN those that the inner frame would have alone on a wire.
    pub sizes: Field,
    /// Which overlay a packet is counted for, if not by its VNI.
    pub overlay: Option<Field>,
    /// Its packets are those of every `lanes`-th position of the fields, from `lane` on.
    pub(crate) lane: u64,
    pub(crate) lanes: u64,
}

/// What follows the headers, before the stamp.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// The byte that it is made of.
    pub fill: u8,
    /// What is in it.
    pub fields: Vec<PayloadField>,
}

/// A big-endian number in the payload.
#[derive(Clone, Debug)]
pub struct PayloadField {
    /// Where, from the payload's start.
    pub at: u16,
    /// Its width, 1 to 4.
    pub bytes: u8,
    /// Its values.
    pub value: Field,
}

/// Addresses that take the place of those of a stream's outermost headers.
#[derive(Clone, Debug, Default)]
pub struct Outer {
    /// Source MAC addresses.
    pub src_mac: Option<Field>,
    /// Destination MAC addresses.
    pub dst_mac: Option<Field>,
    /// Source addresses, and whether they are IPv6.
    pub src: Option<(Field, bool)>,
    /// Destination addresses, and whether they are IPv6.
    pub dst: Option<(Field, bool)>,
}

impl Profile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ProfileError`], with the place and the remedy.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let text =
            fs::read_to_string(path).map_err(|source| ProfileError::Read { path: path.into(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Checks the text of a profile with this name.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let lines = Lines::new(text);
        let file: file::File =
            toml::from_str(text).map_err(|error: toml::de::Error| ProfileError::Syntax {
                name: name.into(),
                place: lines.place(error.span().map_or(0, |span| span.start)),
                message: error.message().replace('\n', "; "),
            })?;
        file.profile(name).map_err(|Fault { at, problem }| ProfileError::Invalid {
            name: name.into(),
            place: lines.place(at),
            problem,
        })
    }

    /// Cuts every stream into `lanes`, one for each thread that sends: stream *s* becomes the streams
    /// *s* · `lanes` … *s* · `lanes` + `lanes` − 1, each with sequence numbers of its own, whose fields take turns at
    /// the values. A receiver must cut its profile alike.
    ///
    /// # Errors
    /// [`Problem::TooManyStreams`].
    pub fn split(self, lanes: u16) -> Result<Self, Problem> {
        let total = self.streams.len() * usize::from(lanes);
        if total > MAX_STREAMS {
            return Err(Problem::TooManyStreams(total));
        }
        if lanes <= 1 {
            return Ok(self);
        }
        let cut = |stream: &Stream| {
            let stream = stream.clone();
            (0..lanes).map(move |lane| Stream {
                number: stream.number * lanes + lane,
                name: format!("{} #{lane}", stream.name),
                lane: stream.lane * u64::from(lanes) + u64::from(lane),
                lanes: stream.lanes * u64::from(lanes),
                ..stream.clone()
            })
        };
        Ok(Self { streams: self.streams.iter().flat_map(cut).collect(), ..self })
    }
}

impl Stream {
    /// The place of a packet in the course of the fields.
    #[inline]
    pub(crate) fn position(&self, sequence: u64) -> u64 {
        sequence.wrapping_mul(self.lanes).wrapping_add(self.lane)
    }

    /// The VNI of a packet, if it is VXLAN. `sequence` counts from 0 and does not wrap.
    pub fn vni(&self, sequence: u64) -> Option<Vni> {
        Vni::new(self.vxlan.as_ref()?.vni.at(self.position(sequence)) as u32)
    }

    /// The overlay that a packet is counted for: what `overlay` says, else the VNI.
    pub fn overlay(&self, sequence: u64) -> Option<u32> {
        match &self.overlay {
            Some(overlay) => Some(overlay.at(self.position(sequence)) as u32),
            None => self.vni(sequence).map(Vni::value),
        }
    }

    /// Bytes of a packet's whole frame, without FCS.
    pub fn len(&self, sequence: u64) -> usize {
        self.frame_len(self.sizes.at(self.position(sequence)) as usize)
    }

    /// Bytes of the longest frame, without FCS.
    pub fn max_len(&self) -> usize {
        self.frame_len(self.sizes.largest() as usize)
    }

    fn frame_len(&self, size: usize) -> usize {
        self.outer_len() + size - FCS_LEN
    }

    /// Bytes of headers around the frame.
    pub(crate) fn outer_len(&self) -> usize {
        self.vxlan.as_ref().map_or(0, |vxlan| vxlan.outer.len() + wire::vxlan::HEADER_LEN)
    }

    /// Every field, in a fixed order.
    fn fields_mut(&mut self) -> Vec<&mut Field> {
        let mut fields = vec![&mut self.sizes];
        fields.extend(&mut self.overlay);
        fields.extend(self.headers.fields_mut());
        fields.extend(self.payload.fields.iter_mut().map(|field| &mut field.value));
        if let Some(vxlan) = &mut self.vxlan {
            fields.push(&mut vxlan.vni);
            fields.extend(vxlan.outer.fields_mut());
        }
        fields
    }

    /// Settles what random fields draw.
    fn seed(&mut self, seed: u64) {
        let seed = seed.wrapping_add(u64::from(self.number) << 32);
        for (number, field) in self.fields_mut().into_iter().enumerate() {
            field.seed(seed, number as u32);
        }
    }

    /// Puts other addresses into the outermost headers.
    ///
    /// # Errors
    /// [`Problem::Family`] if they are not of the headers' family.
    pub fn replace(&mut self, outer: &Outer) -> Result<(), Problem> {
        let headers = self.vxlan.as_mut().map_or(&mut self.headers, |vxlan| &mut vxlan.outer);
        let put = |to: &mut Field, from: &Option<Field>| from.iter().for_each(|from| to.clone_from(from));
        put(&mut headers.ethernet.src, &outer.src_mac);
        put(&mut headers.ethernet.dst, &outer.dst_mac);
        let (src, dst, has_v6) = match &mut headers.network {
            Network::Arp(arp) => (&mut arp.sender, &mut arp.target, false),
            Network::Ipv4(ip, _) => (&mut ip.src, &mut ip.dst, false),
            Network::Ipv6(ip, _) => (&mut ip.src, &mut ip.dst, true),
        };
        for (to, from) in [(src, &outer.src), (dst, &outer.dst)] {
            match from {
                Some((field, is_v6)) if *is_v6 == has_v6 => to.clone_from(field),
                Some(_) => return Err(Problem::Family(self.name.clone())),
                None => {}
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), Problem> {
        if self.sizes.count() > MAX_SIZES {
            return Err(Problem::TooManySizes(self.sizes.count()));
        }
        let fields = self.payload.fields.iter().map(|field| usize::from(field.at) + usize::from(field.bytes));
        let needed = self.headers.len() + fields.max().unwrap_or(0) + stamp::LEN + FCS_LEN;
        let least = if self.vxlan.is_none() { needed.max(MIN_FRAME) } else { needed };
        for size in self.sizes.values() {
            let wire = self.outer_len() as u128 + size;
            if size < least as u128 {
                return Err(Problem::TooSmall { size: size as u64, least: least as u64 });
            }
            let max = (MAX_FRAME + FCS_LEN) as u64;
            if wire > max.into() {
                return Err(Problem::TooLarge { size: size as u64, wire: wire as u64, max });
            }
        }
        Ok(())
    }
}
