//! Reads a launch request from its bytes: every key known, every value of its type.

use crate::error::RequestError;
use crate::field::{Field, Refusal};
use crate::ids::{AccountName, CgroupPath, ContainerId, HostPath, IdError};
use crate::json::Json;
use crate::resources::Resources;
use crate::seccomp::Seccomp;

use super::{
    BindMount, LaunchRequest, LayerMediaType, LinuxSettings, Process, RequestLayer, RequestVersion,
    RuntimeConfig,
};

/// The most bytes a request may have. Storm's own have 3 to 20 KiB; a large environment or mount
/// list stays far below this.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

impl LaunchRequest {
    /// Reads and checks a request.
    ///
    /// Whether the cgroup is the container's own is asked by [`LaunchRequest::check_cgroup`],
    /// which needs the launcher's configuration.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; the first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let document = Json::parse(bytes, MAX_REQUEST_BYTES)?;
        let request = read_request(Field::root(&document))?;
        request.check()?;
        Ok(request)
    }
}

fn read_request(field: Field<'_>) -> Result<LaunchRequest, RequestError> {
    const KEYS: [&str; 8] = [
        "version",
        "username",
        "containerId",
        "pidFile",
        "containerScriptPath",
        "layers",
        "reapLayerKeepCount",
        "ociRuntimeConfig",
    ];
    let object = field.object(&KEYS, &[])?;
    Ok(LaunchRequest {
        version: read_version(object.required("version")?)?,
        username: read_name(object.required("username")?, AccountName::parse)?,
        container_id: read_name(object.required("containerId")?, ContainerId::parse)?,
        pid_file: read_name(object.required("pidFile")?, HostPath::parse)?,
        container_script_path: read_name(object.required("containerScriptPath")?, HostPath::parse)?,
        layers: object.required("layers")?.array(read_layer)?,
        reap_layer_keep_count: object.required("reapLayerKeepCount")?.integer()?,
        oci_runtime_config: read_runtime_config(object.required("ociRuntimeConfig")?)?,
    })
}

fn read_version(field: Field<'_>) -> Result<RequestVersion, RequestError> {
    match field.text()? {
        "0.1" => Ok(RequestVersion::V0_1),
        other => Err(RequestError::Version(shown(other))),
    }
}

fn read_name<T>(
    field: Field<'_>,
    parse: impl Fn(&str) -> Result<T, IdError>,
) -> Result<T, RequestError> {
    parse(field.text()?).map_err(|source| RequestError::Name { path: field.path(), source })
}

fn read_layer(field: Field<'_>) -> Result<RequestLayer, RequestError> {
    let object = field.object(&["mediaType", "path"], &[])?;
    Ok(RequestLayer {
        media_type: read_media_type(object.required("mediaType")?)?,
        path: read_name(object.required("path")?, HostPath::parse)?,
    })
}

fn read_media_type(field: Field<'_>) -> Result<LayerMediaType, RequestError> {
    match field.text()? {
        "application/vnd.squashfs" => Ok(LayerMediaType::Squashfs),
        "application/vnd.erofs.layer.v1" => Ok(LayerMediaType::Erofs),
        other => Err(RequestError::LayerMediaType { path: field.path(), found: shown(other) }),
    }
}

fn read_runtime_config(field: Field<'_>) -> Result<RuntimeConfig, RequestError> {
    const REFUSED: [(&str, Refusal); 1] = [("hooks", RequestError::Hooks)];
    let object = field.object(&["mounts", "process", "linux"], &REFUSED)?;
    Ok(RuntimeConfig {
        mounts: match object.optional("mounts") {
            Some(mounts) => mounts.array(read_mount)?,
            None => Vec::new(),
        },
        process: read_process(object.required("process")?)?,
        linux: read_linux(object.required("linux")?)?,
    })
}

fn read_mount(field: Field<'_>) -> Result<BindMount, RequestError> {
    let object = field.object(&["destination", "type", "source", "options"], &[])?;
    let kind = object.required("type")?;
    if kind.text()? != "bind" {
        return Err(RequestError::MountType { path: kind.path(), found: shown(kind.text()?) });
    }
    Ok(BindMount {
        destination: read_name(object.required("destination")?, HostPath::parse)?,
        source: read_name(object.required("source")?, HostPath::parse)?,
        read_only: read_options(object.required("options")?)?,
    })
}

/// Whether the options ask for a read-only mount.
fn read_options(field: Field<'_>) -> Result<bool, RequestError> {
    let options = field.array(|option| option.text().map(str::to_owned))?;
    let known = |option: &String| matches!(option.as_str(), "ro" | "rw" | "rbind" | "rprivate");
    if let Some(other) = options.iter().find(|option| !known(option)) {
        return Err(RequestError::MountOption { path: field.path(), found: shown(other) });
    }
    let has = |name: &str| options.iter().any(|option| option == name);
    if !has("rbind") {
        return Err(RequestError::MountNotRecursive(field.path()));
    }
    if !has("rprivate") {
        return Err(RequestError::MountNotPrivate(field.path()));
    }
    if has("ro") == has("rw") {
        return Err(RequestError::MountAccess(field.path()));
    }
    Ok(has("ro"))
}

fn read_process(field: Field<'_>) -> Result<Process, RequestError> {
    const REFUSED: [(&str, Refusal); 2] =
        [("capabilities", RequestError::Capabilities), ("user", RequestError::ProcessUser)];
    let object = field.object(&["cwd", "env", "args"], &REFUSED)?;
    Ok(Process {
        cwd: read_name(object.required("cwd")?, HostPath::parse)?,
        env: object.required("env")?.array(read_text)?,
        args: object.required("args")?.array(read_text)?,
    })
}

fn read_text(field: Field<'_>) -> Result<String, RequestError> {
    field.text().map(str::to_owned)
}

fn read_linux(field: Field<'_>) -> Result<LinuxSettings, RequestError> {
    const REFUSED: [(&str, Refusal); 2] =
        [("devices", RequestError::Devices), ("namespaces", RequestError::Namespaces)];
    let object = field.object(&["cgroupsPath", "resources", "seccomp"], &REFUSED)?;
    Ok(LinuxSettings {
        cgroups_path: read_name(object.required("cgroupsPath")?, CgroupPath::parse)?,
        resources: object.optional("resources").map(Resources::read).transpose()?,
        seccomp: object.optional("seccomp").map(Seccomp::read).transpose()?,
    })
}

/// A refused text, short enough for one line.
pub(crate) fn shown(text: &str) -> String {
    /// The longest text an error repeats, in characters.
    const SHOWN: usize = 200;
    text.chars().take(SHOWN).collect()
}
