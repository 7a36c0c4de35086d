//! Why the program ends before it was told to, and with which exit code.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use persistence::store::StoreError;
use shard::error::{AffinityError, KernelError, ListenError};
use shard::launch::ShardError;
use shard::mesh::MeshError;

use super::control::ControlError;
use super::journals::JournalError;
use crate::config::{ConfigErrors, Origin};
use crate::tls::files::TlsError;

/// Exit code for wrong usage or configuration.
pub const EXIT_CONFIGURATION: u8 = 2;
/// Exit code for any other failure.
pub const EXIT_RUN_TIME: u8 = 1;

/// Why the program ends.
#[derive(Debug)]
pub enum Failure {
    /// The configuration cannot be used.
    Configuration(ConfigErrors),
    /// A core that the configuration names cannot be used.
    Cores {
        /// Where it is named.
        origin: Origin,
        /// In which key of `[node]`.
        key: &'static str,
        /// What is wrong with it.
        error: AffinityError,
    },
    /// The kernel does not give what a shard needs.
    Kernel(KernelError),
    /// Certificates and keys cannot be used.
    Tls {
        /// Where the listener names them; unknown to who serves.
        origin: Option<Origin>,
        /// What is wrong with which file.
        error: TlsError,
    },
    /// An address cannot be listened on.
    Listen(ListenError),
    /// There is no memory, or no descriptor, for the rings between shards.
    Mesh(MeshError),
    /// A shard did not start.
    Shard(ShardError<KernelError>),
    /// A file of access control cannot be used; the text says which, and why.
    Access(String),
    /// A password file cannot be changed.
    Passwords(String),
    /// A running node was not reached, or refused.
    Control(ControlError),
    /// The journals cannot be used.
    Journal(JournalError),
    /// A data directory cannot be looked at, copied or mended.
    Directory(StoreError),
    /// A data directory was looked at, and is damaged.
    Damaged {
        /// The directory.
        directory: PathBuf,
        /// How many places are.
        places: usize,
    },
    /// The machine cannot be looked at, planned for or changed so; the text says why.
    Tuning(String),
    /// Something that should always work did not.
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl Failure {
    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Configuration(_) | Failure::Cores { .. } | Failure::Tls { .. } | Failure::Access(_) => {
                EXIT_CONFIGURATION
            }
            Failure::Directory(error) if !is_damage(error) => EXIT_CONFIGURATION,
            _ => EXIT_RUN_TIME,
        })
    }

    /// Makes an [`io::Error`] a failure to do `what`.
    pub fn io(what: &'static str) -> impl Fn(io::Error) -> Failure {
        move |error| Failure::Io { what, error }
    }
}

/// Whether the files are at fault, and not how the program was called.
fn is_damage(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged { .. }
        | StoreError::Refused { .. }
        | StoreError::Manifest { .. }
        | StoreError::Missing(_)
        | StoreError::Ahead { .. }
        | StoreError::Stray(_) => true,
        StoreError::Io { error, .. } => error.kind() != io::ErrorKind::NotFound,
        _ => false,
    }
}

/// What came of writing to standard output; a reader that has seen enough (`| head`) is no failure.
pub fn output(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Io { what: "cannot write to standard output", error })
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Configuration(errors) => write!(f, "the configuration cannot be used:\n{errors}"),
            Failure::Cores { origin, key, error } => {
                write!(f, "the configuration cannot be used:\n{origin}: node.{key}: {error}")
            }
            Failure::Tls { origin: Some(origin), error } => {
                write!(f, "the configuration cannot be used:\n{origin}: listener[{}].{error}", error.listener)
            }
            Failure::Tls { origin: None, error } => {
                write!(f, "the configuration cannot be used:\nlistener[{}].{error}", error.listener)
            }
            Failure::Kernel(error) => error.fmt(f),
            Failure::Listen(error) => error.fmt(f),
            Failure::Mesh(error) => error.fmt(f),
            Failure::Shard(error) => error.fmt(f),
            Failure::Access(what) => write!(f, "access control cannot be set up: {what}"),
            Failure::Passwords(what) | Failure::Tuning(what) => f.write_str(what),
            Failure::Control(error) => error.fmt(f),
            Failure::Journal(error) => error.fmt(f),
            Failure::Directory(error) => error.fmt(f),
            Failure::Damaged { directory, places } => {
                let damaged = if *places == 1 { "one place".to_owned() } else { format!("{places} places") };
                write!(
                    f,
                    "the journal in {} is damaged in {damaged}. Restore a backup, or give up what cannot be read with \
                     `ringmain journal repair`",
                    directory.display()
                )
            }
            Failure::Io { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Failure {
        Failure::Configuration(errors)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Directory(error)
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Failure {
        Failure::Tls { origin: None, error }
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Failure {
        Failure::Kernel(error)
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Failure {
        Failure::Listen(error)
    }
}

impl From<MeshError> for Failure {
    fn from(error: MeshError) -> Failure {
        Failure::Mesh(error)
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        Failure::Journal(error)
    }
}

impl From<ShardError<KernelError>> for Failure {
    fn from(error: ShardError<KernelError>) -> Failure {
        Failure::Shard(error)
    }
}
