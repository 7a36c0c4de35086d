//! A start with a large journal beside reading its files, and what each message in it takes.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use super::Figure;
use super::args::Journal;
use super::node::{Home, Node};
use super::publishers::{Publishers, accepted, leave_session};
use crate::scenario::Stop;

/// Payload bytes of the messages that fill the journal of `restart`: comments and gifts are shorter, notifications longer.
const SIZE: usize = 1000;
const OFFLINE_SIZE: usize = 100;

/// Measures starts.
pub fn measure(args: &Journal, stop: &Stop) -> Result<Vec<Figure>, Box<dyn Error>> {
    let home = Home::new(args, true)?.on_all_cores()?;
    // Roughly what a record is larger than its payload; the size that it has in the end is told.
    let messages = (args.mebibytes << 20) / (SIZE as u64 + 160);
    fill(&home, messages, SIZE, stop)?.kill();
    let (bytes, _) = home.records()?;
    let (mut warm, mut cold, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        for (is_cold, ratios) in [(false, &mut warm), (true, &mut cold)] {
            forget(&home, is_cold)?;
            let reading = read_all(&home)?;
            forget(&home, is_cold)?;
            let begun = Instant::now();
            let node = home.start()?;
            accepted(node.address())?;
            let start = begun.elapsed();
            node.kill();
            ratios.push(start.as_secs_f64() / reading.as_secs_f64());
            if is_cold {
                seconds.push(start.as_secs_f64());
            }
        }
    }
    let size = format!("{} MiB of journal", bytes >> 20);
    Ok(vec![
        Figure::new(format!("start with {size}, not in the page cache: until a client is accepted"), "s", seconds),
        Figure::new("the same ÷ reading the files once, not in the page cache", "", cold).within(2.0),
        Figure::new("the same ÷ reading the files once, in the page cache", "", warm),
    ])
}

/// Measures a queue.
pub fn offline(args: &Journal, stop: &Stop) -> Result<Vec<Figure>, Box<dyn Error>> {
    let home = Home::new(args, true)?;
    let idle = fill(&home, 1000, OFFLINE_SIZE, stop)?;
    let (before, bytes_before) = (idle.process().memory()?, home.records()?.0);
    let mut load = Publishers::connect(idle.address(), 64, 32, OFFLINE_SIZE, stop)?;
    let begun = Instant::now();
    load.run(|count, _| count >= args.messages)?;
    let (seconds, count) = (begun.elapsed().as_secs_f64(), load.acknowledged() as f64);
    drop(load);
    let (after, bytes_after) = (idle.process().memory()?, home.records()?.0);
    let each = |before: u64, after: u64| vec![(after as f64 - before as f64) / count];
    let name = format!("{count} messages of {OFFLINE_SIZE} B for a client that is away: ");
    let mut figures = vec![
        Figure::new(name.clone() + "memory of each", "B", each(before.anonymous, after.anonymous)),
        Figure::new(name.clone() + "journal of each", "B", each(bytes_before, bytes_after)),
        Figure::new(name.clone() + "acknowledged", "/s", vec![count / seconds]),
    ];
    idle.kill();
    let begun = Instant::now();
    let node = home.start()?;
    accepted(node.address())?;
    figures.push(Figure::new("a start with them", "s", vec![begun.elapsed().as_secs_f64()]));
    let again = node.process().memory()?;
    figures.push(Figure::new("memory of each after it", "B", each(before.anonymous, again.anonymous)));
    Ok(figures)
}

/// A node whose journal has so many messages for a session whose client is away.
fn fill(home: &Home, messages: u64, size: usize, stop: &Stop) -> Result<Node, Box<dyn Error>> {
    let node = home.start()?;
    leave_session(node.address())?;
    let mut load = Publishers::connect(node.address(), 64, 32, size, stop)?;
    load.run(|count, _| count >= messages)?;
    Ok(node)
}

/// Takes the files out of the page cache, or puts them there.
fn forget(home: &Home, cold: bool) -> io::Result<()> {
    if !cold {
        return read_all(home).map(drop);
    }
    for path in home.files()? {
        let file = File::open(path)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// How long it takes to read all files once.
fn read_all(home: &Home) -> io::Result<Duration> {
    let mut buffer = vec![0; 1 << 20];
    let begun = Instant::now();
    for path in home.files()? {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(begun.elapsed())
}
