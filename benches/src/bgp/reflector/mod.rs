//! All overlays announced, and withdrawn, through FRR as route reflector.
//!
//! ```text
//!   sender ── TCP ── bgpd (FRR) ── TCP ── receiver      each in a namespace, on one bridge
//! ```
//!
//! The sender is our speaker, and in turn with it UPDATEs that were made beforehand. Each turn has a bgpd of its own.

mod receiver;
mod routes;
mod sender;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use lab::{Attach, Frr, Lab, Namespace, Offloads, Segment};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use self::receiver::Receiver;
use self::routes::ROUTES;
use self::sender::{Kind, Order, Place};
use crate::Error;
use crate::figure::{Figure, Goal, median};

/// Priority of all that take part (SCHED_RR).
pub(super) const PRIORITY: u8 = 1;

/// Turns of each sender.
const TURNS: usize = 3;

/// Most of the time that UPDATEs made beforehand take.
const GOAL: Goal = Goal::AtMost(1.25);

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 9, number)
}

const REFLECTOR: u8 = 1;
const SENDER: u8 = 2;
const RECEIVER: u8 = 3;

/// How it is measured.
pub(super) fn modes() -> Value {
    let scheduling = format!("SCHED_RR {PRIORITY}, all that take part");
    json!({"scheduling": scheduling, "turns_of_each": TURNS, "reflector": "FRR, one bgpd a turn", "prebuilt_withdrawals": "as full as extended messages allow"})
}

/// Measures both in turn.
pub(super) fn figures(lab: &Lab) -> Result<Vec<Figure>, Error> {
    let stage = Stage::new(lab)?;
    let mut turns = Vec::new();
    for number in 1..=TURNS {
        for kind in [Kind::Speaker, Kind::Prebuilt] {
            let turn = stage.turn(kind).map_err(|error| format!("{kind}: {error}"))?;
            eprintln!(
                "turn {number} of {TURNS}, {kind}: {:.2} s, withdrawn {:.2} s; {} UPDATEs of {} bytes",
                turn.announced, turn.withdrawn, turn.updates, turn.bytes
            );
            turns.push((kind, turn));
        }
    }
    let middle = |kind: Kind, value: fn(&Turn) -> f64| {
        median(turns.iter().filter(|(other, _)| *other == kind).map(|(_, turn)| value(turn)))
    };
    let mut figures = Vec::new();
    for (what, value) in [
        ("announced", (|turn: &Turn| turn.announced) as fn(&Turn) -> f64),
        ("withdrawn", |turn| turn.withdrawn),
    ] {
        let (ours, baseline) = (middle(Kind::Speaker, value), middle(Kind::Prebuilt, value));
        let note = format!("{} overlays, {ROUTES} routes, all of which came", routes::OVERLAYS);
        figures.extend([
            Figure::new(format!("{what} through FRR, speaker"), ours, "s").note(note),
            Figure::new(format!("{what} through FRR, prebuilt UPDATEs"), baseline, "s"),
            Figure::new(format!("{what} through FRR, speaker over prebuilt"), ours / baseline, "").goal(GOAL),
        ]);
    }
    Ok(figures)
}

/// Three hosts on a link.
struct Stage {
    reflector: Namespace,
    sender: Namespace,
    receiver: Namespace,
}

/// Seconds until the receiver had the last; and what it got.
struct Turn {
    announced: f64,
    withdrawn: f64,
    updates: usize,
    bytes: usize,
}

impl Stage {
    fn new(lab: &Lab) -> Result<Self, Error> {
        let segment = Segment::new(&lab.namespace("link")?, "bridge", 1500, Offloads::On)?;
        let host = |name, number| -> Result<Namespace, Error> {
            let addresses = vec![format!("{}/24", address(number)).parse()?];
            Ok(segment.host(lab, name, Attach { addresses, ..Attach::default() }, &[])?.namespace)
        };
        Ok(Self {
            reflector: host("reflector", REFLECTOR)?,
            sender: host("sender", SENDER)?,
            receiver: host("receiver", RECEIVER)?,
        })
    }

    fn turn(&self, kind: Kind) -> Result<Turn, Error> {
        let _frr = Frr::start(&self.reflector, &reflector())?;
        let peer = IpAddr::from(address(REFLECTOR));
        let connect = || Receiver::connect(peer, address(RECEIVER)).map_err(|error| error.to_string());
        let mut receiver = self.receiver.enter(connect)??;
        let place = Place { own: address(SENDER), reflector: peer };
        thread::scope(|scope| {
            let ((order, orders), (ready, is_ready)) = (unbounded_channel(), mpsc::channel());
            let sending = scope.spawn(move || {
                // Nobody waits for it if the receiver has failed.
                let ready = move || _ = ready.send(());
                self.sender
                    .enter(|| sender::run(kind, place, orders, ready))
                    .map_err(|error| error.to_string())
            });
            let measured = (|| {
                is_ready.recv().map_err(|_| "no session")?;
                let start = Instant::now();
                order.send(Order::Announce)?;
                receiver.read_until(ROUTES)?;
                let announced = start.elapsed().as_secs_f64();
                let (updates, bytes) = (receiver.updates, receiver.bytes);
                let start = Instant::now();
                order.send(Order::Withdraw)?;
                receiver.read_until(0)?;
                Ok(Turn { announced, withdrawn: start.elapsed().as_secs_f64(), updates, bytes })
            })();
            drop(order);
            sending.join().map_err(|_| "the sender panicked")???;
            measured
        })
    }
}

/// bgpd as reflector for all on the link.
fn reflector() -> String {
    let (id, net) = (address(REFLECTOR), address(0));
    format!(
        "router bgp 65000\n bgp router-id {id}\n bgp cluster-id {id}\n no bgp default ipv4-unicast\n \
         neighbor c peer-group\n neighbor c remote-as 65000\n bgp listen range {net}/24 peer-group c\n \
         address-family l2vpn evpn\n  neighbor c activate\n  neighbor c route-reflector-client\n exit-address-family\n"
    )
}
