//! A server of tokens for a registry.
//!
//! # References
//!
//! Distribution, "Token Authentication Implementation" and "Oauth2 Token Authentication".

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Registry;
use super::front::{Answer, Asked, Front};
use crate::cache::run;
use crate::error::{Doing, TestbedError};

const ISSUER: &str = "storm-oci tests";
const SERVICE: &str = "registry-for-tests";
const LIFE_SECONDS: u64 = 3600;

/// The server, and what the registry knows it by.
#[derive(Debug)]
pub(super) struct Tokens {
    front: Front,
    certificate: PathBuf,
    given: Arc<AtomicUsize>,
}

/// What signs tokens.
#[derive(Debug)]
struct Signer {
    key: PathBuf,
    /// The certificate without its armour, which is its DER in base64.
    chain: String,
}

impl Tokens {
    pub(super) fn start(directory: &Path, anonymous: bool) -> Result<Self, TestbedError> {
        let (key, certificate) = (directory.join("tokens.key"), directory.join("tokens.pem"));
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-days", "1", "-noenc", "-newkey", "rsa:2048"])
            .args(["-subj", "/CN=tokens", "-addext", "basicConstraints=critical,CA:TRUE"])
            .args([Path::new("-config"), Path::new("/dev/null"), Path::new("-keyout"), &key])
            .args([Path::new("-out"), &certificate]);
        run("make a key for tokens", &mut openssl)?;
        let armoured = std::fs::read_to_string(&certificate).doing("read a certificate")?;
        let chain = armoured.lines().filter(|line| !line.starts_with("-----")).collect();
        let signer = Signer { key, chain };
        let given = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&given);
        // Nothing is passed on.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let front = Front::start(nowhere, move |asked| {
            let refusal = json!({"errors": [{"code": "DENIED", "message": "who are you?"}]});
            let (status, answer) = match scope(asked, anonymous) {
                None => (401, refusal),
                Some(scope) => match signer.token(&scope) {
                    Ok(token) => {
                        counting.fetch_add(1, Ordering::Relaxed);
                        (200, json!({"token": token, "access_token": token}))
                    }
                    Err(error) => (500, json!({"details": error.to_string()})),
                },
            };
            let lines = vec!["Content-Type: application/json".to_owned()];
            Answer::Own(status, lines, answer.to_string().into_bytes())
        })?;
        Ok(Self { front, certificate, given })
    }

    /// The part of the registry's configuration.
    pub(super) fn configuration(&self) -> String {
        let (address, certificate) = (self.front.address(), self.certificate.display());
        format!(
            "auth:\n  token:\n    realm: http://{address}/token\n    service: {SERVICE}\n    \
             issuer: {ISSUER}\n    rootcertbundle: {certificate}\n"
        )
    }

    pub(super) fn given(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }
}

/// The scope that is asked for, if the one who asks may have it.
fn scope(asked: &Asked, anonymous: bool) -> Option<String> {
    let query = if asked.method == "POST" {
        String::from_utf8_lossy(&asked.body).into_owned()
    } else {
        asked.path.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default()
    };
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.map(decoded)
    };
    let password = format!("{}:{}", Registry::USERNAME, Registry::PASSWORD);
    let password = format!("Basic {}", STANDARD.encode(password));
    let known = match asked.header("authorization") {
        Some(shown) => shown == password,
        None if asked.method == "POST" => {
            parameter("refresh_token").as_deref() == Some(Registry::IDENTITY_TOKEN)
                && parameter("grant_type").as_deref() == Some("refresh_token")
                && parameter("client_id").is_some()
        }
        None => anonymous,
    };
    let is_ours = parameter("service").as_deref() == Some(SERVICE);
    if known && is_ours { parameter("scope") } else { None }
}

/// What percent signs and plus signs in a query stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Signer {
    fn token(&self, scope: &str) -> Result<String, TestbedError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).doing("read the clock")?.as_secs();
        let access: Vec<Value> = scope
            .split(' ')
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let actions: Vec<_> = actions.split(',').collect();
                Some(json!({"type": kind, "name": name, "actions": actions}))
            })
            .collect();
        let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [self.chain]});
        let claims = json!({
            "iss": ISSUER, "sub": Registry::USERNAME, "aud": SERVICE, "iat": now, "nbf": now - 60,
            "exp": now + LIFE_SECONDS, "jti": now.to_string(), "access": access,
        });
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&head), encoded(&claims));
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(&self.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing("start `openssl`")?;
        if let Some(mut input) = openssl.stdin.take() {
            input.write_all(signed.as_bytes()).doing("sign a token")?;
        }
        let output = openssl.wait_with_output().doing("sign a token")?;
        if !output.status.success() {
            return Err(TestbedError::new("sign a token", output.status));
        }
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(output.stdout)))
    }
}
