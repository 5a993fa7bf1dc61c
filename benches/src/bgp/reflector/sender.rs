//! Who announces all overlays: our speaker, or UPDATEs that were made beforehand.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use evpn::net::{Driver, Handle, Told};
use evpn::{DuplicatePolicy, Event, Identity, Local, PeerConfig, RouteTargets, SessionState, Speaker};
use tokio::runtime;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use wire::Vni;

use super::routes::{self, CLUSTER, OVERLAYS};
use crate::bgp::message::ASN;
use crate::bgp::session::Session;

/// Overlays that are announced in one go, as `vxgate` does it.
const OVERLAYS_AT_ONCE: usize = 256;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `evpn`, on one thread with tokio, as in `vxgate`.
    Speaker,
    /// Bytes, as fast as the reflector takes them.
    Prebuilt,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Speaker => "speaker",
            Self::Prebuilt => "prebuilt UPDATEs",
        })
    }
}

/// What it is told to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Announce,
    Withdraw,
}

/// Where it is and to whom it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its own address: router id and VTEP too.
    pub(crate) own: Ipv4Addr,
    pub(crate) reflector: IpAddr,
}

/// Sends on the calling thread, inside its namespace, until no order comes any longer; `ready` is called when the
/// session is up.
pub(crate) fn run(
    kind: Kind,
    place: Place,
    orders: UnboundedReceiver<Order>,
    ready: impl FnOnce(),
) -> Result<(), String> {
    match kind {
        Kind::Speaker => speak(place, orders, ready),
        Kind::Prebuilt => send(place, orders, ready).map_err(|error| error.to_string()),
    }
}

fn send(
    Place { own, reflector }: Place,
    mut orders: UnboundedReceiver<Order>,
    ready: impl FnOnce(),
) -> std::io::Result<()> {
    let (announcements, withdrawals) = (routes::announcements(own), routes::withdrawals(own));
    let mut session = Session::connect(reflector, own)?;
    // FRR tells routes to whoever they are from, too.
    session.drain()?;
    ready();
    while let Some(order) = orders.blocking_recv() {
        session.send(match order {
            Order::Announce => &announcements,
            Order::Withdraw => &withdrawals,
        })?;
    }
    Ok(())
}

fn speak(place: Place, orders: UnboundedReceiver<Order>, ready: impl FnOnce()) -> Result<(), String> {
    let Place { own, reflector } = place;
    let local = Local { asn: ASN, router_id: own, cluster: CLUSTER };
    let identity = Identity { vteps: [own.into()].into(), ..Identity::default() };
    let mut speaker = Speaker::new(local, identity, DuplicatePolicy::default(), 1);
    let peer = PeerConfig { connect_retry: Duration::from_secs(1), ..PeerConfig::new(reflector, ASN) };
    speaker.add_peer(peer).map_err(|error| error.to_string())?;
    speaker.set_overlays((1..=OVERLAYS).filter_map(Vni::new).map(|vni| (vni, RouteTargets::Frr)));
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let (driver, handle, mut told) = Driver::new(speaker, &[]).map_err(|error| error.to_string())?;
        let driver = tokio::spawn(driver.run("the turn is over"));
        wait_established(&mut told).await?;
        ready();
        // What else it tells is taken, as by the gateway.
        let listening = tokio::spawn(async move { while told.recv().await.is_some() {} });
        obey(own, orders, handle).await;
        driver.await.and(listening.await).map_err(|error| error.to_string())
    })
}

async fn wait_established(told: &mut Receiver<Told>) -> Result<(), String> {
    while let Some(told) = told.recv().await {
        match told {
            Told::Event(Event::Session { state: SessionState::Established, .. }) => return Ok(()),
            Told::Event(Event::Down { reason, .. }) => return Err(format!("the session is down: {reason}")),
            _ => {}
        }
    }
    Err("the speaker ended".into())
}

async fn obey(own: Ipv4Addr, mut orders: UnboundedReceiver<Order>, handle: Handle) {
    let vnis: Vec<Vni> = (1..=OVERLAYS).filter_map(Vni::new).collect();
    while let Some(order) = orders.recv().await {
        for vnis in vnis.chunks(OVERLAYS_AT_ONCE) {
            let vnis = vnis.to_vec();
            let call = move |speaker: &mut Speaker, _| match order {
                Order::Announce => vnis.iter().for_each(|&vni| routes::announce(speaker, vni, own)),
                Order::Withdraw => vnis.iter().for_each(|&vni| routes::withdraw(speaker, vni, own)),
            };
            handle.call(call).await;
        }
    }
}
