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

    /// The shard whose member gets the next message, and whether that member is connected. A shard with members that
    /// are not is picked only when no member is connected anywhere.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(reports: &[(u16, u32, u32)]) -> Group {
        let mut group = Group::default();
        reports.iter().for_each(|&(shard, online, offline)| group.report(ShardId(shard), online, offline));
        group
    }

    fn picks(group: &mut Group, count: usize) -> Vec<(u16, bool)> {
        (0..count).filter_map(|_| group.pick()).map(|(shard, online)| (shard.0, online)).collect()
    }

    /// Shards are picked once for each member in a round, and not in bursts.
    #[test]
    fn rotation_is_weighted_and_smooth() {
        let mut group = group(&[(0, 3, 0), (5, 1, 0)]);
        assert_eq!(picks(&mut group, 4), [(0, true), (0, true), (5, true), (0, true)]);
        assert_eq!(picks(&mut group, 4), [(0, true), (0, true), (5, true), (0, true)]);
    }

    /// A member that is not connected gets nothing while one is, wherever that one is.
    #[test]
    fn offline_members_are_picked_last() {
        let mut group = group(&[(0, 0, 2), (1, 1, 4)]);
        assert_eq!(picks(&mut group, 3), [(1, true); 3]);
        group.report(ShardId(1), 0, 1);
        let mut round = picks(&mut group, 3);
        round.sort_unstable();
        assert_eq!(round, [(0, false), (0, false), (1, false)]);
        group.report(ShardId(0), 0, 0);
        assert_eq!(picks(&mut group, 2), [(1, false); 2]);
        assert_eq!(group.members(), (0, 1));
        group.report(ShardId(1), 0, 0);
        assert_eq!(group.pick(), None);
        assert!(group.is_empty());
    }

    /// Groups are told apart by name and go with their last member; a report of nothing makes none.
    #[test]
    fn groups_come_and_go() {
        let mut groups = Groups::default();
        groups.report("g", ShardId(0), 0, 0);
        assert!(groups.is_empty());
        groups.report("h", ShardId(1), 0, 1);
        groups.report("g", ShardId(0), 1, 0);
        let all: Vec<_> = groups.iter_mut().map(|(name, group)| (name.to_owned(), group.pick())).collect();
        assert_eq!(all, [("g".into(), Some((ShardId(0), true))), ("h".into(), Some((ShardId(1), false)))]);
        groups.report("g", ShardId(0), 0, 0);
        assert!(groups.get_mut("g").is_none());
        assert_eq!(groups.len(), 1);
    }

    proptest! {
        /// After any history of reports and picks the credits add up to 0 where there are members; and from level
        /// credits a round gives every member one turn.
        #[test]
        fn every_member_gets_its_turn(
            history in prop::collection::vec((0..6u16, 0..4u32, 0..3u32, 0..9usize), 0..40),
            last in prop::collection::btree_map(0..6u16, 1..5u32, 1..6),
        ) {
            let mut changed = Group::default();
            for (shard, online, offline, count) in history {
                changed.report(ShardId(shard), online, offline);
                picks(&mut changed, count);
                prop_assert_eq!(changed.shards.iter().map(|members| members.credit).sum::<i64>(), 0);
            }
            let mut fresh = Group::default();
            last.iter().for_each(|(&shard, &online)| fresh.report(ShardId(shard), online, 0));
            let round = picks(&mut fresh, last.values().sum::<u32>() as usize);
            for (shard, online) in last {
                prop_assert_eq!(round.iter().filter(|picked| picked.0 == shard).count(), online as usize);
            }
        }
    }
}
