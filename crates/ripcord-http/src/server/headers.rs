//! What a request's headers say, as far as it is believed.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

use super::{layer::Settings, stats::Counters};
use crate::{
    Lineage, Malformed, RequestId,
    deadline::{aws, connect, envoy, finagle, grpc_timeout, plain},
    trace_context::{Baggage, Traceparent, Tracestate},
};

/// The headers that are read.
pub(super) const READ: [&str; 10] = [
    grpc_timeout::HEADER,
    connect::HEADER,
    envoy::HEADER,
    plain::HEADER,
    finagle::HEADER,
    aws::HEADER,
    RequestId::HEADER,
    Traceparent::HEADER,
    Tracestate::HEADER,
    Baggage::HEADER,
];

/// What a request's headers say.
#[derive(Debug)]
pub(super) struct Said {
    /// The shortest of the deadlines, and the header that it came in.
    pub(super) deadline: Option<(&'static str, Duration)>,
    pub(super) id: RequestId,
    pub(super) lineage: Lineage,
    pub(super) tracestate: Option<Tracestate>,
    pub(super) baggage: Option<Baggage>,
    /// The first header that is not what its grammar allows.
    pub(super) malformed: Option<Malformed>,
}

/// Reads the headers that the settings want read, and counts those that are malformed, which are as if they were not there, but for
/// oversized baggage: that is carried as far as it may be.
///
/// What is not believed is not read either, so a stranger's baggage cannot be malformed.
pub(super) fn read(headers: &HeaderMap, settings: &Settings) -> Said {
    let (trust, found) = (&settings.trust, Found::among(headers));
    let mut reader = Reader { counters: &settings.counters, malformed: None };

    let deadlines = [
        (&found.grpc_timeout, grpc_timeout::HEADER, grpc_timeout::decode as Decode<Duration>),
        (&found.connect, connect::HEADER, connect::decode),
        (&found.plain, plain::HEADER, plain::decode),
        (&found.envoy, envoy::HEADER, envoy::decode),
    ];
    let mut deadline: Option<(&'static str, Duration)> = None;
    let mut shorten = |name, asked: Option<Duration>| {
        if let Some(asked) = asked
            && deadline.is_none_or(|(_, shortest)| asked < shortest)
        {
            deadline = Some((name, asked));
        }
    };
    for (header, name, decode) in deadlines {
        // A proxy of one's own overwrites Envoy's header; anybody else's is a client's invention.
        if name == envoy::HEADER && !trust.is_trusted() {
            continue;
        }
        shorten(name, reader.one(header, name, |value| decode(value.as_bytes())));
    }
    if settings.absolute_deadlines {
        let asked =
            reader.one(&found.finagle, finagle::HEADER, |value| finagle::decode(value.as_bytes(), SystemTime::now()));
        shorten(finagle::HEADER, asked);
        let asked = reader.one(&found.aws, aws::HEADER, |value| aws::decode(value.as_bytes(), SystemTime::now()));
        shorten(aws::HEADER, asked.flatten());
    }

    let parent = reader.one(&found.traceparent, Traceparent::HEADER, |value| Traceparent::decode(value.as_bytes()));
    let lineage = trust.trace(parent);
    let (mut id, mut tracestate, mut baggage) = (None, None, None);
    if trust.is_trusted() {
        id = reader.one(&found.request_id, RequestId::HEADER, RequestId::decode);
        // Without its traceparent it belongs to no trace.
        if parent.is_some() && found.tracestate {
            tracestate = reader.many(Tracestate::decode(headers.get_all(Tracestate::HEADER)));
        }
        if found.baggage {
            baggage = reader.many(Baggage::decode(headers.get_all(Baggage::HEADER)));
            // As much as may be is carried all the same.
            if let Some(oversized) = baggage.as_ref().and_then(Baggage::oversized) {
                reader.count(oversized);
            }
        }
    }
    Said {
        deadline,
        id: id.unwrap_or_else(settings.make_id),
        lineage,
        tracestate,
        baggage,
        malformed: reader.malformed,
    }
}

type Decode<T> = fn(&[u8]) -> Result<T, Malformed>;

/// A header that may come once.
#[derive(Default)]
enum Header<'a> {
    #[default]
    None,
    One(&'a HeaderValue),
    Several,
}

/// The headers to be read, found in one pass.
#[derive(Default)]
struct Found<'a> {
    grpc_timeout: Header<'a>,
    connect: Header<'a>,
    envoy: Header<'a>,
    plain: Header<'a>,
    finagle: Header<'a>,
    aws: Header<'a>,
    request_id: Header<'a>,
    traceparent: Header<'a>,
    tracestate: bool,
    baggage: bool,
}

impl<'a> Found<'a> {
    fn among(headers: &'a HeaderMap) -> Self {
        let mut found = Found::default();
        for (name, value) in headers {
            let header = match name.as_str() {
                grpc_timeout::HEADER => &mut found.grpc_timeout,
                connect::HEADER => &mut found.connect,
                envoy::HEADER => &mut found.envoy,
                plain::HEADER => &mut found.plain,
                finagle::HEADER => &mut found.finagle,
                aws::HEADER => &mut found.aws,
                RequestId::HEADER => &mut found.request_id,
                Traceparent::HEADER => &mut found.traceparent,
                Tracestate::HEADER => {
                    found.tracestate = true;
                    continue;
                }
                Baggage::HEADER => {
                    found.baggage = true;
                    continue;
                }
                _ => continue,
            };
            *header = match header {
                Header::None => Header::One(value),
                _ => Header::Several,
            };
        }
        found
    }
}

/// Reads headers one after the other, and keeps what was wrong with the first.
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
            // Which of them is meant nobody can tell.
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
