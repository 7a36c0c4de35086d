//! What listeners have of their own of access control, held against what there is for all.

use super::Builder;
use crate::config::access::{Backend, names_host};
use crate::config::error::Origin;
use crate::config::own::Own;
use crate::config::settings::Listener;
use crate::config::source::Table;
use crate::config::value::show_bytes;

impl Builder {
    /// Gives listeners the back ends of those whose users they have.
    pub(super) fn share_users(&mut self) {
        let written = self.settings.listeners.clone();
        for (index, listener) in written.iter().enumerate() {
            let Some(name) = &listener.users_of else { continue };
            let named = |other: &&Listener| other.name.as_ref() == Some(name) && *other != listener;
            let (what, remedy) = match written.iter().find(named) {
                _ if listener.has_users() => (
                    "back ends are written here, too".to_owned(),
                    format!("write password_file and what begins with jwt_ or http_ at {name:?} alone"),
                ),
                None => ("no other listener has this name".to_owned(), "name one of those that have".to_owned()),
                Some(other) if !other.has_users() => (
                    "that listener has no back end of its own".to_owned(),
                    "name one with password_file or what begins with jwt_ or http_, or remove the line".to_owned(),
                ),
                Some(other) => {
                    let here = &mut self.settings.listeners[index];
                    here.password_file.clone_from(&other.password_file);
                    here.own = Own {
                        acl_http_url: here.own.acl_http_url.take(),
                        acl_http_headers: std::mem::take(&mut here.own.acl_http_headers),
                        ..other.own.clone()
                    };
                    continue;
                }
            };
            self.own_error(index, ("users_of", Some(format!("{name:?}")), what, remedy));
        }
    }

    /// What a listener has of its own, where there is something for all.
    pub(super) fn check_own(&mut self, index: usize, listener: &Listener) {
        let all = listener.configured(&self.settings.access);
        let listed = listener.backends.iter().enumerate().filter_map(|(at, word)| {
            let what = match Backend::named(word) {
                Some(backend) if !all.contains(&backend) => {
                    format!("{word} is listed, and neither [access] nor this listener configures it")
                }
                Some(_) if listener.backends[..at].contains(word) => format!("{word} is listed twice"),
                Some(_) => return None,
                None => format!("there is no back end {word:?}"),
            };
            Some(("backends", None, what, "list back ends that are configured, each once".to_owned()))
        });
        let mut errors: Vec<_> = listed.collect();
        let most = self.settings.limits.max_packet_size;
        if listener.max_packet_size.is_some_and(|own| own > most) {
            let what = format!("larger than limits.max_packet_size, {}", show_bytes(most.into()));
            errors.push(("max_packet_size", None, what, "write a smaller size here, or a larger one there".to_owned()));
        }
        errors.extend(self.own_services(listener));
        errors.into_iter().for_each(|error| self.own_error(index, error));
    }

    /// Keys about services and tokens that lead nowhere.
    fn own_services(&self, listener: &Listener) -> Vec<OwnError> {
        let (access, own) = (&self.settings.access, &listener.own);
        let mut errors = Vec::new();
        let mut wrong = |key, value: Option<String>, what: &str, remedy: &str| {
            errors.push((key, value, what.to_owned(), remedy.to_owned()));
        };
        for (key, list) in [("jwt_issuers", &own.jwt_issuers), ("jwt_audiences", &own.jwt_audiences)] {
            if !list.is_empty() && !listener.jwt(access).is_on() {
                let remedy = "write jwt_key_file, jwt_secret_file or jwt_jwks_url beside it, or a key in [access_jwt]";
                wrong(key, Some(format!("{list:?}")), "no tokens are looked at here", remedy);
            }
        }
        for (key, list, beside, url) in [
            ("http_headers", &own.http_headers, "http_url", &own.http_url),
            ("acl_http_headers", &own.acl_http_headers, "acl_http_url", &own.acl_http_url),
        ] {
            if !list.is_empty() && url.is_none() {
                // What stands in headers may be a secret: it is not shown.
                let what = format!("{beside} is not written, and these are for that service alone");
                wrong(key, None, &what, &format!("write {beside} beside it, or remove the line"));
            }
        }
        let hosts = "write http:// or https:// and a host; placeholders, where there are any, stand behind it";
        for (key, url) in
            [("jwt_jwks_url", &own.jwt_jwks_url), ("http_url", &own.http_url), ("acl_http_url", &own.acl_http_url)]
        {
            if let Some(url) = url.as_ref().filter(|url| !names_host(url)) {
                wrong(key, Some(format!("{url:?}")), "names no host", hosts);
            }
        }
        match (listener.acl_http, &own.acl_http_url) {
            (Some(true), None) if access.acl_http.url.is_none() => wrong(
                "acl_http",
                Some("true".to_owned()),
                "nobody could be asked: neither acl_http_url nor access_acl_http.url is written",
                "write acl_http_url beside it, or url in [access_acl_http], or remove the line",
            ),
            (Some(false), Some(url)) => wrong(
                "acl_http_url",
                Some(format!("{url:?}")),
                "acl_http = false says that nobody is asked here",
                "remove one of the two lines",
            ),
            _ => {}
        }
        errors
    }

    fn own_error(&mut self, index: usize, (key, value, what, remedy): OwnError) {
        let table = Table::Listener(index);
        let written: Option<&Origin> = self.origins.get(&(table, key));
        let origin = written.unwrap_or(&self.listeners[index]).clone();
        self.error(origin, &table.path(key), value.as_deref(), &what, remedy);
    }
}

/// A key, its value, what is wrong, and what helps.
type OwnError = (&'static str, Option<String>, String, String);

#[cfg(test)]
mod tests {
    use crate::config::{Configuration, Flags, source};

    /// Who has another listener's users has its back ends with them, and what is asked about topics for itself.
    #[test]
    fn users_are_shared_with_their_back_ends() {
        let text = "[[listener]]\nbind = \"[::1]:1\"\nusers_of = \"a\"\nacl_http_url = \"http://h/own\"\n\
                    [[listener]]\nbind = \"[::1]:2\"\nname = \"a\"\njwt_key_file = \"k\"\nacl_http_url = \"http://h/a\"\n";
        let file = source::from_file("f.toml", text);
        let read = Configuration::merge(file, source::Source::default(), &Flags::default()).expect("a good file");
        let [here, there] = &read.settings.listeners[..] else { panic!("there are two") };
        assert_eq!((here.users(), there.users()), (Some("a".to_owned()), Some("a".to_owned())));
        assert_eq!(here.jwt(&read.settings.access), there.jwt(&read.settings.access));
        assert_eq!(here.own.acl_http_url.as_deref(), Some("http://h/own"));
    }
}
