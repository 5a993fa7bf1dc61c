//! Rules as the engine gets them, and what cannot be one.

use engine::{Action, MAX_RULES, Rule};

use super::*;

fn with_rules(rules: &str) -> Vec<RuleSettings> {
    parse(&format!("{GOOD}\n{rules}")).unwrap().rules
}

fn rule(text: &str) -> Vec<RuleSettings> {
    with_rules(&format!("[[rule]]\n{text}\n"))
}

#[track_caller]
fn refused_rule(keys: &str, at: &str, words: &[&str]) {
    refused(STATION, &format!("[[rule]]\n{keys}\n{STATION}"), at, words);
}

fn nets(prefixes: &[IpNet]) -> Vec<String> {
    prefixes.iter().map(IpNet::to_string).collect()
}

#[test]
fn overlays_become_their_prefixes() {
    let rules = rule("action = \"drop\"\nfrom = \"10.200.1.128/25\"\nto-vnis = \"1-4\"");
    let [RuleSettings { place, is_reply, from, to, rule }] = &rules[..] else { panic!("{rules:?}") };
    assert_eq!((place.line, *is_reply), (38, false));
    assert_eq!((&from[..], &to[..]), (&["10.200.1.128/25".to_owned()][..], &["VNI 1-4".to_owned()][..]));
    assert_eq!(nets(&rule.from), ["10.200.1.128/25"]);
    // Neighbours are one prefix: what 65 536 overlays of a block take is next to nothing.
    assert_eq!(nets(&rule.to), ["10.0.0.0/22", "fd00::/62"]);
    let Rule { action, protocol, source_ports, destination_ports, .. } = rule;
    assert_eq!((action, protocol, source_ports, destination_ports), (&Action::Drop, &None, &None, &None));
}

#[test]
fn prefixes_and_vnis_add_up_and_nothing_is_any() {
    let rules = rule("action = \"drop\"\nto = \"192.0.2.0/24\"\nto-vnis = [\"1\", \"100\"]");
    assert!(rules[0].rule.from.is_empty() && rules[0].from.is_empty());
    let expected = ["10.0.0.0/24", "10.200.1.0/24", "192.0.2.0/24", "fd00::/64", "fd00:0:1:1::/64"];
    let mut to = nets(&rules[0].rule.to);
    to.sort();
    let mut expected = expected.map(String::from);
    expected.sort();
    assert_eq!(to, expected);
    assert_eq!(rules[0].to.join(" "), "192.0.2.0/24 VNI 1 VNI 100");
}

#[test]
fn outside_is_what_is_in_no_block() {
    let rules = rule("action = \"allow\"\nto = \"outside\"");
    let [RuleSettings { rule, .. }] = &rules[..] else { panic!("what comes from outside is not filtered") };
    let holds = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        rule.to.iter().any(|prefix| prefix.contains(&address))
    };
    for outside in
        ["0.0.0.0", "9.255.255.255", "11.0.0.0", "255.255.255.255", "::", "fcff::1", "fd01::", "ffff::"]
    {
        assert!(holds(outside), "{outside}");
    }
    for inside in ["10.0.0.0", "10.255.255.255", "fd00::", "fd00:ffff::1"] {
        assert!(!holds(inside), "{inside}");
    }
    assert_eq!(rule.to.len(), 8 + 16, "one for each bit of the blocks' lengths");
}

#[test]
fn protocols_ports_and_replies_are_a_rule_each() {
    let rules = rule(
        "action = \"allow\"\nfrom-vnis = \"100\"\nto-vnis = \"1\"\nprotocol = [\"tcp\", \"udp\"]\nport = [53, \"8000-8080\"]",
    );
    let told: Vec<_> = rules
        .iter()
        .map(|RuleSettings { is_reply, rule, .. }| {
            (*is_reply, rule.protocol, rule.source_ports.clone(), rule.destination_ports.clone())
        })
        .collect();
    let (dns, web) = (Some(53..=53), Some(8000..=8080));
    let expected: Vec<_> = [6, 17]
        .into_iter()
        .flat_map(|protocol| {
            let [dns, web] = [dns.clone(), web.clone()];
            let of = |ports: &Option<std::ops::RangeInclusive<u16>>| {
                [(false, Some(protocol), None, ports.clone()), (true, Some(protocol), ports.clone(), None)]
            };
            [of(&dns), of(&web)].concat()
        })
        .collect();
    assert_eq!(told, expected);
    let (first, reply) = (&rules[0].rule, &rules[1].rule);
    assert!(Arc::ptr_eq(&first.from, &reply.to) && Arc::ptr_eq(&first.to, &reply.from));
    assert!(rules.iter().all(|other| other.is_reply || Arc::ptr_eq(&other.rule.from, &first.from)));
}

#[test]
fn replies_are_for_what_is_allowed_into_overlays() {
    let number = |keys: &str| rule(keys).len();
    assert_eq!(number("action = \"allow\""), 2);
    assert_eq!(number("action = \"allow\"\nreplies = false"), 1);
    assert_eq!(number("action = \"reject\""), 1);
    assert_eq!(number("action = \"drop\"\nreplies = false"), 1);
    assert_eq!(number("action = \"allow\"\nto = \"192.0.2.0/24\""), 1);
    assert_eq!(number("action = \"allow\"\nto = [\"192.0.2.0/24\", \"10.0.1.0/24\"]"), 2);
    assert_eq!(number("action = \"allow\"\nto = \"0.0.0.0/0\""), 2);
}

#[test]
fn protocols_by_name_and_number() {
    let numbers = |protocol: &str| -> Vec<u8> {
        let rules = rule(&format!("action = \"drop\"\nprotocol = {protocol}"));
        rules.iter().filter_map(|rule| rule.rule.protocol).collect()
    };
    assert_eq!(numbers("\"icmp\""), [1, 58]);
    assert_eq!(numbers("\"icmpv6\""), [58]);
    assert_eq!(numbers("[\"sctp\", 89]"), [132, 89]);
}

#[test]
fn the_order_is_that_of_the_file_and_equal_sides_are_shared() {
    let text = "[[rule]]\naction = \"drop\"\nfrom-vnis = \"1-4\"\nprotocol = 1\n\
                [[rule]]\naction = \"reject\"\nfrom-vnis = \"1-4\"\nprotocol = 2\n\
                [[rule]]\naction = \"allow\"\nto-vnis = \"1-4\"\nreplies = false\n";
    let rules = with_rules(text);
    assert_eq!(rules.iter().map(|rule| rule.place.line).collect::<Vec<_>>(), [38, 42, 46]);
    let actions = rules.iter().map(|rule| rule.rule.action).collect::<Vec<_>>();
    assert_eq!(actions, [Action::Drop, Action::Reject, Action::Allow]);
    assert!(Arc::ptr_eq(&rules[0].rule.from, &rules[1].rule.from));
    assert!(Arc::ptr_eq(&rules[0].rule.from, &rules[2].rule.to));
}

#[test]
fn rules_are_checked() {
    refused_rule("from = \"10.0.1.0/24\"", "[[rule]]", &["missing field `action`"]);
    refused_rule("action = \"deny\"", "\"deny\"", &["`allow`, `reject`, `drop`"]);
    let drop = |keys: &str| format!("action = \"drop\"\n{keys}");
    refused_rule(&drop("from = \"192.0.2.0/24\""), "192.0.2.0", &["lies in no block", "from overlays"]);
    refused_rule(&drop("from = \"outside\""), "from =", &["is not a prefix"]);
    refused_rule(&drop("from = []"), "from =", &["empty list"]);
    refused_rule(&drop("to = \"10.0.1.1/24\""), "to =", &["write 10.0.1.0/24"]);
    refused_rule(&drop("to = []"), "to =", &["empty list"]);
    refused_rule(&drop("to-vnis = \"200-300\""), "to-vnis", &["no overlay has a VNI from 200 to 300"]);
    refused_rule(&drop("from-vnis = 7"), "from-vnis", &["a string"]);
    refused_rule(&drop("protocol = \"igmp\""), "protocol", &["\"igmp\" is no protocol", "up to 255"]);
    refused_rule(&drop("protocol = 256"), "protocol", &["256 is no protocol"]);
    refused_rule(&drop("port = 80"), "port = 80", &["port needs a protocol"]);
    refused_rule(&drop("protocol = [\"tcp\", \"icmp\"]\nport = 80"), "port = 80", &["port needs a protocol"]);
    let tcp = |port: &str| drop(&format!("protocol = \"tcp\"\nport = {port}"));
    refused_rule(&tcp("65536"), "port = 65536", &["65536 is no port"]);
    refused_rule(&tcp("\"90-80\""), "\"90-80\"", &["is no port", "the first and the last"]);
    refused_rule(&drop("replies = true"), "replies", &["only what is allowed has replies"]);
    refused_rule(&drop("vlan = 7"), "vlan", &["unknown field `vlan`"]);
}

#[test]
fn rules_are_bounded() {
    let ports = |count: usize| (0..count).map(|port| port.to_string()).collect::<Vec<_>>().join(", ");
    let text = |count| format!("action = \"allow\"\nprotocol = \"tcp\"\nport = [{}]", ports(count));
    assert_eq!(rule(&text(MAX_RULES / 2)).len(), MAX_RULES);
    refused_rule(&text(MAX_RULES / 2 + 1), "[[rule]]", &["more than 4096", "replies = false"]);
}
