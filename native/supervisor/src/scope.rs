//! Which container a log line is about.
//!
//! What is done for one container is done in a span with the field `container`. The bridge puts
//! its value before every line that is written within, also in other threads that work for it, so
//! messages need not name the container.

use std::fmt::Display;

use storm_oci_request::{ContainerId, LaunchRecord, WorkerId};
use tracing::{Span, info_span};

use crate::documents::LaunchDocument;
use crate::text::shown;

/// Of a container.
pub(crate) fn container(container: &ContainerId) -> Span {
    span(container)
}

/// Of a worker, by the name of its container where a record tells it.
pub(crate) fn worker(worker: &WorkerId, record: Option<&LaunchRecord>) -> Span {
    match record {
        Some(record) => container(&record.container_id),
        None => span(worker),
    }
}

/// Of a worker whose id nobody has checked yet.
pub(crate) fn unchecked_worker(worker_id: &str) -> Span {
    span(&shown(worker_id))
}

/// Of a launch, whose names nobody has checked yet.
pub(crate) fn launch(document: &LaunchDocument) -> Span {
    span(&format_args!("{}-{}", document.port, shown(&document.worker_id)))
}

fn span(name: &dyn Display) -> Span {
    info_span!("container", container = %name)
}
