//! Kept runs as one page that needs nothing else: no script, no font, no other file.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write;

use super::diff::leaves;
use super::figure::FIGURES;
use super::{Bundle, curves};
use crate::suite::markdown::number;
use crate::suite::statistics::Spread;

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #d8dee4; --soft: #f6f8fa; --mark: #fff3cd }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --soft: #161b22; --mark: #3b2f00 } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } h3 { font-size: 1rem; font-weight: 600 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top }
td.n, th.n, .when { white-space: nowrap } td.n, th.n { text-align: right } tr.differs td { background: var(--mark) }
code, pre { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: var(--soft); padding: .7rem; overflow-x: auto }
.dot { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .4rem }
.charts { display: flex; flex-wrap: wrap; gap: 1rem } svg { max-width: 100%; height: auto }
";

/// The page of these runs, each with its name.
///
/// # Errors
/// A plot cannot be drawn.
pub fn page(all: &[(String, Bundle)]) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    writeln!(out, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>ringload</title>")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n{STYLE}</style>")?;
    writeln!(out, "<h1>{}</h1>", escape(&title(all)))?;
    runs(&mut out, all)?;
    figures(&mut out, all)?;
    latencies(&mut out, all)?;
    by_round(&mut out, all)?;
    configurations(&mut out, all)?;
    facts(&mut out, all)?;
    writeln!(out, "</html>")?;
    Ok(out)
}

fn title(all: &[(String, Bundle)]) -> String {
    let commands: BTreeSet<_> = all.iter().map(|(_, bundle)| bundle.told()).collect();
    match commands.first() {
        Some(one) if commands.len() == 1 => one.clone(),
        _ => format!("{} runs of ringload", all.len()),
    }
}

fn runs(out: &mut String, all: &[(String, Bundle)]) -> Result<(), Box<dyn Error>> {
    writeln!(out, "<table><tr><th>run<th>begun<th class=n>rounds<th>programs<th>command")?;
    for (at, (name, bundle)) in all.iter().enumerate() {
        let programs = bundle.programs.iter().map(|program| {
            let hash = program.sha256.get(..12).unwrap_or("unread");
            format!("{} <code>{hash}</code>", escape(&program.version))
        });
        let invalid = bundle.rounds.iter().filter(|round| round.report["valid"] != true).count();
        let invalid = if invalid > 0 { format!(", {invalid} INVALID") } else { String::new() };
        writeln!(
            out,
            "<tr><td><span class=dot style=\"background:{}\"></span>{}\
             <td class=when>{}<td class=n>{}{invalid}<td>{}<td><code>{}</code>",
            curves::colour(at),
            escape(name),
            escape(&bundle.begun),
            bundle.rounds.len(),
            programs.collect::<Vec<_>>().join("<br>"),
            escape(&bundle.told())
        )?;
    }
    Ok(writeln!(out, "</table>")?)
}

fn figures(out: &mut String, all: &[(String, Bundle)]) -> Result<(), Box<dyn Error>> {
    writeln!(out, "<h2>Figures</h2>\n<p>Medians of the rounds, lowest and highest behind them.</p>\n<table><tr><th>")?;
    heads(out, all)?;
    for figure in FIGURES {
        let spreads: Vec<_> = all.iter().map(|(_, bundle)| Spread::of(&bundle.samples(figure))).collect();
        if spreads.iter().all(Option::is_none) {
            continue;
        }
        write!(out, "<tr><td>{}", escape(figure.name))?;
        for spread in spreads {
            match spread {
                Some(Spread { median, min, max, .. }) => {
                    write!(out, "<td class=n><b>{}</b> ({}–{})", number(median), number(min), number(max))?;
                }
                None => write!(out, "<td class=n>–")?,
            }
        }
        writeln!(out)?;
    }
    Ok(writeln!(out, "</table>")?)
}

fn latencies(out: &mut String, all: &[(String, Bundle)]) -> Result<(), Box<dyn Error>> {
    let each: Vec<_> = all.iter().map(|(run, bundle)| (run.as_str(), bundle.histograms())).collect();
    let names: BTreeSet<&str> = each.iter().flat_map(|(_, of)| of.keys().copied()).collect();
    writeln!(out, "<h2>Latency by percentile</h2>\n<div class=charts>")?;
    for name in names {
        let of: Vec<_> = each.iter().filter_map(|(run, of)| Some((*run, of.get(name)?))).collect();
        writeln!(out, "<div><h3>{}</h3>{}</div>", escape(name), curves::percentiles(&of)?)?;
    }
    Ok(writeln!(out, "</div>")?)
}

fn by_round(out: &mut String, all: &[(String, Bundle)]) -> Result<(), Box<dyn Error>> {
    let runs: Vec<_> = all.iter().map(|(name, bundle)| (name.as_str(), bundle)).collect();
    let drawn = FIGURES.iter().map(|figure| Ok((figure.name, curves::rounds(figure, &runs)?)));
    let drawn: Vec<_> = drawn.collect::<Result<_, Box<dyn Error>>>()?;
    if drawn.iter().all(|(_, svg)| svg.is_empty()) {
        return Ok(());
    }
    writeln!(out, "<h2>Round by round</h2>\n<div class=charts>")?;
    for (name, svg) in drawn.iter().filter(|(_, svg)| !svg.is_empty()) {
        writeln!(out, "<div><h3>{}</h3>{svg}</div>", escape(name))?;
    }
    Ok(writeln!(out, "</div>")?)
}

fn configurations(out: &mut String, all: &[(String, Bundle)]) -> Result<(), Box<dyn Error>> {
    let nodes = all.iter().filter_map(|(name, bundle)| Some((name, bundle.node.as_ref()?)));
    writeln!(out, "<h2>Configurations</h2>")?;
    for (name, node) in nodes {
        writeln!(out, "<h3>{}</h3>", escape(name))?;
        let environment: String = node.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let text = if node.text.trim().is_empty() { "# the defaults\n" } else { &node.text };
        writeln!(out, "<pre>{}{}</pre>", escape(text), escape(&environment))?;
    }
    Ok(())
}

fn facts(out: &mut String, all: &[(String, Bundle)]) -> Result<(), Box<dyn Error>> {
    let each: Vec<BTreeMap<String, String>> = all.iter().map(|(_, bundle)| leaves(bundle)).collect();
    let names: BTreeSet<_> = each.iter().flat_map(BTreeMap::keys).collect();
    let differ = |name: &str| each.iter().any(|of| of.get(name) != each[0].get(name));
    writeln!(out, "<h2>The machine</h2>")?;
    let (differing, same): (Vec<&String>, Vec<&String>) = names.into_iter().partition(|name| differ(name));
    if !differing.is_empty() {
        writeln!(out, "<p>Facts that differ.</p>\n<table><tr><th>")?;
        heads(out, all)?;
        for name in differing {
            write!(out, "<tr class=differs><td>{}", escape(name))?;
            for of in &each {
                write!(out, "<td>{}", of.get(name).map_or("–".to_owned(), |value| escape(value)))?;
            }
            writeln!(out)?;
        }
        writeln!(out, "</table>")?;
    }
    writeln!(out, "<details><summary>{} facts that are the same</summary><table>", same.len())?;
    for name in same {
        writeln!(out, "<tr><td>{}<td>{}", escape(name), escape(&each[0][name]))?;
    }
    Ok(writeln!(out, "</table></details>")?)
}

fn heads(out: &mut String, all: &[(String, Bundle)]) -> Result<(), Box<dyn Error>> {
    for (at, (name, _)) in all.iter().enumerate() {
        write!(out, "<th class=n><span class=dot style=\"background:{}\"></span>{}", curves::colour(at), escape(name))?;
    }
    Ok(writeln!(out)?)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::archive::tests::bundle;

    /// A page of two runs shows both, marks the fact that differs, draws their latencies, and takes nothing for markup.
    #[test]
    fn two_runs() {
        let (before, mut after) = (bundle(3, 10.0), bundle(3, 20.0));
        after.facts["sysctls"]["net.core.somaxconn"] = "<128>".into();
        let text = page(&[("before".to_owned(), before), ("after".to_owned(), after)]).unwrap();
        assert!(text.contains("<tr class=differs><td>sysctls.net.core.somaxconn<td>4096<td>&lt;128&gt;"), "{text}");
        assert!(text.contains("<h3>latency</h3><svg") && text.contains("1 facts that are the same"), "{text}");
        assert!(text.contains("<b>10.1</b>") && text.contains("<b>20.2</b>") && !text.contains("<script"));
    }
}
