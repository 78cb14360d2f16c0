//! Hadoop's configuration files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use roxmltree::{Document, Node};

use super::failure::Problem;

/// In the order in which Hadoop's own client loads them.
const FILES: [&str; 2] = ["core-site.xml", "hdfs-site.xml"];
/// Replacements in one value, as in Hadoop: what needs more refers to itself.
const EXPANSIONS: usize = 20;

/// The values of `core-site.xml` and `hdfs-site.xml`, with overrides.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    values: BTreeMap<String, String>,
    finals: BTreeSet<String>,
}

impl Configuration {
    /// Reads a configuration directory. A file that is not there counts as empty, a directory
    /// that is not there is an error.
    pub(super) fn read(
        directory: Option<&Path>,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Self, Problem> {
        let mut configuration = Self::default();
        if let Some(directory) = directory {
            if !directory.is_dir() {
                return Err(Problem::misconfigured(format!(
                    "the Hadoop configuration directory {} is not there",
                    directory.display()
                )));
            }
            for name in FILES {
                let path = directory.join(name);
                match fs::read_to_string(&path) {
                    Ok(text) => configuration.load(&text).map_err(|problem| {
                        Problem::misconfigured(format!("in {}: {problem}", path.display()))
                    })?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        let path = path.display();
                        return Err(Problem::misconfigured(format!("cannot read {path}: {error}")));
                    }
                }
            }
        }
        for (key, value) in overrides {
            configuration.values.insert(key.clone(), value.clone());
        }
        Ok(configuration)
    }

    /// A key's value with its variables replaced, and without surrounding blanks; `None` for an
    /// empty one.
    ///
    /// Variables stand for other keys. Java's system properties and the environment, which
    /// Hadoop would look up too, are not there: a value that needs one is an error.
    pub(super) fn get(&self, key: &str) -> Result<Option<String>, Problem> {
        let Some(value) = self.values.get(key) else {
            return Ok(None);
        };
        let value = self.expand(value).map_err(|variable| {
            Problem::misconfigured(format!(
                "Hadoop's `{key}` refers to ${{{variable}}}, which is not a key that is set"
            ))
        })?;
        Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty()))
    }

    /// The keys that begin so.
    pub(super) fn keys(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str).filter(move |key| key.starts_with(prefix))
    }

    /// Adds a file's properties to those of earlier files.
    fn load(&mut self, text: &str) -> Result<(), String> {
        let document = Document::parse(text).map_err(|error| error.to_string())?;
        let root = document.root_element();
        if root.tag_name().name() != "configuration" {
            return Err("its root element is not <configuration>".to_owned());
        }
        self.load_properties(root)
    }

    fn load_properties(&mut self, parent: Node<'_, '_>) -> Result<(), String> {
        for element in parent.children().filter(Node::is_element) {
            match element.tag_name().name() {
                "property" => self.load_property(element),
                "configuration" => self.load_properties(element)?,
                // Leaving it out silently would leave out a part of the cluster.
                "include" => {
                    return Err("xi:include is not supported: put the properties here".to_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn load_property(&mut self, property: Node<'_, '_>) {
        let field = |name: &str| {
            let element = property.children().find(|child| child.has_tag_name(name));
            let text = element.map(|element| {
                element
                    .descendants()
                    .filter_map(|node| node.is_text().then(|| node.text())?)
                    .collect()
            });
            text.or_else(|| property.attribute(name).map(str::to_owned))
        };
        let Some(key) = field("name").map(|name: String| name.trim().to_owned()) else {
            return;
        };
        let Some(value) = field("value") else {
            return;
        };
        // A final value is an administrator's: later files do not change it.
        if self.finals.contains(&key) {
            return;
        }
        if field("final").is_some_and(|text: String| text.trim() == "true") {
            self.finals.insert(key.clone());
        }
        self.values.insert(key, value);
    }

    /// Replaces `${key}`; an error names a variable that cannot be.
    fn expand(&self, value: &str) -> Result<String, String> {
        let mut text = value.to_owned();
        for _ in 0..EXPANSIONS {
            let Some((before, variable, after)) = first_variable(&text) else {
                return Ok(text);
            };
            let Some(replacement) = self.values.get(variable) else {
                return Err(variable.to_owned());
            };
            text = format!("{before}{replacement}{after}");
        }
        match first_variable(&text) {
            None => Ok(text),
            Some((_, variable, _)) => Err(variable.to_owned()),
        }
    }
}

/// The first innermost `${name}` with what surrounds it.
fn first_variable(text: &str) -> Option<(&str, &str, &str)> {
    for (end, _) in text.match_indices('}') {
        let (head, tail) = text.split_at(end);
        if let Some((before, variable)) = head.rsplit_once("${")
            && !variable.is_empty()
            && !variable.contains(['}', '$', ' '])
        {
            return Some((before, variable, tail.strip_prefix('}')?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(files: &[&str]) -> Configuration {
        let mut configuration = Configuration::default();
        for file in files {
            configuration.load(file).unwrap();
        }
        configuration
    }

    fn get(configuration: &Configuration, key: &str) -> String {
        configuration.get(key).unwrap().unwrap_or_default()
    }

    #[test]
    fn later_files_win_except_over_final_values() {
        let configuration = loaded(&[
            "<configuration>
               <property><name> a </name><value> 1 </value></property>
               <property><name>b</name><value>1</value><final> true </final></property>
               <property name='c' value='&lt;1&gt;'/>
               <property><name>d</name><value><![CDATA[x]]>y<!-- not this -->z</value></property>
               <property><name>e</name></property>
               <property><name>f</name><value/></property>
               <configuration><property><name>g</name><value>1</value></property></configuration>
             </configuration>",
            "<configuration>
               <property><name>a</name><value>2</value></property>
               <property><name>b</name><value>2</value></property>
             </configuration>",
        ]);
        for (key, value) in
            [("a", "2"), ("b", "1"), ("c", "<1>"), ("d", "xyz"), ("e", ""), ("f", ""), ("g", "1")]
        {
            assert_eq!(get(&configuration, key), value, "{key}");
        }
    }

    #[test]
    fn variables_stand_for_other_keys() {
        let property = |name: &str, value: &str| {
            format!("<property><name>{name}</name><value>{value}</value></property>")
        };
        let text: String = [
            property("ns", "one"),
            property("host.one", "nn.example.org"),
            property("fs.defaultFS", "hdfs://${host.${ns}}:8020"),
            property("plain", "costs $5 {x} ${} ${not a key}"),
            property("unbound", "${env.HOME}/x"),
            property("circle", "${circle}"),
        ]
        .concat();
        let configuration = loaded(&[&format!("<configuration>{text}</configuration>")]);
        assert_eq!(get(&configuration, "fs.defaultFS"), "hdfs://nn.example.org:8020");
        assert_eq!(get(&configuration, "plain"), "costs $5 {x} ${} ${not a key}");
        let error = configuration.get("unbound").unwrap_err().to_string();
        assert_eq!(
            error,
            "Hadoop's `unbound` refers to ${env.HOME}, which is not a key that is set"
        );
        assert!(configuration.get("circle").is_err());
    }

    #[test]
    fn files_that_would_be_half_read_are_refused() {
        for (text, problem) in [
            (
                "<configuration xmlns:xi='http://www.w3.org/2001/XInclude'>
                   <xi:include href='other.xml'/></configuration>",
                "xi:include is not supported: put the properties here",
            ),
            ("<settings/>", "its root element is not <configuration>"),
        ] {
            assert_eq!(Configuration::default().load(text).unwrap_err(), problem);
        }
        for text in ["", "<configuration><property></configuration>"] {
            assert!(Configuration::default().load(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_may_lack_files_but_must_be_there() {
        let directory = tempfile::TempDir::new().unwrap();
        let text = "<configuration><property><name>a</name><value>1</value><final>true</final>\
                    </property></configuration>";
        fs::write(directory.path().join("hdfs-site.xml"), text).unwrap();
        let overrides = BTreeMap::from([("b".to_owned(), "${a}2".to_owned())]);
        let configuration = Configuration::read(Some(directory.path()), &overrides).unwrap();
        assert_eq!(get(&configuration, "a"), "1");
        assert_eq!(get(&configuration, "b"), "12");
        assert_eq!(configuration.keys("b").collect::<Vec<_>>(), ["b"]);

        fs::write(directory.path().join("core-site.xml"), "<").unwrap();
        let error = Configuration::read(Some(directory.path()), &overrides).unwrap_err();
        assert!(error.to_string().contains("core-site.xml: "), "{error}");
        let missing = directory.path().join("missing");
        assert!(Configuration::read(Some(&missing), &overrides).is_err());
    }
}
