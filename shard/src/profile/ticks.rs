//! The clocks of the stage clock: a counter that is cheap to read, and the kernel's.

/// The time stamp counter where it ticks evenly whatever the core does, else nanoseconds of the monotonic clock.
#[cfg(target_arch = "x86_64")]
pub(super) fn ticks() -> u64 {
    use std::sync::LazyLock;

    /// Whether the kernel says of the counter that it neither changes its rate nor stops (proc_cpuinfo(5)).
    static INVARIANT: LazyLock<bool> = LazyLock::new(|| {
        let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = about.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        ["constant_tsc", "nonstop_tsc"].iter().all(|flag| flags.split_ascii_whitespace().any(|has| has == *flag))
    });
    if *INVARIANT {
        // SAFETY: every x86-64 processor has the instruction, and Linux lets user space execute it unless a process
        // asked otherwise for itself (prctl(2), PR_SET_TSC).
        unsafe { std::arch::x86_64::_rdtsc() }
    } else {
        clock_nanos(libc::CLOCK_MONOTONIC)
    }
}

/// Nanoseconds of the monotonic clock.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn ticks() -> u64 {
    clock_nanos(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread, in nanoseconds.
pub(super) fn cpu_nanos() -> u64 {
    clock_nanos(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// clock_gettime(2), in nanoseconds.
pub(super) fn clock_nanos(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the write, which is all that the call does.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0, "Linux has this clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
