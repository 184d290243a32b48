//! Commands to try after a start, which work with the rules in force: at a terminal some lines for a person, in English or
//! Portuguese, in a log a hint.

use crate::access::{Action, Grant, Rules, Token};
use crate::config::{Config, Listen};
use crate::http::cors::Origins;
use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use std::ffi::OsString;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Commands to try, and what is open to everybody.
#[derive(Debug)]
pub struct Welcome {
    listen: Option<Try>,
    publish: Option<Try>,
    /// What needs no token.
    public: String,
    is_for_every_site: bool,
    is_made_up: bool,
}

/// Something to try with a channel.
#[derive(Debug)]
struct Try {
    channel: String,
    credential: Credential,
}

/// The right that a command uses.
#[derive(Debug)]
enum Credential {
    None,
    /// The token made up for this run.
    MadeUp(String),
    /// The variable, which the shell may have.
    AuthToken,
    /// The token of this name in the rules.
    Listed(String),
    /// One has to be made with `JWT_SECRET`, with this option.
    Signed(&'static str),
}

/// What a person at the terminal reads. Logs are English.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Language {
    /// Wherever it is not Portuguese.
    English,
    /// As written in Brazil.
    Portuguese,
}

impl Language {
    /// The one that these environment variables ask for (POSIX.1-2017, Base Definitions, section 8.2): the first that is not
    /// empty decides.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Language {
        let mut locales = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().filter_map(|name| {
            let locale = variable(name)?;
            (!locale.is_empty()).then_some(locale)
        });
        let locale = locales.next().unwrap_or_default();
        if locale.to_string_lossy().starts_with("pt") {
            Language::Portuguese
        } else {
            Language::English
        }
    }

    fn pick<T>(self, english: T, portuguese: T) -> T {
        match self {
            Language::English => english,
            Language::Portuguese => portuguese,
        }
    }
}

impl Welcome {
    /// For these rules, and the token that was made up, if any.
    pub fn new(config: &Config, rules: &Rules, made_up: Option<&Token>) -> Welcome {
        let find = |action| example(action, config, rules, made_up);
        Welcome {
            listen: find(Action::Subscribe),
            publish: find(Action::Publish),
            public: rules.public.to_string(),
            is_for_every_site: config.origins == Origins::Any,
            is_made_up: made_up.is_some(),
        }
    }

    /// For the log: how to listen on this machine.
    pub fn hint(&self, local: &Listen) -> String {
        let Some(listen) = &self.listen else {
            return "nobody may listen: ACCESS_FILE grants no right to subscribe".into();
        };
        let url = url(local, &format!("/sse/{}", encode(&listen.channel)));
        let (token, whose) = match &listen.credential {
            Credential::None => return format!("listen with: curl -N {url}"),
            Credential::MadeUp(_) | Credential::AuthToken => ("AUTH_TOKEN".into(), String::new()),
            Credential::Listed(name) => (token_of(name), String::new()),
            Credential::Signed(option) => {
                let channel = quoted(&listen.channel);
                let whose = format!(" (TOKEN is what sse-server token {option} {channel} prints)");
                ("TOKEN".into(), whose)
            }
        };
        format!("listen with: curl -N -H 'Authorization: Bearer {token}' {url}{whose}")
    }

    /// For a person at a terminal. The person reaches the server at `local`, others at `bound`.
    pub fn lines(&self, local: &Listen, bound: &Listen, language: Language) -> String {
        let say = |english: &'static str, portuguese| language.pick(english, portuguese);
        let mut text = format!("sse-server {}\n\n", env!("CARGO_PKG_VERSION"));
        let mut line = |what: &str, how: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {what:<9} {how}");
        };
        match local {
            Listen::Tcp(_) => line(say("page", "página"), url(local, "/")),
            Listen::Unix(path) => line("socket", path.display().to_string()),
        }
        let mut notes: Vec<String> = Vec::new();
        let mut note = |english, portuguese| notes.push(say(english, portuguese).into());
        match &self.listen {
            Some(listen) => line(say("listen", "ouvir"), listen.command(local, "-N", "/sse/")),
            None => note(
                "Nobody may listen: ACCESS_FILE grants no right to subscribe.",
                "Ninguém pode ouvir: ACCESS_FILE não dá o direito de assinar nenhum canal.",
            ),
        }
        match &self.publish {
            Some(publish) => line(
                say("publish", "publicar"),
                publish.command(local, "-d hello", "/publish/"),
            ),
            None => note(
                "Nobody may publish: ACCESS_FILE grants no right to, and AUTH_TOKEN is not set.",
                "Ninguém pode publicar: ACCESS_FILE não dá esse direito, e AUTH_TOKEN não foi definido.",
            ),
        }
        if self.is_made_up {
            note(
                "The token was made up for this run; set AUTH_TOKEN to choose one.",
                "O token foi gerado só para esta execução; defina AUTH_TOKEN para usar o seu.",
            );
        }
        notes.push(reach(bound, language));
        // The rights' names are those in ACCESS_FILE.
        let public = match self.public.as_str() {
            "nothing" => say("nothing", "nada"),
            rights => rights,
        };
        notes.push(language.pick(
            format!("Without a token: {public}; the page, /stats and /metrics."),
            format!("Sem token: {public}; a página, /stats e /metrics."),
        ));
        if self.is_for_every_site {
            notes.push(
                say(
                    "Pages of any site may use it; CORS_ORIGINS restricts that.",
                    "Páginas de qualquer site podem usar o servidor; CORS_ORIGINS limita isso.",
                )
                .into(),
            );
        }
        text.push('\n');
        for note in notes {
            let _ = writeln!(text, "  {note}");
        }
        text.push('\n');
        text
    }
}

impl Try {
    fn command(&self, local: &Listen, options: &str, path: &str) -> String {
        let token = match &self.credential {
            Credential::None => None,
            Credential::MadeUp(token) => Some(token.clone()),
            Credential::AuthToken => Some("$AUTH_TOKEN".into()),
            Credential::Listed(name) => Some(token_of(name)),
            Credential::Signed(option) => Some(format!(
                "$(sse-server token {option} {})",
                quoted(&self.channel)
            )),
        };
        let header = token.map_or(String::new(), |token| {
            format!(" -H \"Authorization: Bearer {token}\"")
        });
        let url = url(local, &format!("{path}{}", encode(&self.channel)));
        format!("curl{header} {options} {url}")
    }
}

/// A placeholder for a token that only its holder knows.
fn token_of(name: &str) -> String {
    format!("TOKEN-OF-{name}")
}

/// Something that may be done, preferably by everybody.
fn example(action: Action, config: &Config, rules: &Rules, made_up: Option<&Token>) -> Option<Try> {
    let channel = |grant: &Grant| grant.channels(action).example();
    if let Some(channel) = channel(&rules.public) {
        return Some(Try {
            channel,
            credential: Credential::None,
        });
    }
    let operator = match made_up {
        Some(token) => Some(Credential::MadeUp(token.reveal().into())),
        None => config.auth_token.is_some().then_some(Credential::AuthToken),
    };
    if let Some(credential) = operator {
        return Some(Try {
            channel: "news".into(),
            credential,
        });
    }
    let listed = rules.tokens().into_iter().find_map(|entry| {
        Some(Try {
            channel: channel(&entry.grant)?,
            credential: Credential::Listed(entry.name.to_string()),
        })
    });
    let option = match action {
        Action::Subscribe => "--subscribe",
        Action::Publish => "--publish",
    };
    let signed = || {
        config.jwt_secrets.as_ref().map(|_| Try {
            channel: "news".into(),
            credential: Credential::Signed(option),
        })
    };
    listed.or_else(signed)
}

/// The URL, and options before it, for curl.
fn url(local: &Listen, path: &str) -> String {
    match local {
        Listen::Tcp(address) => format!("http://{address}{path}"),
        Listen::Unix(socket) => {
            let socket = quoted(&socket.display().to_string());
            format!("--unix-socket {socket} http://localhost{path}")
        }
    }
}

/// Who can reach the server.
fn reach(bound: &Listen, language: Language) -> String {
    match bound {
        Listen::Unix(_) => language.pick(
            "Only this machine can reach it, and only the socket's user and group.".into(),
            "Só esta máquina tem acesso, e nela só o usuário e o grupo do socket.".into(),
        ),
        Listen::Tcp(address) if address.ip().is_loopback() => {
            let port = address.port();
            language.pick(
                format!(
                    "Only this machine can reach it; LISTEN=0.0.0.0:{port} opens it to others."
                ),
                format!("Só esta máquina tem acesso; LISTEN=0.0.0.0:{port} abre para as outras."),
            )
        }
        Listen::Tcp(address) => {
            let port = address.port();
            let (english, portuguese) = match outside(address.ip()) {
                Some(ip) => {
                    let url = format!("http://{}/", SocketAddr::new(ip, port));
                    (format!("at {url}"), format!("em {url}"))
                }
                None => (format!("at port {port}"), format!("na porta {port}")),
            };
            language.pick(
                format!("Others reach it {english}, wherever the network lets them."),
                format!("As outras têm acesso {portuguese}, se a rede permitir."),
            )
        }
    }
}

/// The address at which others see this machine. Nothing is sent: the system only looks up its routes.
fn outside(bound: IpAddr) -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849), which belong to nobody.
    const SOMEBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
    const SOMEBODY_V6: SocketAddr = SocketAddr::new(
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        9,
    );
    if !bound.is_unspecified() {
        return Some(bound);
    }
    let look = |own: IpAddr, other| {
        let socket = UdpSocket::bind((own, 0)).ok()?;
        socket.connect(other).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let v4 = look(Ipv4Addr::UNSPECIFIED.into(), SOMEBODY);
    let found = match bound {
        IpAddr::V4(_) => v4,
        IpAddr::V6(any) => v4.or_else(|| look(any.into(), SOMEBODY_V6)),
    };
    found.filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
}

/// A channel, encoded for a path.
fn encode(channel: &str) -> String {
    const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
    utf8_percent_encode(channel, &ENCODED).to_string()
}

/// A word, quoted for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+".contains(c);
    if word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::Language;

    #[test]
    fn the_first_variable_that_is_not_empty_decides_the_language() {
        for (variables, expected) in [
            (vec![], Language::English),
            (vec![("LANG", "pt_BR.UTF-8")], Language::Portuguese),
            (vec![("LANG", "pt")], Language::Portuguese),
            (vec![("LANG", "C.UTF-8")], Language::English),
            (
                vec![("LANG", "en_US.UTF-8"), ("LC_MESSAGES", "pt_BR")],
                Language::Portuguese,
            ),
            (
                vec![("LC_MESSAGES", "pt_BR"), ("LC_ALL", "C")],
                Language::English,
            ),
            (
                vec![("LANG", "pt_PT"), ("LC_MESSAGES", ""), ("LC_ALL", "")],
                Language::Portuguese,
            ),
        ] {
            let variable = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| value.into())
            };
            assert_eq!(Language::of(variable), expected, "{variables:?}");
        }
    }
}
