//! `make demo`: a word count on stock Storm, in a container made from squashfs layers.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use storm_oci_e2e::accounts::Account;
use storm_oci_e2e::container::{self, Container};
use storm_oci_e2e::process::{self, Status};
use storm_oci_e2e::say::{self, Steps};
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::testbed::{self, Testbed};
use storm_oci_e2e::{E2eError, Layout, cgroups, command, files, image, interrupt, topology};

/// The topology's name.
const NAME: &str = "word-count";
/// Steps of the demo itself: the daemons, the counts, the container, the end.
const OWN_STEPS: usize = 4;
/// How many of the most frequent words are shown.
const SHOWN: usize = 8;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::failure("demo", &error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<(), E2eError> {
    testbed::as_root()?;
    interrupt::listen()?;
    let began = Instant::now();
    let mut steps = Steps::new(testbed::STEPS + OWN_STEPS - 1);
    let mut testbed = Testbed::create(Layout::new("demo"), &mut steps)?;
    testbed.start(&Settings::new(&testbed.layout), &mut steps)?;

    steps.begin("a word count, in a container");
    let container = show_counts(&mut testbed)?;

    steps.begin("is it a container?");
    show_container(&testbed.layout, &testbed.user, &container)?;

    steps.begin("kill it; what is left?");
    topology::kill(&testbed.layout, &testbed.user, &[NAME])?;
    let end = format!("[{}] ended ", container.id());
    for line in files::read(&testbed.layout.supervisor_log())?.lines() {
        if let Some(at) = line.find(&end) {
            say::line(line.get(at..).unwrap_or_default());
        }
    }
    let kept = container::mounted_layers(&testbed.layout)?.len();
    say::line(format!("{kept} layers stay mounted for the next container; releasing them"));
    testbed.release_layers(&container.id())?;
    testbed.expect_no_container()?;
    say::line("no process, mount, loop device or cgroup of the container is left");
    let layout = testbed.layout.clone();
    testbed.remove()?;
    say::line("the cluster, its accounts and its directories are removed");
    say::plain(format!(
        "\nDone in {:.0} s. Logs: {}",
        began.elapsed().as_secs_f64(),
        layout.logs.display()
    ));
    Ok(())
}

fn show_counts(testbed: &mut Testbed) -> Result<Container, E2eError> {
    let layout = testbed.layout.clone();
    let submitted = Instant::now();
    topology::submit(&layout, &testbed.user, &[(NAME, "")])?;
    say::line("submitted; waiting for its counts");
    let report = topology::report(&layout, NAME, 1, || testbed.check())?;
    say::line(format!("first counts {:.1} s after submission", submitted.elapsed().as_secs_f64()));
    let text = topology::count(&topology::text(&layout)?);
    let expected = text.iter().map(|(word, count)| (word.clone(), count * report.passes)).collect();
    if report.counts != expected {
        return Err(E2eError::unconfirmed(
            "the topology counts as this program does",
            format!("{} words, {} different", report.words, report.counts.len()),
        ));
    }
    say::line(format!(
        "{} words in {} readings of the Apache licence, as this program counts them too:",
        report.words, report.passes
    ));
    let mut words: Vec<_> = report.counts.iter().collect();
    words.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), (*word).clone()));
    for (word, count) in words.into_iter().take(SHOWN) {
        say::fact(word, count);
    }
    let container = Container::of(&layout, NAME)?;
    let outside = container.host_pid(report.pid)?;
    let outside = outside.map_or("?".to_owned(), |pid| pid.to_string());
    say::fact("worker's pid", format!("{} inside, {outside} outside", report.pid));
    Ok(container)
}

fn show_container(layout: &Layout, user: &Account, container: &Container) -> Result<(), E2eError> {
    say::line("runc list:");
    for line in command::output(Command::new("runc").arg("list"))?.lines() {
        if line.starts_with("ID ") || line.starts_with(&container.id()) {
            say::line(format!("  {line}"));
        }
    }
    let status = Status::read(container.init)?;
    say::fact(
        "uid of its processes",
        format!("{} ({})", status.field("Uid").replace('\t', " "), user.name),
    );
    say::fact(
        "groups",
        if status.field("Groups").is_empty() { "none" } else { status.field("Groups") },
    );
    for set in process::CAPABILITY_SETS {
        say::fact(set, status.field(set));
    }
    say::fact("NoNewPrivs", status.field("NoNewPrivs"));
    say::fact("Seccomp", format!("{} (2 = filter)", status.field("Seccomp")));
    let init = container.init.to_string();
    for name in process::NAMESPACES {
        let own = process::namespace("self", name)?;
        let theirs = process::namespace(&init, name)?;
        let relation = if own == theirs { "the host's" } else { "its own" };
        say::fact(&format!("{name} namespace"), format!("{theirs} {relation}"));
    }
    let limits = cgroups::limits(&container.cgroup())?;
    say::fact("cgroup", container.cgroup());
    say::fact(
        "memory limit",
        limits.memory_bytes.map_or("none".to_owned(), |bytes| format!("{} MiB", bytes >> 20)),
    );
    say::fact(
        "cpu limit",
        limits.cpu_percent.map_or("none".to_owned(), |percent| format!("{percent} % of a core")),
    );
    for mount in container.mounts()? {
        if mount.target == Path::new("/") {
            say::fact("its /", format!("{} {} {}", mount.kind, mount.options, mount.super_options));
        }
    }
    for line in files::read(&container.inside(image::OS_RELEASE))?.lines() {
        if line.starts_with("PRETTY_NAME=") || line == image::VARIANT {
            say::fact("os-release inside", line);
        }
    }
    let deleted = !container.inside(image::WHITEOUT).exists();
    say::fact(
        "whiteout",
        format!("{} is {}", image::WHITEOUT, if deleted { "gone" } else { "still there" }),
    );
    let shown: Vec<String> = files::list(&container.inside(image::OPAQUE))?
        .iter()
        .filter_map(|entry| Some(entry.file_name()?.to_string_lossy().into_owned()))
        .collect();
    say::fact("opaque directory", format!("{} has only {}", image::OPAQUE, shown.join(", ")));
    say::line("layers, mounted once on the host for all containers:");
    for mount in container::mounted_layers(layout)? {
        say::line(format!("  {} {} {}", mount.source, mount.kind, mount.target.display()));
    }
    say::line("the launch, in milliseconds:");
    for phase in &container.record.phases {
        let millis = f64::from(u32::try_from(phase.micros).unwrap_or(u32::MAX)) / 1000.0;
        say::fact(&format!("  {}", phase.name), format!("{millis:.1}"));
    }
    Ok(())
}
