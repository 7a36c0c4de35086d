//! The plan: what the advice comes to, as files that people read before they use them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::advice::{Advice, How, advise};
use crate::change::Change;
use crate::facts::Facts;
use crate::layout::Layout;
use crate::profile::Profile;
use crate::render;

/// The form of this data.
pub const FORMAT: u32 = 1;

/// The file of a plan that `apply` reads.
pub const PLAN_FILE: &str = "plan.json";

/// What is planned for a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// What it is tuned for.
    pub profile: Profile,
    /// Which cores do what.
    pub layout: Layout,
    /// What should be otherwise, the most important first, and what is fine at the end.
    pub advice: Vec<Advice>,
}

impl Plan {
    /// Plans for a machine. Fails where it is not known which cores there are.
    pub fn new(facts: &Facts, profile: Profile) -> Result<Plan, String> {
        let layout = Layout::new(facts, &profile.cores)?;
        let advice = advise(facts, &profile, &layout);
        Ok(Plan { format: FORMAT, profile, layout, advice })
    }

    /// Every change of the kernel's files, in the order in which they are made.
    pub fn changes(&self) -> Vec<Change> {
        let of = |advice: &Advice| match &advice.how {
            How::Write(changes) => changes.clone(),
            _ => Vec::new(),
        };
        self.advice.iter().flat_map(of).collect()
    }

    /// Everything, for people.
    pub fn report(&self) -> String {
        render::report(self)
    }

    /// The files of this plan, by their names.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let json = serde_json::to_string_pretty(self).expect("plain data can be written");
        let mut files = vec![
            ("ringmain.toml", render::configuration(self)),
            ("system.sh", render::script(self)),
            ("report.txt", self.report()),
            (PLAN_FILE, json + "\n"),
        ];
        if let Some(unit) = render::unit(self) {
            files.push(("ringmain.service.d/tune.conf", unit));
        }
        files
    }

    /// Writes them into a directory, which is made where it is missing. Says which.
    pub fn write(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let write = |(name, text): (&str, String)| {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
            fs::write(&path, text)?;
            Ok(path)
        };
        self.files().into_iter().map(write).collect()
    }

    /// Reads a plan, from its directory or from its file.
    pub fn read(place: &Path) -> Result<Plan, String> {
        let file = if place.is_dir() { place.join(PLAN_FILE) } else { place.to_owned() };
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let plan: Plan = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        match plan.format {
            FORMAT => Ok(plan),
            other => Err(format!("{} has form {other}; this version reads {FORMAT}", file.display())),
        }
    }
}
