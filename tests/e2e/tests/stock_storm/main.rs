//! The whole path on a real, unmodified Storm. One cluster serves all checks, in order; it is
//! removed at the end, whether they pass or fail.

mod bad_input;
mod containment;
mod erofs;
mod from_hdfs;
mod metrics;
mod profiling;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bad_input::{BadImages, NOT_ALLOWED, TRUNCATED};
use storm_oci_e2e::cluster::Cluster;
use storm_oci_e2e::container::{self, Container};
use storm_oci_e2e::say::Steps;
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::supervisor_log::{self, said};
use storm_oci_e2e::testbed::{self, IMAGE, Testbed};
use storm_oci_e2e::verdicts::{Verdicts, holds, same};
use storm_oci_e2e::{E2eError, Layout, files, install, interrupt, process, topology};

/// Two word counts of the same image.
const ONE: &str = "count-one";
const TWO: &str = "count-two";
/// One that is submitted when the image is in use already.
const LATER: &str = "count-later";

/// From the end of a worker to the next one's container: Storm's rounds of 3 s, and a launch.
const RELAUNCH_LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    Verdicts::of(run)
}

fn run(verdicts: &mut Verdicts) -> Result<(), E2eError> {
    let mut steps = Steps::new(testbed::STEPS + 2);
    let mut testbed = Testbed::create(Layout::new("e2e"), &mut steps)?;
    let bad = BadImages::create(&mut testbed)?;
    erofs::create(&testbed)?;
    let mount = testbed.layout.scratch("operators");
    files::make_dir(&mount)?;
    let mut allowed: Vec<String> = bad.all.iter().map(|image| image.tag.clone()).collect();
    allowed.retain(|tag| tag != NOT_ALLOWED);
    allowed.extend([IMAGE, erofs::TAG].map(str::to_owned));
    let settings = Settings {
        allowed_images: allowed,
        readonly_mounts: vec![mount.display().to_string()],
        worker_start_seconds: 20,
        ..Settings::new(&testbed.layout)
    };
    verdicts.check("the_example_configuration_loads", example_loads(&testbed));
    testbed.start(&settings, &mut steps)?;
    steps.begin("checks");
    checks(&mut testbed, &bad, &settings, verdicts)?;
    steps.begin("removal");
    verdicts.check("removal_leaves_nothing", testbed.remove());
    Ok(())
}

fn checks(
    testbed: &mut Testbed,
    bad: &BadImages,
    settings: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    let supervisor = pid(testbed)?;

    // Good and bad ones at once, each in its own slot.
    let mut topologies = vec![(ONE, ""), (TWO, ""), (erofs::NAME, erofs::TAG)];
    topologies.extend(bad.all.iter().map(|image| (image.name, image.tag.as_str())));
    topology::submit(&layout, &user, &topologies)?;
    let report = topology::report(&layout, ONE, 2, || testbed.check())?;
    topology::report(&layout, TWO, 1, || testbed.check())?;
    let one = Container::of(&layout, ONE)?;
    let two = Container::of(&layout, TWO)?;

    verdicts.check(
        "tuples_are_counted_in_the_container",
        containment::counted_in_the_container(testbed, &one, &report),
    );
    verdicts.check("overlay_semantics_hold", containment::overlay(&one));
    verdicts.check(
        "processes_are_the_users_without_capabilities",
        containment::identity(testbed, &one),
    );
    verdicts.check("namespaces_are_the_containers_own", containment::namespaces(&one));
    verdicts.check("seccomp_filters_with_a_profile", containment::seccomp(&one, "2"));
    verdicts.check("the_cgroup_has_the_limits", containment::limits(&one));
    verdicts.check("a_worker_reports_its_cgroup", metrics::are_the_cgroups(&one));
    verdicts.check(
        "two_workers_share_their_layers",
        containment::layers_are_shared(testbed, &one, &two),
    );

    verdicts.check("a_topology_runs_from_an_erofs_layer", erofs::runs(testbed));

    // Storm's rounds take their time: the files are looked for later.
    topology::profile(&layout, &user, ONE)?;

    for image in &bad.all {
        let outcome = said(&layout, 0, &image.said).and_then(|_| unharmed(testbed, supervisor));
        verdicts.check(&format!("{}_costs_one_worker", image.name.replace('-', "_")), outcome);
    }
    verdicts
        .check("a_worker_is_profiled_in_its_container", profiling::made(testbed, &one, &report));
    verdicts.check("a_repaired_layer_is_fetched_again", repaired(testbed, bad));
    let discarded = ["discarded 1 local layer", TRUNCATED].map(str::to_owned);
    verdicts.check("only_the_refused_layer_is_discarded", said(&layout, 0, &discarded).map(|_| ()));
    let mut names: Vec<&str> = bad.all.iter().map(|image| image.name).collect();
    names.push(erofs::NAME);
    topology::kill(&layout, &user, &names)?;
    verdicts.check("bad_input_leaves_nothing", only_remain(testbed, &[&one, &two]));

    verdicts.check("a_later_launch_mounts_and_fetches_nothing", later(testbed));
    verdicts.check("an_end_is_told_truly_and_made_up_for", ended(testbed));
    verdicts.check("a_user_not_permitted_costs_one_worker", banned(testbed, supervisor));
    verdicts
        .check("a_missing_mount_source_costs_one_worker", unmounted(testbed, settings, supervisor));
    verdicts.check("workers_outlive_their_supervisor", restarted(testbed, settings, &one));
    verdicts.check("seccomp_is_off_without_a_profile", unfiltered(testbed));

    verdicts.check("a_topology_runs_from_hdfs", from_hdfs::runs(testbed, settings));

    verdicts.check("killing_leaves_nothing", killed(testbed, &one));
    Ok(())
}

/// The launcher takes the example as it is, with the group that was named to `make install` and
/// the profiler that it installed.
fn example_loads(testbed: &Testbed) -> Result<(), E2eError> {
    let group = format!("storm.worker-launcher.group={}", testbed.daemon.name);
    let found = testbed.example_config.lines().any(|line| line == group);
    holds("the example has the group filled in", found, &testbed.example_config)?;
    let profiler = format!("worker.profiler.script.path={}", testbed.layout.profiler().display());
    let found = testbed.example_config.lines().any(|line| line == profiler);
    holds("the example has the profiler filled in", found, &testbed.example_config)
}

fn pid(testbed: &mut Testbed) -> Result<Option<u32>, E2eError> {
    testbed.cluster.as_mut().map_or(Ok(None), Cluster::supervisor_pid)
}

/// The supervisor is still the one that was started.
fn unharmed(testbed: &mut Testbed, supervisor: Option<u32>) -> Result<(), E2eError> {
    same("the supervisor is still the same process", pid(testbed)?, supervisor)
}

/// The topology with the truncated layer runs once the store has the whole one.
fn repaired(testbed: &mut Testbed, bad: &BadImages) -> Result<(), E2eError> {
    testbed.store.put_layer(&bad.truncated, &bad.whole, Some(&bad.truncated))?;
    topology::report(&testbed.layout.clone(), TRUNCATED, 1, || testbed.check()).map(|_| ())
}

/// No container, running or dead, but these.
fn only_remain(testbed: &Testbed, containers: &[&Container]) -> Result<(), E2eError> {
    let mut expected: Vec<String> = containers.iter().map(|container| container.id()).collect();
    expected.sort();
    let found = interrupt::poll(Duration::from_secs(60), || {
        let mut found: Vec<String> = container::records(&testbed.layout)?
            .into_iter()
            .map(|record| record.container_id.to_string())
            .collect();
        found.sort();
        Ok((found == expected).then_some(()))
    })?;
    holds("only running containers have records", found.is_some(), "others have, too")?;
    let workers = files::list(&testbed.layout.workers())?.len();
    same("only running containers have worker directories", workers, containers.len())
}

fn later(testbed: &mut Testbed) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let start = supervisor_log::length(&layout)?;
    topology::submit(&layout, &testbed.user, &[(LATER, "")])?;
    topology::report(&layout, LATER, 1, || testbed.check())?;
    let container = Container::of(&layout, LATER)?;
    containment::mounted_nothing(&container)?;
    said(&layout, start, &[container.id(), "0 fetched, 0 mounted".to_owned()]).map(|_| ())
}

/// Kills a container's pid 1: Storm learns the code a shell would tell, and starts another.
fn ended(testbed: &mut Testbed) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let start = supervisor_log::length(&layout)?;
    let before = Container::of(&layout, LATER)?;
    process::kill(before.init);
    let worker = before.record.container_id.worker_id().to_string();
    said(&layout, start, &[worker, "exited with code: 137".to_owned()])?;
    let next = interrupt::poll(RELAUNCH_LIMIT, || {
        testbed.check()?;
        Ok(Container::of(&layout, LATER).ok().filter(|next| next.id() != before.id()))
    })?;
    holds("an ended worker is started anew", next.is_some(), "no other container")?;
    topology::report(&layout, LATER, 1, || testbed.check()).map(|_| ())
}

/// Submits a topology that must be refused, and waits for the words.
fn refused(
    testbed: &mut Testbed,
    name: &str,
    words: &[&str],
    supervisor: Option<u32>,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let start = supervisor_log::length(&layout)?;
    topology::submit(&layout, &testbed.user, &[(name, "")])?;
    let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    words.push("cannot launch worker".to_owned());
    words.push(format!("topology {name}-"));
    let outcome = said(&layout, start, &words);
    unharmed(testbed, supervisor)?;
    outcome.map(|_| ())
}

fn banned(testbed: &mut Testbed, supervisor: Option<u32>) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    install::write_launcher_conf(&layout, &[&user.name])?;
    let outcome = refused(testbed, "banned", &[&user.name, "banned.users"], supervisor);
    install::write_launcher_conf(&layout, &[])?;
    topology::kill(&layout, &user, &["banned"])?;
    outcome
}

fn unmounted(
    testbed: &mut Testbed,
    settings: &Settings,
    supervisor: Option<u32>,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    let mount = settings.readonly_mounts.first().cloned().unwrap_or_default();
    files::remove_tree(mount.as_ref())?;
    let words = [mount.as_str(), "storm.oci.readonly.bindmounts"];
    let outcome = refused(testbed, "no-source", &words, supervisor);
    files::make_dir(mount.as_ref())?;
    topology::kill(&layout, &user, &["no-source"])?;
    outcome
}

/// Stops the supervisor, looks that its workers go on, and starts it again, without a seccomp
/// profile from then on.
fn restarted(testbed: &mut Testbed, settings: &Settings, one: &Container) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let cluster = testbed.cluster.as_mut().ok_or(E2eError::Interrupted)?;
    cluster.stop_supervisor();
    let before = topology::report(&layout, ONE, 1, || Ok(()))?;
    topology::report(&layout, ONE, before.passes + 2, || Ok(()))?;
    cluster.configure(&Settings { seccomp: false, ..settings.clone() })?;
    cluster.start_supervisor()?;
    // Several of the supervisor's rounds: a worker it did not know would be killed in the first.
    thread::sleep(Duration::from_secs(10));
    let after = topology::report(&layout, ONE, before.passes + 4, || testbed.check())?;
    same("the worker is the same process", after.pid, before.pid)?;
    let again = Container::of(&layout, ONE)?;
    same("the container is the same", (again.id(), again.init), (one.id(), one.init))
}

fn unfiltered(testbed: &mut Testbed) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    topology::submit(&layout, &testbed.user, &[("unfiltered", "")])?;
    topology::report(&layout, "unfiltered", 1, || testbed.check())?;
    containment::seccomp(&Container::of(&layout, "unfiltered")?, "0")?;
    topology::kill(&layout, &testbed.user, &["unfiltered"])
}

fn killed(testbed: &Testbed, one: &Container) -> Result<(), E2eError> {
    topology::kill(&testbed.layout, &testbed.user, &[ONE, TWO, LATER])?;
    testbed.release_layers(&one.id())?;
    testbed.expect_no_container()
}
