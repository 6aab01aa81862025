//! The pages for programs in Go name each exported function and method of Go's packages.

use std::collections::BTreeSet;
use std::fs;

/// The functions, methods and constants of `context`, and of the packages of `golang.org/x` with a counterpart here: errgroup,
/// semaphore, singleflight and rate. `signal.NotifyContext` too.
const CONTEXTS: &str = "AfterFunc Background CancelCauseFunc CancelFunc Canceled Cause Deadline DeadlineExceeded Done Err TODO Value \
     WithCancel WithCancelCause WithDeadline WithDeadlineCause WithTimeout WithTimeoutCause WithValue WithoutCancel \
     NotifyContext Go SetLimit TryGo Wait WithContext Acquire NewWeighted Release TryAcquire \
     Do DoChan Forget Group \
     Allow AllowN Burst Cancel CancelAt Delay DelayFrom Do Every Inf InfDuration Limit NewLimiter OK Reserve ReserveN \
     SetBurst SetBurstAt SetLimit SetLimitAt Sometimes Tokens TokensAt Wait WaitN";

/// The functions of `net/http` in Go 1.27, the methods of its main types, and the fields of `Client`, `Server` and `Transport`.
const HTTP: &str = "Add AddCookie Addr AllowQuerySemicolons BaseContext BasicAuth CancelRequest CanonicalHeaderKey CheckRedirect \
     Clone Close CloseIdleConnections ConnContext ConnState Context Cookie Cookies CookiesNamed Del DetectContentType \
     Dial DialContext DialTLS DialTLSContext DisableClientPriority DisableCompression DisableGeneralOptionsHandler \
     DisableKeepAlives Do EnableFullDuplex Error ErrorLog ExpectContinueTimeout FS FileServer FileServerFS Flush \
     ForceAttemptHTTP2 FormFile FormValue Get GetProxyConnectHeader HTTP2 Handle HandleFunc Handler Head Hijack \
     IdleConnTimeout IdleTimeout Jar ListenAndServe ListenAndServeTLS Location MaxBytesHandler MaxBytesReader \
     MaxConnsPerHost MaxHeaderBytes MaxHeaderValueCount MaxIdleConns MaxIdleConnsPerHost MaxResponseHeaderBytes \
     MultipartReader NewClientConn NewCrossOriginProtection NewFileTransport NewFileTransportFS NewRequest \
     NewRequestWithContext NewResponseController NewServeMux NotFound NotFoundHandler OnProxyConnectResponse \
     ParseCookie ParseForm ParseHTTPVersion ParseMultipartForm ParseSetCookie ParseTime PathValue Post PostForm \
     PostFormValue ProtoAtLeast Protocols Proxy ProxyConnectHeader ProxyFromEnvironment ProxyURL ReadBufferSize \
     ReadHeaderTimeout ReadRequest ReadResponse ReadTimeout Redirect RedirectHandler Referer RegisterOnShutdown \
     RegisterProtocol ResponseHeaderTimeout RoundTrip Serve ServeContent ServeFile ServeFileFS ServeHTTP ServeTLS Set \
     SetBasicAuth SetCookie SetKeepAlivesEnabled SetPathValue SetReadDeadline SetWriteDeadline Shutdown StatusText \
     StripPrefix TLSClientConfig TLSConfig TLSHandshakeTimeout TLSNextProto Timeout TimeoutHandler Transport \
     UserAgent Values WithContext Write WriteBufferSize WriteProxy WriteSubset WriteTimeout";

/// Returns the words of a page: letters, digits and `_`.
fn words(page: &str) -> BTreeSet<String> {
    let path = format!("{}/src/{page}.md", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).expect("the page");
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').map(str::to_owned).collect()
}

/// Returns the names that are not in the page.
fn missing<'a>(names: &'a str, page: &str) -> Vec<&'a str> {
    let words = words(page);
    names.split_whitespace().filter(|name| !words.contains(*name)).collect()
}

#[test]
fn each_function_about_contexts_has_a_line() {
    assert_eq!(missing(CONTEXTS, "from_go"), [""; 0]);
}

#[test]
fn each_function_of_net_http_has_a_line() {
    assert_eq!(missing(HTTP, "from_go_http"), [""; 0]);
}
