//! What a registry is shown: nothing, a password, or a token for which either was exchanged.
//!
//! # References
//!
//! Distribution, "Token Authentication Specification" and "Oauth2 Token Authentication".

use http_auth::{ChallengeRef, parse_challenges};
use oci_client::RegistryOperation;
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::auth_file;
use super::transfer::{Transfer, unreachable};
use crate::source::error::{SourceError, shown};
use crate::source::file;
use crate::source::settings::Credentials;

/// No token comes near it.
const MAX_ANSWER: u64 = 1 << 20;

/// What goes into requests to the registry, and nowhere else. Never shown.
#[derive(Clone)]
pub(super) enum Authorization {
    /// A name and a password.
    Basic(String, String),
    /// An access token.
    Bearer(String),
}

/// How a registry wants to be asked.
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    token: Option<String>,
}

impl Authorization {
    /// Answers the challenge of a registry's refusal.
    pub(super) async fn obtain(
        transfer: &Transfer,
        refusal: &Response,
    ) -> Result<Self, SourceError> {
        let reference = transfer.reference();
        let (settings, registry, repository) = (
            transfer.settings().clone(),
            transfer.registry().to_owned(),
            reference.repository().to_owned(),
        );
        let find = move || auth_file::find(&settings, &registry, &repository);
        let credentials = file::blocking(find).await?;
        let refused = |cause: String| transfer.refused(credentials.is_some(), cause);
        match (challenge(refusal), &credentials) {
            (Some(Challenge::Basic), Some(Credentials::Password { username, password })) => {
                Ok(Self::Basic(username.clone(), password.clone()))
            }
            (Some(Challenge::Basic), Some(Credentials::IdentityToken(_))) => {
                Err(refused("it takes passwords, and there is an identity token".to_owned()))
            }
            (Some(Challenge::Basic), None) => Err(refused("it asks for a password".to_owned())),
            (
                Some(Challenge::Bearer { realm, service }),
                Some(Credentials::IdentityToken(token)),
            ) => exchange(transfer, &realm, service.as_deref(), token).await,
            (Some(Challenge::Bearer { .. }), _) => {
                let known = match &credentials {
                    Some(Credentials::Password { username, password }) => {
                        RegistryAuth::Basic(username.clone(), password.clone())
                    }
                    _ => RegistryAuth::Anonymous,
                };
                let token =
                    transfer.client().auth(reference, &known, RegistryOperation::Pull).await;
                match token {
                    Ok(Some(token)) => Ok(Self::Bearer(token)),
                    Ok(None) => Err(refused("it names no server of tokens".to_owned())),
                    Err(OciDistributionError::AuthenticationFailure(answer)) => {
                        Err(refused(words(&answer)))
                    }
                    Err(OciDistributionError::RequestError(cause)) => {
                        let url = format!("the server of tokens of {}", transfer.registry());
                        Err(unreachable(url, &cause))
                    }
                    Err(cause) => Err(refused(shown(&cause.to_string()))),
                }
            }
            (None, _) => Err(refused("it says not how it is to be asked".to_owned())),
        }
    }
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authorization(…)")
    }
}

/// Reads `WWW-Authenticate`.
fn challenge(refusal: &Response) -> Option<Challenge> {
    let headers = refusal.headers().get_all(WWW_AUTHENTICATE);
    let challenges: Vec<_> = headers
        .iter()
        .filter_map(|header| header.to_str().ok())
        .filter_map(|header| parse_challenges(header).ok())
        .flatten()
        .collect();
    let of_scheme =
        |name: &str| challenges.iter().find(|one| one.scheme.eq_ignore_ascii_case(name));
    let parameter = |challenge: &ChallengeRef<'_>, name: &str| {
        let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped())
    };
    match of_scheme("bearer") {
        Some(bearer) => Some(Challenge::Bearer {
            realm: parameter(bearer, "realm")?,
            service: parameter(bearer, "service"),
        }),
        None => of_scheme("basic").map(|_| Challenge::Basic),
    }
}

/// Changes an identity token into an access token, which the registry's client does not do.
async fn exchange(
    transfer: &Transfer,
    realm: &str,
    service: Option<&str>,
    token: &str,
) -> Result<Authorization, SourceError> {
    let scope = format!("repository:{}:pull", transfer.reference().repository());
    let form = [
        ("grant_type", "refresh_token"),
        ("service", service.unwrap_or(transfer.registry())),
        ("client_id", "storm-oci"),
        ("scope", &scope),
        ("refresh_token", token),
    ];
    let answer = transfer
        .http()
        .post(realm)
        .form(&form)
        .send()
        .await
        .map_err(|cause| unreachable(realm.to_owned(), &cause))?;
    let status = answer.status();
    let body = transfer.body(answer, "the size of a token in bytes", MAX_ANSWER).await?;
    if status != StatusCode::OK {
        return Err(transfer.refused(true, words(&String::from_utf8_lossy(&body))));
    }
    let answer: Option<TokenAnswer> = serde_json::from_slice(&body).ok();
    answer
        .and_then(|answer| answer.access_token.or(answer.token))
        .map(Authorization::Bearer)
        .ok_or_else(|| transfer.refused(true, "its server of tokens sent none".to_owned()))
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Vec<EnvelopeError>,
    details: Option<String>,
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct EnvelopeError {
    code: Option<String>,
    message: Option<String>,
}

/// What a registry's or token server's answer says, without the JSON around it.
pub(super) fn words(answer: &str) -> String {
    let Ok(envelope) = serde_json::from_str::<Envelope>(answer) else {
        let first = answer.lines().next().unwrap_or_default();
        return if first.is_empty() { "no reason is given".to_owned() } else { shown(first) };
    };
    let first = envelope.errors.into_iter().next();
    let said = first.and_then(|error| error.message.or(error.code));
    let said = said.or(envelope.details).or(envelope.error_description);
    said.map_or_else(|| "no reason is given".to_owned(), |said| shown(&said))
}
