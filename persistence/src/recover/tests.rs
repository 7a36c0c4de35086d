//! What the log's rules make of bytes.

use proptest::prelude::*;

use super::*;

const OWNER: Owner = Owner { node: 1, generation: 0, shard: 0 };

/// A segment being written.
struct Segment {
    header: SegmentHeader,
    bytes: Vec<u8>,
    end: u64,
}

impl Segment {
    fn new(number: u64, base: u64, epoch: u32) -> Segment {
        let (owner, base) = (OWNER, Position(base));
        let header = SegmentHeader { epoch, owner, number, base, capacity: 4096, sealed: false };
        let mut bytes = vec![0; 8192];
        bytes[..64].copy_from_slice(&header.write());
        Segment { header, bytes, end: base.0 }
    }

    /// Adds a record of 64 bytes.
    fn add(&mut self, value: u8, synced: u64) -> &mut Segment {
        self.add_of(value, synced, self.header.epoch)
    }

    fn add_of(&mut self, value: u8, synced: u64, epoch: u32) -> &mut Segment {
        let header =
            RecordHeader { length: 32, position: Position(self.end), synced: Position(synced), epoch, kind: 1 };
        let at = offset(self.header.base, header.position) as usize;
        let body = [value; 32];
        header.write(&body, self.bytes[at..].first_chunk_mut().expect("room"));
        self.bytes[at + 32..at + 64].copy_from_slice(&body);
        self.end += 64;
        self
    }

    fn flip(&mut self, position: u64) -> &mut Segment {
        let at = offset(self.header.base, Position(position)) as usize;
        self.bytes[at] ^= 0x80;
        self
    }

    fn listed(&self) -> Listed {
        Listed { number: self.header.number, bytes: self.bytes.len() as u64, header: Some(self.header) }
    }
}

fn recover(segments: &[&Segment], cut: u64) -> Result<(Log, Vec<u8>), Damage> {
    let listed: Vec<_> = segments.iter().map(|segment| segment.listed()).collect();
    let mut log = Log::arrange(&listed, Position(cut))?;
    let mut found = Vec::new();
    for live in log.live.clone() {
        let segment =
            segments.iter().find(|segment| segment.header.number == live.header.number).expect("it is listed");
        log.replay(&live, &segment.bytes, &mut |entry| found.push(entry.body[0]))?;
    }
    Ok((log, found))
}

/// Goal: records come in order over segments, from the checkpoint on, and the end is where the last one ends.
#[test]
fn records_come_in_order() {
    let (mut first, mut second, mut third) =
        (Segment::new(3, 640, 1), Segment::new(4, 768, 1), Segment::new(7, 896, 2));
    first.add(1, 0).add(2, 0);
    second.add(3, 768).add(4, 768);
    third.add(5, 896).add(6, 960);
    let (log, found) = recover(&[&first, &second, &third], 832).expect("it is whole");
    assert_eq!(found, [4, 5, 6]);
    assert_eq!((log.end, log.proven, log.next, log.torn), (Position(1024), Position(960), 8, None));
    assert_eq!(log.dead, [Dead { number: 3, bytes: 8192 }]);
    assert_eq!((log.records, log.bytes), (3, 192));
}

/// Goal: a tail that may be torn is cut, and what it came to is told.
#[test]
fn a_torn_tail_is_cut() {
    let mut segment = Segment::new(1, 0, 1);
    segment.add(1, 0).add(2, 64).add(3, 64).add(4, 128).flip(128 + 40);
    let (log, found) = recover(&[&segment], 0).expect("a torn tail");
    assert_eq!(found, [1, 2]);
    assert_eq!(log.torn, Some(Torn { segment: 1, offset: 4096 + 128, bytes: 128 }));
    assert_eq!((log.end, log.proven), (Position(128), Position(128)));
}

/// Goal: what was synced once is not a torn tail: a later record says so, or the checkpoint.
#[test]
fn what_was_synced_is_not_torn() {
    let mut segment = Segment::new(1, 0, 1);
    segment.add(1, 0).add(2, 64).add(3, 64).add(4, 192).flip(128 + 40);
    let damage = recover(&[&segment], 0).expect_err("damage");
    let expected =
        Damage { segment: Some(1), offset: 4224, position: Position(128), fault: Fault::Synced(Position(192)) };
    assert_eq!(damage, expected);
    assert_eq!(
        damage.to_string(),
        "000000000001.segment at byte 4224: a record is not whole, although the log was on disk up to 64 bytes behind it"
    );
    // Nothing of what the checkpoint points to is there.
    let segment = Segment::new(1, 0, 1);
    assert_eq!(recover(&[&segment], 64).map(|(log, _)| log.end), Ok(Position(64)));
    let mut lost = Segment::new(2, 192, 1);
    assert!(matches!(recover(&[&lost], 64), Err(Damage { fault: Fault::Missing(Position(192)), .. })));
    lost.add(1, 192);
    // A log that was cut at its end needs no segment.
    assert_eq!(recover(&[], 64).map(|(log, _)| log.end), Ok(Position(64)));
}

/// Goal: damage before the last segment is damage, whatever lies behind it.
#[test]
fn damage_inside_is_told() {
    let (mut first, mut second) = (Segment::new(1, 0, 1), Segment::new(2, 128, 1));
    first.add(1, 0).add(2, 0).flip(64);
    second.add(3, 128);
    let damage = recover(&[&first, &second], 0).expect_err("damage");
    assert_eq!((damage.offset, damage.fault), (4096 + 64, Fault::Inside(Position(128))));
    // A segment between the two is gone.
    let (mut first, second) = (Segment::new(1, 0, 1), Segment::new(3, 256, 1));
    first.add(1, 0);
    let damage = recover(&[&first, &second], 0).expect_err("damage");
    assert_eq!((damage.position, damage.fault), (Position(64), Fault::Inside(Position(256))));
    let (first, second) = (Segment::new(1, 64, 1), Segment::new(2, 0, 1));
    assert_eq!(recover(&[&first, &second], 64).expect_err("damage").fault, Fault::Order);
}

/// Goal: what a recovery has cut does not come back, although its bytes are there.
#[test]
fn what_was_cut_stays_cut() {
    let (mut first, mut second) = (Segment::new(1, 0, 1), Segment::new(2, 64, 2));
    first.add(1, 0).add(2, 0).add(3, 0);
    second.add(4, 64);
    let (log, found) = recover(&[&first, &second], 0).expect("it is whole");
    assert_eq!((found, log.end), (vec![1, 4], Position(128)));
}

/// Goal: a file that was another segment's before is not taken for that, nor for a torn tail.
#[test]
fn old_bytes_of_a_file_are_nothing() {
    let mut old = Segment::new(1, 0, 1);
    for value in 0..20 {
        old.add(value, 1 << 40);
    }
    let mut segment = Segment::new(2, 1280, 2);
    segment.bytes[4096..].copy_from_slice(&old.bytes[4096..]);
    segment.add(7, 1280);
    let (log, found) = recover(&[&segment], 1280).expect("it is whole");
    assert_eq!((found, log.torn, log.end), (vec![7], None, Position(1344)));
}

/// Goal: what an earlier start left where the segment lies does not come back.
#[test]
fn only_its_epoch_counts() {
    let mut segment = Segment::new(1, 0, 3);
    segment.add(1, 0).add_of(2, 0, 2);
    assert_eq!(recover(&[&segment], 0).expect("a tail").1, [1]);
    let mut segment = Segment::new(1, 0, 3);
    segment.add_of(1, 0, 4);
    assert_eq!(recover(&[&segment], 0).expect("a tail").1, []);
}

/// Goal: a sealed segment holds records of epochs that grow, is proven, and has no tail that may be torn.
#[test]
fn a_sealed_segment_is_whole() {
    let mut segment = Segment::new(1, 0, 3);
    (segment.header.sealed, segment.header.capacity) = (true, 192);
    segment.add_of(1, 0, 1).add_of(2, 0, 2).add_of(3, 0, 2);
    let (log, found) = recover(&[&segment], 0).expect("it is whole");
    assert_eq!((found, log.proven, log.torn), (vec![1, 2, 3], Position(192), None));
    segment.flip(128);
    let damage = recover(&[&segment], 0).expect_err("damage");
    assert_eq!((damage.position, damage.fault), (Position(128), Fault::Synced(Position(192))));
    let mut segment = Segment::new(1, 0, 3);
    (segment.header.sealed, segment.header.capacity) = (true, 128);
    segment.add_of(1, 0, 2).add_of(2, 0, 1);
    assert!(recover(&[&segment], 0).is_err());
}

/// Goal: segments without a byte of the log are dead, and so are those that are not begun.
#[test]
fn what_holds_nothing_is_dead() {
    let (mut first, second, mut third) = (Segment::new(1, 0, 1), Segment::new(2, 64, 1), Segment::new(3, 64, 2));
    first.add(1, 0);
    third.add(2, 64);
    let mut listed: Vec<_> = [&first, &second, &third].map(|segment| segment.listed()).into();
    listed.push(Listed { number: 9, bytes: 100, header: None });
    let log = Log::arrange(&listed, Position(0)).expect("it is whole");
    assert_eq!(log.live.iter().map(|live| live.header.number).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(log.dead, [Dead { number: 2, bytes: 8192 }, Dead { number: 9, bytes: 100 }]);
    assert_eq!(log.next, 10);
}

proptest! {
    /// Goal: whatever becomes of the bytes of the log's last segment, what is found is its front, or it is damaged.
    #[test]
    fn any_bytes_are_a_front_or_damage(
        flips in prop::collection::vec((0_usize..8192, any::<u8>()), 0..6),
        length in 64_usize..8192,
        sealed: bool,
    ) {
        let mut segment = Segment::new(1, 0, 1);
        for value in 0..40 {
            segment.add(value, u64::from(value / 4) * 256);
        }
        (segment.header.sealed, segment.header.capacity) = (sealed, 2560);
        for (at, byte) in flips {
            segment.bytes[at] = byte;
        }
        segment.bytes.truncate(length);
        if let Ok((log, found)) = recover(&[&segment], 0) {
            prop_assert_eq!(&found, &(0..found.len() as u8).collect::<Vec<_>>());
            prop_assert_eq!(log.end, Position(found.len() as u64 * 64));
            prop_assert!(log.proven <= log.end && !(sealed && found.len() < 40));
        }
    }
}
