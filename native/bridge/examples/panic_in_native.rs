//! A library for the JVM tests: a native method that panics, behind the same entry as the real
//! ones. The shipped library has nothing in it that panics on request.
#![expect(unsafe_code, reason = "the JVM finds native methods by their unmangled names")]

use jni::EnvUnowned;
use jni::objects::{JClass, JString};

/// `org.apache.storm.container.oci.PanicTest.panic(String)`: panics with the text of its caller.
#[unsafe(no_mangle)]
extern "system" fn Java_org_apache_storm_container_oci_PanicTest_panic<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
    text: JString<'local>,
) {
    storm_oci::entry::call(&mut env, |_| -> Result<(), storm_oci::BridgeError> {
        panic!("{text}")
    });
}
