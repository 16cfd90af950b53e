//! The image that is put together without a container engine, from a program of a few bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::tools::root;

const TAG: &str = "registry.example/valence:test";

/// The head of a 64-bit ELF program for a machine, with one segment of a kind.
fn program(machine: u16, segment: u32) -> Vec<u8> {
    let mut bytes = vec![0_u8; 120];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
    bytes[64..68].copy_from_slice(&segment.to_le_bytes());
    bytes
}

const AMD64: u16 = 62;
const ARM64: u16 = 183;
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;

fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image").join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn image(folder: &Path, programs: &[(&str, Vec<u8>)], more: &[&str]) -> Output {
    let mut command = Command::new(root().join(".ci/image.py"));
    command.args(["--tag", TAG]).args(more).arg(folder.join("image.tar"));
    for (platform, bytes) in programs {
        let path = folder.join(platform.replace('/', "-"));
        fs::write(&path, bytes).unwrap();
        command.arg(format!("{platform}={}", path.display()));
    }
    command.output().unwrap()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A file of the unpacked layout as JSON.
fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let path = layout
        .join("blobs")
        .join(descriptor["digest"].as_str().unwrap().replace(':', "/"));
    assert_eq!(fs::metadata(&path).unwrap().len(), descriptor["size"].as_u64().unwrap());
    path
}

#[test]
fn every_platform_is_in_the_image_with_its_program_user_and_licence() {
    let folder = folder("whole");
    let made = image(
        &folder,
        &[
            ("linux/amd64", program(AMD64, LOAD)),
            ("linux/arm64", program(ARM64, LOAD)),
        ],
        &[],
    );
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let layout = folder.join("layout");
    fs::create_dir(&layout).unwrap();
    run(Command::new("tar")
        .arg("-xf")
        .arg(folder.join("image.tar"))
        .arg("-C")
        .arg(&layout));
    for entry in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let sum = run(Command::new("sha256sum").arg(&path));
        assert!(sum.starts_with(&*path.file_name().unwrap().to_string_lossy()), "{sum}");
    }
    let top = &json(&layout.join("index.json"))["manifests"][0];
    for name in ["org.opencontainers.image.ref.name", "io.containerd.image.name"] {
        assert_eq!(top["annotations"][name], TAG);
    }
    let platforms = json(&blob(&layout, top));
    let platforms = platforms["manifests"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for (one, machine) in platforms.iter().zip([AMD64, ARM64]) {
        let manifest = json(&blob(&layout, one));
        let configuration = json(&blob(&layout, &manifest["config"]));
        assert_eq!(configuration["architecture"], one["platform"]["architecture"]);
        assert_eq!(configuration["config"]["User"], "65532:65532");
        assert_eq!(configuration["config"]["Entrypoint"], serde_json::json!(["/valence"]));
        assert_eq!(
            configuration["config"]["Labels"]["org.opencontainers.image.licenses"],
            "Apache-2.0"
        );
        let content = folder.join(format!("content-{machine}"));
        fs::create_dir(&content).unwrap();
        let layer = blob(&layout, &manifest["layers"][0]);
        run(Command::new("tar").arg("-xzf").arg(layer).arg("-C").arg(&content));
        assert_eq!(fs::read(content.join("valence")).unwrap(), program(machine, LOAD));
        assert!(
            fs::read_to_string(content.join("LICENSE"))
                .unwrap()
                .contains("Apache License")
        );
    }
}

#[test]
fn the_same_program_makes_the_same_image_and_one_that_docker_of_old_reads() {
    let folder = folder("same");
    let make = || {
        assert!(
            image(&folder, &[("linux/amd64", program(AMD64, LOAD))], &[])
                .status
                .success()
        );
        fs::read(folder.join("image.tar")).unwrap()
    };
    assert_eq!(make(), make());
    run(Command::new("tar")
        .arg("-xf")
        .arg(folder.join("image.tar"))
        .arg("-C")
        .arg(&folder));
    let old = &json(&folder.join("manifest.json"))[0];
    assert_eq!(old["RepoTags"], serde_json::json!([TAG]));
    for path in [&old["Config"], &old["Layers"][0]] {
        assert!(folder.join(path.as_str().unwrap()).is_file(), "{old}");
    }
}

#[test]
fn what_cannot_run_from_scratch_is_refused() {
    let folder = folder("refused");
    let refused = |bytes: Vec<u8>, more: &[&str], why: &str| {
        let made = image(&folder, &[("linux/amd64", bytes)], more);
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(!made.status.success() && said.contains(why), "{why}: {said}");
    };
    refused(program(AMD64, INTERPRETER), &[], "needs a dynamic linker");
    refused(program(ARM64, LOAD), &[], "is for arm64, not for amd64");
    refused(b"#!/bin/sh\n".to_vec(), &[], "is not a 64-bit ELF program");
    refused(
        program(AMD64, LOAD),
        &["--most-mb", "0.001"],
        "more than 0.001 MB unpacked",
    );
}
