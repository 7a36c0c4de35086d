//! Shared-subscription groups, as the owner of their topics knows them: how many members on which shard.
//!
//! The owner picks the shard, that shard picks the member. Here a shard counts for as many members as it has reported,
//! so that every member of a group gets the same share whatever shard it is on.

use std::collections::BTreeMap;

use shard::mesh::ShardId;

/// The groups of one filter, by name.
#[derive(Debug, Default)]
pub struct Groups {
    groups: BTreeMap<Box<str>, Group>,
}

impl Groups {
    /// Takes a shard's report: how many members of a group it has now. A group goes with its last member.
    pub fn report(&mut self, group: &str, shard: ShardId, online: u32, offline: u32) {
        if let Some(members) = self.groups.get_mut(group) {
            members.report(shard, online, offline);
            if members.is_empty() {
                self.groups.remove(group);
            }
        } else if online > 0 || offline > 0 {
            let mut members = Group::default();
            members.report(shard, online, offline);
            self.groups.insert(group.into(), members);
        }
    }

    /// A group that has members.
    pub fn get_mut(&mut self, group: &str) -> Option<&mut Group> {
        self.groups.get_mut(group)
    }

    /// All groups, by name; each gets every message once.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Group)> {
        self.groups.iter_mut().map(|(name, group)| (&**name, group))
    }

    /// How many groups have members.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// One group: the shards that have members of it, at most one entry each.
///
/// [`Group::pick`] is a smooth weighted rotation: at each pick a shard earns its number of members, the richest is
/// picked and pays the number of all. Over as many picks as there are members each shard is picked once for each of its
/// own, interleaved rather than in bursts.
#[derive(Debug, Default)]
pub struct Group {
    shards: Vec<Members>,
}

#[derive(Debug)]
struct Members {
    shard: ShardId,
    online: u32,
    offline: u32,
    /// What it has earned and not yet paid; the sum over all shards is 0.
    credit: i64,
}

impl Group {
    /// Takes a shard's report: how many members it has now, connected and not.
    pub fn report(&mut self, shard: ShardId, online: u32, offline: u32) {
        let known = self.shards.iter().position(|members| members.shard == shard);
        match known {
            Some(at) if online == 0 && offline == 0 => self.forget(at),
            Some(at) => (self.shards[at].online, self.shards[at].offline) = (online, offline),
            None if online == 0 && offline == 0 => {}
            None => self.shards.push(Members { shard, online, offline, credit: 0 }),
        }
    }

    /// The shard whose member gets the next message, and whether that member is connected. A shard with members that are
    /// not is picked only when no member is connected anywhere.
    pub fn pick(&mut self) -> Option<(ShardId, bool)> {
        let online = self.shards.iter().any(|members| members.online > 0);
        let mut all = 0;
        let mut richest: Option<usize> = None;
        for at in 0..self.shards.len() {
            let weight = self.shards[at].weight(online);
            if weight == 0 {
                continue;
            }
            all += weight;
            self.shards[at].credit += weight;
            if richest.is_none_or(|other| self.shards[at].credit > self.shards[other].credit) {
                richest = Some(at);
            }
        }
        let picked = &mut self.shards[richest?];
        picked.credit -= all;
        Some((picked.shard, online))
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// How many members are connected, and how many are not.
    pub fn members(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(online, offline), members| {
            (online + u64::from(members.online), offline + u64::from(members.offline))
        })
    }

    /// Drops a shard. Another inherits its credit, so that the sum stays 0 and shards that join start level.
    fn forget(&mut self, at: usize) {
        let gone = self.shards.remove(at);
        if let Some(heir) = self.shards.first_mut() {
            heir.credit += gone.credit;
        }
    }
}

impl Members {
    fn weight(&self, online: bool) -> i64 {
        i64::from(if online { self.online } else { self.offline })
    }
}
