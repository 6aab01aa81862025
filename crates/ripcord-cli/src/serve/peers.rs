//! Trusted peers.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
};
use ipnet::IpNet;
use tower::{ServiceExt as _, service_fn};

/// Returns routes that send a request from one of `networks` to `trusted`, and any other to `untrusted`.
///
/// The connection's own address decides. Any client can write a header that names another.
pub(super) fn by_peer(networks: &[IpNet], trusted: Router, untrusted: Router) -> Router {
    if networks.is_empty() {
        return untrusted;
    }
    let networks: Arc<[IpNet]> = networks.into();
    Router::new().fallback_service(service_fn(move |request: Request| {
        // A listener on IPv6 sees an IPv4 address as an IPv6 one.
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let is_trusted = peer.is_some_and(|peer| networks.iter().any(|network| network.contains(&peer)));
        let app = if is_trusted { &trusted } else { &untrusted };
        app.clone().oneshot(request)
    }))
}
