//! Stations that nobody has named: let in for a while, and no more than that.

use super::*;

const STRANGER_MAC: MacAddr = MacAddr([2, 9, 9, 9, 9, 9]);
const STRANGER: [&str; 2] = ["10.0.1.66", "fd00:0:0:1::66"];

#[test]
fn a_stranger_is_answered_where_it_was_heard_and_nothing_is_learned() {
    for (endpoint, family) in [(ENDPOINT_V4, 0), (ENDPOINT_V6, 1), (ENDPOINT_V4, 1)] {
        let mut gateway = gateway();
        let out = heard(&say(&mut gateway, endpoint, &asks(STRANGER_MAC, STRANGER[family], ROUTER[family])));
        let [Heard { endpoint: heard_at, vni: 100, macs, message: Message::Answer { mac, .. } }] = &out[..]
        else {
            panic!("{out:?}")
        };
        assert_eq!((*heard_at, *macs, *mac), (address(endpoint), (ROUTER_MAC, STRANGER_MAC), ROUTER_MAC));
        // What it sends leaves; what is for it is asked for, and its answer is not believed.
        let udp = Udp::from_station(STRANGER[family], OUTSIDE[family]).macs(STRANGER_MAC, ROUTER_MAC);
        assert_eq!(outside(&say(&mut gateway, endpoint, &udp.frame())).len(), 1);
        assert_eq!(heard(&call(&mut gateway, STRANGER[family], 1)), question(STRANGER[family]));
        let asker = [ROUTER[0].to_owned(), ROUTER_MAC.link_local().to_string()];
        let answer = answers(STRANGER_MAC, STRANGER[family], (ROUTER_MAC, &asker[family]));
        assert_eq!(say(&mut gateway, endpoint, &answer), []);
        assert_eq!(state(&mut gateway, STRANGER[family]), Some((NeighbourState::Incomplete, None)));
        assert_eq!((gateway.done(Deed::StrangerAdmitted), gateway.done(Deed::Learned)), (1, 0));
    }
}

/// A worker may see several frames of a stranger before the slow path has let it in.
#[test]
fn frames_that_were_on_their_way_leave_too() {
    let mut gateway = gateway();
    for family in BOTH {
        let udp = Udp::from_station(STRANGER[family], OUTSIDE[family]).macs(STRANGER_MAC, ROUTER_MAC);
        gateway.deliver(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &udp.frame()));
    }
    assert_eq!(gateway.sent(), []);
    assert_eq!(gateway.count(Reason::UnknownStation), 2);
    assert_eq!(outside(&settle(&mut gateway)).len(), 2);
    assert_eq!((gateway.done(Deed::StrangerAdmitted), gateway.done(Deed::StrangerRefused)), (1, 0));
}

/// A flood of made-up senders is let in up to a bound, and costs another overlay nothing.
#[test]
fn strangers_are_few_and_of_their_overlay() {
    let mut gateway = gateway();
    for number in 0..1000_u32 {
        let [.., a, b] = number.to_be_bytes();
        let mac = MacAddr([2, 9, 9, 9, a, b]);
        let udp = Udp::from_station(STRANGER[0], OUTSIDE[0]).macs(mac, ROUTER_MAC);
        say(&mut gateway, ENDPOINT_V4, &udp.frame());
    }
    assert_eq!((gateway.done(Deed::StrangerAdmitted), gateway.done(Deed::StrangerRefused)), (64, 936));
    let udp = Udp::from_station("10.0.2.66", OUTSIDE[0]).macs(STRANGER_MAC, ROUTER_MAC);
    let mut out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V6, 200, &udp.frame()));
    out.extend(settle(&mut gateway));
    assert_eq!(outside(&out).len(), 1);
}
