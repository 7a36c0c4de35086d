//! What a process that was killed left in its staging ring.

use super::{Entry, Log};
use crate::header::{HeaderFault, Owner};
use crate::layout::{GRANULE, HEADER_BYTES, Position, RecordHeader, STAGING_MAGIC};
use crate::segment::Refusal;
use crate::staging::StagingHeader;

/// A staging ring that was left behind.
#[derive(Clone, Copy, Debug)]
pub struct Staged<'a> {
    /// Its header.
    pub header: StagingHeader,
    ring: &'a [u8],
}

impl<'a> Staged<'a> {
    /// The ring in these bytes of a file. `None`: it was made, and nothing was appended.
    pub fn read(bytes: &'a [u8], owner: Owner) -> Result<Option<Staged<'a>>, Refusal> {
        let header = match StagingHeader::read(bytes) {
            Ok(header) => header,
            // The header comes before anything else, in one store or a few.
            Err(HeaderFault::Short) => return Ok(None),
            Err(HeaderFault::Foreign) if bytes.iter().zip(STAGING_MAGIC).all(|(&is, ours)| is == 0 || is == ours) => {
                return Ok(None);
            }
            Err(HeaderFault::Damaged)
                if bytes[HEADER_BYTES.min(bytes.len() as u64) as usize..].iter().all(|&b| b == 0) =>
            {
                return Ok(None);
            }
            Err(fault) => return Err(Refusal::Header(fault)),
        };
        Refusal::unless_owned(header.owner, owner)?;
        let ring = bytes.get(HEADER_BYTES as usize..).and_then(|ring| ring.get(..header.capacity as usize));
        let ring = ring.ok_or(Refusal::Header(HeaderFault::Short))?;
        Ok(Some(Staged { header, ring }))
    }

    /// The highest position that it knows to have been synced.
    pub fn synced(&self) -> Position {
        let capacity = self.header.capacity;
        let mut synced = self.header.base;
        for place in (0..capacity).step_by(GRANULE as usize) {
            let Some((header, _)) = RecordHeader::read(&self.ring[place as usize..]) else { break };
            let lies_here = header.position.0 % capacity == place && header.position >= self.header.base;
            // Cheap first: few places hold a header that says more.
            if lies_here && header.synced > synced && self.record_at(header.position).is_some() {
                synced = header.synced;
            }
        }
        synced
    }

    /// Goes through the records that lie behind the end of the log.
    pub fn replay(&self, log: &mut Log, visit: &mut impl FnMut(Entry<'_>)) {
        let from = log.end;
        while let Some((header, body)) = self.record_at(log.end) {
            if header.end().0 - from.0 > self.header.capacity {
                break;
            }
            log.pass(&header, body, visit);
        }
    }

    /// The bytes from `from` to `to`, which were gone through.
    pub fn bytes(&self, from: Position, to: Position) -> [&'a [u8]; 2] {
        let place = (from.0 % self.header.capacity) as usize;
        let len = (to.0 - from.0) as usize;
        let first = len.min(self.ring.len() - place);
        [&self.ring[place..place + first], &self.ring[..len - first]]
    }

    fn record_at(&self, position: Position) -> Option<(RecordHeader, &'a [u8])> {
        if position < self.header.base {
            return None;
        }
        let place = (position.0 % self.header.capacity) as usize;
        // A record, and a filler, too, lies in one piece.
        let (header, body) = RecordHeader::check_all(&self.ring[place..], position)?;
        (header.epoch == self.header.epoch).then_some((header, body))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::map::Region;
    use crate::shared::Shared;
    use crate::staging::ring;

    const OWNER: Owner = Owner { node: 1, generation: 0, shard: 0 };

    /// The file's bytes of a ring into which records of 32 bytes went, of which the first `synced` were synced.
    fn left_behind(records: u64, synced: u64) -> Vec<u8> {
        let file = tempfile::tempfile_in("/dev/shm").expect("a file in tmpfs");
        let region = Region::allocated(&file, 4096 + 1024).expect("it is mapped");
        let header = StagingHeader { epoch: 2, owner: OWNER, capacity: 1024, base: Position(320) };
        let (mut staging, mut reader) = ring(region, header, Arc::new(Shared::new(Position(320), Position(0))));
        for index in 0..records {
            let known = reader.synced();
            assert!(staging.place(9, 32, known, |body| body.fill(index as u8)));
            staging.give();
            if index < synced {
                reader.sync(staging.tail());
            }
        }
        Region::read_only(&file).expect("it is mapped").expect("it has bytes").bytes().to_vec()
    }

    fn log(end: u64) -> Log {
        let mut log = Log::arrange(&[], Position(0)).expect("no files");
        log.end = Position(end);
        log
    }

    fn replay(bytes: &[u8], end: u64) -> (Log, Vec<u8>) {
        let staged = Staged::read(bytes, OWNER).expect("ours").expect("with records");
        let (mut log, mut found) = (log(end), Vec::new());
        staged.replay(&mut log, &mut |entry| found.push(entry.body[0]));
        (log, found)
    }

    /// Behind the end of the log everything is found, over the ring's turn, and nothing that an older lap left.
    #[test]
    fn what_is_staged_is_found() {
        let bytes = left_behind(30, 20);
        let (log, found) = replay(&bytes, 320 + 20 * 64);
        assert_eq!((found, log.end), ((20..30).collect(), Position(320 + 30 * 64)));
        let (log, found) = replay(&bytes, 320 + 30 * 64);
        assert_eq!((found.len(), log.end), (0, Position(320 + 30 * 64)));
        let staged = Staged::read(&bytes, OWNER).expect("ours").expect("with records");
        assert_eq!(staged.synced(), Position(320 + 20 * 64));
        let whole = staged.bytes(Position(320 + 20 * 64), Position(320 + 30 * 64)).concat();
        assert_eq!(whole.len(), 640);
        assert!(RecordHeader::check(&whole[576..], Position(320 + 29 * 64)).is_some());
    }

    /// A record whose append was cut off ends what is found.
    #[test]
    fn a_torn_append_ends_it() {
        let mut bytes = left_behind(5, 0);
        bytes[4096 + 320 + 3 * 64 + 40] ^= 1;
        let (log, found) = replay(&bytes, 320);
        assert_eq!((found, log.end), (vec![0, 1, 2], Position(320 + 3 * 64)));
    }

    /// A file that was made and not used is nothing, and a stranger's is refused.
    #[test]
    fn a_fresh_file_is_nothing() {
        assert!(Staged::read(&[0; 8192], OWNER).expect("nothing").is_none());
        assert!(Staged::read(&[], OWNER).expect("nothing").is_none());
        assert!(Staged::read(&left_behind(1, 0), Owner { node: 3, ..OWNER }).is_err());
    }

    proptest! {
        /// Whatever becomes of the ring's bytes, what is found is the front of what was staged.
        #[test]
        fn any_bytes_are_a_front(flips in prop::collection::vec((4096_usize..4096 + 1024, any::<u8>()), 0..6)) {
            let mut bytes = left_behind(30, 20);
            for (at, byte) in flips {
                bytes[at] = byte;
            }
            let (log, found) = replay(&bytes, 320 + 20 * 64);
            prop_assert_eq!(&found, &(20..20 + found.len() as u8).collect::<Vec<_>>());
            let synced = Staged::read(&bytes, OWNER).expect("ours").expect("with records").synced();
            prop_assert!(synced <= Position(320 + 20 * 64));
            prop_assert_eq!(log.records, found.len() as u64);
        }
    }
}
