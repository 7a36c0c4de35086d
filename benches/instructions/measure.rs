//! Runs workloads under valgrind, as many at once as there are cores, and divides what they cost by what they did.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::callgrind::{self, Profile};
use crate::place::{BENCH, Places};
use crate::workload::Workload;

/// What a workload costs.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Which.
    pub workload: &'static Workload,
    /// Instructions of user space for each unit, the scripted driver's own left out.
    pub instructions: f64,
    /// The scripted driver's own.
    pub bench: f64,
    /// By function, and whose it is.
    pub functions: BTreeMap<String, f64>,
    /// By crate or library.
    pub owners: BTreeMap<String, f64>,
}

/// Why there is no count.
#[derive(Debug)]
pub enum Failure {
    /// valgrind is not there, or cannot run.
    Valgrind(std::io::Error),
    /// A workload ended badly: what it said.
    Workload(&'static str, String),
    /// A profile that cannot be read.
    Profile(&'static str, String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Valgrind(error) => {
                write!(f, "valgrind cannot run ({error}): install it (Debian: apt-get install valgrind libc6-dbg)")
            }
            Failure::Workload(name, said) => write!(f, "{name} failed under valgrind:\n{said}"),
            Failure::Profile(name, error) => write!(f, "the profile of {name} cannot be read: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The version of valgrind.
///
/// # Errors
/// There is none.
pub fn valgrind_version() -> Result<String, Failure> {
    let output = Command::new("valgrind").arg("--version").output().map_err(Failure::Valgrind)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Counts, in the order of `workloads`. Profiles are left in `folder`, for kcachegrind.
///
/// # Errors
/// The first failure.
pub fn all(workloads: &[&'static Workload], folder: &Path) -> Result<Vec<Cost>, Failure> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(workload) = workloads.get(index) else { return };
            let cost = one(workload, folder);
            done.lock().expect("no thread fails").push((index, cost));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().expect("no thread fails");
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, cost)| cost).collect()
}

/// Runs one workload in a process of its own, with nothing in its environment that could move its stack.
fn one(workload: &'static Workload, folder: &Path) -> Result<Cost, Failure> {
    let name = workload.name;
    let bad = |error: &dyn fmt::Display| Failure::Profile(name, error.to_string());
    let program = program().map_err(|error| bad(&error))?;
    let profile = folder.join(format!("callgrind.out.{name}"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let output = Command::new("valgrind")
        .env_clear()
        .env("PATH", path)
        .args(callgrind::OPTIONS)
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(&program)
        .args(["run", name])
        .output()
        .map_err(Failure::Valgrind)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let units = said.trim().parse::<u64>().ok().filter(|units| output.status.success() && *units > 0);
    let Some(units) = units else {
        return Err(Failure::Workload(name, String::from_utf8_lossy(&output.stderr).into_owned()));
    };
    let text = fs::read_to_string(&profile).map_err(|error| bad(&error))?;
    let profile = callgrind::parse(&text).map_err(|error| bad(&error))?;
    let mut places = Places::of(&program).map_err(|error| bad(&error))?;
    cost(workload, &profile, units, &mut places).map_err(|error| bad(&error))
}

/// This program, as the kernel names it: what callgrind calls the object, too.
fn program() -> std::io::Result<PathBuf> {
    std::env::current_exe()?.canonicalize()
}

fn cost(workload: &'static Workload, profile: &Profile, units: u64, places: &mut Places) -> Result<Cost, String> {
    let sum: u64 = profile.costs.values().sum();
    if sum == 0 || sum != profile.total {
        return Err(format!("its lines add up to {sum} instructions, callgrind says {}", profile.total));
    }
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (site, count) in &profile.costs {
        let place = places.find(site);
        *counts.entry((place.owner, place.function)).or_insert(0) += count;
    }
    let per_unit = |count: u64| count as f64 / units as f64;
    let mut cost =
        Cost { workload, instructions: 0.0, bench: 0.0, functions: BTreeMap::new(), owners: BTreeMap::new() };
    for ((owner, function), count) in counts {
        if owner == BENCH {
            cost.bench += per_unit(count);
            continue;
        }
        cost.instructions += per_unit(count);
        *cost.owners.entry(owner.clone()).or_insert(0.0) += per_unit(count);
        let whole = if function.starts_with(&owner) { function } else { format!("{owner} {function}") };
        *cost.functions.entry(whole).or_insert(0.0) += per_unit(count);
    }
    Ok(cost)
}
