//! Reads a system call filter: every key known, every name of the specification.

use crate::error::RequestError;
use crate::field::{Field, Refusal};
use crate::json::Json;
use crate::request::{MAX_REQUEST_BYTES, shown};

use super::{Action, Architecture, ArgumentCondition, Flag, Operator, Seccomp, SyscallRule};

impl Seccomp {
    /// Reads and checks a profile file.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; the first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let document = Json::parse(bytes, MAX_REQUEST_BYTES)?;
        let seccomp = Self::read(Field::root(&document))?;
        seccomp.check("")?;
        Ok(seccomp)
    }

    pub(crate) fn read(field: Field<'_>) -> Result<Self, RequestError> {
        const KEYS: [&str; 5] =
            ["defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls"];
        const REFUSED: [(&str, Refusal); 3] = [
            ("listenerPath", RequestError::SeccompListener),
            ("listenerMetadata", RequestError::SeccompListener),
            ("archMap", RequestError::SeccompDockerKey),
        ];
        let object = field.object(&KEYS, &REFUSED)?;
        Ok(Self {
            default_action: read_action(object.required("defaultAction")?)?,
            default_errno_ret: object
                .optional("defaultErrnoRet")
                .map(|field| field.integer())
                .transpose()?,
            architectures: match object.optional("architectures") {
                Some(names) => {
                    names.array(|field| read_name(field, "architecture", Architecture::parse))?
                }
                None => Vec::new(),
            },
            flags: match object.optional("flags") {
                Some(names) => names.array(|field| read_name(field, "flag", Flag::parse))?,
                None => Vec::new(),
            },
            syscalls: match object.optional("syscalls") {
                Some(rules) => rules.array(read_rule)?,
                None => Vec::new(),
            },
        })
    }
}

fn read_action(field: Field<'_>) -> Result<Action, RequestError> {
    read_name(field, "action", Action::parse)
}

fn read_name<T>(
    field: Field<'_>,
    what: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, RequestError> {
    let text = field.text()?;
    parse(text).ok_or_else(|| RequestError::SeccompName {
        path: field.path(),
        found: shown(text),
        what,
    })
}

fn read_rule(field: Field<'_>) -> Result<SyscallRule, RequestError> {
    const REFUSED: [(&str, Refusal); 4] = [
        ("name", RequestError::SeccompDockerKey),
        ("comment", RequestError::SeccompDockerKey),
        ("includes", RequestError::SeccompDockerKey),
        ("excludes", RequestError::SeccompDockerKey),
    ];
    let object = field.object(&["names", "action", "errnoRet", "args"], &REFUSED)?;
    Ok(SyscallRule {
        names: object.required("names")?.array(|field| field.text().map(str::to_owned))?,
        action: read_action(object.required("action")?)?,
        errno_ret: object.optional("errnoRet").map(|field| field.integer()).transpose()?,
        args: match object.optional("args") {
            Some(conditions) => conditions.array(read_condition)?,
            None => Vec::new(),
        },
    })
}

fn read_condition(field: Field<'_>) -> Result<ArgumentCondition, RequestError> {
    let object = field.object(&["index", "value", "valueTwo", "op"], &[])?;
    Ok(ArgumentCondition {
        index: object.required("index")?.integer()?,
        value: object.required("value")?.integer()?,
        value_two: object.optional("valueTwo").map(|field| field.integer()).transpose()?,
        op: read_name(object.required("op")?, "operator", Operator::parse)?,
    })
}
