//! The threads of access control: they hash, check, wait for services, and fetch keys. Never a shard's.

use std::io;
use std::sync::Arc;

use shard::config::CorePlan;
use shard::mesh::ShardId;
use shard::ring::Doorbell;

use super::failure::Failure;
use super::log::{Level, Log};
use super::plan::move_to_service_cores;
use crate::access::Desk;
use crate::access::service::Service;

/// What one thread does until the process ends.
type Work = Box<dyn Fn(&Service) + Send>;

/// Starts them; they end with the process.
pub fn start(desk: &Arc<Desk>, bells: Vec<Doorbell>, cores: &CorePlan, log: Log) -> Result<(), Failure> {
    let wake = move |shard: ShardId| bells[usize::from(shard.0)].ring();
    let service = Service::new(Arc::clone(desk), Box::new(wake)).map_err(Failure::Access)?;
    let service = Arc::new(service);
    let mut threads: Vec<(&str, Work)> = Vec::new();
    for _ in 0..desk.access.threads {
        threads.push(("ringmain-auth", Box::new(Service::compute)));
    }
    for (index, settings) in desk.services.iter().enumerate() {
        (0..settings.threads).for_each(|_| threads.push(("ringmain-http", Box::new(move |it| it.inquire(index)))));
    }
    for (index, settings) in desk.deciders.iter().enumerate() {
        (0..settings.threads).for_each(|_| threads.push(("ringmain-acl", Box::new(move |it| it.decide(index)))));
    }
    for (index, settings) in desk.tokens.iter().enumerate().filter(|(_, settings)| settings.jwks_url.is_some()) {
        let (refresh, key) = (settings.jwks_refresh, desk.published_by(index));
        let fetch = move |service: &Service| {
            loop {
                if let Err(error) = service.fetch_keys(index, refresh / 2) {
                    log.print(Level::Warn, &format_args!("{key}: {error}; the keys stay as they were"));
                }
                std::thread::sleep(refresh);
            }
        };
        threads.push(("ringmain-keys", Box::new(fetch)));
    }
    for (name, work) in threads {
        let (cores, service) = (cores.clone(), Arc::clone(&service));
        let started = std::thread::Builder::new().name(name.into()).spawn(move || {
            move_to_service_cores(&cores);
            work(&service);
        });
        started.map_err(no_thread)?;
    }
    Ok(())
}

fn no_thread(error: io::Error) -> Failure {
    Failure::io("cannot start a thread of access control")(error)
}
