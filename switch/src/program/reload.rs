//! A reload: the configuration and the files that it names are read again while clients stay connected.
//!
//! ```text
//!   SIGHUP ──────────▶ signal thread ──┐
//!                                      ├─▶ Reload::run:  read everything ─▶ swap everything ─▶ wake the shards
//!   ringmain reload ─▶ control socket ─┘                     └─▶ something cannot be used: nothing is swapped, and why
//! ```

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::log::{Level, Log};
use super::supervisor;
use crate::access::Desk;
use crate::config::difference::differences;
use crate::config::{Configuration, Flags};
use crate::listener::Listeners;
use crate::tls;

/// Where the configuration comes from, and what it was when it was read.
pub struct Origins {
    /// The file of `-c`.
    pub file: Option<PathBuf>,
    /// The flags above it.
    pub flags: Flags,
    /// What is in effect.
    pub in_effect: Configuration,
}

/// What can be read again, and who is told.
pub struct Reload {
    file: Option<PathBuf>,
    flags: Flags,
    /// Locked by who reloads: one at a time.
    in_effect: Mutex<Configuration>,
    listeners: Listeners,
    access: Option<Arc<Desk>>,
    log: Log,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Reload {
    /// For a node with these listeners and this access control; `wake` rings every shard's doorbell.
    pub fn new(
        origins: Origins,
        listeners: Listeners,
        access: Option<Arc<Desk>>,
        log: Log,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Reload {
        let Origins { file, flags, in_effect } = origins;
        Reload { file, flags, in_effect: Mutex::new(in_effect), listeners, access, log, wake: Box::new(wake) }
    }

    /// Reads everything again, and says what came of it: what is new, or why everything is as it was. `who` wanted it.
    ///
    /// # Errors
    /// Something cannot be used, or cannot be changed while the node runs. Nothing was changed.
    pub fn run(&self, who: &str) -> Result<String, String> {
        let mut in_effect = self.in_effect.lock().unwrap_or_else(PoisonError::into_inner);
        supervisor::reloading();
        let outcome = self.swap(&mut in_effect);
        match &outcome {
            Ok(text) => text.lines().for_each(|line| self.tell(Level::Info, who, &line)),
            Err(text) => {
                let text = format!("everything stays as it was: {text}");
                text.lines().for_each(|line| self.tell(Level::Error, who, &line));
            }
        }
        (self.wake)();
        supervisor::ready();
        outcome
    }

    fn tell(&self, level: Level, who: &str, text: &dyn fmt::Display) {
        self.log.print(level, &format_args!("{who}: {text}"));
    }

    /// Reads all, and only then puts it in the place of what is used.
    fn swap(&self, in_effect: &mut Configuration) -> Result<String, String> {
        let read = Configuration::load(self.file.as_deref(), &self.flags)
            .map_err(|errors| format!("the configuration cannot be used:\n{errors}"))?;
        let (live, others): (Vec<_>, Vec<_>) =
            differences(in_effect, &read).into_iter().partition(|difference| difference.live);
        if !others.is_empty() {
            let mut text = String::from("a change of these keys takes a restart:");
            others.iter().for_each(|difference| _ = write!(text, "\n{difference}"));
            return Err(text);
        }
        let certificates = tls::files::read_again(&self.listeners, &read.settings)
            .map_err(|(listener, error)| format!("listener {listener}: {error}"))?;
        let book = self.access.as_ref().map(|desk| desk.read_again()).transpose()?;

        certificates.warnings.iter().for_each(|line| self.log.print(Level::Warn, line));
        let mut told: Vec<String> = live.iter().map(|difference| format!("applied: {difference}")).collect();
        let names = certificates.swap();
        if let Some(recheck) = self.listeners.iter().find_map(|listener| listener.recheck.as_ref()) {
            recheck.begin();
        }
        if !names.is_empty() {
            told.push(format!("certificates were read again: {}", names.join(", ")));
        }
        if let (Some(desk), Some(book)) = (&self.access, book) {
            let files: Vec<String> = desk.files().map(|file| file.display().to_string()).collect();
            desk.replace(book);
            told.push(format!("read again: {}", files.join(", ")));
        }
        *in_effect = read;
        if told.is_empty() {
            told.push("the configuration is as it was, and names no files that could be read again".to_owned());
        }
        Ok(told.join("\n"))
    }
}
