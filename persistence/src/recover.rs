//! From bytes to records: which segments make up the log, what they hold, and where it ends.
//!
//! Everything here is a function of bytes; [`crate::store`] brings them. In order:
//!
//! 1. [`Log::arrange`] puts the segments behind each other, by their headers and the checkpoint.
//! 2. [`Walk::of`] checks the records of a segment, which takes nothing but its bytes, so that several can be checked
//!    at a time; [`Log::pass_through`] goes through one after the other. The last one ends at the first record that is
//!    not whole.
//! 3. [`staged::Staged`] goes on from there in a staging ring that a process left behind.
//!
//! ```text
//!   checkpoint's cut      proven    end                      end with what is staged
//!        ▼                  ▼        ▼                         ▼
//!   ┌────┴──────┬───────────┴───────┬┴┄┄┄┄┐
//!   │ segment 3 │ segment 4         ┊ torn┊     ┌──────────────┐
//!   └───────────┴───────────────────┴┄┄┄┄┄┘     │ staging ring │
//!                           ╰────────┴──────────┴──────────────╯ is written anew, in a segment of its own
//! ```
//!
//! *Proven* is what is known to have been synced: a newer segment, the checkpoint or a record says so. What lies
//! between that and the end was read, but perhaps from the kernel's memory alone: after a sync that failed a file reads
//! as if it had not. So it is written anew together with what is staged, before anybody relies on it.

pub mod staged;

use std::fmt;

use crate::header::Owner;
use crate::layout::{GRANULE, HEADER_BYTES, KIND_FILLER, Position, RecordHeader};
use crate::segment::{SegmentHeader, segment_file_name};

/// A record, as it is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it says, in its user's terms.
    pub kind: u16,
    /// Its body.
    pub body: &'a [u8],
    /// Where it begins.
    pub position: Position,
    /// Where it ends: its ticket.
    pub end: Position,
    /// The start of the program that appended it.
    pub epoch: u32,
}

/// A segment file of one shard, by its name and its first bytes.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// Its number.
    pub number: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its header, if it is begun.
    pub header: Option<SegmentHeader>,
}

/// A segment whose records are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its header.
    pub header: SegmentHeader,
    /// Bytes of its file.
    pub bytes: u64,
    /// Where it ends: the next one's base. `None`: it is the last.
    pub end: Option<Position>,
}

/// A segment file whose records are not needed, or that was never begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Its number.
    pub number: u64,
    /// Bytes of its file.
    pub bytes: u64,
}

/// The log of one journal, while it is gone through.
#[derive(Clone, Debug)]
pub struct Log {
    /// Segments whose records are needed, oldest first.
    pub live: Vec<Live>,
    /// The other files.
    pub dead: Vec<Dead>,
    /// A number higher than any file's.
    pub next: u64,
    /// Nothing before this is needed.
    pub cut: Position,
    /// Up to where it was gone through.
    pub end: Position,
    /// Up to where it is known to be synced; the end of a record.
    pub proven: Position,
    /// Records that were gone through.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The torn tail, if there was one.
    pub torn: Option<Torn>,
}

/// A tail that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment's number.
    pub segment: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes that were written there, as far as can be seen.
    pub bytes: u64,
}

/// A log that cannot be gone through without leaving something out that was on disk once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's number; `None`: none has it.
    pub segment: Option<u64>,
    /// The byte in its file.
    pub offset: u64,
    /// The place in the log.
    pub position: Position,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A record is not whole, although the log was synced up to this position.
    Synced(Position),
    /// A record is not whole, although the segment goes on up to this position, where the next one begins.
    Inside(Position),
    /// No segment holds the log from here to this position.
    Missing(Position),
    /// A segment begins before the one in front of it.
    Order,
    /// A part of the file cannot be read.
    Unreadable,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment {
            Some(number) => write!(f, "{} at byte {}: ", segment_file_name(number), self.offset)?,
            None => write!(f, "position {}: ", self.position.0)?,
        }
        match self.fault {
            Fault::Synced(to) => {
                write!(
                    f,
                    "a record is not whole, although the log was on disk up to {} bytes behind it",
                    to.0 - self.position.0
                )
            }
            Fault::Inside(to) => {
                write!(f, "a record is not whole, {} bytes before the next segment begins", to.0 - self.position.0)
            }
            Fault::Missing(to) => {
                write!(f, "{} bytes of the log are missing: their segment is gone", to.0 - self.position.0)
            }
            Fault::Order => f.write_str("it begins before the end of the segment in front of it"),
            Fault::Unreadable => f.write_str("it cannot be read"),
        }
    }
}

impl std::error::Error for Damage {}

/// Records that are fetched ahead of the one that is gone through.
const AHEAD: usize = 6;

/// Where `position` lies in the file of a segment with this base.
fn offset(base: Position, position: Position) -> u64 {
    HEADER_BYTES + (position.0 - base.0)
}

impl Log {
    /// Puts the files, in the order of their numbers, behind each other.
    pub fn arrange(files: &[Listed], cut: Position) -> Result<Log, Damage> {
        let mut log = Log {
            live: Vec::new(),
            dead: Vec::new(),
            next: files.last().map_or(1, |last| last.number + 1),
            cut,
            end: cut,
            proven: cut,
            records: 0,
            bytes: 0,
            torn: None,
        };
        let mut begun = files.iter().filter_map(|file| Some((file, file.header?))).peekable();
        log.dead.extend(files.iter().filter(|file| file.header.is_none()).map(Listed::dead));
        while let Some((file, header)) = begun.next() {
            let end = begun.peek().map(|(_, next)| next.base);
            if end.is_some_and(|end| end < header.base) {
                let next = begun.peek().map(|(file, _)| file.number);
                return Err(Damage { segment: next, offset: 0, position: header.base, fault: Fault::Order });
            }
            // The last one, too, may be one that was to be removed, when the checkpoint was at the end of the log.
            let room = Position(header.base.0.saturating_add(header.capacity));
            if end.is_some_and(|end| end == header.base) || end.unwrap_or(room) <= cut {
                log.dead.push(file.dead());
            } else {
                log.live.push(Live { header, bytes: file.bytes, end });
            }
        }
        // Without any segment the log is as long as the checkpoint says: it was cut at its end, and nothing came after.
        if let Some(oldest) = log.live.first().filter(|oldest| oldest.header.base > cut) {
            let fault = Fault::Missing(oldest.header.base);
            return Err(Damage { segment: None, offset: 0, position: cut, fault });
        }
        log.dead.sort_by_key(|dead| dead.number);
        Ok(log)
    }

    /// Goes through the records of a live segment with these bytes. They come in order, each once.
    pub fn replay(&mut self, live: &Live, bytes: &[u8], visit: &mut impl FnMut(Entry<'_>)) -> Result<(), Damage> {
        let walk = Walk::of(live, bytes, self.end.max(live.header.base));
        self.pass_through(live, bytes, &walk, visit)
    }

    /// Goes through the records of a live segment that were checked.
    pub fn pass_through(
        &mut self,
        live: &Live,
        bytes: &[u8],
        walk: &Walk,
        visit: &mut impl FnMut(Entry<'_>),
    ) -> Result<(), Damage> {
        let header = &live.header;
        let damage = |position, fault| Damage {
            segment: Some(header.number),
            offset: offset(header.base, position),
            position,
            fault,
        };
        // The segment before reaches to where this one begins, or it was said that it does not.
        self.end = self.end.max(header.base);
        self.proven = self.proven.max(header.base);
        assert_eq!(self.end, walk.from, "segments are gone through in order");
        for (index, record) in walk.records.iter().enumerate() {
            // Another core has checked them: their first bytes are on their way while those before are gone through.
            if let Some(later) = walk.records.get(index + AHEAD) {
                let lines = [32, 64, 128].map(|offset| bytes.get(later.at as usize + offset).copied());
                std::hint::black_box(lines);
            }
            let position = Position(header.base.0 + (record.at - HEADER_BYTES));
            let body = &bytes[record.at as usize + RecordHeader::BYTES..][..record.length as usize];
            let end = Position(position.0 + RecordHeader::record_bytes(body.len()));
            visit(Entry { kind: record.kind, body, position, end, epoch: record.epoch });
        }
        self.records += walk.records.len() as u64;
        self.bytes += walk.end.0 - walk.from.0;
        self.end = walk.end;
        match live.end {
            Some(end) if self.end < end => return Err(damage(self.end, Fault::Inside(end))),
            Some(_) => {}
            None if header.sealed => {
                let end = Position(header.base.0 + header.capacity);
                if self.end < end {
                    return Err(damage(self.end, Fault::Synced(end)));
                }
                self.proven = self.end;
            }
            None => {
                let behind = behind(header, bytes, self.end);
                let synced = walk.synced.max(behind.synced).max(self.cut);
                if synced > self.end {
                    return Err(damage(self.end, Fault::Synced(synced)));
                }
                let torn = behind.written - self.end.0;
                self.torn = (torn > 0).then_some(Torn {
                    segment: header.number,
                    offset: offset(header.base, self.end),
                    bytes: torn,
                });
                self.proven = last_end(header, bytes, self.proven, synced);
            }
        }
        Ok(())
    }

    /// A file behind the last begun segment must hold nothing that was synced: its header may be damaged.
    pub fn check_unbegun(&self, owner: Owner, number: u64, bytes: &[u8]) -> Result<(), Damage> {
        // What its header would say; records of any start count.
        let header = SegmentHeader { epoch: u32::MAX, owner, number, base: self.end, capacity: 0, sealed: true };
        let synced = behind(&header, bytes, self.end).synced;
        let damage = Damage { segment: Some(number), offset: 0, position: self.end, fault: Fault::Synced(synced) };
        if synced > self.end { Err(damage) } else { Ok(()) }
    }

    /// Takes in a segment that was written behind the others, and begins before their end.
    pub(crate) fn append_segment(&mut self, live: Live) {
        if let Some(last) = self.live.last_mut() {
            last.end = Some(live.header.base);
            if last.header.base == live.header.base {
                self.dead.push(Dead { number: last.header.number, bytes: last.bytes });
                self.live.pop();
            }
        }
        self.live.push(live);
        self.next = live.header.number + 1;
        self.proven = self.end;
    }

    /// Passes a record on.
    #[inline]
    fn pass(&mut self, header: &RecordHeader, body: &[u8], visit: &mut impl FnMut(Entry<'_>)) {
        let (position, end) = (header.position, header.end());
        if header.kind != KIND_FILLER {
            self.records += 1;
            visit(Entry { kind: header.kind, body, position, end, epoch: header.epoch });
        }
        self.bytes += end.0 - position.0;
        self.end = end;
    }
}

impl Listed {
    fn dead(&self) -> Dead {
        Dead { number: self.number, bytes: self.bytes }
    }
}

/// The records of a segment, checked.
#[derive(Debug)]
pub struct Walk {
    /// Those that count, in order; no fillers.
    records: Vec<Checked>,
    /// Where the first one is to begin.
    from: Position,
    /// Where the last one ends.
    end: Position,
    /// Up to where they say that the log was synced.
    synced: Position,
}

/// A whole record.
#[derive(Clone, Copy, Debug)]
struct Checked {
    /// Where it begins in the file.
    at: u64,
    /// Bytes of its body.
    length: u32,
    epoch: u32,
    kind: u16,
}

impl Walk {
    /// The whole records of a segment with these bytes, from `from` up to the first that is not, or to the segment's
    /// end.
    pub fn of(live: &Live, bytes: &[u8], from: Position) -> Walk {
        let base = live.header.base;
        let mut walk = Walk { records: Vec::new(), from, end: from, synced: Position(0) };
        let sealed = live.header.sealed.then_some(Position(base.0.saturating_add(live.header.capacity)));
        let end = live.end.or(sealed).unwrap_or(Position(u64::MAX));
        let mut epoch = 0;
        while walk.end < end {
            let Some((header, _)) = record_at(&live.header, bytes, walk.end) else { break };
            if header.epoch < epoch || header.end() > end {
                break;
            }
            if header.kind != KIND_FILLER {
                let at = offset(base, walk.end);
                walk.records.push(Checked { at, length: header.length, epoch: header.epoch, kind: header.kind });
            }
            epoch = header.epoch;
            walk.synced = walk.synced.max(header.synced);
            walk.end = header.end();
        }
        walk
    }
}

/// The whole record at `position` of a segment.
#[inline]
fn record_at<'a>(header: &SegmentHeader, bytes: &'a [u8], position: Position) -> Option<(RecordHeader, &'a [u8])> {
    let at = usize::try_from(offset(header.base, position)).ok()?;
    // A file may have been cut behind a body.
    let (record, body) = RecordHeader::check_all(bytes.get(at..)?, position)?;
    let of_its_epoch = record.epoch == header.epoch || header.sealed && record.epoch < header.epoch;
    of_its_epoch.then_some((record, body))
}

/// What lies behind the last whole record of a segment.
struct Behind {
    /// The highest position that a whole record there says to be synced.
    synced: Position,
    /// Where what belongs there ends, as far as can be seen: the file may have been another segment's before.
    written: u64,
}

fn behind(header: &SegmentHeader, bytes: &[u8], end: Position) -> Behind {
    let mut behind = Behind { synced: Position(0), written: end.0 };
    let front = usize::try_from(offset(header.base, end)).unwrap_or(usize::MAX);
    let rest = bytes.get(front..).unwrap_or(&[]);
    let mut position = end;
    for granule in rest.chunks_exact(GRANULE as usize) {
        let begins_here = granule[8..16] == position.0.to_le_bytes();
        if begins_here && let Some((record, _)) = record_at(header, bytes, position) {
            behind.synced = behind.synced.max(record.synced);
            behind.written = behind.written.max(record.end().0);
        } else if begins_here {
            let length = RecordHeader::read(granule).map_or(0, |(record, _)| u64::from(record.length));
            let there = rest.len() as u64 - (position.0 - end.0);
            behind.written = behind.written.max(position.0 + RecordHeader::record_bytes(length as usize).min(there));
        }
        position.0 += GRANULE;
    }
    behind
}

/// The last end of a record of a segment, from `from` on, that is not behind `to`.
fn last_end(header: &SegmentHeader, bytes: &[u8], from: Position, to: Position) -> Position {
    let mut at = from;
    loop {
        let place = usize::try_from(offset(header.base, at)).ok().and_then(|place| bytes.get(place..));
        match place.and_then(RecordHeader::read) {
            Some((record, _)) if record.position == at && record.end() <= to => at = record.end(),
            _ => return at,
        }
    }
}

#[cfg(test)]
mod tests;
