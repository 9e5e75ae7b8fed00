//! What is not seen, or not there.

use crate::doctor::{facts::Unseen, finding::Finding};

/// What is to be said of something that is not seen; `missing` if it does not exist.
pub(super) fn unseen(
    subject: &str,
    unseen: &Unseen,
    missing: impl FnOnce() -> Finding,
) -> Vec<Finding> {
    let found = unseen.to_string();
    vec![match unseen {
        Unseen::Missing => missing(),
        Unseen::Forbidden => {
            let advice = "`infinicache doctor` with an administrator's kubeconfig sees it";
            Finding::unknown(subject, found, advice)
        }
        Unseen::Failed(_) => {
            let advice = "see that the API of the cluster can be reached, and try again";
            Finding::unknown(subject, found, advice)
        }
    }]
}
