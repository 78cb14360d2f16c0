//! The library's stores with the settings of this one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::{
    BackoffConfig, Certificate, ClientConfigKey, ClientOptions, Error, ObjectStore, Result,
    RetryConfig,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::answers::{Connector, innermost};
use crate::error::StoreError;
use crate::location::{Location, Scheme};
use crate::settings::RemoteSettings;

/// How often a request that failed at once is sent again. A whole fetch is tried again above.
const RETRIES: usize = 3;
/// Doubled for each retry, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a connection may take; less where no answer may take as long.
const CONNECT: Duration = Duration::from_secs(5);

/// Whether one of the library's stores has an option of this name.
#[must_use]
pub fn is_object_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    AmazonS3ConfigKey::from_str(&name).is_ok()
        || GoogleConfigKey::from_str(&name).is_ok()
        || AzureConfigKey::from_str(&name).is_ok()
        || ClientConfigKey::from_str(&name).is_ok()
}

/// The store of a directory, bucket, container or web server. Connects to nothing. What is written
/// to a directory is on disk when the call returns.
///
/// # Errors
///
/// [`StoreError::InvalidOptions`], which names the option at fault and not its value.
pub(super) fn connect(
    location: &Location,
    settings: &RemoteSettings,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let options = &settings.objects.options.0;
    let client = client_options(settings).map_err(|problem| {
        let location = location.clone();
        StoreError::InvalidOptions { location, problem }
    })?;
    build(location, settings, &client, options).map_err(|error| {
        let at_fault = |name: &&String| {
            let mut others = options.clone();
            others.remove(*name);
            build(location, settings, &client, &others).is_ok()
        };
        // Without an option at fault one is missing: the message repeats no value.
        let problem = match options.keys().find(at_fault) {
            Some(name) => format!("the value of option `{name}` is not one"),
            None => innermost(&error),
        };
        StoreError::InvalidOptions { location: location.clone(), problem }
    })
}

/// A builder with everything that applies to it. Options of other stores are passed over.
macro_rules! configured {
    ($builder:ty, $key:ty, $settings:expr, $client:expr, $options:expr) => {{
        let builder = <$builder>::new()
            .with_client_options($client)
            .with_retry(retries($settings))
            .with_http_connector(Connector);
        $options.iter().fold(builder, |builder, (name, value)| {
            match <$key>::from_str(&name.to_ascii_lowercase()) {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            }
        })
    }};
}

fn build(
    location: &Location,
    settings: &RemoteSettings,
    client: &ClientOptions,
    options: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>> {
    let (scheme, authority) = (location.scheme(), location.authority());
    let client = client.clone();
    Ok(match scheme {
        Scheme::File => Arc::new(LocalFileSystem::new().with_fsync(true)),
        Scheme::Hdfs => {
            let (operation, implementer) = (scheme.to_string(), "object_store".to_owned());
            return Err(Error::NotImplemented { operation, implementer });
        }
        Scheme::S3 => {
            // Who names an endpoint without TLS means it.
            let client = client.with_allow_http(options.iter().any(is_plain_endpoint));
            let builder =
                configured!(AmazonS3Builder, AmazonS3ConfigKey, settings, client, options);
            Arc::new(builder.with_bucket_name(authority).build()?)
        }
        Scheme::Gs => {
            let builder =
                configured!(GoogleCloudStorageBuilder, GoogleConfigKey, settings, client, options);
            Arc::new(builder.with_bucket_name(authority).build()?)
        }
        Scheme::Azure => {
            let builder =
                configured!(MicrosoftAzureBuilder, AzureConfigKey, settings, client, options);
            Arc::new(builder.with_container_name(authority).build()?)
        }
        Scheme::Http | Scheme::Https => {
            let client = client.with_allow_http(scheme == Scheme::Http);
            let builder = configured!(HttpBuilder, ClientConfigKey, settings, client, options);
            Arc::new(builder.with_url(format!("{scheme}://{authority}")).build()?)
        }
    })
}

fn is_plain_endpoint((name, value): (&String, &String)) -> bool {
    let key = AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase());
    matches!(key, Ok(AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint))
        && value.starts_with("http://")
}

/// What every client has.
///
/// # Errors
///
/// What is wrong with the file of authorities.
fn client_options(settings: &RemoteSettings) -> std::result::Result<ClientOptions, String> {
    let client = ClientOptions::new()
        // Large layers take longer than any limit for a whole answer; a stall is what ends one.
        .with_timeout_disabled()
        .with_read_timeout(settings.request_timeout)
        .with_connect_timeout(settings.request_timeout.min(CONNECT));
    let authorities = match &settings.objects.ca_file {
        Some(path) => authorities(path).map_err(|why| {
            format!("the file of `storm.oci.store.ca.file`, {}: {why}", path.display())
        })?,
        None => Vec::new(),
    };
    Ok(authorities.into_iter().fold(client, ClientOptions::with_root_certificate))
}

/// The certificates in a file.
fn authorities(path: &Path) -> std::result::Result<Vec<Certificate>, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let mut known = RootCertStore::empty();
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| innermost(&error))?;
        // The client would refuse it when it connects, and not say where it is from.
        let added = known.add(certificate.clone());
        added.map_err(|_| "it has a certificate that cannot be read")?;
        found.push(Certificate::from_der(&certificate).map_err(|error| innermost(&error))?);
    }
    if found.is_empty() {
        return Err("it has no certificate in PEM form".to_owned());
    }
    Ok(found)
}

fn retries(settings: &RemoteSettings) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: FIRST_PAUSE,
            max_backoff: LONGEST_PAUSE,
            ..BackoffConfig::default()
        },
        max_retries: RETRIES,
        // A stall takes all of it and is not waited for again.
        retry_timeout: settings.request_timeout,
    }
}
