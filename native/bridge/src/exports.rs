//! The entry points, one for each native method of `NativeContainers`, and nothing else.
#![expect(unsafe_code, reason = "the JVM finds native methods by their unmangled names")]

use jni::EnvUnowned;
use jni::objects::{JByteArray, JClass, JString};
use jni::sys::{jboolean, jint, jlong};
use storm_oci_supervisor::{Containers, EventQueue, Images};

use crate::entry::call;
use crate::error::BridgeError;
use crate::handles::Opened;
use crate::library::library;
use crate::text::{answer, argument};

/// Opens something whose log lines must be heard while it opens.
fn open(
    open: impl FnOnce(EventQueue) -> Result<Opened, BridgeError>,
) -> Result<jlong, BridgeError> {
    let library = library()?;
    let events = EventQueue::new();
    let sink = library.logs.add(events.clone());
    Ok(library.handles.add(open(events)?, sink))
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_openImages<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    conf: JString<'local>,
) -> jlong {
    call(&mut env, |env| {
        let conf = argument(env, &conf, "confJson")?;
        open(|_| Ok(Opened::Images(Images::open(&conf)?.into())))
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_manifest<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    images: jlong,
    tag: JString<'local>,
) -> JString<'local> {
    call(&mut env, |env| {
        let images = library()?.handles.images(images)?;
        let tag = argument(env, &tag, "tag")?;
        answer(env, &images.manifest_json(&tag)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_resources<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    images: jlong,
    manifest: JString<'local>,
) -> JString<'local> {
    call(&mut env, |env| {
        let images = library()?.handles.images(images)?;
        let manifest = argument(env, &manifest, "manifestJson")?;
        answer(env, &images.resources_json(&manifest)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_localize<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    images: jlong,
    resource: JString<'local>,
) -> JString<'local> {
    call(&mut env, |env| {
        let images = library()?.handles.images(images)?;
        let resource = argument(env, &resource, "resourceJson")?;
        answer(env, &images.localize_json(&resource)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_openContainers<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    prepare: JString<'local>,
) -> jlong {
    call(&mut env, |env| {
        let prepare = argument(env, &prepare, "prepareJson")?;
        open(|events| {
            let containers = Containers::prepare_with(&prepare, events)?;
            Ok(Opened::Containers(containers.into()))
        })
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_reserve<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
    reservation: JString<'local>,
) {
    call(&mut env, |env| {
        let containers = library()?.handles.containers(containers)?;
        let reservation = argument(env, &reservation, "reservationJson")?;
        Ok(containers.reserve(&reservation)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_launch<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
    launch: JString<'local>,
) -> JString<'local> {
    call(&mut env, |env| {
        let containers = library()?.handles.containers(containers)?;
        let launch = argument(env, &launch, "launchJson")?;
        answer(env, &containers.launch(&launch)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_allProcessesDead<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
    user: JString<'local>,
    worker_id: JString<'local>,
) -> jboolean {
    call(&mut env, |env| {
        let containers = library()?.handles.containers(containers)?;
        let user = argument(env, &user, "user")?;
        let worker_id = argument(env, &worker_id, "workerId")?;
        Ok(containers.all_processes_dead(&user, &worker_id)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_kill<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
    user: JString<'local>,
    worker_id: JString<'local>,
    force: jboolean,
) {
    call(&mut env, |env| {
        let containers = library()?.handles.containers(containers)?;
        let user = argument(env, &user, "user")?;
        let worker_id = argument(env, &worker_id, "workerId")?;
        Ok(containers.kill(&user, &worker_id, force)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_cleanup<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
    user: JString<'local>,
    worker_id: JString<'local>,
    port: jint,
) {
    call(&mut env, |env| {
        let containers = library()?.handles.containers(containers)?;
        let user = argument(env, &user, "user")?;
        let worker_id = argument(env, &worker_id, "workerId")?;
        Ok(containers.cleanup(&user, &worker_id, port)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_writeHeartbeat<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
    worker_id: JString<'local>,
    state: JByteArray<'local>,
) {
    call(&mut env, |env| {
        let containers = library()?.handles.containers(containers)?;
        let worker_id = argument(env, &worker_id, "workerId")?;
        if state.is_null() {
            return Err(BridgeError::Null { argument: "state" });
        }
        let state = env.convert_byte_array(&state)?;
        Ok(containers.write_heartbeat(&worker_id, &state)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_memoryUsage<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
    user: JString<'local>,
    worker_id: JString<'local>,
) -> jlong {
    call(&mut env, |env| {
        let containers = library()?.handles.containers(containers)?;
        let user = argument(env, &user, "user")?;
        let worker_id = argument(env, &worker_id, "workerId")?;
        let bytes = containers.memory_usage(&user, &worker_id)?;
        Ok(jlong::try_from(bytes).unwrap_or(jlong::MAX))
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_systemFreeMemoryMb<
    'local,
>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
) -> jlong {
    call(&mut env, |_| {
        let containers = library()?.handles.containers(containers)?;
        let mebibytes = containers.system_free_memory_mb()?;
        Ok(jlong::try_from(mebibytes).unwrap_or(jlong::MAX))
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_profile<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
    profile: JString<'local>,
) -> jboolean {
    call(&mut env, |env| {
        let containers = library()?.handles.containers(containers)?;
        let profile = argument(env, &profile, "profileJson")?;
        Ok(containers.profile(&profile)?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_metrics<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    containers: jlong,
) -> JString<'local> {
    call(&mut env, |env| {
        let containers = library()?.handles.containers(containers)?;
        answer(env, &containers.metrics()?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_nextEvent<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    handle: jlong,
) -> JString<'local> {
    call(&mut env, |env| {
        let events = library()?.handles.events(handle)?;
        match events.and_then(|events| events.next()) {
            Some(event) => answer(env, &event),
            None => Ok(JString::default()),
        }
    })
}

#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_NativeContainers_close<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    handle: jlong,
) {
    call(&mut env, |_| library()?.handles.close(handle))
}
