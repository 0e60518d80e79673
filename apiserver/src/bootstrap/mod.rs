//! What a cluster needs from its first start.
use std::sync::Arc;
use crate::server::Core;
pub(crate) async fn run(core: Arc<Core>) {
    for hook in crate::health::HOOKS { core.health.hook_done(hook); }
}
