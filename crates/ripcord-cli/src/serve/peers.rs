//! Trusted peers.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
};
use ipnet::IpNet;
use tower::{ServiceExt as _, service_fn};

/// Returns routes that pass a request from one of `networks` to `trusted`, and any other request to `untrusted`.
///
/// Only the address of the connection counts, because any client can write another address into a header.
pub(super) fn by_peer(networks: &[IpNet], trusted: Router, untrusted: Router) -> Router {
    if networks.is_empty() {
        return untrusted;
    }
    let networks: Arc<[IpNet]> = networks.into();
    Router::new().fallback_service(service_fn(move |request: Request| {
        // A listener on IPv6 reports an IPv4 address as an IPv6 address.
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let is_trusted = peer.is_some_and(|peer| networks.iter().any(|network| network.contains(&peer)));
        let app = if is_trusted { &trusted } else { &untrusted };
        app.clone().oneshot(request)
    }))
}
