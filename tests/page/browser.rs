//! The page in a browser: drawn in both colour schemes, and read back as the browser understood it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use valence_playground::tools;

use crate::sample;

/// Debian's Chromium, where it is installed.
fn chromium(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("chromium"))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        tools::skipped(test, "chromium", "not on PATH; .ci/tools.sh chromium installs it");
    }
    found
}

/// Where pictures go: the folder of `VALENCE_SCREENSHOTS`, or one that is removed with the test's build.
fn pictures() -> PathBuf {
    let folder = std::env::var_os("VALENCE_SCREENSHOTS")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("page"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

async fn run(chromium: &Path, profile: &str, arguments: &[&str]) -> String {
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{profile}"));
    let _ = std::fs::remove_dir_all(&profile);
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let _ = std::fs::remove_dir_all(&profile);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_browser_draws_every_view_in_both_schemes() {
    let Some(chromium) = chromium("the_browser_draws_every_view_in_both_schemes") else {
        return;
    };
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    let folder = pictures();
    let changed = format!("/workloads/shop/{}", sample::LONG_NAME);
    let views = [
        ("overview", "/"),
        ("workload", "/workloads/shop/todo"),
        ("missed", "/workloads/shop/%3Cb%3Eshop%3C%2Fb%3E"),
        ("changed", &changed),
        ("objective", "/objectives/shop/slo-webapps"),
    ];
    for (name, path) in views {
        for (scheme, flag) in [
            ("light", "--blink-settings=preferredColorScheme=1"),
            ("dark", "--blink-settings=preferredColorScheme=0"),
        ] {
            let picture = folder.join(format!("{name}-{scheme}.png"));
            let _ = std::fs::remove_file(&picture);
            let size = if name == "overview" {
                "--window-size=1280,900"
            } else {
                "--window-size=1280,1500"
            };
            let screenshot = format!("--screenshot={}", picture.display());
            run(
                &chromium,
                name,
                &[flag, size, &screenshot, &format!("http://{address}{path}")],
            )
            .await;
            let drawn = std::fs::metadata(&picture).unwrap().len();
            assert!(
                drawn > 20_000,
                "{} holds {drawn} bytes: it is as good as empty",
                picture.display()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_browser_finds_the_chart_and_the_style() {
    let Some(chromium) = chromium("the_browser_finds_the_chart_and_the_style") else {
        return;
    };
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    let page = run(
        &chromium,
        "document",
        &["--dump-dom", &format!("http://{address}/workloads/shop/todo")],
    )
    .await;
    assert!(page.matches("<circle class=\"seen").count() >= 20, "{page}");
    assert!(
        page.contains("aria-label=\"Latency against load. Objective: p99 within 100 ms at 500/min."),
        "{page}"
    );
    for point in page.split("cx=\"").skip(1) {
        let x: f64 = point.split('"').next().unwrap().parse().unwrap();
        assert!((0.0..=1040.0).contains(&x), "a point lies outside of the chart: {x}");
    }
}
