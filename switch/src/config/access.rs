//! The settings of `[access]`, `[access_jwt]` and `[access_http]`: who may connect, and who may publish and subscribe.

use std::path::PathBuf;
use std::time::Duration;

use super::field::choice_of_words;

choice_of_words! {
    /// What becomes of what no rule matches.
    NoMatch {
        /// Denied where there are rules, or where other machines reach a listener; else allowed.
        #[default]
        Auto => "auto",
        /// Denied.
        Deny => "deny",
        /// Allowed.
        Allow => "allow",
    }
}

choice_of_words! {
    /// What a denial does.
    DenyAction {
        /// The client is told, where its version can be: a reason code in the acknowledgement.
        #[default]
        Reason => "reason",
        /// A publish is acknowledged as if it had been passed on.
        Ignore => "ignore",
        /// The client is disconnected.
        Disconnect => "disconnect",
    }
}

choice_of_words! {
    /// Who may take over a client identifier.
    Takeover {
        /// The user that has it.
        #[default]
        SameUser => "same_user",
        /// Anybody who may connect.
        Anybody => "anybody",
    }
}

choice_of_words! {
    /// Where a token stands in CONNECT.
    TokenFrom {
        /// In the password.
        #[default]
        Password => "password",
        /// In the user name.
        Username => "username",
    }
}

choice_of_words! {
    /// How a request is written.
    BodyForm {
        /// A JSON object.
        #[default]
        Json => "json",
        /// As a form of HTML.
        Form => "form",
    }
}

choice_of_words! {
    /// What becomes of a client where a service does not answer.
    WhenDown {
        /// It is refused.
        #[default]
        Deny => "deny",
        /// It is let in as who it says it is.
        Allow => "allow",
        /// The next back end is asked.
        Next => "next",
    }
}

choice_of_words! {
    /// How a service is asked.
    Method {
        /// By POST: the fields are the body.
        #[default]
        Post => "post",
        /// By GET: the fields are the query.
        Get => "get",
    }
}

/// A way to find out who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The password file.
    Passwords,
    /// Tokens.
    Jwt,
    /// A service.
    Http,
}

impl Backend {
    /// All, in the default order.
    pub const ALL: [Backend; 3] = [Backend::Passwords, Backend::Jwt, Backend::Http];
    /// The words of `access.backends`, in the default order.
    pub const WORDS: [&'static str; 3] = ["password_file", "jwt", "http"];

    /// That of a word.
    pub fn named(word: &str) -> Option<Backend> {
        Backend::ALL.into_iter().zip(Backend::WORDS).find(|(_, known)| *known == word).map(|(backend, _)| backend)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        Backend::WORDS[self as usize]
    }
}

/// The `[access]` section, and those of its back ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Words of back ends in the order in which they are asked; empty: all that are configured.
    pub backends: Vec<String>,
    /// Users and their hashes.
    pub password_file: Option<PathBuf>,
    /// Rules in mosquitto's form.
    pub acl_file: Option<PathBuf>,
    /// Rules in our own form.
    pub rules_file: Option<PathBuf>,
    /// Who is not let in.
    pub ban_file: Option<PathBuf>,
    /// What becomes of what no rule matches.
    pub no_match: NoMatch,
    /// What a denial does.
    pub deny_action: DenyAction,
    /// Who may take over a client identifier.
    pub takeover: Takeover,
    /// Whether a retained message is judged again when it is delivered.
    pub check_retain_source: bool,
    /// Users that may look below `$SYS`.
    pub operators: Vec<String>,
    /// Threads that hash passwords and check tokens.
    pub threads: u16,
    /// Clients that may wait for their verdict, for each kind of thread.
    pub max_waiting: u32,
    /// Failures of one address that cost it nothing; 0: no bound.
    pub max_failures: u32,
    /// How long an address waits at most.
    pub max_backoff: Duration,
    /// `[access_jwt]`.
    pub jwt: Jwt,
    /// `[access_http]`.
    pub http: Http,
    /// `[access_acl_http]`.
    pub acl_http: AclHttp,
}

/// The `[access_jwt]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// A public key, as PEM.
    pub key_file: Option<PathBuf>,
    /// A shared secret.
    pub secret_file: Option<PathBuf>,
    /// Where keys are published.
    pub jwks_url: Option<String>,
    /// How often they are fetched.
    pub jwks_refresh: Duration,
    /// Algorithms that are accepted; empty: all that the keys are for.
    pub algorithms: Vec<String>,
    /// Accepted issuers; empty: any.
    pub issuers: Vec<String>,
    /// Accepted audiences; empty: any.
    pub audiences: Vec<String>,
    /// Where the token stands.
    pub from: TokenFrom,
    /// The claim that is the user name.
    pub user_claim: String,
    /// The claim that has rules.
    pub acl_claim: String,
    /// How far clocks may be apart.
    pub leeway: Duration,
}

impl Jwt {
    /// Whether tokens are looked at.
    pub fn is_on(&self) -> bool {
        self.key_file.is_some() || self.secret_file.is_some() || self.jwks_url.is_some()
    }
}

/// The `[access_http]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Whom to ask.
    pub url: Option<String>,
    /// How the request is written.
    pub body: BodyForm,
    /// `KEY=VALUE` of the request; empty: user name, password, client identifier and address.
    pub fields: Vec<String>,
    /// `NAME: VALUE` of its headers.
    pub headers: Vec<String>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long an answer is remembered; zero: not at all.
    pub cache: Duration,
    /// What becomes of a client where there is no answer.
    pub when_down: WhenDown,
    /// Threads that wait for answers.
    pub threads: u16,
    /// Certificates that are trusted, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// The `[access_acl_http]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclHttp {
    /// Whom to ask; placeholders stand behind the host alone, once checked.
    pub url: Option<String>,
    /// How.
    pub method: Method,
    /// How the body of a POST is written.
    pub body: BodyForm,
    /// `KEY=VALUE` of the request; empty: all that there is to tell.
    pub fields: Vec<String>,
    /// `NAME: VALUE` of its headers.
    pub headers: Vec<String>,
    /// How long the answers about one packet may take.
    pub timeout: Duration,
    /// How long an answer is remembered; zero: not at all.
    pub cache: Duration,
    /// Answers that are remembered for one connection.
    pub cache_size: u32,
    /// Packets that may wait for their answer.
    pub max_waiting: u32,
    /// What becomes of a packet where there is no answer.
    pub when_down: WhenDown,
    /// Threads that wait for answers.
    pub threads: u16,
    /// Certificates that are trusted, as PEM.
    pub ca_file: Option<PathBuf>,
}

impl AclHttp {
    /// What the request says where nothing is written.
    pub const FIELDS: [&'static str; 7] = ["username", "clientid", "peerhost", "action", "topic", "qos", "retain"];

    /// Whether the request tells this.
    pub fn tells(&self, placeholder: &str) -> bool {
        let text = format!("${{{placeholder}}}");
        self.url.as_ref().is_some_and(|url| url.contains(&text))
            || if self.fields.is_empty() {
                AclHttp::FIELDS.contains(&placeholder)
            } else {
                self.fields.iter().any(|field| field.contains(&text))
            }
    }
}

/// Whether an address names a host itself: who is asked is for the operator to say, not for clients.
pub fn names_host(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, rest)| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !scheme.contains("${") && !host.contains("${")
    })
}

impl Default for AclHttp {
    fn default() -> AclHttp {
        AclHttp {
            url: None,
            method: Method::Post,
            body: BodyForm::Json,
            fields: Vec::new(),
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
            cache: Duration::from_secs(60),
            cache_size: 32,
            max_waiting: 10_000,
            when_down: WhenDown::Deny,
            threads: 8,
            ca_file: None,
        }
    }
}

impl Access {
    /// The back ends in use, in the order in which they are asked.
    pub fn chain(&self) -> Vec<Backend> {
        let configured = |backend: &Backend| match backend {
            Backend::Passwords => self.password_file.is_some(),
            Backend::Jwt => self.jwt.is_on(),
            Backend::Http => self.http.url.is_some(),
        };
        let words: Vec<&str> = match self.backends.is_empty() {
            true => Backend::WORDS.to_vec(),
            false => self.backends.iter().map(String::as_str).collect(),
        };
        words.into_iter().filter_map(Backend::named).filter(configured).collect()
    }

    /// Whether clients are judged at all.
    pub fn is_on(&self) -> bool {
        let files = [&self.acl_file, &self.rules_file, &self.ban_file];
        !self.chain().is_empty() || files.into_iter().any(Option::is_some) || self.acl_http.url.is_some()
    }

    /// What no single value can tell: the key, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.backends.is_empty() {
            let chain = self.chain();
            for (index, word) in self.backends.iter().enumerate() {
                let Some(backend) = Backend::named(word) else {
                    return Err((
                        "backends",
                        format!("there is no back end {word:?}, only password_file, jwt and http"),
                    ));
                };
                if !chain.contains(&backend) {
                    return Err(("backends", format!("{word} is listed, and nothing configures it")));
                }
                if self.backends[..index].contains(word) {
                    return Err(("backends", format!("{word} is listed twice")));
                }
            }
            let all = Access { backends: Vec::new(), ..self.clone() }.chain();
            if let Some(left_out) = all.iter().find(|backend| !chain.contains(backend)) {
                return Err(("backends", format!("{} is configured, and not listed", left_out.word())));
            }
        }
        Ok(())
    }
}

impl Default for Access {
    fn default() -> Access {
        Access {
            backends: Vec::new(),
            password_file: None,
            acl_file: None,
            rules_file: None,
            ban_file: None,
            no_match: NoMatch::Auto,
            deny_action: DenyAction::Reason,
            takeover: Takeover::SameUser,
            check_retain_source: true,
            operators: Vec::new(),
            threads: 2,
            max_waiting: 1000,
            max_failures: 20,
            max_backoff: Duration::from_secs(60),
            jwt: Jwt::default(),
            http: Http::default(),
            acl_http: AclHttp::default(),
        }
    }
}

impl Default for Jwt {
    fn default() -> Jwt {
        Jwt {
            key_file: None,
            secret_file: None,
            jwks_url: None,
            jwks_refresh: Duration::from_secs(300),
            algorithms: Vec::new(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            from: TokenFrom::Password,
            user_claim: "sub".to_owned(),
            acl_claim: "acl".to_owned(),
            leeway: Duration::from_secs(30),
        }
    }
}

impl Default for Http {
    fn default() -> Http {
        Http {
            url: None,
            body: BodyForm::Json,
            fields: Vec::new(),
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
            cache: Duration::from_secs(60),
            when_down: WhenDown::Deny,
            threads: 4,
            ca_file: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chain is what is configured, in the order that was written; a list that disagrees is refused.
    #[test]
    fn the_chain_is_what_is_configured() {
        let mut access = Access::default();
        assert!(!access.is_on() && access.check().is_ok());
        access.password_file = Some("p".into());
        access.http.url = Some("http://[::1]/".into());
        assert_eq!(access.chain(), [Backend::Passwords, Backend::Http]);
        access.backends = vec!["http".into(), "password_file".into()];
        assert_eq!((access.chain(), access.check()), (vec![Backend::Http, Backend::Passwords], Ok(())));
        for wrong in [&["http"][..], &["http", "password_file", "jwt"], &["http", "http", "password_file"], &["ldap"]] {
            access.backends = wrong.iter().map(|&word| word.to_owned()).collect();
            assert!(access.check().is_err(), "{wrong:?}");
        }
    }
}
