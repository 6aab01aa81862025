//! Whose word counts.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
};
use ipnet::IpNet;
use tower::{ServiceExt as _, service_fn};

/// Routes for everybody: requests that come from one of `networks` go to `trusted`, all others to `strangers`.
///
/// What counts is the address that the connection has. A header that names another is anybody's to write.
pub(super) fn by_peer(networks: &[IpNet], trusted: Router, strangers: Router) -> Router {
    if networks.is_empty() {
        return strangers;
    }
    let networks: Arc<[IpNet]> = networks.into();
    Router::new().fallback_service(service_fn(move |request: Request| {
        // One that listens on IPv6 as well sees an IPv4 address wrapped in one of IPv6.
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let is_trusted = peer.is_some_and(|peer| networks.iter().any(|network| network.contains(&peer)));
        let app = if is_trusted { &trusted } else { &strangers };
        app.clone().oneshot(request)
    }))
}
