//! Acting as somebody else for a moment, or for good; both proven by reading the ids back.

use std::fmt;

use rustix::io::Errno;
use rustix::process::{Gid, Uid, getgroups};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, no_new_privs, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::error::{Result, Step};
use crate::switches::without;
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
pub(crate) fn acting_as<T>(identity: &Identity, action: impl FnOnce() -> T) -> Result<T> {
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
pub(crate) fn become_for_good(identity: &Identity) -> Result<()> {
    drop_all(identity).map_err(Step::Privilege.failed(identity))?;
    must_be(identity, identity, rights_left(identity))
}

fn drop_all(identity: &Identity) -> Result<(), Errno> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    for capability in every_capability() {
        match remove_capability_from_bounding_set(capability) {
            // A capability this kernel does not have.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(source) => return Err(source),
        }
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    // Groups, gid, uid, so that each call still has the right to be made.
    set_thread_groups(&raw_groups(identity))?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let empty = CapabilitySet::empty();
    let none = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
    set_capabilities(None, none)
}

/// What of root's rights is left, or could be had again.
fn rights_left(identity: &Identity) -> Option<&'static str> {
    let sets = capabilities(None);
    let left = |sets: CapabilitySets| sets.effective | sets.permitted | sets.inheritable;
    let in_bounding_set = |capability| capability_is_in_bounding_set(capability) == Ok(true);
    let regained = || {
        identity.uid != 0
            && (set_thread_res_uid(None, Uid::ROOT, None).is_ok()
                || set_thread_res_gid(None, Gid::ROOT, None).is_ok()
                || set_thread_groups(&[]).is_ok())
    };
    if !sets.is_ok_and(|sets| left(sets).is_empty()) && !without("capabilities-read-back") {
        Some("capabilities are left")
    } else if every_capability().any(in_bounding_set) && !without("bounding-set-read-back") {
        Some("capabilities are left in the bounding set")
    } else if no_new_privs() != Ok(true) && !without("no-new-privs-read-back") {
        Some("no_new_privs is off")
    } else {
        regained().then_some("root can be taken back")
    }
}

/// All capabilities a kernel can have, those that got no name yet included.
fn every_capability() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}

fn set_effective(identity: &Identity) -> Result<()> {
    let change = || {
        // Root first: only root may change groups.
        set_thread_res_uid(None, Uid::ROOT, None)?;
        set_thread_groups(&raw_groups(identity))?;
        set_thread_res_gid(None, Gid::from_raw(identity.gid), None)?;
        set_thread_res_uid(None, Uid::from_raw(identity.uid), None)?;
        capabilities(None)
    };
    let sets = change().map_err(Step::Privilege.failed(identity))?;
    let powerful = identity.uid != 0 && !sets.effective.is_empty();
    let left = powerful.then_some("effective capabilities are left");
    must_be(identity, &Identity::root(), left)
}

/// Compares what the kernel has with the wanted effective ids and the wanted real and saved ones;
/// `left` is what else is wrong.
fn must_be(effective: &Identity, real: &Identity, left: Option<&str>) -> Result<()> {
    let wanted = (
        [real.uid, effective.uid, real.uid],
        [real.gid, effective.gid, real.gid],
        sorted(effective.groups.clone()),
    );
    let (uids, gids) = sys::resuid_resgid();
    let groups = getgroups().map(|groups| groups.iter().map(|gid| gid.as_raw()).collect());
    let found = (uids, gids, sorted(groups.unwrap_or_default()));
    let problem = if found != wanted && !without("ids-read-back") {
        format!("the kernel has uids {uids:?} gids {gids:?} groups {:?}", found.2)
    } else if let Some(left) = left {
        left.to_owned()
    } else {
        return Ok(());
    };
    Err(Step::Privilege.refused(effective, problem))
}

fn sorted(mut groups: Vec<u32>) -> Vec<u32> {
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn raw_groups(identity: &Identity) -> Vec<Gid> {
    identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect()
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "uid {} gid {} groups {:?}", self.uid, self.gid, self.groups)
    }
}
