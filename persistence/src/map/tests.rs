//! Regions, their two ends, and pages that go away.

use super::*;

fn file(len: u64) -> File {
    let file = tempfile::tempfile_in("/dev/shm").expect("a file in tmpfs");
    file.set_len(len).expect("it grows");
    file
}

/// Pages that go away under a map are zeros from then on, the rest stays, and the region says so.
#[test]
fn a_file_that_is_cut_does_not_end_the_process() {
    let file = file(0);
    let mut region = Region::allocated(&file, 4 * 4096).expect("it is mapped");
    region.bytes_mut().fill(7);
    assert!(!region.damaged());
    file.set_len(4096).expect("it is cut");
    assert!(!region.damaged(), "nothing was touched yet");
    assert_eq!((region.bytes()[4095], region.damaged()), (7, false));
    assert_eq!((region.bytes()[4096], region.damaged()), (0, true));
    region.bytes_mut()[2 * 4096] = 9;
    assert_eq!(region.bytes()[2 * 4096], 9);
}

/// The guard of one region does not speak for another, and its place is used again.
#[test]
fn damage_belongs_to_one_region() {
    let cut = file(8192);
    let first = Region::read_only(&cut).expect("it is mapped").expect("it is not empty");
    let other = file(8192);
    let second = Region::read_only(&other).expect("it is mapped").expect("it is not empty");
    cut.set_len(0).expect("it is cut");
    assert_eq!(first.bytes()[5000], 0);
    assert!(first.damaged() && !second.damaged());
    drop(first);
    let third = Region::read_only(&other).expect("it is mapped").expect("it is not empty");
    assert!(!third.damaged());
}

/// Both ends see one ring, and the writer gets back what the reader releases.
#[test]
fn the_ends_pass_bytes() {
    let region = Region::anonymous(4096 + 128).expect("memory");
    let (mut writer, mut reader) = region.ends(Position(64));
    assert!(writer.reaches(Position(192)) && !writer.reaches(Position(193)));
    assert_eq!(writer.rest(Position(64)), 64);
    writer.claim(Position(64), 64).fill(1);
    writer.claim(Position(128), 64).fill(2);
    writer.give(Position(192));
    assert_eq!(reader.limit(), Position(192));
    assert_eq!(reader.bytes(Position(96), Position(160)), [&[1; 32][..], &[2; 32]]);
    reader.release(Position(128));
    assert!(writer.reaches(Position(256)) && !writer.reaches(Position(257)));
    writer.claim(Position(192), 64).fill(3);
    writer.give(Position(256));
    assert_eq!(reader.bytes(Position(128), Position(256)), [&[[2; 64], [3; 64]].concat()[..], &[]]);
}

/// No end gets at the other's bytes.
#[test]
#[should_panic(expected = "bytes that are not released")]
fn what_is_not_released_cannot_be_claimed() {
    Region::anonymous(4096 + 128).expect("memory").ends(Position(0)).0.claim(Position(96), 64);
}
