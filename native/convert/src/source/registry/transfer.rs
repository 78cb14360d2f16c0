//! Requests to one registry: authorized when it asks for that, repeated when they may succeed, and
//! never longer than what was asked for.
//!
//! The registry's client is asked for tokens only. It reads documents of any length into memory and
//! says nothing of `Retry-After`.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use oci_client::Reference;
use oci_client::client::{self, Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use reqwest::header::{ACCEPT, RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::authorization::{Authorization, words};
use crate::source::error::SourceError;
use crate::source::settings::SourceSettings;

/// The longest that a registry's `Retry-After` is heeded.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What is read of a refusal.
const MAX_REFUSAL: u64 = 16 << 10;
const USER_AGENT: &str = concat!("storm-oci/", env!("CARGO_PKG_VERSION"));

/// A registry, and what is known of it.
pub(super) struct Transfer {
    settings: SourceSettings,
    reference: Reference,
    http: reqwest::Client,
    client: oci_client::Client,
    authorization: Mutex<Option<Authorization>>,
    /// Whether the registry ever answered: where none is, waiting for it is of no use.
    answered: AtomicBool,
}

/// A request that can be repeated.
pub(super) struct Request<'a> {
    /// Below `/v2/<repository>/`.
    pub(super) path: String,
    /// Media types.
    pub(super) accept: &'a [&'a str],
    /// The first byte that is wanted.
    pub(super) offset: u64,
}

impl fmt::Debug for Transfer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Transfer")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

impl Transfer {
    pub(super) fn new(
        reference: Reference,
        settings: &SourceSettings,
    ) -> Result<Self, SourceError> {
        let authorities = authorities(settings)?;
        let failed = |cause: &dyn fmt::Display| SourceError::InvalidSettings {
            setting: "TLS".to_owned(),
            problem: cause.to_string(),
        };
        let certificates: Vec<_> = authorities
            .iter()
            .map(|der| reqwest::Certificate::from_der(der))
            .collect::<Result<_, _>>()
            .map_err(|cause| failed(&cause))?;
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.read_timeout)
            .tls_certs_merge(certificates)
            .build()
            .map_err(|cause| failed(&innermost(&cause)))?;
        let protocol =
            if settings.plain_http { ClientProtocol::Http } else { ClientProtocol::Https };
        let extra_root_certificates = authorities
            .iter()
            .map(|der| Certificate { encoding: CertificateEncoding::Der, data: der.to_vec() })
            .collect();
        let client = client::Client::try_from(ClientConfig {
            protocol,
            extra_root_certificates,
            connect_timeout: Some(settings.connect_timeout),
            read_timeout: Some(settings.read_timeout),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        })
        .map_err(|cause| failed(&cause))?;
        Ok(Self {
            settings: settings.clone(),
            reference,
            http,
            client,
            authorization: Mutex::new(None),
            answered: AtomicBool::new(false),
        })
    }

    pub(super) const fn settings(&self) -> &SourceSettings {
        &self.settings
    }

    pub(super) const fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(super) const fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(super) const fn client(&self) -> &oci_client::Client {
        &self.client
    }

    /// The host that is asked, with its port.
    pub(super) fn registry(&self) -> &str {
        self.reference.resolve_registry()
    }

    /// The error of one who may not.
    pub(super) fn refused(&self, with: bool, cause: String) -> SourceError {
        SourceError::Unauthorized {
            name: self.reference.whole(),
            registry: self.reference.registry().to_owned(),
            with,
            cause,
        }
    }

    /// Where a request goes.
    pub(super) fn url(&self, path: &str) -> String {
        let scheme = if self.settings.plain_http { "http" } else { "https" };
        let repository = self.reference.repository();
        format!("{scheme}://{}/v2/{repository}/{path}", self.registry())
    }

    /// An answer of 200, 206, 404 or 416; all else is an error, after repeating what may pass.
    pub(super) async fn get(&self, request: &Request<'_>) -> Result<Response, SourceError> {
        let mut failures = 0;
        loop {
            let (error, wait) = match self.once(request).await {
                Ok(response) => return Ok(response),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::MayPass(error, wait)) => (error, wait),
            };
            if failures >= self.settings.retries {
                return Err(error);
            }
            failures += 1;
            tracing::debug!(%error, failures, "a request to a registry is repeated");
            self.wait(failures, wait).await;
        }
    }

    /// Waits before a request is repeated: as long as the registry asks for, or else longer each
    /// time.
    pub(super) async fn wait(&self, failures: u32, asked: Option<Duration>) {
        let growing =
            self.settings.retry_delay.saturating_mul(1 << failures.saturating_sub(1).min(6));
        tokio::time::sleep(asked.unwrap_or(growing).min(LONGEST_WAIT)).await;
    }

    async fn once(&self, request: &Request<'_>) -> Result<Response, Attempt> {
        let mut renewed = false;
        loop {
            let known = self.known();
            let response = self.send(request, known.as_ref()).await?;
            let status = response.status();
            match status {
                StatusCode::OK
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_FOUND
                | StatusCode::RANGE_NOT_SATISFIABLE => return Ok(response),
                // A token ends, and then the registry asks again. Where a redirection led is
                // nobody that may ask.
                StatusCode::UNAUTHORIZED if !renewed && self.is_own(&response) => {
                    renewed = true;
                    let new = Authorization::obtain(self, &response).await?;
                    *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
                }
                _ => return Err(self.failure(request, response, known.is_some()).await),
            }
        }
    }

    fn known(&self) -> Option<Authorization> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn send(
        &self,
        request: &Request<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, Attempt> {
        let url = self.url(&request.path);
        let mut builder = self.http.get(&url);
        if !request.accept.is_empty() {
            builder = builder.header(ACCEPT, request.accept.join(", "));
        }
        if request.offset > 0 {
            builder = builder.header(RANGE, format!("bytes={}-", request.offset));
        }
        builder = match authorization {
            Some(Authorization::Basic(name, password)) => builder.basic_auth(name, Some(password)),
            Some(Authorization::Bearer(token)) => builder.bearer_auth(token),
            None => builder,
        };
        match builder.send().await {
            Ok(response) => {
                self.answered.store(true, Ordering::Relaxed);
                Ok(response)
            }
            Err(cause) => {
                let passes = !cause.is_redirect()
                    && tls_error(&cause).is_none()
                    && (!cause.is_connect() || self.answered.load(Ordering::Relaxed));
                let error = unreachable(url, &cause);
                Err(if passes { Attempt::MayPass(error, None) } else { Attempt::Final(error) })
            }
        }
    }

    /// Whether the answer is the registry's own.
    fn is_own(&self, response: &Response) -> bool {
        reqwest::Url::parse(&self.url("")).is_ok_and(|own| own.origin() == response.url().origin())
    }

    async fn failure(&self, request: &Request<'_>, response: Response, with: bool) -> Attempt {
        let status = response.status();
        let own = self.is_own(&response);
        let wait = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
        let wait = wait.and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
        let body = self.body(response, "the size of an answer in bytes", MAX_REFUSAL).await;
        let cause = words(&String::from_utf8_lossy(&body.unwrap_or_default()));
        if own && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Attempt::Final(self.refused(with, cause));
        }
        let url = self.url(&request.path);
        let error = SourceError::Registry { url, status: status.as_u16(), cause };
        match status {
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Attempt::MayPass(error, wait),
            _ => Attempt::Final(error),
        }
    }

    /// All of an answer's body, if it is not longer than `limit` bytes.
    pub(super) async fn body(
        &self,
        mut response: Response,
        what: &'static str,
        limit: u64,
    ) -> Result<Bytes, SourceError> {
        let url = response.url().clone();
        // What a redirection added may be a signature.
        let url = format!("{}{}", url.origin().ascii_serialization(), url.path());
        let over =
            |found| SourceError::OverLimit { name: url.clone(), what, found, limit, option: "" };
        if let Some(found) = response.content_length().filter(|found| *found > limit) {
            return Err(over(found));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|cause| unreachable(url.clone(), &cause))?
        {
            body.extend_from_slice(&chunk);
            let found = u64::try_from(body.len()).unwrap_or(u64::MAX);
            if found > limit {
                return Err(over(found));
            }
        }
        Ok(body.freeze())
    }
}

/// Why a request failed, and whether the same one may succeed.
enum Attempt {
    Final(SourceError),
    /// After what the registry asked to wait, if it did.
    MayPass(SourceError, Option<Duration>),
}

impl From<SourceError> for Attempt {
    fn from(error: SourceError) -> Self {
        Self::Final(error)
    }
}

/// The authorities of the settings' file.
fn authorities(settings: &SourceSettings) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let Some(path) = &settings.ca_file else { return Ok(Vec::new()) };
    let invalid = |problem: String| SourceError::InvalidSettings {
        setting: format!("CA file {}", path.display()),
        problem,
    };
    let text = std::fs::read(path).map_err(|cause| invalid(cause.to_string()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|cause| invalid(cause.to_string()))?;
    if certificates.is_empty() {
        return Err(invalid("it has no certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}

/// The error of a request that brought no answer, or no whole one.
pub(super) fn unreachable(url: String, cause: &reqwest::Error) -> SourceError {
    let hint = match tls_error(cause) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "; hint: name the file of its authority with --ca-file"
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            "; hint: if it speaks HTTP without TLS, say so with --plain-http"
        }
        _ => "",
    };
    let cause = if cause.is_timeout() && cause.is_connect() {
        "no connection in time".to_owned()
    } else if cause.is_timeout() {
        "no answer in time".to_owned()
    } else {
        innermost(cause)
    };
    SourceError::Transfer { url, cause, hint }
}

/// The last cause: those before it repeat the URL, which may have been another's by then.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What TLS says, if it was TLS that failed.
fn tls_error<'a>(error: &'a reqwest::Error) -> Option<&'a rustls::Error> {
    let mut cause: &'a (dyn Error + 'static) = error;
    loop {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An I/O error's source is that of the error within, not that error.
        let within = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = within.and_then(|within| within.downcast_ref::<rustls::Error>()) {
            return Some(found);
        }
        cause = match within {
            Some(within) => within,
            None => cause.source()?,
        };
    }
}
