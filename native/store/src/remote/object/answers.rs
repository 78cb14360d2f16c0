//! Between the library and its HTTP client: what a server answered, as types.
//!
//! The library tells many statuses only in messages, together with the URL and the body. Here
//! they become errors that can be told apart and that repeat neither: a URL can carry a signature,
//! a body can repeat the request.

use std::error::Error;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, Result};

use super::tls;
use crate::error::shown;

/// A server did not do what it was asked, or could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// It answered with something else than success.
    #[error("{host} answered {status}")]
    Status {
        /// Who answered.
        host: String,
        /// The number and its name.
        status: String,
        /// What that means.
        meaning: Meaning,
    },
    /// There is no connection that is safe to use.
    #[error("cannot connect to {host} with TLS: {reason}")]
    Untrusted {
        /// Who was asked.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No answer came.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What happened instead.
        reason: String,
    },
}

/// What a status tells about the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Meaning {
    /// It may succeed later.
    Busy,
    /// The object is not the described one, or shorter.
    Changed,
    /// There is no such object.
    Missing,
    /// The account may not do that, or is none.
    Refused,
    /// The server cannot do such a thing.
    Unable,
    /// It is wrong, or its place is.
    Wrong,
}

/// Connects as the library does, with the system's certificate authorities.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(CheckedClient(client)))
    }
}

#[derive(Debug)]
struct CheckedClient(HttpClient);

#[async_trait]
impl HttpService for CheckedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri();
        let host = match (uri.host(), uri.port_u16()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let writes = request.method().as_str() == "PUT";
        match self.0.execute(request).await {
            Ok(response) => checked(response, host, writes),
            Err(error) => Err(unreached(&error, host)),
        }
    }
}

/// Lets success pass, and the answers to a write that the library acts on.
fn checked(response: HttpResponse, host: String, writes: bool) -> Result<HttpResponse, HttpError> {
    let status = response.status();
    let (meaning, kind) = match status.as_u16() {
        200..=299 => return Ok(response),
        304 | 401 | 403 | 404 | 409 | 412 if writes => return Ok(response),
        401 | 403 => (Meaning::Refused, HttpErrorKind::Decode),
        404 | 410 => (Meaning::Missing, HttpErrorKind::Decode),
        405 | 501 => (Meaning::Unable, HttpErrorKind::Decode),
        412 | 416 => (Meaning::Changed, HttpErrorKind::Decode),
        // The library tries these again, and no other.
        408 | 429 | 500..=599 => (Meaning::Busy, HttpErrorKind::Request),
        _ => (Meaning::Wrong, HttpErrorKind::Decode),
    };
    let status = status.to_string();
    Err(HttpError::new(kind, Unanswered::Status { host, status, meaning }))
}

fn unreached(error: &HttpError, host: String) -> HttpError {
    if let Some(reason) = tls::refusal(error) {
        return HttpError::new(HttpErrorKind::Decode, Unanswered::Untrusted { host, reason });
    }
    let reason = innermost(error);
    HttpError::new(error.kind(), Unanswered::Unreachable { host, reason })
}

/// An error and what lies below it.
pub(super) fn chain<'error>(
    error: &'error (dyn Error + 'static),
) -> impl Iterator<Item = &'error (dyn Error + 'static)> {
    // Dereferenced, so that the chain borrows from the error and not from the iterator.
    std::iter::successors(Some(error), |error| Error::source(*error))
}

/// The first line of the innermost error, cut short.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let text = chain(error).last().map(ToString::to_string).unwrap_or_default();
    shown(text.lines().next().unwrap_or_default())
}
