//! Which program stands for an image.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;
use thiserror::Error;

/// A program that a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A binary of this machine with its arguments.
    Binary {
        /// Where it is.
        path: PathBuf,
        /// Its arguments, not expanded yet.
        arguments: Vec<String>,
        /// Whether it talks to the API and gets a kubeconfig.
        operator: bool,
    },
    /// One of the playground's own programs with its arguments, not expanded yet.
    Own(Vec<String>),
}

/// Why an image cannot be run.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    /// No program stands for it.
    #[error(
        "the playground has no program for image {0:?}; it knows envoyproxy/envoy, ghcr.io/valencenet/valence, ghcr.io/valencenet/playground, registry.k8s.io/pause and those given by --image"
    )]
    Unknown(String),
    /// A binary for it was not given.
    #[error("no {0} binary was given: set {1}")]
    NoBinary(&'static str, &'static str),
    /// The command is not the image's own.
    #[error("image {image:?} has no command {command:?} here: only {known:?} can be run")]
    Command {
        /// The image.
        image: String,
        /// What was asked for.
        command: String,
        /// What can be run.
        known: String,
    },
}

/// The binaries that stand for images.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// The Envoy binary.
    pub envoy: Option<PathBuf>,
    /// The operator's binary.
    pub valence: Option<PathBuf>,
    /// Further image names (without tag) and the binaries that stand for them.
    pub others: Vec<(String, PathBuf)>,
}

/// The name of an image without registry default, tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let slash = image.rfind('/').map_or(0, |at| at + 1);
    let end = image[slash..].find(':').map_or(image.len(), |at| slash + at);
    let name = &image[..end];
    name.strip_prefix("docker.io/").unwrap_or(name)
}

impl Images {
    /// The program that a container runs.
    ///
    /// # Errors
    /// When there is none for its image or its command.
    pub fn program(&self, container: &Container) -> Result<Program, ImageError> {
        let image = container.image.clone().unwrap_or_default();
        let command = container.command.clone().unwrap_or_default();
        let arguments = container.args.clone().unwrap_or_default();
        let name = repository(&image);
        if let Some((_, path)) = self.others.iter().find(|(known, _)| known == name) {
            return binary(&image, path, file_name(path), command, arguments, false);
        }
        match name {
            "envoyproxy/envoy" | "envoyproxy/envoy-distroless" => {
                let path = self
                    .envoy
                    .as_ref()
                    .ok_or(ImageError::NoBinary("Envoy", "ENVOY_BINARY"))?;
                binary(&image, path, "envoy", command, arguments, false)
            }
            "ghcr.io/valencenet/valence" => {
                let path = self
                    .valence
                    .as_ref()
                    .ok_or(ImageError::NoBinary("Valence", "VALENCE_BINARY"))?;
                binary(&image, path, "valence", command, arguments, true)
            }
            "ghcr.io/valencenet/playground" => Ok(Program::Own(own(command, arguments))),
            "registry.k8s.io/pause" => Ok(Program::Own(vec!["idle".into()])),
            _ => Err(ImageError::Unknown(image)),
        }
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A binary that is its image's entry point: arguments alone are given to it; a command must name it.
fn binary(
    image: &str,
    path: &Path,
    name: &str,
    command: Vec<String>,
    arguments: Vec<String>,
    operator: bool,
) -> Result<Program, ImageError> {
    let mut words = command.into_iter().chain(arguments).peekable();
    let first = words.peek().cloned().unwrap_or_default();
    let names_it = file_name(Path::new(&first)) == name;
    let is_argument = first.is_empty() || first.starts_with('-') || operator && !first.contains('/');
    if names_it {
        words.next();
    } else if !is_argument {
        return Err(ImageError::Command {
            image: image.into(),
            command: first,
            known: name.into(),
        });
    }
    Ok(Program::Binary {
        path: path.to_owned(),
        arguments: words.collect(),
        operator,
    })
}

fn own(command: Vec<String>, arguments: Vec<String>) -> Vec<String> {
    let mut words = command.into_iter().chain(arguments).peekable();
    if words
        .peek()
        .is_some_and(|first| file_name(Path::new(first)) == "playground")
    {
        words.next();
    }
    words.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn program(container: serde_json::Value) -> Result<Program, ImageError> {
        let images = Images {
            envoy: Some("/bin/envoy".into()),
            valence: Some("/bin/valence".into()),
            others: vec![("prom/prometheus".into(), "/usr/bin/prometheus".into())],
        };
        let mut container = container;
        container["name"] = json!("c");
        images.program(&serde_json::from_value(container).unwrap())
    }

    fn binary_of(container: serde_json::Value) -> (String, Vec<String>) {
        match program(container).unwrap() {
            Program::Binary { path, arguments, .. } => (path.display().to_string(), arguments),
            own => panic!("{own:?}"),
        }
    }

    #[test]
    fn the_entry_point_of_envoy_takes_arguments_alone_or_its_name() {
        let image = "envoyproxy/envoy:v1.38.3";
        let alone = binary_of(json!({"image": image, "args": ["--config-yaml", "{}"]}));
        let named = binary_of(json!({"image": image, "command": ["envoy"], "args": ["--config-yaml", "{}"]}));
        assert_eq!(alone, ("/bin/envoy".into(), vec!["--config-yaml".into(), "{}".into()]));
        assert_eq!(alone, named);
        assert!(matches!(
            program(json!({"image": image, "command": ["sh"]})),
            Err(ImageError::Command { .. })
        ));
    }

    #[test]
    fn images_are_told_apart_by_name_and_not_by_tag() {
        let (path, arguments) = binary_of(json!({"image": "ghcr.io/valencenet/valence:0.1.0", "args": ["run", "-v"]}));
        assert_eq!((path.as_str(), arguments.len()), ("/bin/valence", 2));
        assert_eq!(
            binary_of(json!({"image": "docker.io/prom/prometheus@sha256:12"})).0,
            "/usr/bin/prometheus"
        );
        let own = json!({"image": "ghcr.io/valencenet/playground", "command": ["/playground", "application"], "args": ["--port", "1"]});
        assert_eq!(
            program(own).unwrap(),
            Program::Own(vec!["application".into(), "--port".into(), "1".into()])
        );
        assert_eq!(
            program(json!({"image": "nginx:1"})),
            Err(ImageError::Unknown("nginx:1".into()))
        );
        assert!(program(json!({"image": "ghcr.io/other/valence"})).is_err());
    }
}
