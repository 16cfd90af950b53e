//! How a playground is to be started.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;

use crate::kubelet::find_on_path;
use crate::kubelet::image::Images;
use crate::kubelet::node::NodeOptions;

/// How a playground is to be started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the API listens; a free port of 127.0.0.1 by default.
    pub listen: SocketAddr,
    /// Folder for kubeconfig files; one of its own, removed at the end, by default.
    pub directory: Option<PathBuf>,
    /// The programs that stand for images.
    pub images: Images,
    /// The node.
    pub node: NodeOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            directory: None,
            images: Images::default(),
            node: NodeOptions::default(),
        }
    }
}

impl Options {
    /// The defaults, with the binaries that the environment names (`VALENCE_BINARY`, `ENVOY_BINARY`) or that lie where
    /// the repository's tools put them (`.tools/bin` here or in a folder above), or on PATH.
    ///
    /// # Errors
    /// When a variable names a file that is not there.
    pub fn from_environment() -> anyhow::Result<Self> {
        let mut options = Self::default();
        options.images.envoy = find("ENVOY_BINARY", "envoy")?;
        options.images.valence = find("VALENCE_BINARY", "valence")?;
        Ok(options)
    }
}

fn find(variable: &str, name: &str) -> anyhow::Result<Option<PathBuf>> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        let path = path
            .canonicalize()
            .with_context(|| format!("{variable} names {}", path.display()))?;
        return Ok(Some(path));
    }
    let here = std::env::current_dir()?;
    let tools = here
        .ancestors()
        .map(|folder| folder.join(".tools/bin").join(name))
        .find(|file| file.is_file());
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(name)))
        .filter(|file| file.is_file());
    Ok(tools.or(beside).or_else(|| find_on_path(name)))
}
