//! `ringmain`: arguments become a checked configuration, that a plan, and the plan a running switch.

use std::io::{self, Write};
use std::process::ExitCode;

use switch::access::Desk;
use switch::config::source::Table;
use switch::config::{Configuration, reference};
use switch::node::switches;
use switch::program::args::{self, Options, Reference, Request};
use switch::program::failure::{Failure, output};
use switch::program::journals::Journals;
use switch::program::plan::{self, Plan};
use switch::program::reload::Origins;
use switch::program::{check, control, inspect, passwd, profile, serve, tune};
use switch::routing::parcel::rank_specs;
use switch::tls::files::load_all;

fn main() -> ExitCode {
    match run(args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Standard error may be closed; the exit code still tells.
            let _ = writeln!(io::stderr(), "ringmain: {failure}");
            failure.exit_code()
        }
    }
}

fn run(request: Request) -> Result<(), Failure> {
    match request {
        Request::Serve(options) => {
            let (configuration, plan, _) = settle(&options)?;
            let ranks = rank_specs(&configuration.settings.limits, plan.shards());
            let settings = &configuration.settings;
            let desk = Desk::open(settings, plan.shards()).map_err(Failure::Access)?;
            let journals = plan
                .storage
                .as_ref()
                .map(|storage| Journals::open(storage, &settings.journal, &settings.placement.rules, plan.shards()));
            let (recovered, keeping) = match journals.transpose()? {
                Some(journals) => {
                    let seed = journals.seed;
                    let (shards, keeping) = journals.into_parts();
                    (Some((seed, shards)), Some(keeping))
                }
                None => (None, None),
            };
            let (node, switches) =
                switches(settings, plan.shards(), recovered, desk.clone()).expect("checked rules make a placement");
            let origins =
                Origins { file: options.config.clone(), flags: options.flags(), in_effect: configuration.clone() };
            let profiles = serve::until_stopped(origins, &plan, &ranks, keeping, desk, switches)?;
            // Standard error may be closed; that is no failure of what has been served.
            let _ = io::stderr().write_all(profile::tables(&profiles, &node.counters).as_bytes());
            Ok(())
        }
        Request::Test(options) => {
            let (configuration, plan, _) = settle(&options)?;
            Desk::open(&configuration.settings, plan.shards()).map_err(Failure::Access)?;
            tell(|out| output(writeln!(out, "the configuration can be used")))
        }
        Request::Check(options) => {
            let (configuration, plan, warnings) = settle(&options)?;
            tell(|out| output(check::print(out, &configuration, &plan, &warnings)))
        }
        Request::Journal(command) => tell(|out| inspect::run(&command, out)),
        Request::Passwd(command) => passwd::run(&command),
        Request::Tune(command) => tell(|out| tune::run(&command, out)),
        Request::Reload(place) => tell(|out| control::reload(&place, out)),
        Request::Reference(Reference::Markdown) => tell(|out| output(out.write_all(reference::markdown().as_bytes()))),
        Request::Reference(Reference::Toml) => {
            tell(|out| output(out.write_all(reference::annotated_toml().as_bytes())))
        }
    }
}

/// Reads and checks the configuration and the files that it names, and plans for this machine. What the third tells can
/// be used nevertheless.
fn settle(options: &Options) -> Result<(Configuration, Plan, Vec<String>), Failure> {
    let configuration = Configuration::load(options.config.as_deref(), &options.flags())?;
    plan::raise_open_files().map_err(Failure::io("cannot raise the limit on open files"))?;
    let plan = Plan::new(&configuration)?;
    let loaded = load_all(&configuration.settings).map_err(|error| {
        let origin = configuration.origin(Table::Listener(error.listener), error.key);
        Failure::Tls { origin: Some(origin), error }
    })?;
    let warnings = loaded.into_iter().flatten().flat_map(|loaded| loaded.warnings);
    Ok((configuration, plan, warnings.collect()))
}

/// Does what tells something on standard output, of which the last part may be what cannot be written.
fn tell(tells: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let told = tells(&mut out);
    told.and(output(out.flush()))
}
