//! What stands for the API in a build without Kubernetes.

use std::convert::Infallible;

use anyhow::bail;

use crate::{config::Discovery, observation::Observation};

/// There is none.
#[derive(Clone)]
pub struct Watched(Infallible);

impl Watched {
    /// Finds no API.
    ///
    /// # Errors
    ///
    /// Always.
    pub async fn new(_: &Discovery) -> anyhow::Result<Self> {
        bail!("this is a build without Kubernetes: it needs the feature `kubernetes`");
    }

    /// Is never called.
    pub async fn run(self, _: impl Fn(&'static str) + Clone + Send, _: impl FnMut(Observation)) {
        match self.0 {}
    }
}
