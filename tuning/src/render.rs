//! A plan as texts: `ringmain.toml`, a script for the system, a drop-in for the service, and a report.

use std::collections::BTreeMap;

use crate::advice::{Advice, How, Severity};
use crate::plan::Plan;

/// Lines of comments are broken here.
const WIDTH: usize = 100;
/// Sections of `ringmain.toml`, in their order.
const SECTIONS: [&str; 4] = ["node", "limits", "journal", "kernel"];
/// Where the program listens by itself.
const ADDRESSES: [&str; 2] = ["127.0.0.1:1883", "[::1]:1883"];

/// The configuration.
pub fn configuration(plan: &Plan) -> String {
    let mut text = head(plan, "It is a start: listeners, access and the journal are yours to add.");
    let mut sections = BTreeMap::<&str, Vec<(&str, &str, &Advice)>>::new();
    for advice in &plan.advice {
        if let How::Configuration { key, value } = &advice.how
            && let Some((section, key)) = key.split_once('.')
        {
            sections.entry(section).or_default().push((key, value, advice));
        }
    }
    if let Some(keys) = sections.remove("listener") {
        for address in ADDRESSES {
            text += &format!("\n[[listener]]\nbind = \"{address}\"\n");
            keys.iter().for_each(|(key, value, _)| text += &format!("{key} = {value}\n"));
        }
        keys.iter().for_each(|(key, _, advice)| text += &comment(&format!("{key}: {}", reasons(advice))));
    }
    let known = SECTIONS.iter().copied().filter_map(|name| sections.remove_entry(name)).collect::<Vec<_>>();
    for (section, keys) in known.into_iter().chain(sections) {
        text += &format!("\n[{section}]\n");
        for (key, value, advice) in keys {
            text += &comment(&reasons(advice));
            text += &format!("{key} = {value}\n");
        }
    }
    text
}

/// The script. It only says what it would do unless it is told `yes`.
pub fn script(plan: &Plan) -> String {
    let mut text = String::from("#!/bin/sh\n");
    text += &head(
        plan,
        "What it wants of the system, until the next restart of the machine. Read it, then run it as root: \
         `sh system.sh yes`. \
         Without the word it only says what it would do. `ringmain tune apply` does the same as the lines with `put`, \
         and can take it back; this script cannot.",
    );
    text += "\nset -u\nyes=${1:-no}\n\
             put() {\n    printf '%s: %s -> %s\\n' \"$1\" \"$(cat \"$1\" 2>/dev/null || echo unknown)\" \"$2\"\n    \
             [ \"$yes\" != yes ] || printf '%s\\n' \"$2\" > \"$1\"\n}\n\
             run() {\n    printf '%s\\n' \"$*\"\n    [ \"$yes\" != yes ] || \"$@\"\n}\n";
    for advice in &plan.advice {
        let title = format!("{} ({}): {}", advice.setting, advice.severity.word(), reasons(advice));
        match &advice.how {
            How::Write(changes) => {
                text += &format!("\n{}", comment(&title));
                // Only what is understood, so that nothing in a file can become a command.
                let understood = changes.iter().filter(|change| change.check().is_ok());
                understood.for_each(|change| text += &format!("put /{} '{}'\n", change.path, change.value));
            }
            How::Command(command) => text += &format!("\n{}run {}\n", comment(&title), one_line(command)),
            How::Boot(words) => {
                text += &format!("\n{}", comment(&format!("{title} On the kernel's command line: {words}")));
            }
            _ => {}
        }
    }
    text
}

/// The drop-in for the service's unit, where there is anything to say.
pub fn unit(plan: &Plan) -> Option<String> {
    let lines = plan.advice.iter().filter_map(|advice| match &advice.how {
        How::Unit(line) => Some(format!("{}{}\n", comment(&reasons(advice)), one_line(line))),
        _ => None,
    });
    let lines: String = lines.collect();
    (!lines.is_empty()).then(|| format!("{}\n[Service]\n{lines}", head(plan, "For /etc/systemd/system.")))
}

/// Everything, for people.
pub fn report(plan: &Plan) -> String {
    let mut text = format!("profile {}: {}\n", plan.profile.name, plan.profile.purpose);
    plan.profile.trade_offs.iter().for_each(|cost| text += &format!("  costs: {cost}\n"));
    let layout = &plan.layout;
    let (count, one) = (layout.shards.len(), layout.shards.len() == 1);
    let words = if one { ("shard", "core") } else { ("shards", "cores") };
    text += &format!("\n{count} {} on {} {}; serving: {}\n", words.0, words.1, layout.shards, layout.service);
    layout.reasons.iter().for_each(|reason| text += &format!("  {reason}\n"));
    for advice in plan.advice.iter().filter(|advice| advice.severity != Severity::Fine) {
        text += &format!(
            "\n{:9}  {}\n    now     {}\n    wanted  {}\n    why     {}\n    gain    {}\n    risk    {}\n    \
             source  {}\n    by      {}\n",
            advice.severity.word(),
            advice.setting,
            one_line(&advice.current.to_string()),
            advice.wanted,
            advice.why,
            advice.gain,
            advice.risk,
            advice.source,
            by(&advice.how),
        );
    }
    text += "\nfine as it is:\n";
    for advice in plan.advice.iter().filter(|advice| advice.severity == Severity::Fine) {
        text += &format!("  {}: {}\n", advice.setting, one_line(&advice.current.to_string()));
    }
    text
}

/// How something is brought about, in a line.
fn by(how: &How) -> String {
    match how {
        How::Nothing => "nobody: it is told only".to_owned(),
        How::Configuration { key, value } => format!("ringmain.toml: {key} = {value}"),
        How::Write(changes) => match changes.as_slice() {
            [change] => format!("apply, or system.sh: {} in /{}", change.value, change.path),
            _ => format!("apply, or system.sh: {} files", changes.len()),
        },
        How::Command(command) => format!("system.sh: {}", one_line(command)),
        How::Boot(words) => format!("you, on the kernel's command line: {words}"),
        How::Unit(line) => format!("ringmain.service.d/tune.conf: {line}"),
    }
}

fn head(plan: &Plan, more: &str) -> String {
    let mut text =
        comment(&format!("Written by `ringmain tune plan --profile {}`: {}", plan.profile.name, plan.profile.purpose));
    text += &comment(more);
    text += &comment("What the profile costs:");
    plan.profile.trade_offs.iter().for_each(|cost| text += &comment(&format!("- {cost}")));
    text
}

fn reasons(advice: &Advice) -> String {
    let (gain, risk) = (&advice.gain, &advice.risk);
    let mut letters = advice.why.chars();
    let why: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    format!("{why}. Gain: {gain}. Risk: {risk}. Now: {}.", advice.current)
}

/// A text as lines of comment.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in one_line(text).split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line != "#" {
            lines += &format!("{line}\n");
            line = String::from("#");
        }
        line += &format!(" {word}");
    }
    lines + &line + "\n"
}

/// What comes from a machine may have lines; here they would mean something else.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
