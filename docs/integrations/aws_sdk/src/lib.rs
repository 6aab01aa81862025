//! Calls of the AWS SDK under a context, with S3 as the example.

use aws_sdk_s3::{
    Client,
    config::{
        Builder, ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextMut,
        retry::RetryConfig,
    },
    error::{BoxError, SdkError},
    operation::get_object::GetObjectError,
    primitives::ByteStreamError,
};
use ripcord::Context;
use ripcord_http::{RequestId, trace_context::Traceparent};
use ripcord_policy::Attempt;

/// Sends the request ID and the trace of a context with each attempt of a call, and starts no attempt after the context has ended.
#[derive(Debug)]
pub struct Under(pub Context);

impl Intercept for Under {
    fn name(&self) -> &'static str {
        "Under"
    }

    fn modify_before_transmit(
        &self,
        call: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.check()?;
        // The request is signed already, so a proxy may change these headers.
        let headers = call.request_mut().headers_mut();
        if let Some(id) = self.0.value::<RequestId>() {
            headers.insert(RequestId::HEADER, id.as_str().to_owned());
        }
        if let Some(trace) = self.0.value::<Traceparent>() {
            headers.insert(Traceparent::HEADER, trace.child().to_string());
        }
        Ok(())
    }
}

/// Returns the settings of a call. The SDK makes only one attempt inside a retry of ripcord, so that attempts do not multiply.
pub fn settings(ctx: &Context) -> Builder {
    let settings = Builder::default();
    if Attempt::is_inside_retry(ctx) { settings.retry_config(RetryConfig::disabled()) } else { settings }
}

/// The error of [`read`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The context of the call has ended.
    #[error(transparent)]
    Ended(#[from] ripcord::Error),
    /// S3 has returned an error, or could not be reached.
    #[error(transparent)]
    Call(#[from] Box<SdkError<GetObjectError>>),
    /// The object could not be read to its end.
    #[error(transparent)]
    Body(#[from] ByteStreamError),
}

/// Reads an object of S3.
///
/// # Errors
///
/// Returns an error if `ctx` ends, or if the call fails.
pub async fn read(ctx: &Context, s3: &Client, bucket: &str, key: &str) -> Result<Vec<u8>, Error> {
    let call = s3.get_object().bucket(bucket).key(key).customize();
    let call = call.interceptor(Under(ctx.clone())).config_override(settings(ctx)).send();
    // The end of the context drops the call, with its current attempt or the wait before the next one.
    let object = ctx.run(call).await?.map_err(Box::new)?;
    let body = ctx.run(object.body.collect()).await??;
    Ok(body.to_vec())
}
