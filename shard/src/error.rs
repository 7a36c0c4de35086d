//! Why a shard cannot start, each with what to do about it.

use std::net::SocketAddr;
use std::path::Path;

use crate::config::{ConfigError, CoreId};
use crate::driver::Errno;
use crate::listen::Endpoint;

/// A kernel release, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The first number of `uname -r`.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl std::fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why io_uring cannot be used as a shard needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// The kernel is older than the oldest that is supported.
    TooOld {
        /// This kernel.
        found: KernelVersion,
        /// The oldest that is supported.
        wanted: KernelVersion,
    },
    /// The system administrator has disabled io_uring (`kernel.io_uring_disabled`).
    Disabled {
        /// 1: for all but members of a group and CAP_SYS_ADMIN; 2: for everyone.
        sysctl: u32,
    },
    /// The system call is refused although the sysctl allows it: a seccomp filter, as containers have one, or a
    /// security module.
    Forbidden {
        /// EPERM, EACCES or ENOSYS.
        errno: Errno,
    },
    /// RLIMIT_NOFILE does not allow a socket table of this size.
    TooFewDescriptors {
        /// Slots of the table.
        wanted: u64,
        /// The soft limit.
        limit: u64,
    },
    /// RLIMIT_MEMLOCK does not allow the rings.
    LockedMemory {
        /// The soft limit in bytes.
        limit: u64,
    },
    /// The kernel does not know operations that a shard cannot do without.
    MissingOperations {
        /// Their names.
        names: Vec<&'static str>,
    },
    /// The configuration asks for something impossible.
    Config(ConfigError),
    /// A step of the set-up failed in a way that has no better name.
    Setup {
        /// The step.
        step: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KernelError::TooOld { found, wanted } => {
                write!(f, "Linux {found} is too old: {wanted} or newer is needed; upgrade the kernel")
            }
            KernelError::Disabled { sysctl } => write!(
                f,
                "io_uring is disabled: kernel.io_uring_disabled is {sysctl}; allow it with `sysctl -w \
                 kernel.io_uring_disabled=0`{}",
                if *sysctl == 1 { ", or run as a member of the group in kernel.io_uring_group" } else { "" }
            ),
            KernelError::Forbidden { errno } => write!(
                f,
                "io_uring is forbidden ({errno}) although kernel.io_uring_disabled allows it: probably the seccomp \
                 profile of a container or service; allow io_uring_setup, io_uring_enter and io_uring_register in it"
            ),
            KernelError::TooFewDescriptors { wanted, limit } => write!(
                f,
                "the limit on open files is {limit}, but a table of {wanted} sockets is configured; raise it (`ulimit \
                 -n`, LimitNOFILE= of the service) or lower the number of connections"
            ),
            KernelError::LockedMemory { limit } => write!(
                f,
                "no memory for the rings: the limit on locked memory is {limit} bytes; raise it (`ulimit -l`, \
                 LimitMEMLOCK= of the service) or make the queues smaller"
            ),
            KernelError::MissingOperations { names } => {
                write!(f, "this kernel's io_uring lacks {}; use an unrestricted Linux 6.1 or newer", names.join(", "))
            }
            KernelError::Config(error) => error.fmt(f),
            KernelError::Setup { step, errno } => write!(f, "io_uring: {step}: {errno}"),
        }
    }
}

impl std::error::Error for KernelError {}

impl From<ConfigError> for KernelError {
    fn from(error: ConfigError) -> KernelError {
        KernelError::Config(error)
    }
}

/// Why a thread cannot be pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AffinityError {
    /// The machine has no such core, or it is switched off.
    Offline {
        /// The core asked for.
        core: CoreId,
        /// The cores that are online, as in /sys/devices/system/cpu/online.
        online: String,
    },
    /// The core is online, but not among those that this process may use (its cpuset or `taskset` mask).
    NotAllowed {
        /// The core asked for.
        core: CoreId,
        /// The cores that the process may use.
        allowed: String,
    },
    /// The kernel refused for another reason.
    Refused {
        /// The core asked for.
        core: CoreId,
    },
}

impl std::fmt::Display for AffinityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AffinityError::Offline { core, online } => {
                write!(f, "core {core} is not online (online: {online}); choose others")
            }
            AffinityError::NotAllowed { core, allowed } => write!(
                f,
                "core {core} is outside of the cpuset of this process (allowed: {allowed}); choose others, or widen \
                 the cpuset of its container, service (AllowedCPUs=) or taskset"
            ),
            AffinityError::Refused { core } => write!(f, "the kernel refused to pin a thread to core {core}"),
        }
    }
}

impl std::error::Error for AffinityError {}

/// Why a listening socket cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError {
    /// Where.
    pub endpoint: Endpoint,
    /// The step that failed.
    pub step: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.endpoint {
            Endpoint::Tcp(address) => self.tcp(address, f),
            Endpoint::Unix(path) => self.unix(path, f),
        }
    }
}

impl ListenError {
    fn unix(&self, path: &Path, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ListenError { step, errno, .. } = self;
        let path = path.display();
        match errno.0 {
            libc::EADDRINUSE => write!(
                f,
                "cannot listen on {path}: it is in use, or no socket; stop the program that has it (`ss -lxp` shows it), \
                 or choose another path"
            ),
            libc::ENOENT => write!(f, "cannot listen on {path}: its directory does not exist; make it"),
            libc::EACCES => write!(f, "cannot listen on {path}: its directory may not be written to; choose another"),
            libc::EINVAL => write!(f, "cannot listen on {path}: the path is too long; at most 107 bytes fit"),
            _ => write!(f, "cannot listen on {path}: {step}: {errno}"),
        }
    }

    fn tcp(&self, address: &SocketAddr, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ListenError { step, errno, .. } = self;
        match errno.0 {
            libc::EADDRINUSE => write!(
                f,
                "cannot listen on {address}: the address is in use; stop the program that has it (`ss -ltnp 'sport = \
                 :{}'` shows it) or choose another port",
                address.port()
            ),
            libc::EADDRNOTAVAIL => write!(
                f,
                "cannot listen on {address}: this machine has no such address; choose one that `ip address` shows"
            ),
            libc::EACCES => write!(
                f,
                "cannot listen on {address}: ports below net.ipv4.ip_unprivileged_port_start need \
                 CAP_NET_BIND_SERVICE; choose a higher port or grant it"
            ),
            libc::EAFNOSUPPORT => {
                write!(f, "cannot listen on {address}: this kernel has no {}; choose another address", family(address))
            }
            libc::EMFILE | libc::ENFILE => {
                write!(f, "cannot listen on {address}: {errno}; raise the limit on open files (`ulimit -n`)")
            }
            _ => write!(f, "cannot listen on {address}: {step}: {errno}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// The name of an address's family.
fn family(address: &SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
