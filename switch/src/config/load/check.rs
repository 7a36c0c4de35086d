//! What no single value can tell: values that must fit each other.

use shard::listen::Endpoint;

use super::Builder;
use crate::config::access::{Backend, NoMatch, names_host};
use crate::config::error::{ConfigError, Origin};
use crate::config::field::Choice;
use crate::config::settings::{ClientCertificates, Listener, Tls, Transport};
use crate::config::source::{ENVIRONMENT_PREFIX, Table};
use crate::config::value::show_bytes;
use crate::limits::{PAGE_BYTES, RECORDS_STAGED_MIN};
use crate::routing::place::Placement;

impl Builder {
    /// What no single value can tell.
    pub(super) fn check(&mut self) {
        self.share_users();
        for index in 0..self.settings.listeners.len() {
            self.check_listener(index);
        }
        self.check_limits();
        self.check_journal();
        self.check_access();
        self.check_services();
        if let Err(error) = Placement::new(1, [0; 16], &self.settings.placement.rules) {
            let table = Table::named("placement");
            let origin = self.origins.get(&(table, "rules")).cloned().unwrap_or(Origin::Default);
            let remedy = "write rules such as \"room/+/#\": levels, each literal or `+`, and `#` at the end".to_owned();
            let rules = format!("{:?}", self.settings.placement.rules);
            self.error(origin, &table.path("rules"), Some(&rules), &error.to_string(), remedy);
        }
        if let Err(error) = self.settings.kernel.check() {
            let table = Table::named("kernel");
            let origin = self.origins.get(&(table, error.name)).cloned().unwrap_or(Origin::Default);
            let kind = if error.power_of_two { "a power of two" } else { "a number" };
            let remedy = format!("write {kind} from {} to {}", error.least, error.most);
            self.error(origin, &table.path(error.name), Some(&error.value.to_string()), "out of range", remedy);
        }
    }

    fn check_listener(&mut self, index: usize) {
        let (table, listener) = (Table::Listener(index), self.settings.listeners[index].clone());
        let origin = |key| self.origins.get(&(table, key)).unwrap_or(&self.listeners[index]).clone();
        let Some(bind) = listener.bind.clone() else {
            let remedy = format!("write bind = \"127.0.0.1:1883\", or set {ENVIRONMENT_PREFIX}LISTENER__{index}__BIND");
            return self.error(origin("bind"), &table.path("bind"), None, "missing", remedy);
        };
        let authenticated = listener.authenticates(&self.settings.access);
        if listener.allow_anonymous == Some(false) && !authenticated {
            let remedy = "write password_file, or another back end, here or in [access]; or remove the line".to_owned();
            let what = "nobody could connect: no back end is configured";
            return self.error(origin("allow_anonymous"), &table.path("allow_anonymous"), Some("false"), what, remedy);
        }
        if !bind.is_local() && listener.allow_anonymous.is_none() && !authenticated {
            let what = "other machines could connect without authentication";
            let remedy = format!(
                "listen on 127.0.0.1 or [::1], or configure a back end here or in [access], or let everybody in with \
                 allow_anonymous = true beside this bind in a [[listener]] (environment: \
                 {ENVIRONMENT_PREFIX}LISTENER__{index}__BIND={bind} \
                 {ENVIRONMENT_PREFIX}LISTENER__{index}__ALLOW_ANONYMOUS=true)"
            );
            return self.error(origin("bind"), &table.path("bind"), Some(&quoted(&bind)), what, remedy);
        }
        let unix = matches!(bind, Endpoint::Unix(_));
        if unix != (listener.transport == Transport::Unix) {
            let (what, remedy) = match unix {
                true => ("a path is the address of no TCP listener", "write transport = \"unix\" beside it"),
                false => ("no path of a Unix socket", "write bind = \"/run/ringmain/mqtt.sock\""),
            };
            return self.error(origin("bind"), &table.path("bind"), Some(&quoted(&bind)), what, remedy.to_owned());
        }
        self.check_proxy(index, &listener);
        self.check_websocket(index, &listener);
        self.check_tls(index, &listener);
        self.check_own(index, &listener);
        let others = &self.settings.listeners[..index];
        let same_name = |other: &Listener| listener.name.is_some() && other.name == listener.name;
        if let Some(earlier) = others.iter().position(same_name) {
            let (what, remedy) =
                (format!("listener[{earlier}] has this name"), "give each a name of its own".to_owned());
            let name = listener.name.as_deref().map(|name| format!("\"{name}\""));
            let origin = self.origins.get(&(table, "name")).cloned().unwrap_or(Origin::Default);
            return self.error(origin, &table.path("name"), name.as_deref(), &what, remedy);
        }
        let earlier = others.iter().position(|other| other.bind.as_ref() == Some(&bind));
        if let (Some(earlier), true) = (earlier, bind.tcp().is_none_or(|bind| bind.port() != 0)) {
            let what = format!("listener[{earlier}] has this address");
            let remedy = "give each listener an address or a port of its own".to_owned();
            let origin = self.origins.get(&(table, "bind")).unwrap_or(&self.listeners[index]).clone();
            self.error(origin, &table.path("bind"), Some(&quoted(&bind)), &what, remedy);
        }
    }

    /// Who may tell of a client's address, and whether anybody does.
    fn check_proxy(&mut self, index: usize, listener: &Listener) {
        let table = Table::Listener(index);
        let origin = |key| self.origins.get(&(table, key)).cloned().unwrap_or(Origin::Default);
        let (believes, trusts) = (listener.proxy_protocol, !listener.proxy_trusted.is_empty());
        if believes && !trusts && listener.transport != Transport::Unix {
            let what = "no proxy is trusted";
            let remedy = "name the proxies: proxy_trusted = [\"10.0.0.0/8\"], for example".to_owned();
            self.error(origin("proxy_protocol"), &table.path("proxy_protocol"), Some("true"), what, remedy);
        } else if trusts && !believes {
            let what = "nothing is asked of these proxies";
            let remedy = "write proxy_protocol = true, or remove the line".to_owned();
            self.error(origin("proxy_trusted"), &table.path("proxy_trusted"), None, what, remedy);
        }
    }

    /// Keys that mean something on WebSocket alone.
    fn check_websocket(&mut self, index: usize, listener: &Listener) {
        let (table, default) = (Table::Listener(index), Listener::default());
        let mut errors = Vec::new();
        if listener.transport.is_web() {
            if !listener.path.starts_with('/') || listener.path.contains(['?', '#', ' ']) {
                let what = "not the path of a URL".to_owned();
                errors.push(("path", what, "write what stands behind the port, such as \"/mqtt\""));
            }
        } else {
            for (key, written) in [
                ("path", listener.path != default.path),
                ("allowed_origins", listener.allowed_origins != default.allowed_origins),
                ("max_header_size", listener.max_header_size != default.max_header_size),
            ] {
                if written {
                    let what = format!("means nothing with transport = \"{}\"", listener.transport.word());
                    errors.push((key, what, "write transport = \"ws\" or \"wss\", or remove the line"));
                }
            }
        }
        for (key, what, remedy) in errors {
            let origin = self.origins.get(&(table, key)).cloned().unwrap_or(Origin::Default);
            self.error(origin, &table.path(key), None, &what, remedy.to_owned());
        }
    }

    /// Keys that mean something with TLS alone, and belong together.
    fn check_tls(&mut self, index: usize, listener: &Listener) {
        let (table, tls, default) = (Table::Listener(index), &listener.tls, Tls::default());
        let mut errors = Vec::new();
        if listener.transport.is_encrypted() {
            let asks = tls.client_certificates != ClientCertificates::None;
            match (&tls.certificate, &tls.key) {
                (Some(_), None) => errors.push(("key", "missing".to_owned(), "write key = FILE beside certificate")),
                (None, Some(_)) => {
                    errors.push(("certificate", "missing".to_owned(), "write certificate = FILE beside key"));
                }
                (None, None) if tls.certificates.is_empty() => {
                    let remedy = "write certificate = FILE and key = FILE; docs/tls.md tells how to make them";
                    errors.push(("certificate", "missing".to_owned(), remedy));
                }
                _ => {}
            }
            if asks && tls.client_ca.is_none() {
                errors.push((
                    "client_ca",
                    "missing".to_owned(),
                    "write client_ca = FILE with the clients' authorities",
                ));
            }
            if !asks && tls.client_ca.is_some() {
                let remedy = "write client_certificates = \"required\" or \"optional\", or remove the line";
                errors.push(("client_ca", "no client is asked for a certificate".to_owned(), remedy));
            }
            if !asks && tls.identity != default.identity {
                let remedy = "write client_certificates = \"required\" or \"optional\", or remove the line";
                errors.push(("use_identity_as_username", "no client is asked for a certificate".to_owned(), remedy));
            }
            if !asks && !tls.client_crl.is_empty() {
                let remedy = "write client_certificates = \"required\" or \"optional\", or remove the line";
                errors.push(("client_crl", "no client is asked for a certificate".to_owned(), remedy));
            }
        } else {
            for (key, written) in [
                ("certificate", tls.certificate.is_some()),
                ("key", tls.key.is_some()),
                ("certificates", !tls.certificates.is_empty()),
                ("client_certificates", tls.client_certificates != default.client_certificates),
                ("client_ca", tls.client_ca.is_some()),
                ("client_crl", !tls.client_crl.is_empty()),
                ("use_identity_as_username", tls.identity != default.identity),
                ("min_tls_version", tls.min_version != default.min_version),
            ] {
                if written {
                    let what = format!("means nothing with transport = \"{}\"", listener.transport.word());
                    errors.push((key, what, "write transport = \"tls\" or \"wss\", or remove the line"));
                }
            }
        }
        for (key, what, remedy) in errors {
            let origin = self.origins.get(&(table, key)).unwrap_or(&self.listeners[index]).clone();
            self.error(origin, &table.path(key), None, &what, remedy.to_owned());
        }
    }

    /// Back ends and rules belong together.
    fn check_access(&mut self) {
        let (table, access) = (Table::named("access"), &self.settings.access);
        if let Err((key, what)) = access.check() {
            let origin = self.origins.get(&(table, key)).cloned().unwrap_or(Origin::Default);
            let remedy = "list each configured back end once, in the order in which they are to be asked".to_owned();
            return self.error(origin, &table.path(key), None, &what, remedy);
        }
        let ruled = access.acl_file.is_some() || access.rules_file.is_some() || access.acl_http.url.is_some();
        let silent = !ruled && access.no_match == NoMatch::Auto;
        let bare = |listener: &Listener| {
            let judged = listener.has_rules() || listener.acl_http(access).is_some();
            !judged && listener.configured(access) == [Backend::Passwords]
        };
        if silent && self.settings.listeners.iter().any(Listener::public) && self.settings.listeners.iter().any(bare) {
            let origin = self.origins.get(&(table, "password_file")).cloned().unwrap_or(Origin::Default);
            let what = "there are users and no rules: on an address that other machines reach nobody could do anything";
            let remedy = "write acl_file or rules_file, or no_match = \"allow\" to let users do everything".to_owned();
            self.error(origin, &table.path("no_match"), None, what, remedy);
        }
    }

    /// Who is asked over HTTP is a host that the operator names.
    fn check_services(&mut self) {
        let access = &self.settings.access;
        let urls = [
            ("access_jwt", "jwks_url", access.jwt.jwks_url.clone()),
            ("access_http", "url", access.http.url.clone()),
            ("access_acl_http", "url", access.acl_http.url.clone()),
        ];
        for (section, key, url) in urls {
            let table = Table::named(section);
            if let Some(url) = url.filter(|url| !names_host(url)) {
                let origin = self.origins.get(&(table, key)).cloned().unwrap_or(Origin::Default);
                let remedy = "write http:// or https:// and a host; placeholders, where there are any, stand behind it";
                let value = format!("{url:?}");
                self.error(origin, &table.path(key), Some(&value), "names no host", remedy.to_owned());
            }
        }
    }

    fn check_limits(&mut self) {
        let limits = &self.settings.limits;
        let relations = [
            ("max_queued_bytes", limits.max_queued_bytes, "max_packet_size", u64::from(limits.max_packet_size)),
            ("queue_memory", limits.queue_memory, "max_packet_size", u64::from(limits.max_packet_size)),
            ("feed_memory", limits.feed_memory, "max_feed_bytes", limits.max_feed_bytes),
        ];
        for (larger, value, smaller, least) in relations {
            if value < least {
                let table = Table::named("limits");
                let written = |key| self.origins.get(&(table, key)).cloned();
                let origin = written(larger).or_else(|| written(smaller)).unwrap_or(Origin::Default);
                let show = show_bytes;
                let (what, value) = (format!("less than {smaller} = \"{}\"", show(least)), show(value));
                let remedy = format!("raise {larger} or lower {smaller}");
                self.error(origin, &table.path(larger), Some(&format!("\"{value}\"")), &what, remedy);
            }
        }
    }

    fn check_journal(&mut self) {
        let (journal, limits) = (&mut self.settings.journal, &self.settings.limits);
        // Nobody needs to know the size of a page to write a size.
        journal.segment_size = journal.segment_size.next_multiple_of(PAGE_BYTES);
        journal.staging_size = journal.staging_size.next_multiple_of(PAGE_BYTES);
        if !journal.enabled {
            return;
        }
        let record = limits.record_bytes_max();
        let packet =
            if limits.max_packet_size >= limits.max_connect_size { "max_packet_size" } else { "max_connect_size" };
        let show = show_bytes;
        let bytes = show(u64::from(limits.max_packet_size.max(limits.max_connect_size)));
        for (key, value, records, part) in [
            ("segment_size", journal.segment_size, 1, ""),
            ("staging_size", journal.staging_size, RECORDS_STAGED_MIN, "a quarter of "),
        ] {
            let least = record * records;
            if value < least {
                let (table, beside) = (Table::named("journal"), Table::named("limits"));
                let written = |table, key| self.origins.get(&(table, key)).cloned();
                let origin = written(table, key).or_else(|| written(beside, packet)).unwrap_or(Origin::Default);
                let what = format!("{part}it cannot hold a message of limits.{packet} = \"{bytes}\"");
                // In KiB or more: an odd number of bytes would be right, and hard to read.
                let enough = show(least.next_multiple_of(if least > 1 << 20 { 1 << 20 } else { PAGE_BYTES }));
                let remedy = format!("write at least \"{enough}\", or lower limits.{packet}");
                let value = format!("\"{}\"", show(value));
                self.errors.push(ConfigError { origin, key: table.path(key), value: Some(value), what, remedy });
            }
        }
    }
}

fn quoted(endpoint: &Endpoint) -> String {
    format!("\"{endpoint}\"")
}
