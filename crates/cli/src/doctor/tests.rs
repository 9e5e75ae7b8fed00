//! The doctor against an API server that is a test, cluster by cluster.
//!
//! Each test begins with a cluster in which all is well, and breaks one thing.

mod access;
mod cluster;
mod platform;
mod pods;
mod pool;

use self::cluster::Cluster;

#[tokio::test]
async fn a_cluster_in_which_all_is_well_has_no_complaints() {
    assert_eq!(Cluster::well().complaints().await, Vec::<String>::new());
}
