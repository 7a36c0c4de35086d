//! Serving: the plan becomes listeners, shards and service threads, until a stop.
//!
//! ```text
//!  probe the kernel ─▶ listen ─▶ mesh ─▶ log and signals ─▶ shards, each on its thread:
//!                                                             ring ─▶ meet ─▶ reactor ─▶ meet ─▶ end
//!                                                                         └─▶ banner, when all have one
//! ```

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use persistence::Bell;
use rustix::io::Errno;
use shard::Handler;
use shard::config::CorePlan;
use shard::error::{KernelError, ListenError};
use shard::idle::IdlePolicy;
use shard::launch::{Meeting, launch};
use shard::listen::{Endpoint, listen};
use shard::mesh::{Mesh, MeshEnd, RankSpec, ShardId};
use shard::profile::{self, Reading};
use shard::reactor::Reactor;
use shard::ring::Doorbell;
use shard::stall::Stalls;
use shard::uring::{Features, Peer, UringDriver};

use super::banner;
use super::control::{self, ControlSocket};
use super::failure::Failure;
use super::journals::{JournalError, Keeping};
use super::log::{Level, Log, LogSink, Logger};
use super::plan::{Plan, move_to_service_cores};
use super::progress;
use super::reload::{Origins, Reload};
use super::stop::{SignalThread, StopFlag};
use super::supervisor;
use super::watchdog;
use crate::access::Desk;
use crate::config::{Listener, Settings};
use crate::journal::WallClock;
use crate::listener::{self, ListenerPolicy};
use crate::tls;
use crate::tls::recheck::Recheck;

/// What the program gives to one shard's handler.
pub struct Seat {
    /// Which shard it is.
    pub shard: ShardId,
    /// How many there are.
    pub shards: u16,
    /// Connections that this shard's socket table holds: slots are below it.
    pub slots: u32,
    /// The listeners, by their ids; the same for all.
    pub listeners: listener::Listeners,
    /// The checked settings, the same for all.
    pub settings: Arc<Settings>,
    /// Where its lines go.
    pub log: LogSink,
    /// Whether to come to the end; the doorbell rings when it is set.
    pub stop: StopFlag,
    /// Wakes the keeper of its journal.
    pub bell: Option<Arc<Bell>>,
    /// The wall clock of the shard's clock.
    pub wall: WallClock,
}

/// Serves with a handler made by `handler` on each shard's own thread, until a stop was requested and every handler has
/// finished. `origins` has the settings, and where they are read again; `ranks` are the rings between shards, `access` is
/// where clients are judged. Returns the stage profile of each shard, in order, where it was to be measured.
pub fn until_stopped<H: Handler>(
    origins: Origins,
    plan: &Plan,
    ranks: &[RankSpec],
    keeping: Option<Keeping>,
    access: Option<Arc<Desk>>,
    handler: impl Fn(Seat) -> H + Clone + Send + 'static,
) -> Result<Vec<(ShardId, Reading)>, Failure> {
    let settings = Arc::new(origins.in_effect.settings.clone());
    let features = Features::probe(&plan.kernel)?;
    let (origin, wall_origin) = (Instant::now(), SystemTime::now());
    let (logger, sinks) = Logger::start(&settings.log, &plan.cores, wall_origin).map_err(Failure::io(NO_THREAD))?;
    let listeners = open_listeners(&settings, plan.shards(), logger.log())?;
    let mesh = Mesh::build(plan.shards(), ranks)?;

    for line in keeping.iter().flat_map(|keeping| &keeping.told) {
        logger.log().print(Level::Info, line);
    }
    let kept = keeping.map(|keeping| {
        let ring = |doorbell: Doorbell| -> persistence::keeper::Doorbell { Box::new(move || doorbell.ring()) };
        keeping.start(mesh.iter().map(|end| ring(end.doorbell())).collect(), &plan.cores.service_cores)
    });
    let kept = kept.transpose().map_err(JournalError::Keeper)?;
    let wall = wall_origin.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let wall = WallClock { origin_ms: wall.as_millis() as u64 };

    if let Some(desk) = &access {
        let bells = mesh.iter().map(MeshEnd::doorbell).collect();
        super::access::start(desk, bells, &plan.cores, logger.log())?;
    }

    let stop = StopFlag::default();
    let doorbells: Vec<_> = mesh.iter().map(MeshEnd::doorbell).collect();
    let (pulses, bells) = (watchdog::pulses(plan.shards()), doorbells.clone());
    let wake = move || doorbells.iter().for_each(|doorbell| doorbell.ring());
    let policies: listener::Listeners = listeners.policies.into();
    start_recheck(&policies, bells.clone(), &plan.cores)?;
    let reload = Reload::new(origins, Arc::clone(&policies), access, logger.log(), wake.clone());
    let reload = Arc::new(reload);
    let hangup = Arc::clone(&reload);
    let on_hangup = move || _ = hangup.run("SIGHUP");
    let _signals = SignalThread::start(stop.clone(), logger.log(), &plan.cores, wake, on_hangup)
        .map_err(Failure::io(NO_THREAD))?;

    let endpoints = listeners.endpoints;
    let parts = mesh.into_iter().zip(listeners.sockets).zip(sinks);
    let meetings = Meeting::of(plan.shards().into()).into_iter().zip(Meeting::of(plan.shards().into()));
    let (report, profiles) = mpsc::channel();
    let (ready, all_ready) = mpsc::sync_channel(plan.shards().into());
    let work = parts.zip(meetings).map(|(((mesh, sockets), log), (begin, end))| {
        let (kernel, features, stop, handler) = (plan.kernel.clone(), features.clone(), stop.clone(), handler.clone());
        let (settings, shards, slots) = (settings.clone(), plan.shards(), plan.kernel.slots);
        let (report, ready, listeners) = (report.clone(), ready.clone(), policies.clone());
        let bell = kept.as_ref().map(|kept| kept.bell(mesh.id().0.into()));
        let pulses = Arc::clone(&pulses);
        move || {
            if settings.node.profile {
                profile::start();
            }
            let driver = UringDriver::new(&kernel, &features, sockets, mesh.doorbell(), origin)?;
            let shard = mesh.id();
            let seat = Seat { shard, shards, slots, listeners, settings, log, stop, bell, wall };
            let handler = || {
                let made = handler(seat);
                let _ = ready.send(());
                made
            };
            let pulse = &pulses[usize::from(shard.0)];
            run_shard(driver, mesh, (begin, end), IdlePolicy { spin: kernel.spin }, pulse, handler)?;
            // The receiver is gone if another shard failed; nobody wants to know then.
            if let Some(reading) = profile::read() {
                let _ = report.send((shard, reading));
            }
            Ok(())
        }
    });
    let shards = launch(&plan.cores, work.collect())?;
    let banner_lines: Vec<_> = endpoints.iter().zip(&*policies).collect();
    drop(ready);
    let mut control = None;
    // Who reads that it listens finds every shard and all its memory there. A shard that cannot start says nothing here.
    if all_begin(&all_ready, plan.shards(), logger.log()) {
        control = open_control(&settings, plan, &reload, logger.log());
        // A log that cannot be written (a full disk, a closed pipe) is no reason not to serve.
        let _ = io::stderr().write_all(banner::text(&settings, plan, &features, &banner_lines).as_bytes());
        watchdog::start(pulses, bells, stop, &plan.cores, logger.log()).map_err(Failure::io(NO_THREAD))?;
        supervisor::ready();
    }
    shards.join()?;
    drop(control);
    if kept.is_some_and(|kept| !kept.stop(KEEPER_STOP_MAX)) {
        logger.log().print(Level::Warn, &"the disk is slow: what was not synced is taken up at the next start");
    }
    logger.log().print(Level::Info, &"stopped");
    let mut profiles: Vec<_> = profiles.try_iter().collect();
    profiles.sort_unstable_by_key(|(shard, _)| *shard);
    Ok(profiles)
}

/// Waits until every shard has made its handler, and says how many have where that takes long: what was live is taken
/// up there. False: one could not.
fn all_begin(ready: &Receiver<()>, shards: u16, log: Log) -> bool {
    let mut count = 0;
    while count < shards {
        match ready.recv_timeout(progress::KEPT) {
            Ok(()) => count += 1,
            Err(RecvTimeoutError::Timeout) => {
                let text = format!("{count} of {shards} shards have taken up what is theirs");
                supervisor::status(&text);
                log.print(Level::Info, &text);
            }
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

/// How long the keeper may take to end once every shard has: the shards have waited for their last syncs.
const KEEPER_STOP_MAX: Duration = Duration::from_secs(1);
const NO_THREAD: &str = "cannot start a service thread";

/// Runs one shard from its ring to its end. Where another shard could not start this one ends, too: that one tells why.
fn run_shard<H: Handler>(
    mut driver: UringDriver,
    mesh: MeshEnd,
    (begin, end): (Meeting<Peer>, Meeting<()>),
    idle: IdlePolicy,
    pulse: &OnceLock<Arc<Stalls>>,
    handler: impl FnOnce() -> H,
) -> Result<(), KernelError> {
    let Ok(peers) = begin.meet(driver.peer()) else { return Ok(()) };
    driver.set_peers(peers);
    let mut reactor = Reactor::new(driver, handler(), mesh, idle);
    let _ = pulse.set(reactor.stalls());
    reactor.run();
    // The ring stays until nobody can send a socket to it any more.
    let _ = end.meet(());
    Ok(())
}

/// Starts the thread that looks at certificates again after a reload, where a listener speaks TLS. It ends with the
/// process.
fn start_recheck(listeners: &listener::Listeners, bells: Vec<Doorbell>, cores: &CorePlan) -> Result<(), Failure> {
    let Some(recheck) = listeners.iter().find_map(|listener| listener.recheck.clone()) else { return Ok(()) };
    let (listeners, cores) = (Arc::clone(listeners), cores.clone());
    let work = move || {
        move_to_service_cores(&cores);
        recheck.run(&listeners, |shard| bells[usize::from(shard.0)].ring());
    };
    std::thread::Builder::new().name("ringmain-certs".into()).spawn(work).map_err(Failure::io(NO_THREAD))?;
    Ok(())
}

/// Opens the control socket, where there is to be one. Serving matters more: without it `ringmain reload` does not work.
fn open_control(settings: &Settings, plan: &Plan, reload: &Arc<Reload>, log: Log) -> Option<ControlSocket> {
    let path = control::path(settings, plan.storage.as_ref())?;
    let opened = ControlSocket::open(&path, Arc::clone(reload), &plan.cores, log);
    let failed = |error| {
        let text = format_args!("no control socket at {}: {error}; `ringmain reload` does not work", path.display());
        log.print(Level::Warn, &text);
    };
    opened.map_err(failed).ok()
}

/// What the shards listen on.
struct Listeners {
    /// Each endpoint in service, in order.
    endpoints: Vec<Endpoint>,
    /// What is asked of those who connect there.
    policies: Vec<ListenerPolicy>,
    /// For each shard, its socket at each endpoint, in the same order.
    sockets: Vec<Vec<OwnedFd>>,
}

/// Opens every listener. One that is there by default only may be missing where another one works.
fn open_listeners(settings: &Settings, shards: u16, log: Log) -> Result<Listeners, Failure> {
    let (mut endpoints, mut policies) = (Vec::new(), Vec::new());
    let mut sockets: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
    let mut missing: Option<ListenError> = None;
    let loaded = tls::files::load_all(settings)?;
    let recheck = Arc::new(Recheck::new(shards));
    for line in loaded.iter().flatten().flat_map(|loaded| &loaded.warnings) {
        log.print(Level::Warn, line);
    }
    for (index, listener) in settings.listeners.iter().enumerate() {
        // Checked settings have an address in each listener.
        let Some(bind) = &listener.bind else { continue };
        let set = match listen(bind, shards, &listener.options) {
            Err(error) if listener.optional && no_such_address(&error) => {
                log.print(Level::Debug, &format_args!("{error}"));
                missing = Some(error);
                continue;
            }
            result => result?,
        };
        if let Some(somaxconn) = set.backlog_clamped {
            let backlog = listener.options.backlog;
            let text = format!("{bind}: the backlog is {somaxconn}, not {backlog}: raise net.core.somaxconn");
            log.print(Level::Info, &text);
        }
        let listener = Listener { bind: Some(set.endpoint.clone()), ..listener.clone() };
        policies.push(match &loaded[index] {
            Some(loaded) => ListenerPolicy::with_tls(&listener, shards, &loaded.secrets, &recheck),
            None => ListenerPolicy::new(&listener, shards),
        });
        endpoints.push(set.endpoint);
        sockets.iter_mut().zip(set.sockets).for_each(|(all, socket)| all.push(socket));
    }
    match missing {
        Some(error) if endpoints.is_empty() => Err(error.into()),
        _ => Ok(Listeners { endpoints, policies, sockets }),
    }
}

/// Whether this machine has no such address, or no such family of addresses.
fn no_such_address(error: &ListenError) -> bool {
    [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT].iter().any(|errno| errno.raw_os_error() == error.errno.0)
}
