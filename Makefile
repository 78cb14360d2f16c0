# storm-oci: `make` lists what there is to do. Everything goes through cargo and gradle.

PREFIX ?= /usr/local
CONF_DIR ?= /etc/storm
GROUP ?= storm
DESTDIR ?=

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
LIBRARY := $(TARGET_DIR)/release/libstorm_oci.so
LAUNCHER := $(TARGET_DIR)/launcher/worker-launcher
INIT := $(TARGET_DIR)/launcher/storm-oci-init
CLI := $(TARGET_DIR)/release/storm-oci
JAR := build/libs/storm-oci.jar
METRICS_JAR := build/metrics/libs/storm-oci-metrics.jar

# Debian keeps runc, debootstrap, useradd and runuser from an ordinary account's PATH.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# Through sudo, builds still run as the caller: the toolchain and the caches are theirs, and so the
# files stay.
ifneq ($(filter-out root,$(SUDO_USER)),)
CALLER_HOME := $(shell getent passwd '$(SUDO_USER)' | cut -d: -f6)
AS_CALLER := runuser -u $(SUDO_USER) -- env HOME=$(CALLER_HOME) PATH=$(CALLER_HOME)/.cargo/bin:$(PATH)
# Tests run and build as root, with the caller's toolchain; what they built is given back.
export RUSTUP_HOME ?= $(CALLER_HOME)/.rustup
export PATH := $(CALLER_HOME)/.cargo/bin:$(PATH)
AS_ROOT := env SUDO_USER=
GIVE_BACK := chown -R $(SUDO_USER): $(TARGET_DIR) build;
endif

# Tests that need root have names that begin so; the rest of a crate's tests need nothing.
PRIVILEGED := privileged_% attack_%
NATIVE_TESTS := $(basename $(notdir $(wildcard $(foreach crate,bridge store supervisor,native/$(crate)/tests/*.rs))))
# Tests that need a store's daemons.
REMOTE := hdfs_% kerberos_% s3_% http_% faults_% registry_%
PLAIN_TESTS := $(filter-out $(PRIVILEGED) $(REMOTE),$(NATIVE_TESTS))
REMOTE_TESTS := $(filter $(REMOTE),$(NATIVE_TESTS))
PRIVILEGED_TESTS := $(filter $(PRIVILEGED),$(NATIVE_TESTS))
TIERS := check test-unit test-request test-schema test-fuzz test-launcher test-guards test-ladder test-vm test-store test-convert test-jvm test-slots test-e2e test-lifecycle-short test-supervisor-life-short

.PHONY: help build library launcher init jar install demo check fmt fuzz test test-lifecycle test-supervisor-life test-scale bench bench-launch bench-store bench-convert bench-life clean test-faults test-endurance test-lifecycle-vm $(filter test-%,$(TIERS))

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: library launcher init jar ## build the library, the command, the launcher (for CONF_DIR), its init and the jars

library:
	$(AS_CALLER) cargo build --release -p storm-oci-bridge -p storm-oci-cli

# Alone, so that no other crate's choice of features reaches root's program.
launcher:
	$(AS_CALLER) env STORM_OCI_CONF_DIR='$(CONF_DIR)' cargo build --profile launcher -p storm-oci-launcher

# Static, since it runs in any image.
init:
	$(AS_CALLER) cargo rustc --profile launcher -p storm-oci-init -- -C target-feature=+crt-static

jar: $(JAR) $(METRICS_JAR)

# Gradle takes ten seconds to find out that there is nothing to do; make does not.
$(JAR) $(METRICS_JAR) &: build.gradle settings.gradle $(shell find java/src/main java/metrics -type f)
	$(AS_CALLER) gradle --quiet --no-daemon --console=plain jar
	@touch $(JAR) $(METRICS_JAR)

install: build ## install below PREFIX for the group GROUP; the launcher reads CONF_DIR
	@! '$(LAUNCHER)' --version | grep -q 'test build' || { \
	  echo "make install: cannot install a test build of the launcher: build it without features" >&2; exit 1; }
	@getent group '$(GROUP)' >/dev/null || { \
	  echo "make install: cannot find the group '$(GROUP)': create it, or name another with GROUP=" >&2; exit 1; }
	umask 022; mkdir -p '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/lib/storm-oci' '$(DESTDIR)$(CONF_DIR)' \
	  '$(DESTDIR)$(PREFIX)/share/bash-completion/completions'
	install -m 0755 '$(CLI)' '$(DESTDIR)$(PREFIX)/bin/storm-oci.new'
	mv -f '$(DESTDIR)$(PREFIX)/bin/storm-oci.new' '$(DESTDIR)$(PREFIX)/bin/storm-oci'
	umask 022; '$(CLI)' man '$(DESTDIR)$(PREFIX)/share/man/man1'; \
	  '$(CLI)' completions bash >'$(DESTDIR)$(PREFIX)/share/bash-completion/completions/storm-oci'
	install -m 0644 '$(LIBRARY)' '$(DESTDIR)$(PREFIX)/lib/storm-oci/libstorm_oci.so.new'
	mv -f '$(DESTDIR)$(PREFIX)/lib/storm-oci/libstorm_oci.so.new' '$(DESTDIR)$(PREFIX)/lib/storm-oci/libstorm_oci.so'
	install -m 0644 '$(JAR)' '$(DESTDIR)$(PREFIX)/lib/storm-oci/storm-oci.jar.new'
	mv -f '$(DESTDIR)$(PREFIX)/lib/storm-oci/storm-oci.jar.new' '$(DESTDIR)$(PREFIX)/lib/storm-oci/storm-oci.jar'
	install -m 0644 '$(METRICS_JAR)' '$(DESTDIR)$(PREFIX)/lib/storm-oci/storm-oci-metrics.jar.new'
	mv -f '$(DESTDIR)$(PREFIX)/lib/storm-oci/storm-oci-metrics.jar.new' '$(DESTDIR)$(PREFIX)/lib/storm-oci/storm-oci-metrics.jar'
	install -m 0755 '$(INIT)' '$(DESTDIR)$(PREFIX)/lib/storm-oci/storm-oci-init.new'
	mv -f '$(DESTDIR)$(PREFIX)/lib/storm-oci/storm-oci-init.new' '$(DESTDIR)$(PREFIX)/lib/storm-oci/storm-oci-init'
	install -m 0755 conf/worker-profiler.sh '$(DESTDIR)$(PREFIX)/lib/storm-oci/worker-profiler.sh.new'
	mv -f '$(DESTDIR)$(PREFIX)/lib/storm-oci/worker-profiler.sh.new' '$(DESTDIR)$(PREFIX)/lib/storm-oci/worker-profiler.sh'
	test -e '$(DESTDIR)$(CONF_DIR)/worker-launcher.cfg' || { \
	  sed -e 's/^\(storm.worker-launcher.group\)=.*/\1=$(GROUP)/' \
	    -e 's|^\(worker.launcher.oci.init\)=.*|\1=$(PREFIX)/lib/storm-oci/storm-oci-init|' \
	    -e 's|^\(worker.profiler.script.path\)=.*|\1=$(PREFIX)/lib/storm-oci/worker-profiler.sh|' conf/worker-launcher.cfg.example \
	    > '$(DESTDIR)$(CONF_DIR)/worker-launcher.cfg' && chmod 0644 '$(DESTDIR)$(CONF_DIR)/worker-launcher.cfg'; }
	install -o root -g '$(GROUP)' -m 6550 '$(LAUNCHER)' '$(DESTDIR)$(PREFIX)/bin/worker-launcher.new'
	mv -f '$(DESTDIR)$(PREFIX)/bin/worker-launcher.new' '$(DESTDIR)$(PREFIX)/bin/worker-launcher'

demo: ## count words on a stock Storm, in a container, and leave nothing behind
	$(AS_CALLER) cargo build --quiet -p storm-oci-e2e --bin demo
	@'$(TARGET_DIR)/debug/demo'

check: ## formatting and lints
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## format the Rust sources
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

fuzz: ## what root parses and what stores send, FUZZ_SECONDS for each parser
	fuzz/run

test: ## all tiers, as root; each one's time at the end
	@$(AS_ROOT) tests/tiers $(TIERS); result=$$?; $(GIVE_BACK) exit $$result

# The tiers build the whole workspace, so that each uses what the one before it built. Only the
# launcher and the request are built alone, with the features that root's program gets.
test-unit: ## tests that need neither root nor a network
	cargo build --workspace --examples
	cargo test --workspace --exclude storm-oci-request --lib --bins --test examples $(PLAIN_TESTS:%=--test %)

test-request: ## the launch request: reader, fixtures, generated config.json
	cargo test -p storm-oci-request

test-schema: ## every generated config.json against OCI's schema
	tests/compliance/check-schema

test-fuzz: fuzz ## what root parses, half a minute for each parser, and what stores send

test-launcher: init ## root: a real setuid copy, accounts, mounts, cgroups, a full disk
	cargo test --no-fail-fast -p storm-oci-launcher
	cargo build --workspace --examples
	cargo test --no-fail-fast --workspace $(PRIVILEGED_TESTS:%=--test %)
	cargo build --profile launcher -p storm-oci-launcher
	env LAUNCHER_UNDER_TEST='$(abspath $(LAUNCHER))' cargo test -p storm-oci-launcher --test privileged_monitor -- --include-ignored --nocapture
	tests/compliance/check-runc

test-guards: init ## root: each guard of the launcher is taken out, and a test must miss it
	cargo test -p storm-oci-launcher --test guards -- --include-ignored --nocapture

# As Linux 4.18. Which mounts such a kernel leaves open for a moment is in docs/adr/0011.
OLD_KERNEL := openat2,mount-api,mount-setattr,pidfd,loop-configure,erofs-file
LADDER_TESTS := attack_layers attack_mounts attack_paths attack_run privileged_init privileged_layers privileged_profile \
  privileged_reap privileged_record privileged_run privileged_signal privileged_verbs

test-ladder: init ## root: the launcher's tests, with what stands in for newer kernels' calls
	cargo build -p storm-oci-launcher --features test-switches --target-dir '$(TARGET_DIR)/guards'
	env STORM_OCI_WITHOUT='$(OLD_KERNEL)' LAUNCHER_UNDER_TEST='$(abspath $(TARGET_DIR))/guards/debug/worker-launcher' \
	  cargo test -p storm-oci-launcher $(LADDER_TESTS:%=--test %) -- \
	  --skip cve_2025_6019_no_mount_is_unrestricted_for_a_moment

test-vm: init ## root: the launcher's tests on Debian's kernels 6.1 and 6.12, with cgroups of version 2 only
	tests/vm/test-launcher

test-store: ## HDFS with and without Kerberos, S3, HTTP: real servers, and their faults
	cargo build --workspace --examples
	cargo test --workspace --test daemons $(REMOTE_TESTS:%=--test %)

test-faults: ## test-store and a JVM, with 200 fetches killed in each; an hour
	cargo build --workspace --lib --examples
	env STORM_OCI_KILLS=200 cargo test --workspace --test daemons $(REMOTE_TESTS:%=--test %) -- --nocapture
	gradle --no-daemon --console=plain test -PjvmTests=KilledFetch -PjvmKills=200 \
	  -PnativeLibrary=$(abspath $(TARGET_DIR))/debug/libstorm_oci.so

test-convert: ## root: images from registries, layouts and archives to layers, compared with other tools', and to stores
	cargo build --workspace --examples
	cargo test --no-fail-fast -p storm-oci-convert -p storm-oci-cli --test '*'

# The tests make the library panic hundreds of times; the traces would bury the rest.
test-jvm: ## the shim and the library in a JVM under -Xcheck:jni
	cargo build --workspace --lib --examples
	env RUST_BACKTRACE=0 gradle --no-daemon --console=plain test -PnativeLibrary=$(abspath $(TARGET_DIR))/debug/libstorm_oci.so

test-slots: ## root: workers' lives in real containers, driven by Storm's classes without a cluster
	cargo test --workspace --test slots

test-endurance: ## root: 500 rounds of lives on eight slots, with figures before and after; ten minutes
	cargo test --workspace --test slots -- endurance

test-lifecycle-vm: ## root: the lives on Debian's kernels 6.1 and 6.12, with cgroups of version 2 only
	cargo test --workspace --test slots -- vm

test-e2e: ## root: real Storm, real containers
	cargo test --workspace --test stock_storm

test-lifecycle: ## root: all that can happen to a worker on real Storm, beside Storm's own way; seven minutes
	cargo test --workspace --test worker_life

test-lifecycle-short: ## root: of test-lifecycle, how workers end, what profilers and logviewers need, a replaced image; four minutes
	env STORM_OCI_LIFECYCLE=short cargo test --workspace --test worker_life

test-supervisor-life: ## root: the supervisor on real Storm is stopped, restarted, killed 50 times; ten minutes
	env STORM_OCI_KILLS=50 cargo test --workspace --test supervisor_life

test-supervisor-life-short: ## root: test-supervisor-life with 4 kills; three minutes
	env STORM_OCI_KILLS=4 cargo test --workspace --test supervisor_life

test-scale: ## root: rounds of submit and kill on real Storm, and 20 workers at once; a quarter of an hour
	cargo test --workspace --test scale

bench: bench-launch bench-store bench-convert bench-life ## root: all of them; BENCH_ONLY=P1,S1 and BENCH_ROUNDS=5 make them shorter

bench-launch: launcher ## root: launch and reap beside bare runc, and beside ORIGINAL_LAUNCHER=<path>
	LAUNCHER_UNDER_TEST='$(abspath $(LAUNCHER))' STORM_OCI_CONF_DIR='$(CONF_DIR)' \
	  BENCH_JSON='$(abspath $(TARGET_DIR))/bench/launch.json' \
	  cargo bench --profile dev -p storm-oci-launcher --bench launch; result=$$?; $(GIVE_BACK) exit $$result

# The copies belong on a disk, and the temporary directory may be in memory.
bench-store: ## images from HDFS beside Hadoop's Java client and a plain copy
	mkdir -p '$(TARGET_DIR)/bench'
	TMPDIR='$(abspath $(TARGET_DIR))/bench' BENCH_JSON='$(abspath $(TARGET_DIR))/bench/store.json' \
	  cargo bench -p storm-oci-store --bench store; result=$$?; $(GIVE_BACK) exit $$result

bench-convert: library ## root: layers to squashfs, beside Storm's script and the tools that take archives; an image to HDFS
	mkdir -p '$(TARGET_DIR)/bench'
	TMPDIR='$(abspath $(TARGET_DIR))/bench' BENCH_JSON='$(abspath $(TARGET_DIR))/bench/convert.json' \
	  STORM_OCI_UNDER_TEST='$(abspath $(CLI))' \
	  cargo bench -p storm-oci-convert --bench convert; result=$$?; $(GIVE_BACK) exit $$result

bench-life: ## root: ends and memory usage known in Java, and idle workers
	BENCH_JSON='$(abspath $(TARGET_DIR))/bench/life.json' \
	  cargo bench --profile dev -p storm-oci-e2e --bench life; result=$$?; $(GIVE_BACK) exit $$result

clean: ## remove what was built
	cargo clean
	rm -rf build .gradle
