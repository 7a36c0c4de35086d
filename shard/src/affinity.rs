//! Threads and cores: which cores there are, and pinning.

use std::fs;

use crate::config::CoreId;
use crate::error::AffinityError;

/// The cores that the calling thread may run on (sched_getaffinity(2)), ascending. Ask before pinning: a pinned thread
/// sees its own core only.
pub fn allowed_cores() -> Vec<CoreId> {
    let mut cores: Vec<CoreId> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| CoreId(core.id)).collect();
    cores.sort_unstable();
    cores
}

/// Whether `core` can be pinned to: it is online and among `allowed`.
pub fn check_core(core: CoreId, allowed: &[CoreId]) -> Result<(), AffinityError> {
    if allowed.contains(&core) {
        return Ok(());
    }
    match fs::read_to_string("/sys/devices/system/cpu/online") {
        Ok(online) if !list_contains(online.trim(), core) => {
            Err(AffinityError::Offline { core, online: online.trim().to_owned() })
        }
        _ => Err(AffinityError::NotAllowed { core, allowed: list(allowed) }),
    }
}

/// Pins the calling thread to `core` (sched_setaffinity(2)).
pub fn pin(core: CoreId) -> Result<(), AffinityError> {
    if core.0 >= libc::CPU_SETSIZE as usize {
        return Err(AffinityError::Refused { core });
    }
    match core_affinity::set_for_current(core_affinity::CoreId { id: core.0 }) {
        true => Ok(()),
        false => Err(AffinityError::Refused { core }),
    }
}

/// Whether a list as the kernel writes it (`0,2-5`) contains a core.
fn list_contains(list: &str, core: CoreId) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&core.0),
            _ => false,
        }
    })
}

/// Cores as the kernel writes them: `0,2-5`.
fn list(cores: &[CoreId]) -> String {
    let mut text = String::new();
    let mut rest = cores;
    while let [first, ..] = rest {
        let run = rest.iter().enumerate().take_while(|(i, core)| core.0 == first.0 + i).count();
        let separator = if text.is_empty() { "" } else { "," };
        match run {
            1 => text += &format!("{separator}{first}"),
            _ => text += &format!("{separator}{first}-{}", rest[run - 1]),
        }
        rest = &rest[run..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists of cores are read and written as the kernel does.
    #[test]
    fn lists_read_and_write_like_the_kernel() {
        let cores: Vec<CoreId> = [0, 2, 3, 4, 5, 9].map(CoreId).to_vec();
        assert_eq!(list(&cores), "0,2-5,9");
        assert!((0..12).all(|core| list_contains("0,2-5,9", CoreId(core)) == cores.contains(&CoreId(core))));
    }

    /// A thread that is pinned may run on that core alone.
    #[test]
    fn pinning_narrows_the_mask() {
        let last = *allowed_cores().last().expect("a thread runs somewhere");
        std::thread::spawn(move || {
            pin(last).expect("an allowed core");
            assert_eq!(allowed_cores(), [last]);
        })
        .join()
        .expect("pinned");
    }

    /// A core that does not exist and one that is out of bounds are told apart.
    #[test]
    fn a_missing_core_is_not_a_forbidden_one() {
        let first = allowed_cores()[0];
        assert!(matches!(check_core(CoreId(1000), &[first]), Err(AffinityError::Offline { .. })));
        assert!(matches!(check_core(first, &[]), Err(AffinityError::NotAllowed { .. })));
        assert_eq!(check_core(first, &[first]), Ok(()));
    }
}
