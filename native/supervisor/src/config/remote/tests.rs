use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Map, json};
use tempfile::TempDir;

use super::*;

/// Reads settings, and gives the problems as they are logged.
fn read<T>(conf: Value, read: impl FnOnce(&mut Reader<'_>) -> T) -> (T, Vec<String>) {
    let conf: Map<String, Value> = serde_json::from_value(conf).unwrap();
    let mut reader = Reader::new(&conf);
    let result = read(&mut reader);
    (result, reader.problems.iter().map(SupervisorError::report).collect())
}

#[test]
fn options_are_texts_by_name() {
    let (objects, problems) = read(
        json!({keys::STORE_OPTIONS: {
            "aws_endpoint": " http://127.0.0.1:9000 ",
            "aws_virtual_hosted_style_request": false,
            "AWS_Region": "eu-1",
            "pool_max_idle_per_host": 4,
        }}),
        read_objects,
    );
    assert_eq!(problems, [""; 0]);
    let shown: Vec<_> = objects.options.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        shown,
        [
            "AWS_Region=eu-1",
            "aws_endpoint=http://127.0.0.1:9000",
            "aws_virtual_hosted_style_request=false",
            "pool_max_idle_per_host=4"
        ]
    );
}

#[test]
fn authorities_come_from_an_absolute_path() {
    let (objects, problems) = read(json!({keys::CA_FILE: "/etc/ssl/own.pem"}), read_objects);
    assert_eq!(problems, [""; 0]);
    assert_eq!(objects.ca_file.as_deref(), Some(Path::new("/etc/ssl/own.pem")));
    let (objects, problems) = read(json!({keys::CA_FILE: "own.pem"}), read_objects);
    assert!(objects.ca_file.is_none());
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.contains("`storm.oci.store.ca.file`"), "{problem}");
}

#[test]
fn a_wrong_option_is_named_without_its_value() {
    let (_, problems) = read(
        json!({keys::STORE_OPTIONS: {"aws_secret_key": "geheim", "aws_region": ["geheim"]}}),
        read_objects,
    );
    assert_eq!(
        problems,
        [
            "cannot use option `aws_region` of setting `storm.oci.store.options`: its value is \
             not a text",
            "cannot use option `aws_secret_key` of setting `storm.oci.store.options`: no store \
             has such an option",
        ]
    );
    let (_, problems) = read(json!({keys::STORE_OPTIONS: "aws_token=geheim"}), read_objects);
    assert_eq!(
        problems,
        [
            "cannot use setting `storm.oci.store.options`: found \"no map\", expected a map of names \
          to texts"
        ]
    );
}

/// A file of secrets with this content and mode, and the settings that name it.
fn credentials(directory: &TempDir, content: &str, mode: u32) -> Value {
    let path = directory.path().join("credentials");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    json!({keys::CREDENTIALS_FILE: path.to_str().unwrap()})
}

#[test]
fn credentials_come_from_their_file_and_are_never_shown() {
    let directory = TempDir::new().unwrap();
    let content = "# of the images\n\n aws_access_key_id = storm\naws_secret_access_key=a=b \n";
    for mode in [0o600, 0o400, 0o640] {
        let (objects, problems) = read(credentials(&directory, content, mode), read_objects);
        assert_eq!(problems, [""; 0], "{mode:o}");
        assert_eq!(objects.options.0["aws_access_key_id"], "storm");
        assert_eq!(objects.options.0["aws_secret_access_key"], "a=b");
        assert!(!format!("{objects:?}").contains("a=b"), "{objects:?}");
    }
}

#[test]
fn credentials_that_others_can_read_or_that_make_no_sense_are_refused() {
    let directory = TempDir::new().unwrap();
    let name = "aws_token";
    for (content, mode, problem) in [
        ("aws_token=geheim", 0o644, "its mode is 0644; hint: chmod 0600, or 0640 for root's"),
        ("aws_token=geheim", 0o660, "its mode is 0660; hint: chmod 0600, or 0640 for root's"),
        ("aws_token geheim", 0o600, "line 1 is not name=value"),
        ("#\naws_tokn=geheim", 0o600, "line 2 has a name that no store knows"),
        ("aws_token=x\naws_token=geheim", 0o600, "line 2 has a name that was there before"),
    ] {
        let (objects, problems) = read(credentials(&directory, content, mode), read_objects);
        let path = directory.path().join("credentials");
        assert_eq!(
            problems,
            [format!(
                "cannot use `{}`, which `storm.oci.store.credentials.file` names: {problem}",
                path.display()
            )]
        );
        assert!(objects.options.0.is_empty(), "{objects:?}");
    }
    let mut conf = credentials(&directory, "aws_token=geheim", 0o600);
    conf[keys::STORE_OPTIONS] = json!({name: "x"});
    let (_, problems) = read(conf, read_objects);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].ends_with("it is in the credentials file too"), "{problems:?}");
    let (_, problems) = read(json!({keys::CREDENTIALS_FILE: "/no/such/file"}), read_objects);
    assert!(problems[0].starts_with("cannot read `/no/such/file`, which `storm.oci.st"));
}

#[test]
fn hadoops_configuration_is_found_as_its_own_programs_find_it() {
    let directory = TempDir::new().unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (set, home) = (directory.path().join("set"), directory.path().join("home"));
    let from_home = home.join("etc/hadoop");
    for path in [&set, &from_home] {
        fs::create_dir_all(path).unwrap();
    }
    let found = |conf: Value, variables: &[(&str, &Path)]| {
        let environment = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, path)| OsString::from(path))
        };
        read(conf, |reader| read_hadoop(reader, environment).conf_dir)
    };
    let nowhere = directory.path().join("nowhere");
    let key = json!({keys::HADOOP_CONF_DIR: text(&set)});
    let both = [("HADOOP_CONF_DIR", set.as_path()), ("HADOOP_HOME", home.as_path())];
    let home = ("HADOOP_HOME", home.as_path());
    assert_eq!(found(key, &[home]), (Some(set.clone()), vec![]));
    assert_eq!(found(json!({}), &both), (Some(set), vec![]));
    assert_eq!(found(json!({}), &[home]), (Some(from_home), vec![]));
    assert_eq!(found(json!({}), &[("HADOOP_CONF_DIR", &nowhere)]), (None, vec![]));
    assert_eq!(found(json!({}), &[]), (None, vec![]));
    let (path, problems) = found(json!({keys::HADOOP_CONF_DIR: text(&nowhere)}), &[home]);
    assert_eq!(path, None);
    assert!(problems[0].contains("which `storm.oci.hadoop.conf.dir` names"), "{problems:?}");
}

#[test]
fn a_login_has_a_principal_and_a_keytab() {
    let (login, problems) = read(
        json!({keys::HDFS_KEYTAB: "/etc/storm.keytab", keys::HDFS_PRINCIPAL: "storm/_HOST@R"}),
        read_login,
    );
    assert_eq!(problems, [""; 0]);
    let keytab = PathBuf::from("/etc/storm.keytab");
    assert_eq!(login, Some(HadoopLogin { keytab, principal: "storm/_HOST@R".to_owned() }));
    assert_eq!(read(json!({}), read_login), (None, vec![]));
    for (key, value) in [(keys::HDFS_KEYTAB, "/x"), (keys::HDFS_PRINCIPAL, "storm@R")] {
        let (login, problems) = read(json!({key: value}), read_login);
        assert_eq!(login, None);
        assert!(problems[0].starts_with("cannot do without setting `storm.hdfs.login."));
    }
}
