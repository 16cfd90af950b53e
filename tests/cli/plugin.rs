//! `kubectl valence`, with a real kubectl.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_finds_the_plugin_and_completes_it() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["kubectl-valence", "kubectl_complete-valence"] {
        symlink(env!("CARGO_BIN_EXE_valence"), folder.join(name)).unwrap();
    }
    let path = format!("{}:{}:{path}", folder.display(), tools.display());
    if !std::env::split_paths(&path).any(|folder| folder.join("kubectl").is_file()) {
        eprintln!("skipped: there is no kubectl (.ci/tools.sh kubectl installs it)");
        return;
    }
    let playground = cluster().await;
    let kubectl = |line: &str| {
        let output = Command::new("bash")
            .args(["-c", line])
            .env("PATH", &path)
            .env("KUBECONFIG", playground.kubeconfig())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(kubectl("kubectl plugin list").contains("/plugin/kubectl-valence"));
    assert!(kubectl("kubectl valence status -n shop").contains("todo"));
    let help = kubectl("kubectl valence explain --help");
    assert!(help.contains("Usage: kubectl valence explain"), "{help}");
    assert_eq!(
        kubectl("kubectl __complete valence ex"),
        "explain\tExplain each number of a recommendation: what bound it, and what would change it\nexport\tWrite recommended values as a kustomize patch or a manifest\n:4\n"
    );
    playground.stop().await;
}
