//! The content of a response's body.

use bytes::Bytes;
use http_body::{Body, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The handler's body, or a text of this crate. The text is `None` once it has been sent.
    #[project = ContentProject]
    #[derive(Debug)]
    pub(super) enum Content<B> {
        Theirs { #[pin] body: B },
        Ours { text: Option<Bytes> },
    }
}

impl<B: Body> Content<B> {
    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Content::Theirs { body } => body.is_end_stream(),
            Content::Ours { text } => text.is_none(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Content::Theirs { body } => body.size_hint(),
            Content::Ours { text } => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}

impl<B> From<&'static str> for Content<B> {
    fn from(text: &'static str) -> Self {
        Content::Ours { text: Some(Bytes::from_static(text.as_bytes())) }
    }
}

impl<B> From<String> for Content<B> {
    fn from(text: String) -> Self {
        Content::Ours { text: Some(text.into()) }
    }
}
