//! What writing and syncing batches costs on a zero-written file, with the calls alone and from a glommio executor.
//!
//! `cargo run --release --example sync_rates -- DIRECTORY`: batches a second and MB/s for each size of a batch, rounds
//! interleaved, medians.
//!
//! - *bare*: pwrite, fdatasync.
//! - *buffered*, *direct*: `BufferedFile` and `DmaFile`, write_at and then fdatasync.
//! - *buffered+d*, *direct+d*: the same files opened with O_DSYNC, where one write_at does both.
//! - *blocking*: pwrite and fdatasync together on the executor's thread for calls that block.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use glommio::io::OpenOptions;
use glommio::{LocalExecutorBuilder, Placement};

const FILE_BYTES: u64 = 64 << 20;
const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_millis(250);

#[derive(Clone, Copy)]
enum Way {
    Bare,
    Buffered { dsync: bool },
    Direct { dsync: bool },
    Blocking,
}

const WAYS: [(&str, Way); 6] = [
    ("bare", Way::Bare),
    ("buffered", Way::Buffered { dsync: false }),
    ("direct", Way::Direct { dsync: false }),
    ("buffered+d", Way::Buffered { dsync: true }),
    ("direct+d", Way::Direct { dsync: true }),
    ("blocking", Way::Blocking),
];

fn main() {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let path = Path::new(&directory).join("sync_rates.data");
    {
        let file = File::create(&path).expect("a file");
        for at in (0..FILE_BYTES).step_by(1 << 20) {
            file.write_all_at(&vec![0; 1 << 20], at).expect("zeros");
        }
        file.sync_all().expect("synced");
    }
    print!("{:>9}", "batch");
    WAYS.iter().for_each(|(name, _)| print!(" {name:>24}"));
    println!();
    for batch in [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let mut rates = WAYS.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (rates, (_, way)) in rates.iter_mut().zip(WAYS) {
                let path = path.clone();
                rates.push(match way {
                    Way::Bare => bare(&path, batch),
                    _ => LocalExecutorBuilder::new(Placement::Unbound)
                        .spawn(move || async move { glommio(&path, batch, way).await })
                        .expect("an executor")
                        .join()
                        .expect("it ran"),
                });
            }
        }
        print!("{batch:>9}");
        for mut rates in rates {
            rates.sort_by(f64::total_cmp);
            let rate = rates[ROUNDS / 2];
            print!(" {rate:10.0}/s {:6.1} MB/s", rate * batch as f64 / 1e6);
        }
        println!();
    }
    std::fs::remove_file(&path).expect("removed");
}

/// Counts batches at successive places for a time.
struct Loop {
    started: Instant,
    count: u32,
    batch: u64,
}

impl Loop {
    fn new(batch: usize) -> Loop {
        Loop { started: Instant::now(), count: 0, batch: batch as u64 }
    }

    fn next(&mut self) -> Option<u64> {
        let at = u64::from(self.count) * self.batch % FILE_BYTES;
        self.count += 1;
        (self.started.elapsed() < TIME).then_some(at)
    }

    fn rate(&self) -> f64 {
        f64::from(self.count - 1) / self.started.elapsed().as_secs_f64()
    }
}

fn bare(path: &Path, batch: usize) -> f64 {
    let file = File::options().write(true).open(path).expect("the file");
    let bytes = vec![7; batch];
    let mut run = Loop::new(batch);
    while let Some(at) = run.next() {
        file.write_all_at(&bytes, at).expect("written");
        file.sync_data().expect("synced");
    }
    run.rate()
}

async fn glommio(path: &Path, batch: usize, way: Way) -> f64 {
    let bytes = vec![7; batch];
    let mut options = OpenOptions::new();
    options.write(true);
    if let Way::Buffered { dsync: true } | Way::Direct { dsync: true } = way {
        options.custom_flags(rustix::fs::OFlags::DSYNC.bits() as i32);
    }
    let mut run = Loop::new(batch);
    match way {
        Way::Bare => unreachable!(),
        Way::Buffered { dsync } => {
            let file = options.buffered_open(path).await.expect("the file");
            while let Some(at) = run.next() {
                file.write_at(bytes.clone(), at).await.expect("written");
                if !dsync {
                    file.fdatasync().await.expect("synced");
                }
            }
            file.close().await.expect("closed");
        }
        Way::Direct { dsync } => {
            let file = options.read(true).dma_open(path).await.expect("the file");
            while let Some(at) = run.next() {
                let mut buffer = file.alloc_dma_buffer(batch);
                buffer.as_bytes_mut().copy_from_slice(&bytes);
                file.write_at(buffer, at).await.expect("written");
                if !dsync {
                    file.fdatasync().await.expect("synced");
                }
            }
            file.close().await.expect("closed");
        }
        Way::Blocking => {
            let file = Arc::new(File::options().write(true).open(path).expect("the file"));
            while let Some(at) = run.next() {
                let (file, bytes) = (file.clone(), bytes.clone());
                let call = move || {
                    file.write_all_at(&bytes, at)?;
                    file.sync_data()
                };
                glommio::executor().spawn_blocking(call).await.expect("written and synced");
            }
        }
    }
    run.rate()
}
