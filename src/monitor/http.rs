//! The HTTP server of the monitor.
//!
//! Bounds: so many connections at once, of them so many that walk all connections or subscriptions,
//! a request's head in size and time, a connection's life. Bodies are not read.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::accountz::StatsAsked;
use super::body::{Asked, Body, Form, Page};
use super::metrics::Scrape;
use super::process::{self, ProcessMeter};
use super::query::Query;
use super::varz::{ProcessFacts, Varz};
use super::{Answer, Kind, RequestCounts, Source, healthz, index};
use crate::report::{ReportRequest, ServerFacts, ShardReport};

/// What the monitor may use.
#[derive(Clone, Copy, Debug)]
pub struct MonitorLimits {
    /// Connections at once; further ones wait in the listener's backlog.
    pub connections_max: usize,
    /// Requests at once that walk all connections or subscriptions.
    pub walks_max: usize,
    /// How long a request's head may take to come, and a connection may be idle.
    pub head_timeout: Duration,
    /// How long the shards may take to answer a request.
    pub answer_timeout: Duration,
    /// How long a connection may live; it ends after the request that is being answered.
    pub connection_life: Duration,
}

impl Default for MonitorLimits {
    fn default() -> Self {
        Self {
            connections_max: 64,
            walks_max: 2,
            head_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            connection_life: Duration::from_secs(600),
        }
    }
}

/// The monitor of one server: its endpoints and what they remember.
pub struct Monitor<S> {
    pub(super) source: S,
    pub(super) limits: MonitorLimits,
    connections: Arc<Semaphore>,
    pub(super) walks: Semaphore,
    requests: RefCell<RequestCounts>,
    meter: RefCell<ProcessMeter>,
}

impl<S: Source> Monitor<S> {
    /// A monitor of what `source` tells.
    #[must_use]
    pub fn new(source: S, limits: MonitorLimits) -> Rc<Self> {
        Rc::new(Self {
            source,
            limits,
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            walks: Semaphore::new(limits.walks_max),
            requests: RefCell::default(),
            meter: RefCell::default(),
        })
    }

    /// Serves who connects to `listener`, for ever; drop the future to stop accepting. It runs inside
    /// a tokio `LocalSet`, as tokio-uring's `start` is one.
    pub async fn serve(self: Rc<Self>, listener: TcpListener) {
        while let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let monitor = Rc::clone(&self);
                    spawn_local(async move {
                        monitor.serve_connection(stream).await;
                        drop(permit);
                    });
                }
                // Without descriptors the same error comes again at once.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn serve_connection(self: Rc<Self>, stream: TcpStream) {
        let service = service_fn(|request| {
            let monitor = Rc::clone(&self);
            async move { Ok::<_, Infallible>(monitor.respond(&request).await) }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.head_timeout)
                .max_buf_size(HEAD_BYTES_MAX)
                .title_case_headers(true)
                .serve_connection(TokioIo::new(stream), service)
        );
        // A peer that goes away, or talks no HTTP, is its own affair.
        if timeout(self.limits.connection_life, connection.as_mut()).await.is_err() {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(self.limits.head_timeout, connection).await;
        }
    }

    async fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if let Some(clean) = cleaned(path) {
            return redirect(&clean);
        }
        let facts = self.source.facts();
        let endpoint = path
            .strip_prefix(facts.http_base_path.as_str())
            .and_then(|below| Endpoint::parse(below, !facts.http_base_path.is_empty()));
        let Some(endpoint) = endpoint else {
            return not_found();
        };
        *self.requests.borrow_mut().entry(endpoint.path()).or_default() += 1;
        let query = Query::parse(request.uri().query().unwrap_or(""));
        let answer = self.answer(endpoint, &query, &facts);
        response(timeout(self.limits.answer_timeout, answer).await.unwrap_or_else(|_| timed_out()))
    }

    async fn answer(&self, endpoint: Endpoint, query: &Query, facts: &ServerFacts) -> Answer {
        let body = match endpoint {
            Endpoint::Index => return index::answer(facts),
            Endpoint::Metrics => return self.metrics(facts).await,
            Endpoint::Body(body) => body,
        };
        match Asked::from_query(body, query, &self.source) {
            Err(text) => Answer::bad_request(text),
            Ok(Asked::Healthz(asked)) => healthz::answer(&self.source, &asked),
            Ok(asked) => self.tell(asked, Page).await,
        }
    }

    /// The body of `/varz`.
    pub(super) async fn varz<F: Form>(&self, form: F) -> F::Made {
        let reports = self.source.reports(ReportRequest::default()).await;
        self.with_varz(&self.source.facts(), &reports, |varz| form.make(varz))
    }

    async fn metrics(&self, facts: &ServerFacts) -> Answer {
        let request = ReportRequest {
            accounts: true,
            latency: true,
            routes: true,
            ..ReportRequest::default()
        };
        let reports = self.source.reports(request).await;
        let accounts = StatsAsked::of_exporter(facts).stats(&self.source, &reports);
        self.with_varz(facts, &reports, |varz| {
            Scrape {
                server_id: &facts.server_id,
                server_name: &facts.server_name,
                varz,
                reports: &reports,
                accounts: &accounts,
                healthy: self.source.unready().is_none(),
                missing_links: self.source.mesh().map(|mesh| mesh.missing_links()),
                now: self.source.now(),
            }
            .answer()
        })
    }

    fn with_varz<T>(
        &self,
        facts: &ServerFacts,
        reports: &[ShardReport],
        answer: impl FnOnce(&Varz<'_>) -> T,
    ) -> T {
        let now = self.source.now();
        let process = ProcessFacts {
            resident_bytes: process::resident_bytes(),
            cpu_percent: self.meter.borrow_mut().cpu_percent(facts.start, now),
            cores: process::cores(),
        };
        let requests = self.requests.borrow();
        let remotes = self.source.mesh().map_or(0, |mesh| mesh.remotes()) as u64;
        answer(&Varz::new(facts, process, &requests, (reports, remotes), now))
    }
}

/// What can be asked over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Index,
    Metrics,
    Body(Body),
}

impl Endpoint {
    /// The endpoint at a path below the base path; the index stands at a base path itself, too.
    fn parse(path: &str, has_base: bool) -> Option<Self> {
        Some(match path {
            "/" => Self::Index,
            "" if has_base => Self::Index,
            "/metrics" => Self::Metrics,
            "/varz" => Self::Body(Body::Varz),
            "/connz" => Self::Body(Body::Connz),
            "/subsz" | "/subscriptionsz" => Self::Body(Body::Subsz),
            "/healthz" => Self::Body(Body::Healthz),
            "/routez" => Self::Body(Body::Routez),
            "/accountz" => Self::Body(Body::Accountz),
            "/accstatz" => Self::Body(Body::Accstatz),
            "/gatewayz" => Self::Body(Body::Gatewayz),
            "/leafz" => Self::Body(Body::Leafz),
            "/jsz" => Self::Body(Body::Jsz),
            "/latencyz" => Self::Body(Body::Latencyz),
            _ => return None,
        })
    }

    /// Under which path its requests are counted.
    const fn path(self) -> &'static str {
        match self {
            Self::Index => "/",
            Self::Metrics => "/metrics",
            Self::Body(body) => body.path(),
        }
    }
}

/// The path without empty, `.` and `..` parts, if it has any of those.
fn cleaned(path: &str) -> Option<String> {
    let inner = path.strip_prefix('/')?;
    let mut kept = Vec::new();
    for part in inner.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let slash = if kept.is_empty() || !path.ends_with('/') { "" } else { "/" };
    let clean = format!("/{}{slash}", kept.join("/"));
    (clean != path).then_some(clean)
}

fn redirect(to: &str) -> Response<Full<Bytes>> {
    let escaped = to.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&#34;");
    let body = format!("<a href=\"{escaped}\">Temporary Redirect</a>.\n\n");
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
    if let Ok(location) = HeaderValue::from_str(to) {
        headers.insert(LOCATION, location);
    }
    response
}

fn not_found() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("404 page not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer when a shard hangs.
fn timed_out() -> Answer {
    Answer { status: 503, kind: Kind::Text, body: "the shards did not answer in time".into() }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let content_type = match answer.kind {
        Kind::Json => "application/json",
        Kind::Html => HTML,
        Kind::Text => TEXT,
        Kind::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
    };
    let mut response = Response::new(Full::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if answer.kind == Kind::Json {
        // Web pages from elsewhere may read the numbers.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A request's head: no endpoint needs a fraction of it.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long nothing is accepted after accepting failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
