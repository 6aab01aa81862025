//! Values passed down a chain of calls.
//!
//! `cargo run --example context_values`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use ripcord::{Context, Value};

// Go recommends a separate type for the key of a value. Here the type of the value is the key. The key cannot collide
// with a key of another crate, and the value never has the wrong type.
struct UserId(&'static str);
struct AuthToken(&'static str);
struct RequestId(&'static str);

impl Value for UserId {}
impl Value for AuthToken {}
impl Value for RequestId {}

fn process_request(ctx: &Context) {
    let user_id = ctx.value::<UserId>().map_or("anonymous", |id| id.0);
    let auth_token = ctx.value::<AuthToken>().map_or("", |token| token.0);
    let request_id = ctx.value::<RequestId>().map_or("", |id| id.0);

    println!("Processing request:");
    println!("  RequestID: {request_id}");
    println!("  UserID: {user_id}");
    println!("  AuthToken: {auth_token}");

    validate_permissions(ctx);
}

fn validate_permissions(ctx: &Context) {
    println!("Validating permissions:");
    println!("  RequestID: {}", ctx.value::<RequestId>().map_or("", |id| id.0));
    println!("  UserID: {}", ctx.value::<UserId>().map_or("", |id| id.0));

    query_database(ctx);
}

fn query_database(ctx: &Context) {
    println!("Querying database:");
    println!("  RequestID: {}", ctx.value::<RequestId>().map_or("", |id| id.0));
    println!("  UserID: {}", ctx.value::<UserId>().map_or("", |id| id.0));
}

fn main() {
    println!("=== Context Values ===");

    let ctx = Context::background()
        .with_value(RequestId("req-123"))
        .with_value(UserId("user-456"))
        .with_value(AuthToken("token-789"));
    process_request(&ctx);

    // This context has no token, so the lookup returns `None`.
    println!("\nProcessing another request:");
    let ctx = Context::background().with_value(RequestId("req-999")).with_value(UserId("admin-user"));
    process_request(&ctx);
}
