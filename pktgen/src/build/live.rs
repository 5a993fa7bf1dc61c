//! Frames that the kernel makes itself ([`port::xdp::LiveSource`]): a stream as a template and fields that count.
//!
//! The kernel's program writes fields and computes IPv4 header checksums; it has neither sequence numbers nor a clock. So
//! these frames carry no stamp, and a UDP checksum over IPv4 that would have to change is left out (RFC 768).

use port::xdp::{LiveFrames, Order as LiveOrder, VariedField, Width as LiveWidth};
use thiserror::Error;

use super::FrameBuilder;
use super::layout::{Check, Layout};
use super::patch::{Patch, Width};
use crate::profile::{Order, Stream};
use crate::stamp;

/// Frames that the kernel makes at once.
const BATCH: u32 = 64;
/// Bytes that are written anew in each frame: more than all headers that a forwarder may have changed.
const REWRITTEN: usize = 192;

/// Why the kernel cannot make these frames.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LiveError {
    /// Several sizes.
    #[error("live frames have one size: give size one value")]
    Sizes,
    /// Lists, or values that stay for several packets.
    #[error("fields of live frames are ranges with one value a packet: no lists, and no every")]
    NoRange,
    /// Fields that do not go together.
    #[error(
        "all fields of live frames take their values together: give them equal counts, and one order and key"
    )]
    Unlike,
    /// More than 32 bits count.
    #[error("fields of live frames vary in their last 32 bits: shorten the range")]
    TooWide,
    /// A checksum that would be wrong.
    #[error(
        "the kernel cannot keep the checksum of TCP, ICMP or UDP over IPv6 right in live frames: let the fields that it \
         covers have one value"
    )]
    Checksum,
}

/// The stream as the kernel makes it.
///
/// # Errors
/// [`LiveError`], with what to change.
pub fn live_frames(stream: &Stream) -> Result<LiveFrames, LiveError> {
    if stream.sizes.constant().is_none() {
        return Err(LiveError::Sizes);
    }
    let mut template = vec![0; stream.max_len()];
    FrameBuilder::new(stream).write(0, 0, &mut template);
    hide_stamp(&mut template);
    let Layout { patches, checks, .. } = Layout::new(stream);
    leave_out_checksums(&mut template, &patches, &checks)?;

    let mut course = None;
    let mut fields: Vec<VariedField> = Vec::new();
    for patch in &patches {
        let range = patch.field.as_range().ok_or(LiveError::NoRange)?;
        let own = (range.count, range.order);
        if *course.get_or_insert(own) != own {
            return Err(LiveError::Unlike);
        }
        let field = varied(patch, range.first, range.step, range.count, &mut template)?;
        match fields.iter_mut().find(|other| other.offset == field.offset) {
            // Of two fields in the same bytes, each leaves the other's bits alone.
            Some(other) => other.step = other.step.wrapping_add(field.step),
            None => fields.push(field),
        }
    }
    for field in &mut fields {
        field.base = base(&template, field);
    }
    // Fields of one and three bytes are written with the byte behind them, as it is in variant 0: whoever has that byte
    // must come later.
    fields.sort_by_key(|field| field.offset);
    let (count, order) = course.unwrap_or((1, Order::Count));
    let order = match order {
        Order::Count => LiveOrder::Counting,
        Order::Random { .. } => LiveOrder::Random,
    };
    let headers = checks.iter().filter(|check| check.is_ipv4_header());
    Ok(LiveFrames {
        rewritten: template.len().min(REWRITTEN),
        variants: u32::try_from(count).map_err(|_| LiveError::TooWide)?,
        order,
        fields,
        ipv4_headers: headers.map(|check| check.from()).collect(),
        batch: BATCH,
        // Paced by the caller.
        interval: 0,
        stamp: None,
        template,
    })
}

/// Exchanges the stamp's magic with its stream number: no checksum sees that, and nobody takes it for a stamp.
fn hide_stamp(frame: &mut [u8]) {
    let at = frame.len() - stamp::LEN;
    let (magic, stream) = frame[at..at + 4].split_at_mut(2);
    magic.swap_with_slice(stream);
}

fn leave_out_checksums(frame: &mut [u8], patches: &[Patch], checks: &[Check]) -> Result<(), LiveError> {
    for check in checks.iter().filter(|check| !check.is_ipv4_header()) {
        if !patches.iter().any(|patch| patch.is_covered_by(check.slot)) {
            continue;
        }
        if !check.may_be_left_out() {
            return Err(LiveError::Checksum);
        }
        frame[check.at..check.at + 2].fill(0);
    }
    Ok(())
}

/// The field with its step; puts the variant 0 of long ones into the template.
fn varied(
    patch: &Patch,
    first: u128,
    step: u64,
    count: u64,
    template: &mut [u8],
) -> Result<VariedField, LiveError> {
    let last = first + u128::from(step) * u128::from(count - 1);
    let step = u32::try_from(step).map_err(|_| LiveError::TooWide)?;
    let (offset, width) = match patch.width {
        Width::U16 => (patch.at, LiveWidth::Two),
        Width::U32 => (patch.at, LiveWidth::Four),
        // Their last 32 bits: those before must not change.
        Width::U48 | Width::U128 if first >> 32 != last >> 32 => return Err(LiveError::TooWide),
        Width::U48 => (patch.at + 2, LiveWidth::Four),
        Width::U128 => (patch.at + 12, LiveWidth::Four),
    };
    // A random draw may have put any value in.
    patch.put(template, first);
    Ok(VariedField { offset, width, base: 0, step: step << patch.shift })
}

/// What variant 0 has there.
fn base(template: &[u8], field: &VariedField) -> u32 {
    let bytes = &template[field.offset..];
    match field.width {
        LiveWidth::Two => u32::from(bytes[0]) << 8 | u32::from(bytes[1]),
        _ => bytes[..4].iter().fold(0, |base, &byte| base << 8 | u32::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tests::check;
    use crate::profile::Profile;

    fn stream(fields: &str, vxlan: &str) -> Stream {
        let text = format!("[[stream]]\nsize = 100\n{fields}\n[stream.vxlan]\n{vxlan}");
        Profile::parse("live", &text).unwrap().streams.remove(0)
    }

    const LINK: &str =
        "ethernet = { src = \"02:00:00:00:01:00-02:00:00:00:01:07\", dst = \"02:00:00:00:00:fe\" }\n";
    const OUTER: &str = "ethernet = { src = \"02:00:00:00:00:01\", dst = \"02:00:00:00:00:02\" }\n\
                         vlan = { id = \"8-15\", priority = \"0-7\" }\n\
                         ipv4 = { src = \"198.18.1.1-198.18.1.8\", dst = \"198.18.1.9\" }\nvni = \"100-107\"\n";
    const V4: &str = "ipv4 = { src = \"10.0.0.1-10.0.0.8\", dst = \"10.0.1.1\", ttl = \"1-8\" }\nudp = {}\n";

    /// What the kernel's program does with a variant.
    fn make(frames: &LiveFrames, variant: u32) -> Vec<u8> {
        let mut frame = frames.template.clone();
        for field in &frames.fields {
            let value = field.base.wrapping_add(field.step.wrapping_mul(variant)).to_be_bytes();
            let value = if field.width == LiveWidth::Two { &value[2..] } else { &value[..] };
            frame[field.offset..][..value.len()].copy_from_slice(value);
        }
        for &at in &frames.ipv4_headers {
            frame[at + 10..at + 12].fill(0);
            let checksum = wire::checksum::finish(wire::checksum::ones_sum(&frame[at..at + 20], 0));
            frame[at + 10..at + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        frame
    }

    #[test]
    fn variants_are_the_stream_s_frames_but_for_stamp_and_checksum() {
        let stream = stream(&[LINK, V4].concat(), OUTER);
        let frames = live_frames(&stream).unwrap();
        assert_eq!((frames.variants, frames.order), (8, LiveOrder::Counting));
        let mut builder = FrameBuilder::new(&stream);
        for variant in 0..8 {
            let made = make(&frames, variant);
            let mut built = vec![0; stream.max_len()];
            builder.write(variant.into(), 0, &mut built);
            let end = built.len() - stamp::LEN;
            let udp = stream.outer_len() + 14 + 20 + 6;
            built[udp..udp + 2].fill(0);
            assert_eq!(made[..end], built[..end], "{variant}");
            assert_eq!(stamp::Stamp::read(&made), None);
        }
    }

    #[test]
    fn neighbours_in_the_payload_leave_each_other_alone() {
        let payload = "payload = { field = [{ at = 4, bytes = 2, value = \"8-15\" }, { at = 3, bytes = 1, value = \"16-23\" }, \
                       { at = 0, bytes = 3, value = \"24-31\" }] }\n";
        let stream = stream(&[LINK, V4, payload].concat(), OUTER);
        let frames = live_frames(&stream).unwrap();
        let mut builder = FrameBuilder::new(&stream);
        let at = stream.outer_len() + 14 + 20 + 8;
        for variant in 0..8 {
            let mut built = vec![0; stream.max_len()];
            builder.write(variant.into(), 0, &mut built);
            assert_eq!(make(&frames, variant)[at..at + 6], built[at..at + 6], "{variant}");
            assert_eq!(built[at + 3], 16 + variant as u8);
        }
    }

    #[test]
    fn checksums_that_cover_nothing_that_changes_stay() {
        let fixed = V4.replace("10.0.0.1-10.0.0.8", "10.0.0.1");
        for inner in [fixed.as_str(), "ipv6 = { src = \"fd00::1\", dst = \"fd00::2\" }\ntcp = {}\n"] {
            let frames = live_frames(&stream(&[LINK, inner].concat(), OUTER)).unwrap();
            (0..8).for_each(|variant| check(&make(&frames, variant), true, false));
        }
    }

    #[test]
    fn what_the_kernel_cannot_do_is_said() {
        let error = |inner: &str, outer: &str| live_frames(&stream(inner, outer)).unwrap_err();
        let frame = [LINK, V4].concat();
        assert_eq!(error(&frame.replace("udp", "tcp"), OUTER), LiveError::Checksum);
        assert_eq!(error(&frame, &OUTER.replace("100-107", "100-108")), LiveError::Unlike);
        assert_eq!(error(&frame, &OUTER.replace("\"100-107\"", "[1, 2]")), LiveError::NoRange);
        let every = OUTER.replace("\"100-107\"", "{ from = 1, to = 8, every = 2 }");
        assert_eq!(error(&frame, &every), LiveError::NoRange);
        let wide = "{ from = \"02:00:00:00:01:00\", to = \"02:07:00:00:01:00\", step = 4294967296 }";
        assert_eq!(
            error(&frame.replace("\"02:00:00:00:01:00-02:00:00:00:01:07\"", wide), OUTER),
            LiveError::TooWide
        );
    }
}
