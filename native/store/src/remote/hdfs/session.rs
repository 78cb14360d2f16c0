//! Requests to a cluster: bounded in time, with what the client does badly kept inside.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hdfs_native::{Client, ClientBuilder, HdfsError};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::{Instrument as _, Span};

use super::cluster::{Cluster, Security};
use super::failure::{Problem, condemns_client, of_datanode, of_namenode};
use super::login;
use super::offer::insist_on_kerberos;
use crate::error::{ErrorKind, StoreError};
use crate::location::Location;
use crate::settings::RemoteSettings;

/// The connections to one cluster.
#[derive(Debug)]
pub(super) struct Session {
    settings: RemoteSettings,
    authority: String,
    state: Mutex<State>,
    /// Held while a client is made: of many who need one, one makes it.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Arc<Link>>,
    /// The namenode to begin with; the next one after each that hung.
    first: usize,
}

/// A client and what it was made of.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    pub(super) cluster: Cluster,
}

/// What a request does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Request {
    /// It asks; so it may be sent to each namenode of the cluster, if those before hang.
    Ask,
    /// It writes, which must not be done twice, and talks to datanodes too.
    Write,
}

impl Session {
    /// Reads the configuration, so that what is wrong with it shows here. Does not connect.
    pub(super) fn new(settings: RemoteSettings, authority: &str) -> Result<Self, Problem> {
        Cluster::resolve(&settings, authority, 0)?;
        Ok(Self {
            settings,
            authority: authority.to_owned(),
            state: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        })
    }

    /// How long a request may take, all namenodes together; and a read without a byte. Callers
    /// wait a little longer, so that it is this store which says what was missing.
    pub(super) fn patience(&self) -> Duration {
        self.settings.request_timeout * 9 / 10
    }

    /// Asks the namenodes for something.
    ///
    /// A client that may be broken is thrown away: the next request begins with a new one, which
    /// reads configuration and keytab anew.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        object: &Location,
        sort: Request,
        request: impl Fn(Client) -> BoxFuture<'static, Result<T, HdfsError>>,
    ) -> Result<(T, Arc<Link>), StoreError> {
        let mut try_number = 1;
        loop {
            let link = self.link().await.map_err(|problem| problem.at(operation, object))?;
            let (tries, peers) = match sort {
                Request::Ask => (link.cluster.namenodes.len(), link.cluster.peers()),
                Request::Write => (1, format!("{} or a datanode", link.cluster.peers())),
            };
            let limit = self.patience() / u32::try_from(tries).unwrap_or(u32::MAX);
            let kerberos = matches!(link.cluster.security, Security::Kerberos { .. });
            let problem = match bounded(kerberos, limit, request(link.client.clone())).await {
                Ok(Ok(value)) => return Ok((value, link)),
                Ok(Err(error)) => {
                    if condemns_client(&error) {
                        self.discard(&link, Next::SameNamenode);
                    }
                    of_namenode(&error, &peers, &link.cluster.security)
                }
                Err(Lost::Panicked(problem)) => {
                    self.discard(&link, Next::SameNamenode);
                    problem
                }
                Err(Lost::TimedOut) => {
                    self.discard(&link, Next::OtherNamenode);
                    if try_number < tries {
                        try_number += 1;
                        continue;
                    }
                    let kdc = if kerberos { " or the KDC" } else { "" };
                    let seconds = self.patience().as_secs_f32();
                    Problem::unreachable(format!("no answer from {peers}{kdc} in {seconds} s"))
                }
            };
            return Err(problem.at(operation, object));
        }
    }

    /// A part of writing a file, which only the client that began it can go on with.
    pub(super) async fn step<T: Send + 'static>(
        &self,
        link: &Arc<Link>,
        step: BoxFuture<'static, Result<T, HdfsError>>,
    ) -> Result<T, Problem> {
        let kerberos = matches!(link.cluster.security, Security::Kerberos { .. });
        let limit = self.patience();
        match bounded(kerberos, limit, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if condemns_client(&error) {
                    self.discard(link, Next::SameNamenode);
                }
                Err(of_datanode(&error, &link.cluster))
            }
            Err(Lost::Panicked(problem)) => {
                self.discard(link, Next::SameNamenode);
                Err(problem)
            }
            Err(Lost::TimedOut) => {
                self.discard(link, Next::OtherNamenode);
                let (peers, seconds) = (link.cluster.peers(), limit.as_secs_f32());
                Err(Problem::unreachable(format!(
                    "no answer from {peers} or a datanode in {seconds} s"
                )))
            }
        }
    }

    async fn link(&self) -> Result<Arc<Link>, Problem> {
        let made = |state: &State| state.link.as_ref().map(Arc::clone);
        if let Some(link) = made(&self.state()) {
            return Ok(link);
        }
        let _turn = self.making.lock().await;
        let first = {
            let state = self.state();
            if let Some(link) = made(&state) {
                return Ok(link);
            }
            state.first
        };
        let (settings, authority) = (self.settings.clone(), self.authority.clone());
        // It reads files, and asks the name service for this host's name.
        let span = Span::current();
        let made = tokio::task::spawn_blocking(move || {
            span.in_scope(|| connect(&settings, &authority, first))
        });
        let link = made.await.unwrap_or_else(|_| Err(panicked()))?;
        if let Security::Kerberos { .. } = link.cluster.security {
            insist_on_kerberos(&link.cluster.namenodes, self.patience() / 4).await?;
        }
        let link = Arc::new(link);
        self.state().link = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Throws a client away, unless another caller has done so.
    fn discard(&self, link: &Arc<Link>, next: Next) {
        let mut state = self.state();
        if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            state.link = None;
            if next == Next::OtherNamenode {
                state.first = state.first.wrapping_add(1);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole at every point where a panic could strike.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Next {
    SameNamenode,
    OtherNamenode,
}

/// Why a request has no answer, not even an error.
pub(super) enum Lost {
    TimedOut,
    Panicked(Problem),
}

/// The client's panics are faults of the store, as far as callers are concerned.
pub(super) fn panicked() -> Problem {
    Problem::new(ErrorKind::Internal, "the HDFS client panicked")
}

/// Runs a request of the client under a limit of time.
///
/// A login blocks its thread while it talks to the KDC, so it gets a thread that may be blocked.
async fn bounded<T: Send + 'static>(
    blocks: bool,
    limit: Duration,
    request: BoxFuture<'static, Result<T, HdfsError>>,
) -> Result<Result<T, HdfsError>, Lost> {
    let request = AssertUnwindSafe(request).catch_unwind();
    let outcome = if blocks {
        let runtime = Handle::current();
        let request = request.in_current_span();
        let thread = tokio::task::spawn_blocking(move || runtime.block_on(timeout(limit, request)));
        // Not even a timer goes off in a thread that is blocked.
        match timeout(limit, thread).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => return Err(Lost::Panicked(panicked())),
            Err(_) => return Err(Lost::TimedOut),
        }
    } else {
        timeout(limit, request).await
    };
    match outcome {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Lost::Panicked(panicked())),
        Err(_) => Err(Lost::TimedOut),
    }
}

/// Makes a client. Nothing goes over the network, and nothing is taken from the environment: the
/// configuration's directory is one that cannot be, so that the client does not look for its own.
fn connect(settings: &RemoteSettings, authority: &str, first: usize) -> Result<Link, Problem> {
    let cluster = Cluster::resolve(settings, authority, first)?;
    let mut builder = ClientBuilder::new()
        .with_url(cluster.url.clone())
        .with_config_dir("/dev/null")
        .with_config(cluster.options.clone());
    if let Security::Kerberos { login: Some(login) } = &cluster.security {
        login::check_keytab(login)?;
        let keytab = login.keytab.to_str().ok_or_else(|| {
            Problem::misconfigured("the keytab's path is not UTF-8, which the client needs")
        })?;
        // With a keytab and no cache the client keeps its tickets in a private cache in memory:
        // logins of the same process and of the account stay as they are.
        builder = builder
            .with_kerberos_principal(login.principal.clone())
            .with_kerberos_keytab(keytab.to_owned());
    }
    match builder.build() {
        Ok(client) => Ok(Link { client, cluster }),
        Err(error) => Err(of_namenode(&error, &cluster.peers(), &cluster.security)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short, for what never ends.
    const LIMIT: Duration = Duration::from_millis(20);
    /// Long, for what ends by itself.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_panic_of_the_client_is_an_error() {
        for blocks in [false, true] {
            let request: BoxFuture<'_, Result<(), _>> =
                Box::pin(async { panic!("called `Option::unwrap()` on a `None` value") });
            let Err(Lost::Panicked(problem)) = bounded(blocks, PATIENCE, request).await else {
                panic!("{blocks}");
            };
            assert_eq!(problem.kind, ErrorKind::Internal);
        }
    }

    #[tokio::test]
    async fn a_request_without_an_answer_ends() {
        for blocks in [false, true] {
            let request: BoxFuture<'_, Result<(), _>> = Box::pin(std::future::pending());
            assert!(matches!(bounded(blocks, LIMIT, request).await, Err(Lost::TimedOut)));
        }
        // A login that waits for the KDC does not even yield.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let request: BoxFuture<'_, Result<(), _>> = Box::pin(async move {
            let _closed = ended.recv();
            Ok(())
        });
        assert!(matches!(bounded(true, LIMIT, request).await, Err(Lost::TimedOut)));
        drop(end);
    }
}
