//! Acknowledged messages a second, beside a loop that writes and syncs as many bytes at a time.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Figure;
use super::args::Journal;
use super::node::{Home, Node};
use super::publishers::{Publishers, leave_session};
use crate::scenario::Stop;

/// Payload bytes.
const SIZE: usize = 100;
/// Segments are made of dead ones from here on, or are there: a journal at work, not one that begins.
const WARM: Duration = Duration::from_secs(1);

/// Measures publishers that wait for each acknowledgement, one to many.
pub fn measure(args: &Journal, stop: &Stop) -> Result<Vec<Figure>, Box<dyn Error>> {
    let window = Duration::from_secs_f64(args.window);
    let bare = Bare::new(&args.directory)?;
    let mut figures = Vec::new();
    for &publishers in &args.publishers {
        let (home, bare_home) = (Home::new(args, true)?, Home::new(args, false)?);
        let (node, without) = (home.start()?, bare_home.start()?);
        let connect = |node: &Node| {
            leave_session(node.address())?;
            Publishers::connect(node.address(), publishers, 1, SIZE, stop)
        };
        let (mut load, mut load_without) = (connect(&node)?, connect(&without)?);
        load.run(|_, time| time > WARM)?;
        let bytes_each = home.records()?.0 as f64 / load.acknowledged() as f64;
        let (mut rates, mut of_memory, mut of_disk) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            let disk = bare.run(publishers as usize, bytes_each, window)?;
            let memory = load_without.run(|_, time| time > window)?;
            let rate = load.run(|_, time| time > window)?;
            rates.push(rate);
            of_memory.push(100.0 * rate / memory);
            of_disk.push(100.0 * rate / disk);
        }
        figures.push(Figure::new(format!("QoS 1 with fsync, {publishers} publishers: messages"), "/s", rates));
        figures.push(Figure::new("the same, of a node without a journal", "%", of_memory));
        let name = format!("the same, of a loop that writes and syncs {publishers} × {bytes_each:.0} B at a time");
        figures.push(Figure::new(name, "%", of_disk));
    }
    Ok(figures)
}

/// A loop that writes and syncs.
struct Bare {
    file: File,
    _path: tempfile::TempPath,
}

const FILE_BYTES: u64 = 64 << 20;

impl Bare {
    fn new(directory: &Path) -> Result<Bare, Box<dyn Error>> {
        let (file, path) = tempfile::NamedTempFile::new_in(directory)?.into_parts();
        for mebibyte in 0..FILE_BYTES >> 20 {
            file.write_all_at(&vec![0; 1 << 20], mebibyte << 20)?;
        }
        file.sync_all()?;
        Ok(Bare { file, _path: path })
    }

    /// Records a second, `records` of them at a time.
    fn run(&self, records: usize, bytes_each: f64, window: Duration) -> std::io::Result<f64> {
        let bytes = vec![7; (records as f64 * bytes_each) as usize];
        let (begun, mut count, mut at) = (Instant::now(), 0, 0);
        while begun.elapsed() < window {
            self.file.write_all_at(&bytes, at)?;
            self.file.sync_data()?;
            count += records;
            at = (at + bytes.len() as u64) % (FILE_BYTES - bytes.len() as u64);
        }
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }
}
