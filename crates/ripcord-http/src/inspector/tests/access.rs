//! Tests the access rules.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use http::request::{Builder, Parts};

use super::super::access::{Access, Denied, Pass, Visitor, check_origin, check_same_origin};
use super::super::token::Token;

const TOKEN: &str = "correct-horse-battery-staple";

fn from(peer: &str, request: Builder) -> Parts {
    let (mut parts, ()) = request.body(()).expect("it is well-formed").into_parts();
    parts.extensions.insert(ConnectInfo(peer.parse::<SocketAddr>().expect("an address")));
    parts
}

fn get(path: &str) -> Builder {
    http::Request::get(path)
}

fn with_token() -> Access {
    Access::with_token(TOKEN.parse::<Token>().expect("long enough")).expect("the system has random numbers")
}

#[test]
fn without_a_token_only_loopback_has_access() {
    let access = Access::loopback();
    for peer in ["127.0.0.1:4000", "127.9.9.9:4000", "[::1]:4000", "[::ffff:127.0.0.1]:4000"] {
        let passed = access.check(&from(peer, get("/").header("host", "localhost:8080")));
        assert!(matches!(passed, Ok((Visitor(Some(ip)), Pass::Address)) if ip.is_loopback()), "{peer}: {passed:?}");
    }
    for peer in ["10.0.0.7:4000", "192.0.2.1:4000", "[2001:db8::1]:4000", "[::ffff:10.0.0.7]:4000", "0.0.0.0:1"] {
        let denied = access.check(&from(peer, get("/").header("host", "localhost")));
        assert_eq!(denied, Err(Denied::NotLoopback), "{peer}");
    }
    let (unknown, ()) = get("/").header("host", "localhost").body(()).unwrap().into_parts();
    assert_eq!(access.check(&unknown), Err(Denied::UnknownPeer));
}

#[test]
fn host_other_than_loopback_is_refused() {
    let access = Access::loopback();
    let check = |host: &str| access.check(&from("127.0.0.1:4000", get("/").header("host", host)));
    for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "[::1]"] {
        assert!(check(host).is_ok(), "{host}");
    }
    for host in
        ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.7", "", "a b"]
    {
        assert_eq!(check(host), Err(Denied::Host), "{host}");
    }
    assert_eq!(access.check(&from("127.0.0.1:4000", get("/"))), Err(Denied::Host));
    let twice = get("/").header("host", "localhost").header("host", "evil.example");
    assert_eq!(access.check(&from("127.0.0.1:4000", twice)), Err(Denied::Host));
    // On HTTP/2, the host is in the URI.
    assert!(access.check(&from("127.0.0.1:4000", get("http://localhost:8080/"))).is_ok());
    assert_eq!(access.check(&from("127.0.0.1:4000", get("http://evil.example/"))), Err(Denied::Host));
}

#[test]
fn request_with_a_proxys_header_is_refused() {
    let access = Access::loopback();
    for name in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"] {
        let request = get("/").header("host", "localhost").header(name, "203.0.113.9");
        assert_eq!(access.check(&from("127.0.0.1:4000", request)), Err(Denied::Proxy), "{name}");
    }
}

#[test]
fn token_gives_access_from_any_machine_and_nothing_else_does() {
    let access = with_token();
    for peer in ["203.0.113.9:4000", "127.0.0.1:4000"] {
        let check = |request: Builder| access.check(&from(peer, request)).map(|(_, pass)| pass);
        assert_eq!(check(get("/")), Err(Denied::NoToken));
        assert_eq!(check(get("/?other=1")), Err(Denied::NoToken));
        assert_eq!(check(get("/").header("authorization", format!("Bearer {TOKEN}"))), Ok(Pass::Token));
        assert_eq!(check(get("/").header("authorization", format!("bearer {TOKEN}"))), Ok(Pass::Token));
        assert_eq!(check(get(&format!("/?a=b&token={TOKEN}"))), Ok(Pass::Token));
        for wrong in ["", "x", &TOKEN[1..], &format!("{TOKEN}x"), &TOKEN.to_uppercase()] {
            let bearer = get("/").header("authorization", format!("Bearer {wrong}"));
            assert_eq!(check(bearer), Err(Denied::WrongToken), "{wrong}");
            assert_eq!(check(get(&format!("/?token={wrong}"))), Err(Denied::WrongToken), "{wrong}");
        }
        assert_eq!(check(get("/").header("authorization", format!("Basic {TOKEN}"))), Err(Denied::NoToken));
    }
}

#[test]
fn cookie_holds_a_session_of_this_inspector_and_not_the_token() {
    let access = with_token();
    let cookie = access.cookie("/debug/contexts").unwrap();
    assert!(cookie.ends_with("; Path=/debug/contexts; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(TOKEN));
    let pair = cookie.split(';').next().unwrap();
    let check = |access: &Access, cookie: String| {
        access.check(&from("203.0.113.9:1", get("/events").header("cookie", cookie))).map(|(_, pass)| pass)
    };
    assert_eq!(check(&access, format!("a=b; {pair}; c=d")), Ok(Pass::Cookie));
    assert_eq!(check(&access, format!("ripcord-inspector=stale; {pair}")), Ok(Pass::Cookie));
    assert_eq!(check(&access, format!("x{pair}")), Err(Denied::NoToken));
    assert_eq!(check(&access, format!("ripcord-inspector={TOKEN}")), Err(Denied::NoToken));
    assert_eq!(check(&with_token(), pair.to_owned()), Err(Denied::NoToken));
    assert_eq!(Access::loopback().cookie("/"), None);
}

#[test]
fn page_of_another_origin_is_refused() {
    let check = |request: Builder| check_same_origin(&from("127.0.0.1:4000", request.header("host", "localhost:8080")));
    // A client that sends neither header is not a browser.
    assert_eq!(check(get("/")), Ok(()));
    for (site, allowed) in
        [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false), ("", false)]
    {
        assert_eq!(check(get("/").header("sec-fetch-site", site)).is_ok(), allowed, "{site}");
    }
    let origins = [
        ("http://localhost:8080", true),
        ("https://localhost:8080", true),
        ("http://localhost", false),
        ("http://localhost:9090", false),
        ("http://evil.example", false),
        ("http://evil.example:8080", false),
        ("null", false),
        ("", false),
    ];
    for (origin, allowed) in origins {
        assert_eq!(check(get("/").header("origin", origin)).is_ok(), allowed, "{origin}");
    }
    let both = get("/").header("sec-fetch-site", "cross-site").header("origin", "http://localhost:8080");
    assert_eq!(check(both), Err(Denied::CrossOrigin));
}

/// nginx with only `proxy_pass http://127.0.0.1:8080;` rewrites `Host` and forwards the other headers of the browser.
#[test]
fn origin_that_differs_from_host_is_refused_even_if_the_browser_calls_it_same_origin() {
    let request = |origin: &str| {
        let request = get("/cancel/7").header("host", "127.0.0.1:8080").header("sec-fetch-site", "same-origin");
        from("127.0.0.1:4000", request.header("origin", origin))
    };
    assert_eq!(check_same_origin(&request("https://shop.example")), Err(Denied::CrossOrigin));
    assert_eq!(check_origin(&request("https://shop.example")), Err(Denied::CrossOrigin));
    assert_eq!(check_same_origin(&request("http://127.0.0.1:8080")), Ok(()));
}

#[test]
fn proxys_basic_authorization_does_not_hide_the_cookie_or_the_query() {
    let access = with_token();
    let cookie = access.cookie("/").unwrap();
    let pair = cookie.split(';').next().unwrap();
    let check = |request: Builder| access.check(&from("127.0.0.1:4000", request)).map(|(_, pass)| pass);
    let basic = |path: &str| get(path).header("authorization", "Basic dXNlcjpwYXNz");
    assert_eq!(check(basic("/").header("cookie", pair)), Ok(Pass::Cookie));
    assert_eq!(check(basic(&format!("/?token={TOKEN}"))), Ok(Pass::Token));
    assert_eq!(check(basic("/").header("authorization", format!("Bearer {TOKEN}"))), Ok(Pass::Token));
    assert_eq!(check(basic("/")), Err(Denied::NoToken));
    assert_eq!(check(basic("/").header("cookie", "ripcord-inspector=stale")), Err(Denied::NoToken));
    // A wrong bearer token is refused, even if the request also has a valid cookie.
    assert_eq!(check(get("/").header("authorization", "Bearer x").header("cookie", pair)), Err(Denied::WrongToken));
}
