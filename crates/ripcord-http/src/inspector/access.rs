//! Who may look, and who may cancel.
//!
//! | | without a token | with one |
//! |---|---|---|
//! | from where | loopback, and not through a proxy that says so | anywhere |
//! | what shows it | the peer's address | `Authorization: Bearer`, `?token=`, or the cookie that it was traded for |
//! | a page elsewhere whose name was rebound to this machine | the host must be loopback's own | has no cookie |
//! | a page elsewhere that asks behind the user's back | refused, by `Sec-Fetch-Site` or `Origin` | the same, and `SameSite=Strict` |
//!
//! A proxy on this machine that says nothing of itself cannot be told from a person at it: behind any, set a token.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::header::{AUTHORIZATION, COOKIE, FORWARDED, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Uri};
use subtle::ConstantTimeEq;

use super::token::Token;
use crate::trace_context::hex;

/// The cookie's name.
const COOKIE_NAME: &str = "ripcord-inspector";
/// What proxies add.
const FORWARDED_BY: [&str; 5] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];

/// Decides who may.
pub(super) struct Access {
    gate: Gate,
}

enum Gate {
    Loopback,
    /// The session is what the cookie holds, so that the token does not lie about in browsers.
    Token {
        token: Token,
        session: String,
    },
}

/// Who was let in, to be named as who canceled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visitor(pub(super) Option<IpAddr>);

/// How it was let in: `Token` gets a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Address,
    Token,
    Cookie,
}

impl Access {
    /// # Panics
    ///
    /// With a token, when the system has no random numbers.
    pub(super) fn new(token: Option<Token>) -> Self {
        let gate = match token {
            None => Gate::Loopback,
            Some(token) => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).expect("the system has random numbers");
                Gate::Token { token, session: hex::text(&secret) }
            }
        };
        Access { gate }
    }

    /// Whether this request may look.
    pub(super) fn check(&self, request: &Parts) -> Result<(Visitor, Pass), Denied> {
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
        let pass = match &self.gate {
            Gate::Loopback => {
                check_loopback(peer, request)?;
                Pass::Address
            }
            Gate::Token { token, session } => check_token(token, session, request)?,
        };
        Ok((Visitor(peer), pass))
    }

    /// The cookie to give to who came with the token, for pages below `path`.
    pub(super) fn cookie(&self, path: &str) -> Option<String> {
        match &self.gate {
            Gate::Loopback => None,
            Gate::Token { session, .. } => {
                Some(format!("{COOKIE_NAME}={session}; Path={path}; HttpOnly; SameSite=Strict"))
            }
        }
    }
}

fn check_loopback(peer: Option<IpAddr>, request: &Parts) -> Result<(), Denied> {
    let peer = peer.ok_or(Denied::UnknownPeer)?;
    if !peer.is_loopback() {
        return Err(Denied::NotLoopback);
    }
    if request.headers.contains_key(FORWARDED) || FORWARDED_BY.iter().any(|name| request.headers.contains_key(*name)) {
        return Err(Denied::Proxy);
    }
    // A name that was rebound to 127.0.0.1 makes a foreign page same-origin, but it stays the name.
    if !authority(request).is_some_and(|authority| is_loopback_host(&authority)) {
        return Err(Denied::Host);
    }
    Ok(())
}

fn check_token(token: &Token, session: &str, request: &Parts) -> Result<Pass, Denied> {
    let bearer = request.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    if let Some((scheme, given)) = bearer.and_then(|value| value.split_at_checked(7)) {
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(Denied::WrongToken);
        }
        return if token.is(given) { Ok(Pass::Token) } else { Err(Denied::WrongToken) };
    }
    if let Some(given) = query_token(&request.uri) {
        return if token.is(given.as_bytes()) { Ok(Pass::Token) } else { Err(Denied::WrongToken) };
    }
    if cookies(&request.headers).any(|given| bool::from(given.as_bytes().ct_eq(session.as_bytes()))) {
        return Ok(Pass::Cookie);
    }
    Err(Denied::NoToken)
}

fn query_token(uri: &Uri) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
}

/// All that have our name: a browser sends those of longer paths too.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let pairs =
        headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

/// What Go's `http.CrossOriginProtection` does: a browser says where a request comes from, and what says nothing is no browser.
pub(super) fn check_same_origin(request: &Parts) -> Result<(), Denied> {
    if let Some(site) = request.headers.get("sec-fetch-site") {
        return if matches!(site.as_bytes(), b"same-origin" | b"none") { Ok(()) } else { Err(Denied::CrossOrigin) };
    }
    let Some(origin) = request.headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    match (origin.as_ref().and_then(Uri::authority), authority(request)) {
        (Some(origin), Some(ours)) if origin.as_str().eq_ignore_ascii_case(&ours) => Ok(()),
        _ => Err(Denied::CrossOrigin),
    }
}

/// Host and port that were asked for. HTTP/2 has them in the URI.
fn authority(request: &Parts) -> Option<String> {
    let mut hosts = request.headers.get_all(HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().map(str::to_owned),
        (None, None) => request.uri.authority().map(|authority| authority.as_str().to_owned()),
        _ => None,
    }
}

fn is_loopback_host(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Why it may not. Each is a line for whoever set the inspector up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    UnknownPeer,
    NotLoopback,
    Proxy,
    Host,
    NoToken,
    WrongToken,
    CrossOrigin,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::UnknownPeer => {
                "The inspector answers loopback only, and the server does not tell it who asks: serve with connect info, or set a token."
            }
            Denied::NotLoopback => "The inspector answers loopback only: set a token to open it to other machines.",
            Denied::Proxy => "The inspector answers loopback only, and this came through a proxy: set a token to open it to other machines.",
            Denied::Host => "The inspector answers loopback only, under the host names localhost, 127.0.0.1 and [::1].",
            Denied::NoToken => "The inspector needs its token: as ?token=..., or as the header Authorization: Bearer ...",
            Denied::WrongToken => "This is not the inspector's token.",
            Denied::CrossOrigin => "The inspector does not answer pages of another origin.",
        })
    }
}
