//! Access rules of the page and of cancels.
//!
//! | | without a token | with a token |
//! |---|---|---|
//! | allowed peers | loopback, unless a header shows that a proxy forwarded the request | all |
//! | proof | the peer's address | `Authorization: Bearer`, `?token=`, or the cookie that a request with the token gets |
//! | a foreign page whose name was rebound to this machine | refused: `Host` must be a loopback name | refused: has no cookie |
//! | a foreign page that sends requests from the user's browser | refused by `Origin`, `Sec-Fetch-Site` | also by `SameSite` |
//!
//! An `Origin` header must match `Host`, even if `Sec-Fetch-Site` allows the request. A proxy that rewrites `Host` forwards the
//! other two headers unchanged.
//!
//! A proxy on this machine that adds no header cannot be told apart from a user of this machine. For example, nginx with only
//! `proxy_pass http://127.0.0.1:8080;` exposes the inspector to everybody. Behind a proxy, set a token or do not serve the
//! inspector.

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
/// Headers that proxies add.
const FORWARDED_BY: [&str; 5] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];

/// The access rules of one inspector.
pub(super) struct Access {
    gate: Gate,
}

enum Gate {
    Loopback,
    /// The cookie contains the session, so that no browser stores the token.
    Token {
        token: Token,
        session: String,
    },
}

/// The address of the peer, for the cause of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visitor(pub(super) Option<IpAddr>);

/// The proof that allowed the request. A request with the token gets a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Address,
    Token,
    Cookie,
}

impl Access {
    /// Allows this machine only.
    pub(super) fn loopback() -> Self {
        Access { gate: Gate::Loopback }
    }

    /// Allows every peer that has the token.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no random numbers.
    pub(super) fn with_token(token: Token) -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Access { gate: Gate::Token { token, session: hex::text(&secret) } })
    }

    /// Checks whether this request has access.
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

    /// Returns the cookie for a request with the token, for pages below `path`.
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
    // A page whose own name was rebound to 127.0.0.1 is same-origin, but `Host` contains this name.
    if !authority(request).is_some_and(|authority| is_loopback_host(&authority)) {
        return Err(Denied::Host);
    }
    Ok(())
}

fn check_token(token: &Token, session: &str, request: &Parts) -> Result<Pass, Denied> {
    let values = request.headers.get_all(AUTHORIZATION).into_iter().map(|value| value.as_bytes());
    // Other schemes belong to a proxy: a browser sends the proxy's `Basic` credentials along with the cookie.
    let bearer = values
        .filter_map(|value| value.split_at_checked(7))
        .find(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    if let Some((_, given)) = bearer {
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

/// Returns the values of all cookies named [`COOKIE_NAME`]. A browser may send several, with different paths.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let pairs =
        headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

/// Checks that a request from a web page comes from the inspector's page. Only browsers send these two headers.
pub(super) fn check_same_origin(request: &Parts) -> Result<(), Denied> {
    match request.headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        None | Some(b"same-origin" | b"none") => check_origin(request),
        Some(_) => Err(Denied::CrossOrigin),
    }
}

/// Checks that `Origin`, if present, has the same authority as the request.
pub(super) fn check_origin(request: &Parts) -> Result<(), Denied> {
    let Some(origin) = request.headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    match (origin.as_ref().and_then(Uri::authority), authority(request)) {
        (Some(origin), Some(ours)) if origin.as_str().eq_ignore_ascii_case(&ours) => Ok(()),
        _ => Err(Denied::CrossOrigin),
    }
}

/// Returns the host and port of the request. On HTTP/2, they are in the URI.
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

/// The reason why a request was refused. The texts address the person who set up the inspector.
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
                "The inspector answers loopback only, and the server does not give it the peer's address: serve with connect info, or set a token."
            }
            Denied::NotLoopback => "The inspector answers loopback only. Set a token to allow other machines.",
            Denied::Proxy => "The inspector answers loopback only, and a proxy forwarded this request. Set a token to allow other machines.",
            Denied::Host => "The inspector answers loopback only, under the host names localhost, 127.0.0.1 and [::1].",
            Denied::NoToken => "The inspector needs its token: add ?token=... or the header Authorization: Bearer ...",
            Denied::WrongToken => "This is not the inspector's token.",
            Denied::CrossOrigin => "The inspector does not answer pages of another origin. Behind a proxy, forward the Host header.",
        })
    }
}
