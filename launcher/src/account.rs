//! The account a verb acts for: looked up through the name service, then judged.

use std::ffi::CString;

use nix::unistd::{Gid, User, getgrouplist};
use storm_oci_request::AccountName;

use crate::Call;
use crate::config::Config;
use crate::error::{Result, Step, must};
use crate::privilege::Identity;
use crate::switches::without;

/// An account that may be acted for.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// Its name.
    pub(crate) name: AccountName,
    /// Its ids and all its groups.
    pub(crate) identity: Identity,
}

/// Looks up `name` and applies the rules of `worker-launcher.cfg`.
///
/// The caller itself is always allowed, with the ids and groups it has anyway: acting as the
/// caller gives the caller nothing. It is for the supervisor's own files (`rmr`, `sweep`), never
/// for running anything: who does that asks [`permitted_to_run`] as well.
///
/// # Errors
///
/// [`Step::Account`] naming the rule that refused it.
pub(crate) fn find(name: &str, caller: &Identity, config: &Config) -> Result<Account> {
    let shown = || name.chars().take(SHOWN).collect::<String>();
    let mut account = look_up(name).map_err(|problem| Step::Account.refused(shown(), problem))?;
    if is_caller(&account, caller) {
        // Another name for the same uid may come with other groups.
        account.identity = caller.clone();
    } else {
        judge(&account, config, false)?;
    }
    Ok(account)
}

/// Characters of a wrong name that an error repeats; longer names are no account's.
const SHOWN: usize = 40;

/// The rules for an account that code is run as, the caller included.
///
/// # Errors
///
/// [`Step::Account`] naming the rule that refused it.
pub(crate) fn permitted_to_run(call: &Call) -> Result<()> {
    let Call { caller, config, account } = call;
    judge(account, config, is_caller(account, &caller.identity))
}

fn is_caller(account: &Account, caller: &Identity) -> bool {
    caller.uid != 0 && account.identity.uid == caller.uid
}

fn look_up(name: &str) -> Result<Account, String> {
    let name = AccountName::parse(name).map_err(|_| "not an account name")?;
    let errno = |source: nix::errno::Errno| format!("name service failed: {source}");
    let user = User::from_name(name.as_str()).map_err(errno)?.ok_or("no such account")?;
    // Some name services ignore case; rules that go by name must not.
    if user.name != name.as_str() {
        return Err(format!("the name service spells it `{}`", user.name));
    }
    let c_name = CString::new(name.as_str()).map_err(|_| "not an account name")?;
    let groups = getgrouplist(&c_name, user.gid).map_err(errno)?;
    let groups = groups.into_iter().map(Gid::as_raw).collect();
    let identity = Identity { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups };
    Ok(Account { name, identity })
}

/// The caller is in the launcher's group, or could not have called; nobody else may be.
fn judge(account: &Account, config: &Config, is_caller: bool) -> Result<()> {
    let Account { name, identity: Identity { uid, gid, groups } } = account;
    let minimum = config.min_user_id;
    let root = *uid == 0 || name.as_str() == "root";
    must(!root || without("account-root"), Step::Account, name, "it is root")?;
    let allowed = !config.banned_users.contains(name) || without("account-banned");
    must(allowed, Step::Account, name, "it is in banned.users")?;
    let high = *uid >= minimum || without("account-minimum");
    let problem = format_args!("uid {uid} is below min.user.id {minimum}");
    must(high, Step::Account, name, problem)?;
    let privileged = |gid: &u32| *gid == 0 || *gid == config.group_id && !is_caller;
    match std::iter::once(gid).chain(groups).find(|gid| privileged(gid)) {
        Some(gid) if !without("account-groups") => {
            let problem = format_args!("it is in group {gid}, which no container may have");
            Err(Step::Account.refused(name, problem))
        }
        _ => Ok(()),
    }
}
