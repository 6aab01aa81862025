//! The headers of a request that the settings trust.
//!
//! [`Dialect::ALL`] is the list of deadline headers. A dialect that is added to this list is read here.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

use super::{settings::Settings, stats::Counters};
use crate::{
    Lineage, Malformed, RequestId,
    deadline::Dialect,
    trace_context::{Baggage, Traceparent, Tracestate},
};

/// The values read from a request's headers.
#[derive(Debug)]
pub(super) struct Received {
    /// The shortest deadline, and the name of its header.
    pub(super) deadline: Option<(&'static str, Duration)>,
    pub(super) id: RequestId,
    pub(super) lineage: Lineage,
    pub(super) tracestate: Option<Tracestate>,
    pub(super) baggage: Option<Baggage>,
    /// The first malformed header.
    pub(super) malformed: Option<Malformed>,
}

/// Reads the headers and counts malformed headers. Malformed headers are otherwise ignored. Oversized baggage is counted and cut.
///
/// An untrusted header is not read, so it cannot be malformed.
pub(super) fn read(headers: &HeaderMap, settings: &Settings) -> Received {
    let (trust, found) = (&settings.trust.0, Found::new(headers));
    let mut reader = Reader { counters: &settings.counters, malformed: None };

    let mut deadline: Option<(&'static str, Duration)> = None;
    for (dialect, header) in Dialect::ALL.iter().zip(&found.deadlines) {
        if (dialect.needs_trust() && !trust.is_trusted()) || (dialect.is_absolute() && !settings.absolute_deadlines) {
            continue;
        }
        let decode = |value: &HeaderValue| dialect.decode(value.as_bytes(), SystemTime::now);
        if let Some(asked) = reader.one(header, dialect.name(), decode).flatten()
            && deadline.is_none_or(|(_, shortest)| asked < shortest)
        {
            deadline = Some((dialect.name(), asked));
        }
    }

    let parent = reader.one(&found.traceparent, Traceparent::HEADER, |value| Traceparent::decode(value.as_bytes()));
    let lineage = trust.trace(parent);
    let (mut id, mut tracestate, mut baggage) = (None, None, None);
    if trust.is_trusted() {
        id = reader.one(&found.request_id, RequestId::HEADER, RequestId::decode);
        // Without a traceparent, the tracestate belongs to no trace.
        if parent.is_some() && found.tracestate {
            tracestate = reader.many(Tracestate::decode(headers.get_all(Tracestate::HEADER)));
        }
        if found.baggage {
            baggage = reader.many(Baggage::decode(headers.get_all(Baggage::HEADER)));
            // The part of the baggage within the limit is kept.
            if let Some(oversized) = baggage.as_ref().and_then(Baggage::oversized) {
                reader.count(oversized);
            }
        }
    }
    Received {
        deadline,
        id: id.unwrap_or_else(|| (settings.make_id)()),
        lineage,
        tracestate,
        baggage,
        malformed: reader.malformed,
    }
}

/// A header that may occur at most once.
#[derive(Default)]
enum Header<'a> {
    #[default]
    None,
    One(&'a HeaderValue),
    Several,
}

impl<'a> Header<'a> {
    fn add(&mut self, value: &'a HeaderValue) {
        *self = match self {
            Header::None => Header::One(value),
            _ => Header::Several,
        };
    }
}

/// The headers to read, collected in one pass.
#[derive(Default)]
struct Found<'a> {
    deadlines: [Header<'a>; Dialect::ALL.len()],
    request_id: Header<'a>,
    traceparent: Header<'a>,
    tracestate: bool,
    baggage: bool,
}

impl<'a> Found<'a> {
    fn new(headers: &'a HeaderMap) -> Self {
        let mut found = Found::default();
        for (name, value) in headers {
            match name.as_str() {
                RequestId::HEADER => found.request_id.add(value),
                Traceparent::HEADER => found.traceparent.add(value),
                Tracestate::HEADER => found.tracestate = true,
                Baggage::HEADER => found.baggage = true,
                name => {
                    if let Some(dialect) = Dialect::ALL.iter().position(|dialect| dialect.name() == name) {
                        found.deadlines[dialect].add(value);
                    }
                }
            }
        }
        found
    }
}

/// Reads the headers in turn and keeps the first error.
struct Reader<'a> {
    counters: &'a Counters,
    malformed: Option<Malformed>,
}

impl Reader<'_> {
    fn one<T>(
        &mut self,
        header: &Header<'_>,
        name: &'static str,
        decode: impl FnOnce(&HeaderValue) -> Result<T, Malformed>,
    ) -> Option<T> {
        match header {
            Header::None => None,
            Header::One(value) => self.many(decode(value).map(Some)),
            Header::Several => self.many(Err(Malformed::new(name, "comes more than once"))),
        }
    }

    fn many<T>(&mut self, decoded: Result<Option<T>, Malformed>) -> Option<T> {
        decoded.unwrap_or_else(|malformed| {
            self.count(malformed);
            None
        })
    }

    fn count(&mut self, malformed: Malformed) {
        self.counters.malformed(malformed.header()).up();
        self.malformed.get_or_insert(malformed);
    }
}
