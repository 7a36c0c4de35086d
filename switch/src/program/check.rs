//! `ringmain check`: the configuration in effect, what it comes to on this machine, and the memory that it bounds.

use std::io::{self, Write};

use crate::config::value::about_bytes;
use crate::config::{Configuration, reference};

use super::banner::connections;
use super::memory::Memory;
use super::plan::Plan;

/// Prints everything to `out`; the first part is a file that would bring about the same configuration. `warnings` are of
/// what can be used and should be changed.
pub fn print(out: &mut dyn Write, configuration: &Configuration, plan: &Plan, warnings: &[String]) -> io::Result<()> {
    let settings = &configuration.settings;
    write!(out, "{}", reference::effective(configuration))?;
    let memory = Memory::of(settings, plan);
    writeln!(out)?;
    let mut note =
        |text: &str| text.split('\n').try_for_each(|line| writeln!(out, "{}", format!("# {line}").trim_end()));
    note(&format!("durability: {}", super::banner::durability(settings, plan)))?;
    note(&format!("shards: {}", super::banner::shards(plan)))?;
    note(&format!("connections: {}", connections(plan)))?;
    warnings.iter().try_for_each(|warning| note(&format!("warning: {warning}")))?;
    note("")?;
    note("Memory that this bounds; pools are touched as they fill:")?;
    note(memory.to_string().trim_end())?;
    let outboxes = plan.connections_max.saturating_mul(u64::from(settings.limits.max_outbox_bytes));
    note(&format!(
        "Beside it, if every connection lagged at once: outboxes of {} each (limits.max_outbox_bytes), {} in all,",
        about_bytes(u64::from(settings.limits.max_outbox_bytes)),
        about_bytes(outboxes)
    ))?;
    note("and subscriptions: about 100 B and its filter for each one that nobody shares (limits.max_subscriptions).")
}
