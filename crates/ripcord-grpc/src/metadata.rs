//! Context values that are sent as metadata.

use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use ripcord::{Context, Value};

/// gRPC's base64: written without padding, read with or without padding.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A context value that calls can send as metadata.
///
/// Implement this trait for your type. On the client, call [`ClientLayer::metadata`](crate::ClientLayer::metadata) to send the
/// value. On the server, call [`ServerLayer::metadata`](crate::ServerLayer::metadata) to read the value from the metadata of
/// trusted clients.
///
/// ```
/// use ripcord::Value;
/// use ripcord_grpc::{InvalidMetadata, Metadata};
///
/// struct Tenant(String);
///
/// impl Value for Tenant {}
///
/// impl Metadata for Tenant {
///     const KEY: &str = "x-tenant";
///
///     fn decode(value: &[u8]) -> Result<Self, InvalidMetadata> {
///         let name = str::from_utf8(value).map_err(|_| InvalidMetadata::new("expected UTF-8"))?;
///         Ok(Tenant(name.to_owned()))
///     }
///
///     fn encode(&self) -> Vec<u8> {
///         self.0.clone().into()
///     }
/// }
/// ```
pub trait Metadata: Value + Sized {
    /// The metadata key, in lower case. The key must not start with `grpc-`.
    ///
    /// If the key ends in `-bin`, the value may contain any bytes, and is sent as base64. Otherwise, the value must be printable
    /// ASCII.
    const KEY: &str;

    /// Parses the value of received metadata. If the key ends in `-bin`, `value` contains the bytes decoded from base64. Otherwise,
    /// `value` contains the bytes of the header.
    ///
    /// # Errors
    ///
    /// Return an error if the value is invalid. The handler is still called, but its context has no value of this type. A panic of
    /// this function is caught and has the same effect.
    fn decode(value: &[u8]) -> Result<Self, InvalidMetadata>;

    /// Returns the bytes to send. If the key does not end in `-bin` and the bytes are not printable ASCII, the value is not sent.
    fn encode(&self) -> Vec<u8>;
}

/// The error of a metadata value that cannot be decoded. Returned by [`Metadata::decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMetadata(&'static str);

impl InvalidMetadata {
    /// Creates the error. `reason` describes the expected value, such as `expected UTF-8`.
    ///
    /// Do not repeat the received value in `reason`, because a client controls the value.
    pub const fn new(reason: &'static str) -> Self {
        InvalidMetadata(reason)
    }
}

impl fmt::Display for InvalidMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid metadata: {}", self.0)
    }
}

impl Error for InvalidMetadata {}

/// One metadata key of a layer.
#[derive(Clone)]
pub(crate) struct Key {
    name: HeaderName,
    is_binary: bool,
    /// Adds the value to the context.
    receive: fn(&Context, &[u8]) -> Result<Context, InvalidMetadata>,
    /// Returns the context's value.
    send: fn(&Context) -> Option<Vec<u8>>,
}

/// The metadata keys of a layer.
#[derive(Clone, Default)]
pub(crate) struct Keys(Arc<[Key]>);

impl Keys {
    /// Adds the key of `V`.
    ///
    /// # Panics
    ///
    /// Panics if the key is not a header name in lower case, or if gRPC reserves it.
    #[track_caller]
    pub(crate) fn add<V: Metadata>(&mut self) {
        let is_lower = !V::KEY.bytes().any(|byte| byte.is_ascii_uppercase());
        let name = V::KEY.parse::<HeaderName>().ok().filter(|_| is_lower && !V::KEY.starts_with("grpc-"));
        let name = name.unwrap_or_else(|| panic!("{:?} is no key for metadata", V::KEY));
        let key = Key {
            name,
            is_binary: V::KEY.ends_with("-bin"),
            receive: |ctx, value| V::decode(value).map(|value| ctx.with_value(value)),
            send: |ctx| ctx.value::<V>().map(V::encode),
        };
        self.0 = self.0.iter().cloned().chain([key]).collect();
    }

    /// Adds the values in the headers to the context. Leaves out invalid and repeated values, and values whose type panics: a panic
    /// would end the connection with its other calls.
    pub(crate) fn receive(&self, mut ctx: Context, headers: &HeaderMap) -> Context {
        for key in &*self.0 {
            let mut values = headers.get_all(&key.name).into_iter();
            let (Some(value), None) = (values.next(), values.next()) else { continue };
            // Unwind safe: state that the user's code leaves broken belongs to the user's code.
            if let Ok(Ok(with_value)) = panic::catch_unwind(AssertUnwindSafe(|| key.receive(&ctx, value))) {
                ctx = with_value;
            }
        }
        ctx
    }

    /// Writes the context's values into the headers. A value replaces the request's own metadata with the same key.
    pub(crate) fn send(&self, ctx: &Context, headers: &mut HeaderMap) {
        for key in &*self.0 {
            if let Some(value) = key.send(ctx) {
                headers.insert(&key.name, value);
            }
        }
    }
}

impl Key {
    fn receive(&self, ctx: &Context, value: &HeaderValue) -> Result<Context, InvalidMetadata> {
        if !self.is_binary {
            return (self.receive)(ctx, value.as_bytes());
        }
        let bytes = BASE64.decode(value.as_bytes()).map_err(|_| InvalidMetadata::new("expected base64"))?;
        (self.receive)(ctx, &bytes)
    }

    fn send(&self, ctx: &Context) -> Option<HeaderValue> {
        let bytes = (self.send)(ctx)?;
        if self.is_binary {
            return BASE64.encode(bytes).parse().ok();
        }
        let is_printable = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
        HeaderValue::try_from(bytes).ok().filter(|_| is_printable)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.name)).finish()
    }
}
