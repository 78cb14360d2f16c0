//! `run-oci-container`: a container of a real image, by a real setuid copy, with real runc.

mod support;

use support::container::{Image, Worker};
use support::{Host, USER};

#[test]
fn a_container_runs_as_the_user_without_any_right() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(
        &host,
        &image,
        "id; grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status; exec sleep 1000",
    );
    worker.launch(&host).expect_success();
    let output = worker.stdout();
    assert!(
        output.starts_with(&format!("uid={} gid={}", USER.uid, USER.gid)),
        "{output}"
    );
}
