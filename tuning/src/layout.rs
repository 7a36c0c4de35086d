//! Which cores do what: from the facts and a profile's wishes to a core for each shard, and cores that serve.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shard::config::{CoreId, CorePlan};

use crate::cores::Cores;
use crate::fact::Fact;
use crate::facts::{Core, CoreKind, Facts};
use crate::profile::{CoreWishes, Efficiency, Nodes, Siblings};

/// More shards than the switch takes.
const SHARDS_MAX: usize = 256;

/// Which cores do what, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The core of each shard.
    pub shards: Cores,
    /// Cores that serve.
    pub service: Cores,
    /// Whether each shard has its core for itself; only then may it spin.
    pub dedicated: bool,
    /// Cores that the process must be given, as it does not have them by itself (isolated ones).
    pub to_be_given: Cores,
    /// Why it is so, one sentence each.
    pub reasons: Vec<String>,
}

impl Layout {
    /// Plans for a machine. Fails where it is not known which cores there are.
    pub fn new(facts: &Facts, wishes: &CoreWishes) -> Result<Layout, String> {
        let processor = &facts.processor;
        let online = match &processor.online {
            Fact::Known(cores) if !cores.is_empty() => cores.clone(),
            Fact::Known(_) => return Err("there are no cores".to_owned()),
            Fact::Unknown { unknown } => return Err(format!("it is not known which cores there are: {unknown}")),
        };
        let allowed = processor.allowed.known().map_or(online.clone(), |allowed| allowed.and(&online));
        let isolated = if wishes.isolated { within_group(facts, &online) } else { Cores::none() };
        let mut plan = Planner { facts, wishes, usable: allowed.or(&isolated), isolated, reasons: Vec::new() };
        plan.drop_other_nodes();
        let (shards, service) = plan.split();
        let shards = plan.bound(shards);
        let service = if service.is_empty() { plan.usable.clone() } else { service };
        let pinned = CorePlan {
            shards: shards.iter().map(|core| Some(CoreId(core as usize))).collect(),
            service_cores: service.iter().map(|core| CoreId(core as usize)).collect(),
        };
        // A quota stops the whole group: no core is anybody's own then.
        let quota = processor.quota_millicores.known().copied().flatten();
        let dedicated = pinned.is_dedicated() && quota.is_none() && wishes.share_percent == 100;
        if !dedicated && wishes.spin != "0s" {
            plan.reasons.push("no shard has its core for itself, so none spins".to_owned());
        }
        let to_be_given = shards.or(&service).without(&allowed);
        if !to_be_given.is_empty() {
            plan.reasons.push(format!("the process must be given the cores {to_be_given}, which it does not have now"));
        }
        Ok(Layout { shards, service, dedicated, to_be_given, reasons: plan.reasons })
    }
}

/// Isolated cores that the group of processes may use: no process has them by itself, but it may ask for them.
fn within_group(facts: &Facts, online: &Cores) -> Cores {
    let isolated = facts.processor.isolated.or_default().and(online);
    facts.processor.cpuset.known().map_or(isolated.clone(), |cpuset| isolated.and(cpuset))
}

struct Planner<'a> {
    facts: &'a Facts,
    wishes: &'a CoreWishes,
    usable: Cores,
    isolated: Cores,
    reasons: Vec<String>,
}

impl Planner<'_> {
    /// Leaves out the nodes that the network card is not on.
    fn drop_other_nodes(&mut self) {
        let nodes = self.facts.memory.nodes.or_default();
        if self.wishes.nodes == Nodes::All || nodes.len() < 2 {
            return;
        }
        let Some((card, node)) = card_node(self.facts) else {
            return self.reasons.push("it is not known which node the network card is on, so all are used".to_owned());
        };
        let near: Cores = self.usable.iter().filter(|core| node_of(self.facts, *core) == Some(node)).collect();
        if near.len() < 2 {
            return self
                .reasons
                .push(format!("node {node}, where {card} is, has too few cores, so all nodes are used"));
        }
        self.reasons.push(format!("only cores of node {node} are used: {card} is attached to it"));
        self.isolated = self.isolated.and(&near);
        self.usable = near;
    }

    /// Cores for shards, and cores that serve; none of the latter: all serve.
    fn split(&mut self) -> (Vec<u32>, Cores) {
        let saving = match self.wishes.efficiency {
            Efficiency::Service => self.of_kind(CoreKind::Efficiency),
            Efficiency::Shards => Cores::none(),
        };
        if !self.isolated.is_empty() && self.isolated != self.usable {
            self.reasons.push(format!("the isolated cores {} have the shards, the others serve", self.isolated));
            let threads = self.threads(&self.isolated.without(&saving));
            return (threads, self.usable.without(&self.isolated));
        }
        let fast = self.usable.without(&saving);
        if !saving.is_empty() && !fast.is_empty() {
            self.reasons.push(format!("the saving cores {saving} serve"));
            return (self.threads(&fast), saving);
        }
        let groups = self.groups(&fast);
        let wished = self.wishes.service_from as usize;
        if wished == 0 || groups.len() < wished || groups.len() < 2 {
            self.reasons.push("all cores serve beside their shards".to_owned());
            return (self.threads(&fast), Cores::none());
        }
        let count = (groups.len() / self.wishes.service_one_in.max(1) as usize).max(1);
        let service: Cores = groups[..count].iter().flat_map(|group| group.iter()).collect();
        self.reasons
            .push(format!("the cores {service} serve and have no shard: one in {}", self.wishes.service_one_in));
        (self.threads(&fast.without(&service)), service)
    }

    /// What is left of the cores for shards within the share, the quota, and what the switch takes.
    fn bound(&mut self, mut shards: Vec<u32>) -> Cores {
        if self.wishes.share_percent < 100 {
            let share = (shards.len() * self.wishes.share_percent as usize / 100).max(1);
            self.reasons.push(format!("{share} of {} cores have a shard: the others are for others", shards.len()));
            // The last ones: the first has most of the system's own work.
            shards.drain(..shards.len() - share);
        }
        if let Some(millicores) = self.facts.processor.quota_millicores.known().copied().flatten() {
            let most = (millicores as usize / 1000).max(1);
            if shards.len() > most {
                self.reasons
                    .push(format!("the quota is {} cores, so there are {most} shards", millicores as f64 / 1000.0));
                shards.truncate(most);
            }
        }
        shards.truncate(SHARDS_MAX);
        shards.into_iter().collect()
    }

    /// The threads that have a shard each, ascending.
    fn threads(&mut self, cores: &Cores) -> Vec<u32> {
        let groups = self.groups(cores);
        let doubled = groups.iter().any(|group| group.len() > 1);
        let mut threads: Vec<u32> = match self.wishes.siblings {
            Siblings::Shards => cores.iter().collect(),
            Siblings::Idle => groups.iter().filter_map(Cores::first).collect(),
        };
        if doubled {
            self.reasons.push(match self.wishes.siblings {
                Siblings::Shards => "each thread of a core has a shard".to_owned(),
                Siblings::Idle => "a shard has both threads of its core: the second one stays idle".to_owned(),
            });
        }
        threads.sort_unstable();
        threads
    }

    /// Cores in the sense of hardware: threads that share one are together.
    fn groups(&self, cores: &Cores) -> Vec<Cores> {
        let mut groups = BTreeMap::<u32, Cores>::new();
        for core in cores.iter() {
            let siblings = find(self.facts, core).and_then(|core| core.siblings.known().cloned());
            let group = siblings.map_or_else(|| [core].into_iter().collect(), |siblings| siblings.and(cores));
            groups.entry(group.first().unwrap_or(core)).or_insert(group);
        }
        groups.into_values().collect()
    }

    fn of_kind(&self, kind: CoreKind) -> Cores {
        self.usable
            .iter()
            .filter(|core| find(self.facts, *core).and_then(|core| core.kind.known()) == Some(&kind))
            .collect()
    }
}

fn find(facts: &Facts, number: u32) -> Option<&Core> {
    facts.processor.cores.known()?.iter().find(|core| core.number == number)
}

/// The NUMA node of a core.
pub fn node_of(facts: &Facts, core: u32) -> Option<u32> {
    find(facts, core)?.node.known().copied()
}

/// The first card that is up and tells its node.
fn card_node(facts: &Facts) -> Option<(&str, u32)> {
    let cards = facts.network.known()?;
    let up = cards.iter().filter(|(_, card)| card.is_device && card.state.known().is_some_and(|state| state == "up"));
    up.into_iter().find_map(|(name, card)| Some((name.as_str(), *card.node.known()?)))
}
