//! The login to a cluster with Kerberos: each way it fails has one true sentence, and once it is
//! repaired the same process goes on.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod asker;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use asker::Asker;
use storm_oci_test_stores::{Hdfs, HdfsSpec, Kdc, Protection, Proxy, Scratch, Security, Throttle};

struct Cluster {
    kdc: Arc<Kdc>,
    hdfs: Hdfs,
    scratch: Scratch,
}

static CLUSTER: LazyLock<Mutex<Cluster>> = LazyLock::new(|| {
    let kdc = Arc::new(Kdc::start().unwrap());
    let security =
        Security::Kerberos { kdc: Arc::clone(&kdc), protection: Protection::Authentication };
    let hdfs = Hdfs::start(HdfsSpec { security, ..HdfsSpec::default() }).unwrap();
    let scratch = Scratch::new("kerberos").unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "twelve bytes").unwrap();
    hdfs.put(&file, "/file").unwrap();
    hdfs.put(&file, "/private").unwrap();
    hdfs.shell(&["-chmod", "600", "/private"]).unwrap();
    Mutex::new(Cluster { kdc, hdfs, scratch })
});

fn cluster() -> MutexGuard<'static, Cluster> {
    CLUSTER.lock().unwrap_or_else(PoisonError::into_inner)
}

const FOUND: &str = "ok 12";

impl Cluster {
    /// A process that logs in as a new principal of this name.
    fn asker(&self, name: &str) -> Asker {
        let keytab = self.kdc.keytab(name, name).unwrap();
        self.asker_with(&[], &keytab, name)
    }

    fn asker_with(&self, wrapper: &[&str], keytab: &Path, principal: &str) -> Asker {
        let conf = self.hdfs.client_conf();
        Asker::start(wrapper, &self.kdc, &conf, Some((keytab, principal)))
    }

    fn stat(&self) -> String {
        format!("stat {}", self.hdfs.url("/file"))
    }

    /// What the answer is when the file cannot be had.
    fn failure(&self, kind: &str, why: &str) -> String {
        format!("{kind} cannot stat {}: {why}", self.hdfs.url("/file"))
    }

    /// A file in the place of the realm's configuration, with changes.
    fn krb5_conf(&self, name: &str, change: impl FnOnce(&str) -> String) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::write(&path, change(&fs::read_to_string(self.kdc.config()).unwrap())).unwrap();
        path
    }

    /// Where the KDC listens.
    fn kdc_address(&self) -> SocketAddr {
        let conf = fs::read_to_string(self.kdc.config()).unwrap();
        let line = conf.lines().find_map(|line| line.trim().strip_prefix("kdc = ")).unwrap();
        line.parse().unwrap()
    }
}

#[test]
fn a_login_opens_what_is_its_own() {
    let cluster = cluster();
    let mut storm = cluster.asker("storm");
    assert_eq!(storm.ask(&cluster.stat()), FOUND);
    let read = storm.ask(&format!("read {}", cluster.hdfs.url("/file")));
    assert!(read.starts_with("ok 12 sha256:"), "{read}");
    let answer = storm.ask(&format!("read {}", cluster.hdfs.url("/private")));
    assert!(answer.starts_with("DENIED cannot read hdfs://"), "{answer}");
    assert!(answer.contains("Permission denied: user=storm, access=READ"), "{answer}");
    let answer = storm.ask(&format!("stat {}", cluster.hdfs.url("/missing")));
    assert!(answer.starts_with("NOT_FOUND "), "{answer}");
}

#[test]
fn what_the_kdc_refuses_is_said_and_can_be_repaired() {
    let cluster = cluster();
    let keytab = |name: &str| cluster.kdc.keytab_path(name).display().to_string();
    for (name, broken, repaired, why) in [
        (
            "stale",
            "cpw -randkey stale",
            "",
            format!(
                "the key in {} is not the KDC's; hint: have the keytab made anew",
                keytab("stale")
            ),
        ),
        (
            "staler",
            "cpw -randkey staler",
            "modprinc +requires_preauth staler",
            format!(
                "the key in {} is not the KDC's; hint: have the keytab made anew",
                keytab("staler")
            ),
        ),
        (
            "gone",
            "delprinc -force gone",
            "addprinc -randkey gone",
            "the KDC does not know the principal".to_owned(),
        ),
        (
            "expired",
            "modprinc -expire yesterday expired",
            "modprinc -expire never expired",
            "the principal has expired".to_owned(),
        ),
        (
            "worn",
            "modprinc -pwexpire yesterday worn",
            "modprinc -pwexpire never worn",
            "the principal's key has expired; hint: have it renewed and the keytab made anew"
                .to_owned(),
        ),
        (
            "locked",
            "modprinc -allow_tix locked",
            "modprinc +allow_tix locked",
            "the principal is locked".to_owned(),
        ),
    ] {
        let mut asker = cluster.asker(name);
        cluster.kdc.admin(broken).unwrap();
        let failure = cluster.failure("DENIED", &format!("login as `{name}` failed: {why}"));
        for _ in 0..2 {
            assert_eq!(asker.ask(&cluster.stat()), failure);
        }
        if !repaired.is_empty() {
            cluster.kdc.admin(repaired).unwrap();
        }
        fs::remove_file(cluster.kdc.keytab_path(name)).unwrap();
        cluster.kdc.keytab(name, name).unwrap();
        assert_eq!(asker.ask(&cluster.stat()), FOUND, "{name}");
    }
}

#[test]
fn what_is_wrong_with_the_keytab_is_said_and_can_be_repaired() {
    let cluster = cluster();
    let path = cluster.scratch.path().join("own.keytab");
    let file = path.display();
    let mut asker = cluster.asker_with(&[], &path, "own");
    let mut fails = |why: String| {
        let why = format!("login as `own` failed: {why}");
        assert_eq!(asker.ask(&cluster.stat()), cluster.failure("MISCONFIGURED", &why));
    };
    fails(format!("cannot read keytab {file}: No such file or directory (os error 2)"));
    fs::write(&path, "rubbish").unwrap();
    fails(format!("{file} is not a keytab, or not a whole one"));
    fs::copy(cluster.kdc.keytab("someone", "someone").unwrap(), &path).unwrap();
    fails(format!(
        "keytab {file} has no key for it; hint: `klist -k {file}` shows for whom it has keys"
    ));
    fs::copy(cluster.kdc.keytab("own", "own").unwrap(), &path).unwrap();
    assert_eq!(asker.ask(&cluster.stat()), FOUND);
}

#[test]
fn a_keytab_that_the_account_may_not_read_is_said_and_can_be_repaired() {
    // Starts a copy of the program, which lies where every account may read, as `nobody`.
    const AS_NOBODY: &str = "cp \"$1\" \"$0\" && shift && exec \
        setpriv --reuid=nobody --regid=nogroup --clear-groups \"$0\" \"$@\"";
    let cluster = cluster();
    let copy = cluster.scratch.path().join("ask_hdfs").display().to_string();
    let keytab = cluster.kdc.keytab("closed", "closed").unwrap();
    let allow = |mode| fs::set_permissions(&keytab, fs::Permissions::from_mode(mode)).unwrap();
    let (wrapper, closed, open) = if rustix::process::geteuid().is_root() {
        (vec!["sh", "-c", AS_NOBODY, &copy], 0o600, 0o644)
    } else {
        (Vec::new(), 0o000, 0o600)
    };
    allow(closed);
    let mut asker = cluster.asker_with(&wrapper, &keytab, "closed");
    let why = format!(
        "login as `closed` failed: cannot read keytab {}: Permission denied (os error 13)",
        keytab.display()
    );
    assert_eq!(asker.ask(&cluster.stat()), cluster.failure("DENIED", &why));
    allow(open);
    assert_eq!(asker.ask(&cluster.stat()), FOUND);
}

#[test]
fn the_host_is_filled_in_the_principal() {
    let cluster = cluster();
    let keytab = cluster.kdc.keytab("host", "host/other").unwrap();
    let mut asker = cluster.asker_with(&[], &keytab, "host/_HOST@HDFS.TEST");
    let answer = asker.ask(&cluster.stat());
    let principal = answer.split('`').nth(1).unwrap().to_owned();
    assert!(principal.starts_with("host/") && !principal.contains("_HOST"), "{answer}");
    cluster.kdc.keytab("host", &principal).unwrap();
    assert_eq!(asker.ask(&cluster.stat()), FOUND);
}

#[test]
fn a_kdc_that_is_down_or_hangs_costs_a_bounded_time() {
    let cluster = cluster();
    let keytab = cluster.kdc.keytab("patient", "patient").unwrap();
    let (real, proxy) =
        (cluster.kdc_address(), Proxy::start(cluster.kdc_address(), Throttle::NONE).unwrap());
    let through = |address: SocketAddr| {
        cluster
            .krb5_conf("proxied.conf", |conf| conf.replace(&real.to_string(), &address.to_string()))
    };
    // Nobody listens at port 1.
    let conf = through(SocketAddr::from(([127, 0, 0, 1], 1)));
    let setting = format!("KRB5_CONFIG={}", conf.display());
    let mut asker = cluster.asker_with(&["env", &setting], &keytab, "patient");
    assert_eq!(
        asker.ask(&cluster.stat()),
        cluster.failure(
            "UNREACHABLE",
            "login as `patient` failed: no KDC of its realm can be reached"
        )
    );

    // The library looks at the file's time, in seconds.
    thread::sleep(Duration::from_secs(2));
    through(proxy.address());
    proxy.stall_after(0);
    let begin = Instant::now();
    let answer = asker.ask(&cluster.stat());
    assert!(answer.starts_with("UNREACHABLE "), "{answer}");
    assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", begin.elapsed());
    proxy.resume();
    assert_eq!(asker.ask(&cluster.stat()), FOUND);
}

#[test]
fn a_wrong_clock_is_corrected_or_named() {
    let cluster = cluster();
    let keytab = cluster.kdc.keytab("late", "late").unwrap();
    cluster.kdc.admin("modprinc +requires_preauth late").unwrap();
    let library = fs::read_dir("/usr/lib")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("the package libfaketime");
    let preload = format!("LD_PRELOAD={}", library.display());
    let wrapper = ["env", preload.as_str(), "FAKETIME=-2h", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    // The library goes by the KDC's clock, unless it is told not to.
    let mut asker = cluster.asker_with(&wrapper, &keytab, "late");
    assert_eq!(asker.ask(&cluster.stat()), FOUND);

    let conf = cluster.krb5_conf("strict.conf", |conf| {
        conf.replace("[libdefaults]\n", "[libdefaults]\n kdc_timesync = 0\n")
    });
    let setting = format!("KRB5_CONFIG={}", conf.display());
    let mut asker = cluster.asker_with(&[&wrapper[..], &[&setting]].concat(), &keytab, "late");
    assert_eq!(
        asker.ask(&cluster.stat()),
        cluster.failure(
            "UNREACHABLE",
            "login as `late` failed: this host's clock and the KDC's are too far apart; \
             hint: synchronize them"
        )
    );
}

#[test]
fn tickets_are_got_anew_and_nobody_elses_are_touched() {
    let mut cluster = cluster();
    let keytab = cluster.kdc.keytab("short", "short").unwrap();
    cluster.kdc.admin("modprinc -maxlife 5s short").unwrap();
    let cache = cluster.scratch.path().join("tickets-of-the-account");
    let setting = format!("KRB5CCNAME=FILE:{}", cache.display());
    let mut asker = cluster.asker_with(&["env", &setting], &keytab, "short");
    assert_eq!(asker.ask(&cluster.stat()), FOUND);
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(6));
        cluster.hdfs.namenode(0).kill().unwrap();
        cluster.hdfs.heal().unwrap();
        assert_eq!(asker.ask(&cluster.stat()), FOUND);
    }
    assert!(!cache.exists());
}

#[test]
fn without_a_keytab_the_accounts_tickets_are_used() {
    let cluster = cluster();
    let keytab = cluster.kdc.keytab("person", "person").unwrap();
    let cache = cluster.scratch.path().join("tickets-of-a-person");
    let setting = format!("KRB5CCNAME=FILE:{}", cache.display());
    let conf = cluster.hdfs.client_conf();
    let mut asker = Asker::start(&["env", &setting], &cluster.kdc, &conf, None);
    let why = "login with the account's ticket cache failed: there is no ticket; \
               hint: set storm.hdfs.login.keytab, or run `kinit`";
    assert_eq!(asker.ask(&cluster.stat()), cluster.failure("DENIED", why));
    cluster.kdc.login("person", &keytab, &cache).unwrap();
    assert_eq!(asker.ask(&cluster.stat()), FOUND);
}

#[test]
fn a_missing_kerberos_library_is_named() {
    let cluster = cluster();
    let keytab = cluster.kdc.keytab("bare", "bare").unwrap();
    let libraries = cluster.scratch.path().join("lib");
    fs::create_dir(&libraries).unwrap();
    fs::write(libraries.join("libgssapi_krb5.so.2"), "no library").unwrap();
    let setting = format!("LD_LIBRARY_PATH={}", libraries.display());
    let mut asker = cluster.asker_with(&["env", &setting], &keytab, "bare");
    let answer = asker.ask(&cluster.stat());
    let why = "login failed: libgssapi_krb5.so.2 cannot be used (";
    assert!(answer.starts_with(&cluster.failure("MISCONFIGURED", why)), "{answer}");
}

#[test]
fn security_that_differs_is_refused_on_both_sides() {
    let cluster = cluster();
    // A client without Kerberos at a cluster with it.
    let conf = cluster.scratch.path().join("simple");
    fs::create_dir(&conf).unwrap();
    let mut simple = Asker::start(&[], &cluster.kdc, &conf, None);
    let answer = simple.ask(&cluster.stat());
    assert!(!answer.starts_with("ok"), "{answer}");
    assert!(answer.contains("`hadoop.security.authentication`"), "{answer}");

    // A cluster without Kerberos and a client that insists on it.
    let open = Hdfs::start(HdfsSpec::default()).unwrap();
    let mut storm = cluster.asker("insistent");
    let answer = storm.ask(&format!("stat {}", open.url("/")));
    assert!(answer.starts_with("DENIED cannot stat "), "{answer}");
    assert!(
        answer.ends_with(
            "offers to go without Kerberos, which `hadoop.security.authentication` demands \
             (it offers TOKEN, SIMPLE)"
        ),
        "{answer}"
    );
}
