//! Which images may run.

use super::keys;
use super::reader::Reader;
use crate::error::SupervisorError;

/// The entry of `storm.oci.allowed.images` that allows every image.
const ANY_IMAGE: &str = "*";

/// The images that may run.
#[derive(Debug, Default)]
pub(crate) struct AllowedImages {
    list: Vec<String>,
    default: Option<String>,
}

impl AllowedImages {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let list = reader.strings(keys::ALLOWED_IMAGES);
        let default = reader.string(keys::IMAGE);
        let images = Self { list, default };
        if reader.value(keys::ALLOWED_IMAGES).is_none() {
            reader.problems.push(SupervisorError::SettingMissing {
                key: keys::ALLOWED_IMAGES,
                why: "no image may run without it",
            });
        } else if let Some(default) = images.default.as_deref()
            && !images.allows(default)
        {
            reader.problems.push(SupervisorError::SettingsContradict {
                key: keys::IMAGE,
                value: default.to_owned(),
                other: keys::ALLOWED_IMAGES,
                other_value: images.list.join(", "),
            });
        }
        if reader.value(keys::IMAGE).is_none() {
            reader.problems.push(SupervisorError::SettingMissing {
                key: keys::IMAGE,
                why: "topologies that name no image get it",
            });
        }
        images
    }

    /// The tag to run: the topology's, else the default one, if it is allowed.
    pub(crate) fn choose(&self, asked: Option<&str>) -> Result<String, SupervisorError> {
        let tag = asked.or(self.default.as_deref()).ok_or(SupervisorError::ImageUnset)?;
        if self.allows(tag) {
            return Ok(tag.to_owned());
        }
        Err(SupervisorError::ImageNotAllowed {
            tag: crate::text::shown(tag),
            allowed: self.list.join(", "),
        })
    }

    fn allows(&self, tag: &str) -> bool {
        self.list.iter().any(|allowed| allowed == ANY_IMAGE || allowed == tag)
    }
}
