//! A span's name. It is cheap to clone, because the tree, every handle and every snapshot store it.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

#[derive(Clone)]
pub(super) enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl From<Cow<'static, str>> for Name {
    fn from(name: Cow<'static, str>) -> Self {
        match name {
            Cow::Borrowed(name) => Name::Static(name),
            Cow::Owned(name) => Name::Shared(name.into()),
        }
    }
}

#[cfg(feature = "metrics")]
impl From<&Name> for ::metrics::SharedString {
    fn from(name: &Name) -> Self {
        match name {
            Name::Static(name) => ::metrics::SharedString::const_str(name),
            Name::Shared(name) => Arc::clone(name).into(),
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}
