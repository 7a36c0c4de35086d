//! Network cards: what they are, their queues, and which cores serve them.

use std::collections::BTreeMap;

use crate::fact::Fact;
use crate::facts::{Card, ReceiveQueue};
use crate::root::Root;

use super::ethtool;

const CLASS: &str = "sys/class/net";

/// Looks at all of them.
pub fn look(root: &Root) -> Fact<BTreeMap<String, Card>> {
    root.names(CLASS).map(|names| {
        // Some files there are of the class, not of a card.
        let cards = names.into_iter().filter(|name| root.has(&format!("{}/queues", places(root, name).0)));
        cards.map(|name| (name.clone(), card(root, &name))).collect()
    })
}

fn card(root: &Root, name: &str) -> Card {
    let (at, device) = places(root, name);
    let is_device = !at.contains("/devices/virtual/") && root.has(&device);
    let offered = |read: fn(&Root, &str) -> Fact<_>| match is_device {
        true => read(root, name),
        false => Fact::unknown("not asked: there is no device behind it"),
    };
    Card {
        driver: root.link(&format!("{device}/driver")),
        is_device,
        state: root.text(&format!("{at}/operstate")),
        speed: speed(root, name, &at),
        mtu: root.value(&format!("{at}/mtu")),
        node: node(root, &device),
        interrupts: interrupts(root, &device),
        receive: root.numbered(&format!("{at}/queues"), "rx-").map(|queues| {
            let of = |(_, queue): (u32, String)| ReceiveQueue {
                rps: root.mask(&format!("{queue}/rps_cpus")),
                rfs_flows: root.value(&format!("{queue}/rps_flow_cnt")),
            };
            queues.into_iter().map(of).collect()
        }),
        send: root
            .numbered(&format!("{at}/queues"), "tx-")
            .map(|queues| queues.into_iter().map(|(_, queue)| root.mask(&format!("{queue}/xps_cpus"))).collect()),
        deferred_interrupts: root.value(&format!("{at}/napi_defer_hard_irqs")),
        flush_timeout_ns: root.value(&format!("{at}/gro_flush_timeout")),
        threaded: root.value::<u8>(&format!("{at}/threaded")).map(|on| on != 0),
        rings: offered(ethtool::rings),
        channels: offered(ethtool::channels),
        coalescing: offered(ethtool::coalescing),
        offloads: offered(ethtool::offloads),
        spread: offered(ethtool::spread),
    }
}

/// A link that does not know its speed says −1.
fn speed(root: &Root, name: &str, at: &str) -> Fact<u64> {
    root.value::<i64>(&format!("{at}/speed")).then(|speed| match u64::try_from(speed) {
        Ok(speed) => Fact::Known(speed),
        Err(_) => Fact::unknown(format!("{name} does not tell its speed")),
    })
}

/// Where the card and its device lie. The class has links to them; a captured tree may have directories instead.
fn places(root: &Root, name: &str) -> (String, String) {
    let class = format!("{CLASS}/{name}");
    let Fact::Known(target) = root.target(&class) else {
        let device = format!("{class}/device");
        return (class, device);
    };
    let at = format!("sys/{}", target.trim_start_matches("../"));
    let device = at.strip_suffix(&format!("/net/{name}")).unwrap_or(&at).to_owned();
    (at, device)
}

/// The device's NUMA node. Behind virtio it is that of the bus; −1 says that there is but one.
fn node(root: &Root, device: &str) -> Fact<u32> {
    with_parent(device, |at| root.value::<i64>(&format!("{at}/numa_node"))).then(|node| match u32::try_from(node) {
        Ok(node) => Fact::Known(node),
        Err(_) => Fact::unknown(format!("{device} belongs to no node")),
    })
}

fn interrupts(root: &Root, device: &str) -> Fact<Vec<u32>> {
    with_parent(device, |at| root.numbered(&format!("{at}/msi_irqs"), ""))
        .map(|lines| lines.into_iter().map(|(number, _)| number).collect())
}

/// What the device's directory says, or else the one above it.
fn with_parent<T>(device: &str, read: impl Fn(&str) -> Fact<T>) -> Fact<T> {
    let parent = device.rsplit_once('/').map_or("", |(parent, _)| parent);
    read(device).or_else(|| read(parent))
}
