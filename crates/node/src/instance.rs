//! What every connection of a node's process has to do with: who the instance is, what it holds, and
//! when it goes.

use infinicache_wire::{InstanceId, Secret};
use tokio_util::sync::CancellationToken;

use crate::{service::Service, session_timer::SessionTimer};

/// Who the node is, in every hello.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) instance: InstanceId,
    pub(crate) pod: String,
    pub(crate) host: String,
    pub(crate) zone: String,
    pub(crate) secret: Secret,
}

/// When a link says goodbye, and when it ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exit {
    /// The node is about to go: say Bye, but go on answering.
    pub(crate) announced: CancellationToken,
    /// It goes: write what waits, and end.
    pub(crate) now: CancellationToken,
}

/// A process of a node.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) identity: Identity,
    pub(crate) service: Service,
    pub(crate) exit: Exit,
    pub(crate) clock: SessionTimer,
}

impl Instance {
    pub(crate) fn new(identity: Identity, service: Service) -> Self {
        Self {
            identity,
            service,
            exit: Exit::default(),
            clock: SessionTimer::default(),
        }
    }
}
