//! The one way into the library: errors and panics become an exception.

use std::any::Any;

use jni::errors::ErrorPolicy;
use jni::objects::JThrowable;
use jni::strings::JNIString;
use jni::{Env, EnvUnowned, jni_sig, jni_str};

use crate::error::BridgeError;

/// Runs the body of a native method.
///
/// An error or panic is thrown as `OciNativeException`, and the method returns 0 or null, which
/// Java never sees. An exception that is pending already stays the one that Java gets.
pub fn call<'local, T: Default>(
    env: &mut EnvUnowned<'local>,
    body: impl FnOnce(&mut Env<'local>) -> Result<T, BridgeError>,
) -> T {
    env.with_env(body).resolve::<ThrowOciNativeException>()
}

/// Turns whatever ends a native method early into `OciNativeException`.
#[derive(Debug)]
struct ThrowOciNativeException;

impl<T: Default> ErrorPolicy<T, BridgeError> for ThrowOciNativeException {
    type Captures<'unowned_env_local: 'native_method, 'native_method> = ();

    fn on_error<'unowned_env_local: 'native_method, 'native_method>(
        env: &mut Env<'unowned_env_local>,
        _captures: &mut (),
        error: BridgeError,
    ) -> jni::errors::Result<T> {
        throw(env, error.code(), &error.to_string());
        Ok(T::default())
    }

    fn on_panic<'unowned_env_local: 'native_method, 'native_method>(
        env: &mut Env<'unowned_env_local>,
        _captures: &mut (),
        payload: Box<dyn Any + Send>,
    ) -> jni::errors::Result<T> {
        let message =
            format!("cannot go on: the native library panicked: {}", panic_text(payload.as_ref()));
        throw(env, BridgeError::INTERNAL, &message);
        Ok(T::default())
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(no message)"
    }
}

fn throw(env: &mut Env<'_>, code: &str, message: &str) {
    if env.exception_check() {
        return;
    }
    // A success of throwing is told as `Err(JavaException)`: what counts is what is pending after.
    let _ = throw_oci_native_exception(env, code, message);
    if !env.exception_check() {
        // Without our class there is still its superclass, which callers expect too.
        let text = JNIString::from(format!("{code}: {message}"));
        let _ = env.throw_new(jni_str!("java/io/IOException"), text);
    }
}

fn throw_oci_native_exception(
    env: &mut Env<'_>,
    code: &str,
    message: &str,
) -> jni::errors::Result<()> {
    let code = env.new_string(code)?;
    let message = env.new_string(message)?;
    let exception = env.new_object(
        jni_str!("org/apache/storm/container/oci/OciNativeException"),
        jni_sig!("(Ljava/lang/String;Ljava/lang/String;)V"),
        &[(&code).into(), (&message).into()],
    )?;
    let exception = env.cast_local::<JThrowable<'_>>(exception)?;
    env.throw(exception)
}
