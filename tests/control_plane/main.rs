//! What admission promises, from the outside, on two control planes: the playground's API server and a real one.
//!
//! The real one needs `KUBEBUILDER_ASSETS`, a folder with `etcd`, `kube-apiserver` and, when there,
//! `kube-controller-manager`. Without it its cases say by name that they are skipped.
#![allow(clippy::unwrap_used)]

mod admission;
mod autoscalers;
mod cluster;
mod credentials;
mod kubectl;
mod limits;
mod objectives;
mod objects;
mod operator;
mod plane;
mod process;
mod readmission;
mod real;
mod release;
#[path = "../shop/mod.rs"]
mod shop;

/// Makes two tests of a case, one for each control plane.
macro_rules! on_both {
    ($($case:ident)+) => {$(
        mod $case {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_the_playground() {
                super::$case($crate::cluster::Cluster::on_the_playground().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_a_real_control_plane() {
                let name = concat!(stringify!($case), "::on_a_real_control_plane");
                if let Some(cluster) = $crate::cluster::Cluster::on_a_real_control_plane(name).await {
                    super::$case(cluster).await;
                }
            }
        }
    )+};
}
use on_both;
