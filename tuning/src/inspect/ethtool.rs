//! What ethtool(8) tells of a card: the kernel gives it through a socket, for which the program is asked.
//!
//! Its output is made for people. Lines `NAME: VALUE` are taken as they are; what stands below a heading gets that
//! heading's word in front: `max RX: 4096`, `RX: 1024`.

use crate::fact::Fact;
use crate::facts::Pairs;
use crate::root::Root;

/// Entries of its rings (`-g`).
pub fn rings(root: &Root, card: &str) -> Fact<Pairs> {
    ask(root, "-g", card)
}

/// How many queues (`-l`).
pub fn channels(root: &Root, card: &str) -> Fact<Pairs> {
    ask(root, "-l", card)
}

/// How long it gathers packets (`-c`).
pub fn coalescing(root: &Root, card: &str) -> Fact<Pairs> {
    ask(root, "-c", card)
}

/// What it does in place of the processor (`-k`).
pub fn offloads(root: &Root, card: &str) -> Fact<Pairs> {
    ask(root, "-k", card)
}

/// How packets are spread over its queues (`-x`): how many entries of the table lead to each.
pub fn spread(root: &Root, card: &str) -> Fact<Pairs> {
    root.command("ethtool", &["-x", card]).map(|text| {
        let mut pairs = Pairs::new();
        let mut queues = std::collections::BTreeMap::<u64, u64>::new();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.trim().parse::<u64>().is_ok() {
                let entries = value.split_whitespace().filter_map(|queue| queue.parse().ok());
                entries.for_each(|queue| *queues.entry(queue).or_default() += 1);
            } else if matches!(value.trim(), "on" | "off") {
                pairs.insert(format!("hash {}", name.trim()), value.trim().to_owned());
            }
        }
        pairs.extend(queues.into_iter().map(|(queue, entries)| (format!("queue {queue}"), entries.to_string())));
        pairs
    })
}

fn ask(root: &Root, what: &str, card: &str) -> Fact<Pairs> {
    root.command("ethtool", &[what, card]).map(|text| pairs(&text))
}

/// Names and values of an output.
fn pairs(text: &str) -> Pairs {
    let mut found = Pairs::new();
    let mut prefix = "";
    for line in text.lines() {
        if line.starts_with("Pre-set maximums") {
            prefix = "max ";
        } else if line.starts_with("Current hardware settings") {
            prefix = "";
        }
        // `Adaptive RX: off  TX: off` has two on one line.
        let halves: Vec<&str> = match line.strip_prefix("Adaptive ") {
            Some(rest) => rest.split("  ").filter(|half| !half.trim().is_empty()).collect(),
            None => vec![line],
        };
        for half in halves {
            let Some((name, value)) = half.split_once(':').filter(|(_, value)| !value.trim().is_empty()) else {
                continue;
            };
            let name = name.trim();
            let word = if line.starts_with("Adaptive ") { "adaptive " } else { prefix };
            found.insert(format!("{word}{name}"), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maxima and what is set are told apart, and two values on one line.
    #[test]
    fn output_becomes_pairs() {
        let rings = "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\nTX:\t\t4096\n\
                     Current hardware settings:\nRX:\t\t512\nTX:\t\t256\n";
        let rings = pairs(rings);
        assert_eq!((rings["max RX"].as_str(), rings["RX"].as_str(), rings["TX"].as_str()), ("4096", "512", "256"));
        let coalescing =
            pairs("Coalesce parameters for eth0:\nAdaptive RX: on  TX: off\nrx-usecs:\t50\nrx-frames: n/a\n");
        assert_eq!((coalescing["adaptive RX"].as_str(), coalescing["adaptive TX"].as_str()), ("on", "off"));
        assert_eq!(coalescing["rx-usecs"], "50");
        assert_eq!(pairs("Features for eth0:\nntuple-filters: off [fixed]\n")["ntuple-filters"], "off [fixed]");
    }
}
