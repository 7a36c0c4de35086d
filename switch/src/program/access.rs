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
type Work = Box<dyn FnOnce() + Send>;

/// Starts them; they end with the process.
pub fn start(desk: &Arc<Desk>, bells: Vec<Doorbell>, cores: &CorePlan, log: Log) -> Result<(), Failure> {
    let wake = move |shard: ShardId| bells[usize::from(shard.0)].ring();
    let service = Service::new(Arc::clone(desk), Box::new(wake)).map_err(Failure::Access)?;
    let service = Arc::new(service);
    let mut threads: Vec<(&str, Work)> = Vec::new();
    let mut add = |name, count: u16, work: fn(&Service)| {
        for _ in 0..count {
            let service = Arc::clone(&service);
            threads.push((name, Box::new(move || work(&service))));
        }
    };
    add("ringmain-auth", desk.access.threads, |service| service.run(false));
    if desk.access.http.url.is_some() {
        add("ringmain-http", desk.access.http.threads, |service| service.run(true));
    }
    if desk.access.acl_http.url.is_some() {
        add("ringmain-acl", desk.access.acl_http.threads, Service::decide);
    }
    if desk.access.jwt.jwks_url.is_some() {
        let (service, refresh) = (Arc::clone(&service), desk.access.jwt.jwks_refresh);
        let fetch = move || {
            loop {
                if let Err(error) = service.fetch_keys(refresh / 2) {
                    log.print(Level::Warn, &format_args!("access_jwt.jwks_url: {error}; the keys stay as they were"));
                }
                std::thread::sleep(refresh);
            }
        };
        threads.push(("ringmain-keys", Box::new(fetch)));
    }
    for (name, work) in threads {
        let cores = cores.clone();
        let started = std::thread::Builder::new().name(name.into()).spawn(move || {
            move_to_service_cores(&cores);
            work();
        });
        started.map_err(no_thread)?;
    }
    Ok(())
}

fn no_thread(error: io::Error) -> Failure {
    Failure::io("cannot start a thread of access control")(error)
}
