//! Configuration: from what people write to settings that can be trusted.
//!
//! ```text
//!  file ──────▶ source ─┐                       ┌─▶ Settings ──▶ the program
//!  environment ▶ source ├─▶ load (merge, check) ┤
//!  flags ───────────────┘      ▲                └─▶ origins ───▶ `ringmain check`
//!                            keys ─────────────────▶ reference ─▶ docs/configuration.md, ringmain.toml
//! ```
//!
//! - [`keys`] defines each key once: name, type, range, place, documentation.
//! - [`source`] turns files and variables into entries that are still text, each with its origin.
//! - [`load`] applies the entries over the defaults and checks what no single value can tell.
//! - [`own`] says what a listener has of its own of access control.
//! - [`data_dir`] says where the journal lies where no key does.
//! - [`difference`] tells what a reload would change.
//! - [`settings`] is what remains: whoever holds a [`Settings`] need not check it again.
//! - [`mod@reference`] writes the documentation and the effective configuration.

pub mod access;
pub mod data_dir;
pub mod difference;
pub mod error;
pub mod field;
pub mod keys;
pub mod load;
pub mod network;
pub mod own;
pub mod reference;
pub mod settings;
pub mod source;
pub mod value;

pub use access::Access;
pub use error::{ConfigError, ConfigErrors, Origin};
pub use load::{Configuration, Flags};
pub use network::Network;
pub use settings::{
    CertificateName, ClientCertificates, Durability, Journal, KeyPair, Listener, Settings, Tls, TlsVersion, Transport,
};
