//! What this kernel can do, found out once at the start: features, or one error that says what is missing and what to
//! do about it.

use std::fs;
use std::io;

use io_uring::{Probe, opcode};

use super::ring::Ring;
use crate::config::KernelConfig;
use crate::driver::Errno;
use crate::error::{KernelError, KernelVersion};

/// The oldest kernel that is supported: the first with IORING_SETUP_DEFER_TASKRUN.
const OLDEST: KernelVersion = KernelVersion { major: 6, minor: 1 };

/// The first kernel that closes a direct descriptor at once (see [`super::sockets`]).
const DIRECT_DESCRIPTORS: KernelVersion = KernelVersion { major: 6, minor: 13 };

/// The operations that a shard uses.
const OPERATIONS: [(u8, &str); 8] = [
    (opcode::Send::CODE, "SEND"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::Shutdown::CODE, "SHUTDOWN"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::MsgRingSendFd::CODE, "MSG_RING"),
];

/// The optional features that are in use: what the configuration allows and the kernel has. `Display` lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// The kernel.
    pub kernel: KernelVersion,
    /// IORING_SETUP_DEFER_TASKRUN.
    pub defer_taskrun: bool,
    /// IORING_SETUP_NO_SQARRAY.
    pub no_sqarray: bool,
    /// IORING_REGISTER_RING_FDS.
    pub registered_ring: bool,
    /// Sockets in the ring's own table.
    pub direct_descriptors: bool,
    /// IORING_RECV_MULTISHOT.
    pub multishot_receive: bool,
}

impl Features {
    /// Tries the kernel out. Call it once, on any thread, before the shards start.
    pub fn probe(config: &KernelConfig) -> Result<Features, KernelError> {
        config.check()?;
        let kernel = kernel_version()?;
        if kernel < OLDEST {
            return Err(KernelError::TooOld { found: kernel, wanted: OLDEST });
        }
        let mut features = Features {
            kernel,
            defer_taskrun: config.defer_taskrun,
            no_sqarray: config.no_sqarray,
            registered_ring: config.registered_ring,
            direct_descriptors: config.direct_descriptors && kernel >= DIRECT_DESCRIPTORS,
            multishot_receive: config.multishot_receive,
        };
        let ring = features.open_narrowing()?;
        check_operations(&ring)?;
        check_descriptors(config)?;
        Ok(features)
    }

    /// Opens a small ring, giving up features that the kernel does not know, newest first.
    fn open_narrowing(&mut self) -> Result<Ring, KernelError> {
        loop {
            match Ring::open(8, 16, self) {
                Err(KernelError::Setup { errno: Errno(libc::EINVAL), .. }) if self.no_sqarray => {
                    self.no_sqarray = false
                }
                Err(KernelError::Setup { errno: Errno(libc::EINVAL), .. }) if self.registered_ring => {
                    self.registered_ring = false;
                }
                result => return result,
            }
        }
    }
}

impl std::fmt::Display for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linux {}:", self.kernel)?;
        let all = [
            (self.defer_taskrun, "deferred task work"),
            (self.no_sqarray, "no submission array"),
            (self.registered_ring, "registered ring"),
            (self.direct_descriptors, "direct descriptors"),
            (self.multishot_receive, "multishot receive"),
        ];
        let mut separator = " ";
        for (_, name) in all.iter().filter(|(used, _)| *used) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        if separator == " " { write!(f, " no optional features") } else { Ok(()) }
    }
}

/// Names what an error of a set-up call means on this machine.
pub(super) fn diagnose(step: &'static str, error: &io::Error) -> KernelError {
    let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
    let sysctl =
        fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok().and_then(|text| text.trim().parse().ok());
    classify(step, errno, sysctl, || soft_limit(libc::RLIMIT_MEMLOCK))
}

/// [`diagnose`], of a table with that many slots.
pub(super) fn diagnose_table(slots: u32, error: &io::Error) -> KernelError {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            KernelError::TooFewDescriptors { wanted: u64::from(slots), limit: soft_limit(libc::RLIMIT_NOFILE) }
        }
        _ => diagnose("IORING_REGISTER_FILES2", error),
    }
}

/// [`diagnose`], of facts alone.
fn classify(
    step: &'static str,
    errno: Errno,
    io_uring_disabled: Option<u32>,
    memlock: impl FnOnce() -> u64,
) -> KernelError {
    match errno.0 {
        libc::EPERM | libc::EACCES | libc::ENOSYS => match io_uring_disabled {
            Some(sysctl @ 1..) => KernelError::Disabled { sysctl },
            _ => KernelError::Forbidden { errno },
        },
        libc::ENOMEM => KernelError::LockedMemory { limit: memlock() },
        _ => KernelError::Setup { step, errno },
    }
}

fn check_operations(ring: &Ring) -> Result<(), KernelError> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| diagnose("IORING_REGISTER_PROBE", &error))?;
    let missing = OPERATIONS.iter().filter(|(code, _)| !probe.is_supported(*code));
    match missing.map(|(_, name)| *name).collect::<Vec<_>>() {
        names if names.is_empty() => Ok(()),
        names => Err(KernelError::MissingOperations { names }),
    }
}

fn check_descriptors(config: &KernelConfig) -> Result<(), KernelError> {
    let limit = soft_limit(libc::RLIMIT_NOFILE);
    match u64::from(config.slots) <= limit {
        true => Ok(()),
        false => Err(KernelError::TooFewDescriptors { wanted: u64::from(config.slots), limit }),
    }
}

/// A soft resource limit (getrlimit(2)).
fn soft_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call, which writes to it and nothing else.
    unsafe { libc::getrlimit(resource, &mut limit) };
    limit.rlim_cur
}

fn kernel_version() -> Result<KernelVersion, KernelError> {
    // SAFETY: the structure is an array of bytes, for which zero is a value.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the structure outlives the call, which fills it with strings that end in a zero.
    unsafe { libc::uname(&mut name) };
    let release: String = name.release.iter().take_while(|c| **c != 0).map(|c| *c as u8 as char).collect();
    parse_version(&release)
        .ok_or(KernelError::Setup { step: "reading the kernel's release", errno: Errno(libc::EINVAL) })
}

/// The first two numbers of a release such as `6.1.0-13-amd64`.
fn parse_version(release: &str) -> Option<KernelVersion> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some(KernelVersion { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Releases as distributions spell them.
    #[test]
    fn releases_are_parsed() {
        let version = |major, minor| Some(KernelVersion { major, minor });
        assert_eq!(parse_version("6.1.0-13-amd64"), version(6, 1));
        assert_eq!(parse_version("6.18.44"), version(6, 18));
        assert_eq!(parse_version("5.15-generic"), version(5, 15));
        assert_eq!(parse_version("unknown"), None);
        assert!(version(6, 9) < version(6, 13) && version(5, 19) < version(6, 1));
    }

    /// Each way of being refused has its own error, and each error its remedy.
    #[test]
    fn refusals_are_told_apart() {
        let say = |errno, sysctl| classify("io_uring_setup", Errno(errno), sysctl, || 8192).to_string();
        assert!(say(libc::EPERM, Some(2)).contains("kernel.io_uring_disabled is 2"));
        assert!(say(libc::EPERM, Some(1)).contains("kernel.io_uring_group"));
        assert!(say(libc::EPERM, Some(0)).contains("seccomp"));
        assert!(say(libc::ENOSYS, None).contains("seccomp"));
        assert!(say(libc::ENOMEM, Some(0)).contains("ulimit -l"));
        assert!(say(libc::EINVAL, Some(0)).contains("io_uring_setup"));
    }

    /// A switch that is off stays off, and the list shows what is on.
    #[test]
    fn switches_are_obeyed() {
        let old = Features::probe(&KernelConfig::linux_6_1()).expect("a kernel that tests can run on");
        assert!(!old.no_sqarray && !old.direct_descriptors && old.multishot_receive);
        assert!(old.to_string().ends_with("deferred task work, registered ring, multishot receive"), "{old}");
    }

    /// A table larger than the limit on descriptors is refused before any shard starts.
    #[test]
    fn a_table_over_the_limit_is_refused() {
        let slots = (soft_limit(libc::RLIMIT_NOFILE) + 1).min(1 << 20) as u32;
        if u64::from(slots) <= soft_limit(libc::RLIMIT_NOFILE) {
            return; // The limit is above what a table can have.
        }
        let refused = Features::probe(&KernelConfig { slots, ..KernelConfig::default() });
        assert!(matches!(refused, Err(KernelError::TooFewDescriptors { .. })), "{refused:?}");
    }

    /// Under a filter that refuses io_uring_setup(2), as containers have one, the error says so.
    #[test]
    fn a_seccomp_filter_is_recognised() {
        let refused = std::thread::spawn(|| {
            forbid_io_uring();
            Features::probe(&KernelConfig::default())
        });
        let refused = refused.join().expect("no panic");
        assert_eq!(refused, Err(KernelError::Forbidden { errno: Errno(libc::EPERM) }));
    }

    /// Has io_uring_setup(2) answered with EPERM on this thread, for ever.
    fn forbid_io_uring() {
        let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut filter = [
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the program and its instructions outlive the calls, which copy them and bind this thread only.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0);
        }
    }
}
