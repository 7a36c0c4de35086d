//! The command line of `ringload journal`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What `journal` measures, and where.
#[derive(Args, Clone)]
pub struct Journal {
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Rounds of each part; `fanout` runs three times as many.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Publishers of `commit`, each with one message unacknowledged.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256, 4096])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub publishers: Vec<u32>,
    /// Seconds of a window of `commit`. Disks that are shared change their pace within seconds: windows are short, and
    /// stand side by side.
    #[arg(long, default_value_t = 0.5, value_parser = crate::args::positive)]
    pub window: f64,
    /// Size of the journal that `restart` reads, in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(16..=65_536))]
    pub mebibytes: u64,
    /// Messages that `offline` leaves for a client that is away.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..=50_000_000))]
    pub messages: u64,
    /// Where the journals lie meanwhile: a directory on the disk to be measured.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub directory: PathBuf,
    /// The `ringmain` program; RINGMAIN_BIN or the one beside this program where absent.
    #[arg(long, value_name = "PATH")]
    pub ringmain: Option<PathBuf>,
    /// The broker's core: of its one shard, and of its keeper unless that has its own.
    #[arg(long, default_value_t = 0)]
    pub broker_core: usize,
    /// A core for the keeper.
    #[arg(long, value_name = "CORE")]
    pub keeper_core: Option<usize>,
    /// The load's core.
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// One JSON array instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Acknowledged messages a second, beside a bare loop that writes and syncs and beside a node without a journal.
    Commit,
    /// The time of a start on all cores, beside reading the files.
    Restart,
    /// Memory and disk of a message that waits for a client that is away.
    Offline,
    /// A room at QoS 0 while the journal is compacted, and while the disk is slow.
    Beside,
    /// CPU time of a delivery at QoS 0 with the journal and without.
    Fanout,
}

impl Part {
    /// All, in the order in which they run.
    pub const ALL: [Part; 5] = [Part::Commit, Part::Restart, Part::Offline, Part::Beside, Part::Fanout];
}

impl Journal {
    /// Whether this part is wanted.
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}
