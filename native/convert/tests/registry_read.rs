//! Images in a real registry: anonymous, with passwords, with tokens, with TLS.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use storm_oci_convert::source::{Credentials, SourceError, SourceSettings};
use storm_oci_store::ErrorKind;
use storm_oci_test_stores::{Authority, Login, OciLayout, Packing, Registry, RegistrySpec, Types};

use sources::{assert_is, image, layers, refusal, resolve, run};

fn plain() -> SourceSettings {
    SourceSettings {
        plain_http: true,
        retry_delay: Duration::from_millis(10),
        ..SourceSettings::default()
    }
}

fn layout(directory: &Path) -> OciLayout {
    OciLayout::create(&directory.join("layout")).unwrap()
}

/// An image in a new registry, as `storm/worker:1.0`.
fn registry_with_image(spec: RegistrySpec, directory: &Path) -> (Registry, OciLayout, Value) {
    let registry = Registry::start(spec).unwrap();
    let layout = layout(directory);
    let made = image(&layout, Types::Docker, "linux/amd64", Packing::Gzip);
    registry.push(&layout, &made, "storm/worker:1.0").unwrap();
    (registry, layout, made)
}

fn password(password: &str) -> Credentials {
    Credentials::Password { username: Registry::USERNAME.into(), password: password.into() }
}

#[tokio::test]
async fn images_of_all_types_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(RegistrySpec::default()).unwrap();
    let layout = layout(directory.path());
    for (tag, types, packing) in [
        ("oci-gzip", Types::Oci, Packing::Gzip),
        ("oci-zstd", Types::Oci, Packing::Zstd),
        ("oci-plain", Types::Oci, Packing::Plain),
        ("docker-gzip", Types::Docker, Packing::Gzip),
        ("docker-plain", Types::Docker, Packing::Plain),
    ] {
        let made = image(&layout, types, "linux/amd64", packing);
        registry.push(&layout, &made, &format!("storm/worker:{tag}")).unwrap();
        let digest = made["digest"].as_str().unwrap();
        for end in [format!(":{tag}"), format!("@{digest}"), format!(":moved@{digest}")] {
            let name = registry.name(&format!("storm/worker{end}"));
            let (source, image) = resolve(&name, &plain()).await.unwrap();
            assert_is(&image, &layout, &made);
            assert_eq!(image.name, name);
            assert_eq!(layers(&*source, &image).await.len(), 2);
            let (_, image) = resolve(&format!("docker://{name}"), &plain()).await.unwrap();
            assert_is(&image, &layout, &made);
        }
    }
}

#[tokio::test]
async fn the_platform_is_chosen_and_a_moved_tag_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(RegistrySpec::default()).unwrap();
    let layout = layout(directory.path());
    let platform = |platform| image(&layout, Types::Oci, platform, Packing::Zstd);
    let (windows, amd) = (platform("windows/amd64"), platform("linux/amd64"));
    let attestation = platform("unknown/unknown");
    let index = layout.index(Types::Oci, &[windows.clone(), attestation, amd.clone()]).unwrap();
    registry.push(&layout, &index, "a/b/c:latest").unwrap();
    let (source, image) = resolve(&registry.name("a/b/c"), &plain()).await.unwrap();
    assert_is(&image, &layout, &amd);
    assert_eq!(image.index.as_ref().unwrap().to_string(), index["digest"]);
    // The tag is another image's now.
    registry.push(&layout, &windows, "a/b/c:latest").unwrap();
    assert_eq!(layers(&*source, &image).await.len(), 2);
    let (error, text) = refusal(&registry.name("a/b/c"), &plain()).await;
    assert!(matches!(error, SourceError::WrongPlatform { .. }), "{text}");
    assert!(text.contains("it is for windows/amd64; hint"), "{text}");
    let only = layout.index(Types::Oci, &[windows]).unwrap();
    registry.push(&layout, &only, "a/b/c:windows").unwrap();
    let (error, text) = refusal(&registry.name("a/b/c:windows"), &plain()).await;
    assert!(matches!(error, SourceError::WrongPlatform { .. }), "{text}");
}

#[tokio::test]
async fn what_is_not_there_is_named_with_what_is() {
    let directory = tempfile::tempdir().unwrap();
    let (registry, layout, made) = registry_with_image(RegistrySpec::default(), directory.path());
    registry.push(&layout, &made, "storm/worker:2.0").unwrap();
    let other = format!("sha256:{}", "0".repeat(64));
    for (name, said) in [
        ("storm/worker:3.0".to_owned(), "storm/worker has no tag `3.0`; there is 1.0, 2.0"),
        ("storm/worker".to_owned(), "has no tag `latest`; there is 1.0, 2.0"),
        (format!("storm/worker@{other}"), "has no manifest sha256:000"),
        ("storm/none:1.0".to_owned(), "there is no repository localhost:"),
    ] {
        let (error, text) = refusal(&registry.name(&name), &plain()).await;
        assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
        assert!(text.contains(said), "{text}");
    }
    let (source, image) = resolve(&registry.name("storm/worker:1.0"), &plain()).await.unwrap();
    let manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    fs::remove_file(registry.file_of(&manifest["layers"][1])).unwrap();
    let error = source.blob(&image.layers[1]).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    fs::remove_file(registry.file_of(&manifest["config"])).unwrap();
    let (error, text) = refusal(&registry.name("storm/worker:1.0"), &plain()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
}

#[tokio::test]
async fn what_differs_from_its_digest_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (registry, layout, made) = registry_with_image(RegistrySpec::default(), directory.path());
    let name = registry.name("storm/worker:1.0");
    let manifest: Value = serde_json::from_slice(&layout.read(&made).unwrap()).unwrap();
    let file = registry.file_of(&manifest["config"]);
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config.replace("linux", "linuX")).unwrap();
    let (error, text) = refusal(&name, &plain()).await;
    assert!(matches!(error, SourceError::DigestMismatch { .. }), "{text}");
    fs::write(&file, format!("{config} ")).unwrap();
    let (error, text) = refusal(&name, &plain()).await;
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{text}");
    fs::write(&file, &config).unwrap();
    // The registry looks it up by its digest, and does not compare.
    let file = registry.file_of(&made);
    let document = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{document} ")).unwrap();
    let (error, text) = refusal(&name, &plain()).await;
    assert!(matches!(error, SourceError::DigestMismatch { .. }), "{text}");
    let by_digest = registry.name(&format!("storm/worker@{}", made["digest"].as_str().unwrap()));
    let (error, text) = refusal(&by_digest, &plain()).await;
    assert!(matches!(error, SourceError::DigestMismatch { .. }), "{text}");
}

#[tokio::test]
async fn passwords_are_needed_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let spec = RegistrySpec { login: Login::Password, ..RegistrySpec::default() };
    let (registry, layout, made) = registry_with_image(spec, directory.path());
    let name = registry.name("storm/worker:1.0");
    let (error, text) = refusal(&name, &plain()).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{text}");
    assert!(text.contains("refuses anonymous access") && text.contains("docker login"), "{text}");

    let wrong = SourceSettings { credentials: Some(password("wrong-secret")), ..plain() };
    let (error, text) = refusal(&name, &wrong).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{text}");
    assert!(text.contains("refuses the credentials"), "{text}");
    assert!(!format!("{text}{error:?}{wrong:?}").contains("wrong-secret"), "{error:?}");
    let right = SourceSettings { credentials: Some(password(Registry::PASSWORD)), ..plain() };
    let (source, image) = resolve(&name, &right).await.unwrap();
    assert_is(&image, &layout, &made);
    assert_eq!(layers(&*source, &image).await.len(), 2);
    assert!(!format!("{source:?}").contains(Registry::PASSWORD));

    // As `docker login` and `skopeo login` write them, by host and by repository.
    let file = directory.path().join("auth.json");
    let host = format!("localhost:{}", registry.address().port());
    run(
        "skopeo",
        &[
            "login",
            "--tls-verify=false",
            "--authfile",
            file.to_str().unwrap(),
            "--username",
            Registry::USERNAME,
            "--password",
            Registry::PASSWORD,
            &host,
        ],
    );
    let from_file = |path: PathBuf| SourceSettings { auth_file: Some(path), ..plain() };
    resolve(&name, &from_file(file.clone())).await.unwrap();
    let auths: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let good = auths["auths"][&host]["auth"].clone();
    let path = directory.path().join("by-repository.json");
    let bad = json!({"auth": "b25lOnR3bw=="});
    let entries = json!({"auths": {&host: bad, format!("{host}/storm"): {"auth": good}}});
    fs::write(&path, entries.to_string()).unwrap();
    let (_, image) = resolve(&name, &from_file(path)).await.unwrap();
    assert_is(&image, &layout, &made);
    let missing = from_file(directory.path().join("none.json"));
    let (error, text) = refusal(&name, &missing).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
}

#[tokio::test]
async fn tokens_are_fetched_once() {
    let directory = tempfile::tempdir().unwrap();
    let spec = RegistrySpec { login: Login::Token { anonymous: true }, ..RegistrySpec::default() };
    let (registry, layout, made) = registry_with_image(spec, directory.path());
    let (source, image) = resolve(&registry.name("storm/worker:1.0"), &plain()).await.unwrap();
    assert_is(&image, &layout, &made);
    assert_eq!(layers(&*source, &image).await.len(), 2);
    assert_eq!(registry.tokens_given(), 1);
}

#[tokio::test]
async fn tokens_need_credentials() {
    let directory = tempfile::tempdir().unwrap();
    let spec = RegistrySpec { login: Login::Token { anonymous: false }, ..RegistrySpec::default() };
    let (registry, layout, made) = registry_with_image(spec, directory.path());
    let name = registry.name("storm/worker:1.0");
    let with = |credentials| SourceSettings { credentials: Some(credentials), ..plain() };
    let wrong = [
        plain(),
        with(password("wrong-secret")),
        with(Credentials::IdentityToken("wrong-secret".into())),
    ];
    for settings in wrong {
        let (error, text) = refusal(&name, &settings).await;
        assert_eq!(error.kind(), ErrorKind::Denied, "{text}");
        assert!(text.contains("who are you?") && !text.contains("wrong-secret"), "{text}");
    }
    assert_eq!(registry.tokens_given(), 0);
    for credentials in
        [password(Registry::PASSWORD), Credentials::IdentityToken(Registry::IDENTITY_TOKEN.into())]
    {
        let (source, image) = resolve(&name, &with(credentials)).await.unwrap();
        assert_is(&image, &layout, &made);
        assert_eq!(layers(&*source, &image).await.len(), 2);
    }
    assert_eq!(registry.tokens_given(), 2);
}

#[tokio::test]
async fn tls_needs_the_authority_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let spec = RegistrySpec {
        login: Login::Token { anonymous: true },
        tls: Some(authority.issue("localhost").unwrap()),
    };
    let (registry, layout, made) = registry_with_image(spec, directory.path());
    let name = registry.name("storm/worker:1.0");
    let quick =
        SourceSettings { retry_delay: Duration::from_millis(10), ..SourceSettings::default() };
    let (error, text) = refusal(&name, &quick).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");
    assert!(text.contains("hint: name the file of its authority with --ca-file"), "{text}");
    let trusting = SourceSettings { ca_file: Some(authority.certificate()), ..quick.clone() };
    let (source, image) = resolve(&name, &trusting).await.unwrap();
    assert_is(&image, &layout, &made);
    assert_eq!(layers(&*source, &image).await.len(), 2);
    // The certificate is for another name than this.
    let by_address = name.replace("localhost", "127.0.0.1");
    let (error, text) = refusal(&by_address, &trusting).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");

    for content in [None, Some("no certificate"), Some("-----BEGIN CERTIFICATE-----\n!\n")] {
        let path = directory.path().join("ca.pem");
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let settings = SourceSettings { ca_file: Some(path), ..quick.clone() };
        let (error, text) = refusal(&name, &settings).await;
        assert!(matches!(error, SourceError::InvalidSettings { .. }), "{text}");
        assert!(text.contains("ca.pem"), "{text}");
    }
    let plain_registry = Registry::start(RegistrySpec::default()).unwrap();
    let (error, text) = refusal(&plain_registry.name("storm/worker:1.0"), &quick).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");
    assert!(text.contains("say so with --plain-http"), "{text}");
}

#[tokio::test]
async fn skopeo_pushes_what_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(RegistrySpec::default()).unwrap();
    let built = directory.path().join("built").display().to_string();
    run("umoci", &["init", "--layout", &built]);
    run("umoci", &["new", "--image", &format!("{built}:1.0")]);
    let file = directory.path().join("file").display().to_string();
    fs::write(&file, "content").unwrap();
    run("umoci", &["insert", "--rootless", "--image", &format!("{built}:1.0"), &file, "/file"]);
    for format in ["oci", "v2s2"] {
        let name = registry.name(&format!("storm/{format}:1.0"));
        let (from, to) = (format!("oci:{built}:1.0"), format!("docker://{name}"));
        let copy = ["copy", "--insecure-policy", "--dest-tls-verify=false", "--format", format];
        run("skopeo", &[&copy[..], &[&from, &to]].concat());
        let (source, image) = resolve(&to, &plain()).await.unwrap();
        let raw = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &to]);
        assert_eq!(image.manifest, raw);
        assert_eq!(layers(&*source, &image).await.len(), 1);
    }
}
