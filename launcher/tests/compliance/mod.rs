//! Scenarios of the compliance suite, as data.

mod observe;
mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::support::container::{Worker, cgroup_parent, hierarchies};
use super::support::image::Image;
use super::support::{Host, OTHER_SUPERVISOR, SUPERVISOR, TestAccount, outcome};
use scene::{Process, Processes};

/// A field of a result and its value.
pub(crate) type Fields = BTreeMap<String, Value>;

/// What is set up, what is called, and what the original makes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Where the results are from.
    pub(crate) source: String,
    /// Lines added to `/etc/passwd`.
    #[serde(default)]
    accounts: Vec<String>,
    /// The whole configuration file instead of the harness's.
    configuration: Option<String>,
    /// Lines added to the harness's configuration.
    #[serde(default)]
    settings: Vec<String>,
    /// The installed program's mode instead of 6550.
    program_mode: Option<String>,
    /// The worker that `{id}`, `{container}` and `{layer}` in any text stand for, `{parent}`, its
    /// cgroup's parent, and `{init}`, its container's first process.
    worker: Option<WorkerScene>,
    /// Files as `ls -l` shows them, below the harness's tmpfs.
    #[serde(default)]
    tree: Vec<String>,
    /// Processes that `{pid:<name>}` stands for.
    #[serde(default)]
    processes: Vec<Process>,
    steps: Vec<Step>,
    /// The original's results.
    #[serde(default)]
    expect: Map<String, Value>,
}

/// A worker with a request for a container of a small image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkerScene {
    /// JSON pointers into the request and their values; `null` takes the key away.
    #[serde(default)]
    amend: BTreeMap<String, Value>,
    /// Scenarios of their own by name, each with more of the same: their results are equal.
    #[serde(default)]
    variants: BTreeMap<String, BTreeMap<String, Value>>,
}

/// One thing that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Step {
    /// The launcher is called by the supervisor.
    Call(Vec<String>),
    /// It is called by the second supervisor on the host.
    OfAnother { another: Vec<String> },
    /// Something happens between the calls: see [`scene::happen`].
    Event(String),
}

/// Where ours is not as the original, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Difference {
    pub(crate) scenarios: Vec<String>,
    /// The original's value and ours of each field; `null` where one has none.
    pub(crate) fields: BTreeMap<String, [Value; 2]>,
    pub(crate) reason: String,
    /// Its row in `docs/deviations.md`.
    pub(crate) deviation: String,
}

impl Scenario {
    /// The scenario, or each of its variants.
    pub(crate) fn variants(self) -> Vec<Self> {
        let Some(worker) = self.worker.as_ref().filter(|worker| !worker.variants.is_empty()) else {
            return vec![self];
        };
        let variants = worker.variants.iter().map(|(name, more)| {
            let mut amend = worker.amend.clone();
            amend.extend(more.clone());
            let worker = Some(WorkerScene { amend, variants: BTreeMap::new() });
            Self { name: name.clone(), worker, ..self.clone() }
        });
        variants.collect()
    }

    /// How often it calls the launcher.
    pub(crate) fn calls(&self) -> usize {
        self.steps.iter().filter(|step| !matches!(step, Step::Event(_))).count()
    }

    /// The original's results. Files are compared where something is said of them, and where no
    /// container was launched: then none changes.
    pub(crate) fn expected(&self) -> Value {
        let mut expect = self.expect.clone();
        if self.worker.is_none() {
            expect.entry("changes").or_insert_with(|| json!({}));
        }
        if let Some(Value::Object(mounts)) = expect.get_mut("mounts") {
            mounts.retain(|point, _| is_seen_here(&format!("mounts {point}")));
        }
        Value::Object(expect)
    }

    /// Sets the scene on `host`, does what the scenario says and looks at what came of it.
    pub(crate) fn observe(&self, host: &Host) -> Fields {
        if !self.accounts.is_empty() {
            let passwd = fs::read_to_string("/etc/passwd").unwrap();
            fs::write("/etc/passwd", format!("{passwd}{}\n", self.accounts.join("\n"))).unwrap();
        }
        host.configure(&self.settings.join("\n"));
        if let Some(text) = &self.configuration {
            host.write_config(text.as_bytes());
        }
        if let Some(mode) = &self.program_mode {
            let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
            fs::set_permissions(host.program(), fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut names = Names(Vec::new());
        let worker = self.worker.as_ref().map(|scene| {
            let mut worker = Worker::new(host, &Image::busybox(host), "exec sleep 1000");
            names = Names::of(&worker);
            worker.amend(|request| scene.apply(request, &names));
            worker
        });
        let processes = Processes::start(&self.processes);
        let text = |text: &str| {
            let first = worker.as_ref().and_then(observe::first_process);
            let first = first.map(|pid| pid.to_string()).unwrap_or_default();
            processes.fill(&names.fill(text)).replace("{init}", &first)
        };
        for line in &self.tree {
            scene::make(&text(line));
        }
        let before = observe::tree();
        let (mut codes, mut told) = (Vec::new(), Vec::new());
        for step in &self.steps {
            let (caller, arguments): (TestAccount, &[String]) = match step {
                Step::Event(event) => {
                    scene::happen(&text(event), worker.as_ref());
                    continue;
                }
                Step::Call(arguments) => (SUPERVISOR, arguments),
                Step::OfAnother { another } => (OTHER_SUPERVISOR, another),
            };
            let arguments: Vec<String> = arguments.iter().map(|one| text(one)).collect();
            let outcome = outcome::run(host.command_as(caller, &arguments));
            codes.push(outcome.code);
            told.push(!outcome.stdout.is_empty());
        }
        let mut result = Map::new();
        result.insert("codes".into(), json!(codes));
        for field in self.expect.keys() {
            let value = match (field.as_str(), &worker) {
                ("codes" | "changes", _) => continue,
                ("told", _) => json!(told),
                ("processes", _) => processes.outcomes(),
                ("mounts", Some(worker)) => observe::mounts(worker),
                ("hostMounts", Some(worker)) => observe::host_mounts(host, worker),
                ("config", Some(worker)) => observe::config(worker),
                ("files", _) => observe::contents(&self.expect["files"], text),
                _ => panic!("{field} is no field of a result"),
            };
            result.insert(field.clone(), value);
        }
        if self.worker.is_none() || self.expect.contains_key("changes") {
            result.insert("changes".into(), observe::changes(&before, &observe::tree()));
        }
        let plain = names.empty(&Value::Object(result).to_string());
        flatten(&serde_json::from_str(&plain).unwrap())
    }
}

impl WorkerScene {
    fn apply(&self, request: &mut Value, names: &Names) {
        for (pointer, value) in &self.amend {
            let value = serde_json::from_str(&names.fill(&value.to_string())).unwrap();
            let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
            match request.pointer_mut(parent) {
                Some(Value::Object(parent)) if value == Value::Null => {
                    parent.remove(key).expect("a key of the request");
                }
                Some(Value::Object(parent)) => {
                    parent.insert(key.to_owned(), value);
                }
                Some(Value::Array(parent)) => {
                    parent[key.parse::<usize>().unwrap()] = value;
                }
                _ => panic!("the request has no {parent}"),
            }
        }
    }
}

/// Whether this host has what a field tells of: hierarchies of version 1 are mounted below the
/// directory of cgroups, the unified one is not.
pub(crate) fn is_seen_here(field: &str) -> bool {
    field != "mounts /sys/fs/cgroup/*" || hierarchies().len() > 1
}

/// What differs from run to run, and what stands for it in the data.
struct Names(Vec<(&'static str, String)>);

impl Names {
    fn of(worker: &Worker) -> Self {
        let layer = worker.request["layers"][0]["path"].as_str().unwrap();
        let layer = layer.rsplit('/').next().unwrap().to_owned();
        Self(vec![
            ("{layer}", layer),
            ("{container}", worker.container.clone()),
            ("{id}", worker.id.clone()),
            ("{parent}", cgroup_parent()),
        ])
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn empty(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name))
    }
}

/// One field for each member of a result, and one for each leaf of a `config.json`.
pub(crate) fn flatten(result: &Value) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in result.as_object().unwrap() {
        match (name.as_str(), value) {
            ("config", _) => leaves("config ", value, &mut fields),
            (_, Value::Array(list)) => {
                for (index, one) in list.iter().enumerate() {
                    fields.insert(format!("{name} {}", index + 1), one.clone());
                }
            }
            (_, Value::Object(map)) => {
                for (key, one) in map {
                    fields.insert(format!("{name} {key}"), one.clone());
                }
            }
            _ => panic!("{name} is {value}"),
        }
    }
    fields
}

fn leaves(path: &str, value: &Value, fields: &mut Fields) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, one) in map {
                leaves(&format!("{path}/{key}"), one, fields);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (index, one) in list.iter().enumerate() {
                leaves(&format!("{path}/{index}"), one, fields);
            }
        }
        _ => {
            fields.insert(path.to_owned(), value.clone());
        }
    }
}
