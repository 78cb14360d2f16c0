//! Acting as somebody else for a moment, or for good; both proven by reading the ids back.

use rustix::io::Errno;
use rustix::process::{Gid, Uid, getgroups};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, no_new_privs, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::error::{LauncherError, Step};
use crate::sys;

/// Whom the kernel should take us for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    /// User id.
    pub(crate) uid: u32,
    /// Primary group id.
    pub(crate) gid: u32,
    /// Supplementary group ids.
    pub(crate) groups: Vec<u32>,
}

impl Identity {
    fn root() -> Self {
        Self { uid: 0, gid: 0, groups: Vec::new() }
    }
}

/// Runs `action` with `identity`'s effective ids, groups and no effective capability, then takes
/// root's back.
///
/// Real and saved ids stay root's, so nobody but root can signal or trace this process meanwhile.
///
/// # Errors
///
/// [`Step::Privilege`] when the ids read back are not the ones asked for; `action` has
/// not run then. Failing to become root again ends the process: nothing after it could be trusted.
pub(crate) fn acting_as<T>(
    identity: &Identity,
    action: impl FnOnce() -> T,
) -> Result<T, LauncherError> {
    if let Err(refused) = set_effective(identity) {
        // Half a change is no state to go on from.
        if set_effective(&Identity::root()).is_err() {
            sys::abort();
        }
        return Err(refused);
    }
    let outcome = action();
    if set_effective(&Identity::root()).is_err() {
        sys::abort();
    }
    Ok(outcome)
}

/// Becomes `identity` for good: all ids, no groups but its own, no capability in any set,
/// `no_new_privs`, and proof that there is no way back.
///
/// # Errors
///
/// [`Step::Privilege`] when anything read back differs. The caller must end then.
///
/// # References
///
/// `capabilities(7)`, `setresuid(2)`, `PR_SET_NO_NEW_PRIVS(2const)`
pub(crate) fn become_for_good(identity: &Identity) -> Result<(), LauncherError> {
    let failed = |source| LauncherError::failed(Step::Privilege, describe(identity), source);
    set_no_new_privs(true).map_err(failed)?;
    clear_ambient_capability_set().map_err(failed)?;
    for capability in every_capability() {
        match remove_capability_from_bounding_set(capability) {
            // A capability this kernel does not have.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(source) => return Err(failed(source)),
        }
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    set_thread_groups(&raw_groups(identity)).map_err(failed)?;
    set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(failed)?;
    check_ids(identity, identity)?;
    check_powerless(identity)
}

fn check_powerless(identity: &Identity) -> Result<(), LauncherError> {
    let wanted = || format!("{} without any capability", describe(identity));
    let report = |found: &str| {
        LauncherError::refused(Step::Privilege, wanted(), format!("kernel reports {found}"))
    };
    let sets = capabilities(None).map_err(|source| report(&source.to_string()))?;
    if !(sets.effective | sets.permitted | sets.inheritable).is_empty() {
        return Err(report("capabilities left"));
    }
    for capability in every_capability() {
        if capability_is_in_bounding_set(capability) == Ok(true) {
            return Err(report("capabilities left in the bounding set"));
        }
    }
    if no_new_privs() != Ok(true) {
        return Err(report("no_new_privs is off"));
    }
    let regained = identity.uid != 0
        && (set_thread_res_uid(None, Uid::ROOT, None).is_ok()
            || set_thread_res_gid(None, Gid::ROOT, None).is_ok()
            || set_thread_groups(&[]).is_ok());
    if regained {
        return Err(report("root can be taken back"));
    }
    Ok(())
}

/// All capabilities a kernel can have, those that got no name yet included.
fn every_capability() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}

fn set_effective(identity: &Identity) -> Result<(), LauncherError> {
    let failed = |source| LauncherError::failed(Step::Privilege, describe(identity), source);
    // Root first: only root may change groups. Then groups, gid, uid, so that each call still
    // has the right to be made.
    set_thread_res_uid(None, Uid::ROOT, None).map_err(failed)?;
    set_thread_groups(&raw_groups(identity)).map_err(failed)?;
    set_thread_res_gid(None, Gid::from_raw(identity.gid), None).map_err(failed)?;
    set_thread_res_uid(None, Uid::from_raw(identity.uid), None).map_err(failed)?;
    check_ids(identity, &Identity::root())?;
    let sets = capabilities(None).map_err(failed)?;
    if identity.uid != 0 && !sets.effective.is_empty() {
        let problem = "kernel reports effective capabilities left";
        return Err(LauncherError::refused(Step::Privilege, describe(identity), problem));
    }
    Ok(())
}

/// Compares what the kernel has with the wanted effective ids and the wanted real and saved ones.
fn check_ids(effective: &Identity, real: &Identity) -> Result<(), LauncherError> {
    let wanted = (
        [real.uid, effective.uid, real.uid],
        [real.gid, effective.gid, real.gid],
        sorted(effective.groups.clone()),
    );
    let (uids, gids) = sys::resuid_resgid();
    let groups = getgroups().map(|groups| groups.iter().map(|gid| gid.as_raw()).collect());
    let found = (uids, gids, sorted(groups.unwrap_or_default()));
    if found == wanted {
        Ok(())
    } else {
        let (uids, gids, groups) = found;
        let problem = format!("kernel reports uids {uids:?} gids {gids:?} groups {groups:?}");
        Err(LauncherError::refused(Step::Privilege, describe(effective), problem))
    }
}

fn sorted(mut groups: Vec<u32>) -> Vec<u32> {
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn raw_groups(identity: &Identity) -> Vec<Gid> {
    identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect()
}

fn describe(identity: &Identity) -> String {
    format!("uid {} gid {} groups {:?}", identity.uid, identity.gid, identity.groups)
}
